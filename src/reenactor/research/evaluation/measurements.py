"""What is measured on pictures: small functions in one table, `MEASUREMENTS`.

Each takes a `Batch` of n pictures and gives an array of n rows. `cache` calls them, and keeps what they give.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68, OUTER_EYE_CORNERS, Landmarks
from reenactor.face.geometry import mean_face, resize
from reenactor.face.geometry.contours import INNER_LIPS
from reenactor.face.geometry.face_mesh import face_mesh_triangles
from reenactor.face.maps import hull_mask
from reenactor.face.perception.lids import eye_openness
from reenactor.research.evaluation.judges import Judge, Judges, Mesh, Picture
from reenactor.research.metrics import black_outside, lpips, psnr, sharpness, ssim, ssim_map, ssim_mean
from reenactor.research.metrics.realism import part_features

COMPARISON = ("ssim", "m_ssim", "psnr", "m_psnr", "mouth_psnr", "silhouette_error", "inside_contrast", "inside_bright")
BEST_PSNR_DB = 100.0
"""Stands for equal pictures, whose PSNR is infinite: one that differs in a single colour by 1 of 255 has 101 dB."""
IDEAL_COMPARISON = (1.0, 1.0, BEST_PSNR_DB, BEST_PSNR_DB, BEST_PSNR_DB, 0.0, 1.0, 0.0)
"""`COMPARISON` of a picture with itself."""
BAND_PX = 8
"""Width of the band around the face, in pictures of 256 pixels a side."""
STILL_LEVELS = 3.0
"""Standard deviation over time, grey levels, up to which a pixel of the true clip is still."""
_MOUTH = [MESH_TO_IBUG68[i] for i in range(48, 60)]
_MOUTH_MARGIN = 0.1
"""How far the mouth's region extends beyond the outer lips, in outer-eye distances."""
_FACE_MARGIN = 0.3
"""Distance from the face's silhouette at which the background begins, in outer-eye distances: beyond chin and ears."""
_LEAST_BACKGROUND = 0.01
"""Fraction of the picture; with less still background flicker is not measured."""
_JPEG_QUALITY = 80
_LEAST_INSIDE_PX = 40
_LIDS_PX = 256
"""Side of the face crops that lids are read from."""
_SUBPIXEL_BITS = 4


class Batch:
    """Pictures that are measured together; faces are searched once for all measurements.

    Args:
        judges: the networks.
        pictures: n pictures of one size.
        truth: the n true pictures; empty if there are none.
        truth_meshes: landmarks of the faces in them.
    """

    def __init__(
        self,
        judges: Judges,
        pictures: Sequence[Picture],
        truth: Sequence[Picture] = (),
        truth_meshes: Sequence[Mesh] = (),
    ) -> None:
        self.judges, self.pictures, self.truth, self.truth_meshes = judges, pictures, truth, truth_meshes

    @cached_property
    def meshes(self) -> Float[np.ndarray, "n 478 3"]:
        """Landmarks of each picture's face; NaN without one."""
        return np.stack([self.judges.mesh(picture) for picture in self.pictures])

    @property
    def seen(self) -> Int[np.ndarray, " m"]:
        """Numbers of the pictures in which a face was found."""
        return np.flatnonzero(~np.isnan(self.meshes).any(axis=(1, 2)))


def mesh(batch: Batch) -> Float[np.ndarray, "n 478 3"]:
    """Landmarks of each picture's largest face, pixels; NaN without one."""
    return batch.meshes


def mesh_again(batch: Batch) -> Float[np.ndarray, "n 478 3"]:
    """Landmarks after mirroring and recompressing, mirrored back: shows how exactly a face can be measured at all."""
    found = []
    for picture in batch.pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture[:, ::-1]).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        mirrored = batch.judges.mesh(np.array(Image.open(buffer)))[mean_face().mirror]
        mirrored[:, 0] = picture.shape[1] - 1 - mirrored[:, 0]
        found.append(mirrored)
    return np.stack(found)


def embedding(batch: Batch) -> Float[np.ndarray, "n d"]:
    """Identity embedding of each face by `Judges.embedder`; NaN without a face."""
    embeddings = np.full((len(batch.pictures), batch.judges.config.embedding_size), np.nan, np.float32)
    if len(batch.seen):
        faces = [Landmarks(batch.meshes[i]) for i in batch.seen]
        embeddings[batch.seen] = batch.judges.embedder.embed_batch([batch.pictures[i] for i in batch.seen], faces)
    return embeddings


def face_sharpness(batch: Batch) -> Float[np.ndarray, " n"]:
    """`metrics.sharpness` within the hull of each face's 68 landmarks; NaN without a face."""
    values = np.full(len(batch.pictures), np.nan)
    if len(batch.seen):
        masks = hull_mask(torch.from_numpy(batch.meshes[batch.seen]), len(batch.pictures[0])).numpy()
        values[batch.seen] = [sharpness(batch.pictures[i], mask[0]) for i, mask in zip(batch.seen, masks, strict=True)]
    return values


def comparison(batch: Batch) -> Float[np.ndarray, "n 8"]:
    """`compare` of each picture with the true one."""
    pairs = zip(batch.pictures, batch.truth, batch.truth_meshes, strict=True)
    return np.stack([compare(*pair) for pair in pairs])


def masked_black(batch: Batch) -> Float[np.ndarray, "n 2"]:
    """M-SSIM and M-PSNR, dB, of both pictures black outside the hull of the truth's 68 landmarks."""
    found = np.empty((len(batch.pictures), 2))
    hulls = hull_mask(torch.from_numpy(np.stack(batch.truth_meshes)), len(batch.pictures[0])).numpy()
    for row, drawn, truth, hull in zip(found, batch.pictures, batch.truth, hulls, strict=True):
        pair = black_outside(drawn, hull[0]), black_outside(truth, hull[0])
        row[:] = ssim(*pair), min(psnr(*pair), BEST_PSNR_DB)
    return found


def feature_distance(batch: Batch) -> Float[np.ndarray, " n"]:
    """`metrics.lpips` of each picture and the true one in the features of `Judges.features`."""
    with torch.inference_mode():
        drawn, truth = _m1p1(batch.pictures), _m1p1(batch.truth)
        return lpips(drawn, truth, batch.judges.features).numpy().astype(np.float64)


def parts(batch: Batch) -> Float[np.ndarray, "n 3 d"]:
    """`metrics.realism.part_features` at the landmarks of the true pictures."""
    found = part_features(_m1p1(batch.pictures), torch.from_numpy(np.stack(batch.truth_meshes)).float())
    return found.astype(np.float32)


def lids(batch: Batch) -> Float[np.ndarray, "n 2"]:
    """How far the right and the left eye are open (`perception.lids`); NaN without a face."""
    read = np.full((len(batch.pictures), 2), np.nan)
    for i in batch.seen:
        side = len(batch.pictures[i])
        small = resize(batch.pictures[i], _LIDS_PX) if side != _LIDS_PX else batch.pictures[i]
        half = np.array([0.5, 0.5, 0.0])
        read[i] = eye_openness(small, ((batch.meshes[i] + half) * (_LIDS_PX / side) - half))
    return read


def background_flicker(batch: Batch) -> Float[np.ndarray, " n"]:
    """`flicker` of the still background of a sequence, the same number for each of its pictures."""
    mask = still_background(np.stack(batch.truth), np.stack(batch.truth_meshes))
    return np.full(len(batch.pictures), flicker(np.stack(batch.pictures), mask))


@dataclass(frozen=True)
class Measurement:
    """An entry of `MEASUREMENTS`.

    Args:
        version: raised when the numbers change, so that cached ones are not used.
        measure: the function.
        needs_truth: whether it compares with the true picture.
        of_sequence: whether the batch must be a whole sequence, in order.
        judge: whose file the numbers depend on, if it has one.
    """

    version: int
    measure: Callable[[Batch], np.ndarray]
    needs_truth: bool = False
    of_sequence: bool = False
    judge: Judge = Judge.PIXELS


MEASUREMENTS: Mapping[str, Measurement] = {
    "mesh": Measurement(1, mesh),
    "mesh_again": Measurement(1, mesh_again),
    "embedding": Measurement(1, embedding, judge=Judge.IDENTITY),
    "sharpness": Measurement(1, face_sharpness),
    "comparison": Measurement(2, comparison, needs_truth=True),
    "masked_black": Measurement(1, masked_black, needs_truth=True),
    "feature_distance": Measurement(1, feature_distance, needs_truth=True, judge=Judge.FEATURES),
    "parts": Measurement(1, parts, needs_truth=True),
    "lids": Measurement(1, lids),
    "flicker": Measurement(1, background_flicker, needs_truth=True, of_sequence=True),
}


def compare(drawn: Picture, truth: Picture, truth_mesh: Mesh) -> Float[np.ndarray, "8"]:
    """`COMPARISON` of two pictures.

    The face of `m_ssim` and `m_psnr` is the hull of the truth's 68 landmarks, the mouth is `mouth_mask`, and
    `silhouette_error` the mean absolute difference, grey levels of 255, within `silhouette_band`; NaN if it is empty.
    Between the lips, `inside_contrast` is the standard deviation of brightness over the truth's, and `inside_bright`
    the mean of the brightest twentieth minus the truth's, grey levels; NaN where fewer than 40 pixels lie there.
    """
    size = len(drawn)
    face = hull_mask(torch.from_numpy(truth_mesh[None]), size)[0, 0].numpy()
    similarity = ssim_map(drawn, truth)
    decibels = [psnr(drawn, truth, mask) for mask in (None, face, mouth_mask(truth_mesh, size))]
    band = silhouette_band(truth_mesh, size) > 0
    error = np.abs(drawn[band].astype(np.float64) - truth[band]).mean() if band.any() else np.nan
    best = [min(value, BEST_PSNR_DB) for value in decibels]
    return np.array(
        [ssim_mean(similarity), ssim_mean(similarity, face), *best, error, *_inside(drawn, truth, truth_mesh)]
    )


def _inside(drawn: Picture, truth: Picture, truth_mesh: Mesh) -> tuple[float, float]:
    mask = np.zeros(truth.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(truth_mesh[list(INNER_LIPS), :2]).astype(np.int32)], (1,))
    ours, theirs = (cv2.cvtColor(one, cv2.COLOR_RGB2GRAY)[mask > 0].astype(np.float64) for one in (drawn, truth))
    if len(theirs) < _LEAST_INSIDE_PX or theirs.std() == 0:
        return float("nan"), float("nan")
    top = max(1, len(theirs) // 20)
    bright = [np.sort(one)[-top:].mean() for one in (ours, theirs)]
    return float(ours.std() / theirs.std()), float(bright[0] - bright[1])


def mouth_mask(mesh_px: Mesh, size: int) -> Float[np.ndarray, "s s"]:
    """1 within a tenth of the outer-eye distance of the lips' hull, else 0."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(mesh_px[_MOUTH, :2]).astype(np.int32)), (1,))
    radius = max(1, round(_MOUTH_MARGIN * _eye_distance(mesh_px)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask, disk).astype(np.float32)


def silhouette_band(mesh_px: Mesh, size: int) -> Float[np.ndarray, "s s"]:
    """1 outside the mesh's silhouette and up to `BAND_PX` (of 256) from it, where a moved face tears; else 0."""
    away = distance_to_face(mesh_px, size)
    return ((away > 0) & (away <= BAND_PX * size / 256)).astype(np.float32)


def distance_to_face(mesh_px: Mesh, size: int) -> Float[np.ndarray, "s s"]:
    """Distance of each pixel to the mesh's silhouette, pixels; 0 inside."""
    outside = np.ones((size, size), np.uint8)
    corners = np.round(mesh_px[_face_triangles(), :2] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for corner in corners:
        cv2.fillConvexPoly(outside, corner, (0,), lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def still_background(
    truth: UInt8[np.ndarray, "t s s 3"], meshes_px: Float[np.ndarray, "t 478 3"]
) -> Bool[np.ndarray, "s s"]:
    """Pixels that lie away from the face in all frames and hardly change in the true clip.

    Hair and shoulders that move are left out, and the background if the camera moves.

    Args:
        truth: consecutive frames.
        meshes_px: landmarks of the face in them.
    """
    size = truth.shape[1]
    away = np.ones((size, size), bool)
    for mesh_px in meshes_px:
        away &= distance_to_face(mesh_px, size) > _FACE_MARGIN * _eye_distance(mesh_px)
    return away & (truth.std(axis=0, dtype=np.float32).max(axis=2) <= STILL_LEVELS)


def flicker(frames: UInt8[np.ndarray, "t s s 3"], mask: Bool[np.ndarray, "s s"]) -> float:
    """Mean absolute second difference `x[t-1] - 2 x[t] + x[t+1]` over time of the pixels in a mask, grey levels.

    NaN with fewer than three frames, or if the mask holds less than a hundredth of the picture.
    """
    if len(frames) < 3 or mask.mean() < _LEAST_BACKGROUND:
        return float("nan")
    inside = frames[:, mask].astype(np.int16)
    return float(np.abs(inside[:-2] - 2 * inside[1:-1] + inside[2:]).mean())


def _eye_distance(mesh_px: Mesh) -> float:
    right, left = mesh_px[list(OUTER_EYE_CORNERS), :2]
    return float(np.linalg.norm(left - right))


@cache
def _face_triangles() -> Int[np.ndarray, "t 3"]:
    """Triangles of the mesh alone, which cover eyes and mouth."""
    triangles = face_mesh_triangles()
    return triangles[(triangles < MESH_POINTS).all(axis=1)]


def _m1p1(pictures: Sequence[Picture]) -> Float[Tensor, "n 3 s s"]:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
