"""Training pairs: target photos, driver landmarks and the true picture; and their augmentation.

There are four kinds, with the same fields:

* **same clip** (paper B): K target frames and a driver frame of one video.
* **contour** (paper A): one photo. The driver landmarks are the photo's with another person's outline, and the truth
  is the photo warped to that outline, supervised inside the face only. The target is the photo itself.
* **warp back** (ours): one photo. The *target* is the photo warped by a random turn of the head and a change of
  expression taken from a random clip, and the truth is the photo. So one photo of a person is enough to learn pose
  and expression, and the truth is always a real picture.
* **photos** (ours): several photos of one person, taken at other times; the truth is one of them in the colours of the
  first target, supervised inside the face only. Few people turn or laugh in videos; photos of politicians do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from pydantic import BaseModel, ConfigDict, Field

from reenactor.core import OUTER_EYE_CORNERS
from reenactor.face.geometry import (
    aligned_crop,
    draw_face_mesh,
    face_mesh,
    head_angles,
    in_mean_pose,
    mirrored_mesh,
    turned,
    with_outline_of,
)
from reenactor.face.geometry.contours import FACE_OVAL, INNER_LIPS_LOWER, INNER_LIPS_UPPER, OPENINGS, OUTER_LIPS
from reenactor.face.retarget import transfer_expression

_LARGEST_TURN_DEG = np.array([22.0, 12.0, 10.0])
_LARGEST_SHIFT = 0.12
"""Of the head in a warp-back target, in outer-eye distances."""
_SCALES = (0.92, 1.08)
_CLEARLY_OPEN = 0.06
"""A mouth is open if it opens more than at its most closed by this many outer-eye distances."""
_LIDS_CLOSED = 0.3
"""Eyes are closed below this fraction of their usual opening."""
_NEXT_S = 0.1
"""Frames further apart than this are not consecutive: they lie in two stretches of the clip."""
_OPENS = 0.01
"""A mouth that opens by fewer outer-eye distances counts as unchanged."""
TURNS_DEG = 15.0
"""Heads whose yaws differ by more than this look to different sides."""
_MIDDLE_GREY = 128
_JPEG_QUALITY = (15, 60)
"""As OpenCV counts."""
_MOST_CONTRAST = (0.5, 2.0)
"""By which photos are brought to another's colours."""
_OCCLUDER = (0.15, 0.4)
"""Diameters, in sides of the picture."""


FrameChoice = Literal["different", "uniform"]
"""Which frames of a clip become targets: rather those that differ from the driver in pose and expression (ours), or all
with the same probability (paper B)."""


class PairKind(StrEnum):
    """How a pair was made."""

    CLIP = "clip"
    CONTOUR = "contour"
    WARP_BACK = "warp_back"
    PHOTOS = "photos"


@dataclass(frozen=True)
class Pair:
    """One training sample; all pictures are RGB crops of one size.

    Args:
        kind: how it was made.
        identity: the person.
        targets: (K, s, s, 3) photos the model is given.
        target_mesh: (K, 478, 3) their landmarks, pixels of the crops.
        truth: (s, s, 3) the picture the model should synthesize.
        driver_mesh: (478, 3) landmarks the model is given: those of the truth.
        mask: (s, s) 255 where the truth is supervised, else 0.
        follows: whether the previous pair has the same targets and, as its truth, the frame before this one.
    """

    kind: PairKind
    identity: str
    targets: UInt8[np.ndarray, "k s s 3"]
    target_mesh: Float[np.ndarray, "k 478 3"]
    truth: UInt8[np.ndarray, "s s 3"]
    driver_mesh: Float[np.ndarray, "478 3"]
    mask: UInt8[np.ndarray, "s s"]
    follows: bool = False


def clip_pairs(
    identity: str,
    frames: UInt8[np.ndarray, "t s s 3"],
    meshes: Float[np.ndarray, "t 478 3"],
    times_s: Float[np.ndarray, " t"],
    *,
    targets: int,
    least_gap_s: float,
    choice: FrameChoice = "different",
    opening: float = 0.0,
    closing: float = 0.0,
    blinking: float = 0.0,
    turning: bool = False,
    follow: bool = False,
    rng: np.random.Generator,
) -> list[Pair]:
    """A pair of a driver frame and K target frames of one video.

    Args:
        identity: the person.
        frames: RGB crops.
        meshes: their landmarks, pixels of the crops.
        times_s: their times.
        targets: K.
        least_gap_s: targets are at least this far from the driver, if the video is long enough.
        choice: of the targets; "different": with a probability that grows with their difference from the driver.
        opening: probability of a driver whose mouth is wide open, with targets whose mouths are not, if the video has
            such frames: what lies behind closed lips is rare and the hardest to learn.
        closing: probability of the opposite: a driver whose mouth is closed, with targets whose mouths are open.
        blinking: probability of a driver whose eyes are closed, with targets whose eyes are open.
        turning: let driver and targets look to different sides, if the video has such frames.
        follow: add a second pair with the same targets and the next frame, if there is one.
        rng: draws the frames.

    Returns:
        one pair, or two.
    """
    mouth, eyes = _mouth_opening(meshes), eye_opening(meshes)
    wide = (mouth >= np.quantile(mouth, 0.8)) & (mouth >= mouth.min() + _CLEARLY_OPEN)
    shut = mouth + _CLEARLY_OPEN < np.quantile(mouth, 0.9)
    kinds = zip((opening, closing, blinking), (wide, shut, eyes_closed(eyes)), strict=True)
    drawn, below = rng.random(), 0.0
    drivers, focus = np.zeros(0, int), 0
    turns = np.flatnonzero(turned_away(meshes)) if turning else np.zeros(0, int)
    for number, (share, fitting) in enumerate(kinds):
        if below <= drawn < below + share:
            drivers, focus = np.flatnonzero(fitting), number
        below += share
    driver = int(rng.choice(drivers if len(drivers) else turns if len(turns) else len(frames)))
    away_s = np.abs(times_s - times_s[driver])
    allowed = away_s >= min(least_gap_s, 0.7 * float(away_s.max()))
    allowed[driver] = len(frames) == 1
    if len(drivers):
        differs = (1.5 * mouth + 0.02 < mouth[driver], mouth > mouth[driver] + _CLEARLY_OPEN, eyes > 2 * eyes[driver])
        if (fitting := allowed & differs[focus]).any():
            allowed = fitting
    if len(turns) and (away := allowed & turned_away(meshes, meshes[driver])).any():
        allowed = away
    chance = allowed if choice == "uniform" else allowed * (0.01 + differences(meshes, meshes[driver]))
    picked = rng.choice(len(frames), targets, p=chance / chance.sum(), replace=int(allowed.sum()) < targets)
    everywhere = np.full(frames.shape[1:3], 255, np.uint8)
    photos = frames[picked], meshes[picked]
    pair = Pair(PairKind.CLIP, identity, *photos, frames[driver], meshes[driver], everywhere)
    after = driver + 1
    if not follow or after == len(frames) or times_s[after] - times_s[driver] > _NEXT_S:
        return [pair]
    return [pair, replace(pair, truth=frames[after], driver_mesh=meshes[after], follows=True)]


def turned_away(
    meshes: Float[np.ndarray, "t 478 3"], mesh: Float[np.ndarray, "478 3"] | None = None
) -> Bool[np.ndarray, " t"]:
    """Which heads look to another side (their yaws differ by more than 15 degrees) than `mesh`, or than any of them."""
    yaw_deg = head_angles(meshes)[:, 0]
    others = head_angles(mesh)[:1] if mesh is not None else yaw_deg[[yaw_deg.argmin(), yaw_deg.argmax()]]
    return (np.abs(yaw_deg[:, None] - others) > TURNS_DEG).any(1)


def differences(meshes: Float[np.ndarray, "t 478 3"], mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, " t"]:
    """Difference of each mesh from `mesh` in pose and expression, not position: mean vertex distance in face sizes."""
    face_px = float(np.ptp(mesh[:, :2], axis=0).max())
    centred, other = (one.astype(np.float64) - one.mean(-2, keepdims=True) for one in (meshes, mesh))
    return np.linalg.norm(centred - other, axis=2).mean(1) / max(face_px, 1e-6)


def eye_opening(meshes: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, " t"]:
    """Mean distance between the middles of the lids of both eyes, in outer-eye distances."""
    across = np.linalg.norm(meshes[:, OUTER_EYE_CORNERS[1]] - meshes[:, OUTER_EYE_CORNERS[0]], axis=1)
    gaps = [np.linalg.norm(meshes[:, upper[4]] - meshes[:, lower[4]], axis=1) for lower, upper in OPENINGS[1:]]
    return (gaps[0] + gaps[1]) / 2 / np.maximum(across, 1e-6)


def eyes_closed(openings: Float[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    """In which frames of a clip the eyes are closed, or nearly, from their `eye_opening`."""
    return openings < _LIDS_CLOSED * np.quantile(openings, 0.8)


def _mouth_opening(meshes: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, " t"]:
    """Distance between the middles of the inner lips, in outer-eye distances."""
    upper, lower = INNER_LIPS_UPPER[5], INNER_LIPS_LOWER[5]
    eyes = np.linalg.norm(meshes[:, OUTER_EYE_CORNERS[1]] - meshes[:, OUTER_EYE_CORNERS[0]], axis=1)
    return np.linalg.norm(meshes[:, lower] - meshes[:, upper], axis=1) / np.maximum(eyes, 1e-6)


def contour_pair(
    identity: str,
    photo: UInt8[np.ndarray, "s s 3"],
    mesh: Float[np.ndarray, "478 3"],
    other_mesh: Float[np.ndarray, "478 3"],
) -> Pair:
    """A contour pair: the photo, to be synthesized with another person's outline.

    Args:
        identity: the person in the photo.
        photo: an RGB crop.
        mesh: its landmarks, pixels of the crop.
        other_mesh: landmarks of the other person, pixels of any picture.
    """
    driver_mesh = with_outline_of(mesh, other_mesh)
    truth = draw_face_mesh(photo, face_mesh(mesh, len(photo)), driver_mesh, map_size=len(photo))
    mask = _inside(driver_mesh, FACE_OVAL, len(photo))
    return Pair(PairKind.CONTOUR, identity, photo[None], mesh[None], truth, driver_mesh, mask)


def _inside(mesh: Float[np.ndarray, "478 3"], outline: tuple[int, ...], side: int) -> UInt8[np.ndarray, "s s"]:
    """255 inside an outline of the mesh's vertices, else 0."""
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(mesh[list(outline), :2]).astype(np.int32)], (255,))
    return mask


def warp_back_pair(
    identity: str,
    photo: UInt8[np.ndarray, "s s 3"],
    mesh: Float[np.ndarray, "478 3"],
    expression: tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, "478 3"]],
    *,
    targets: int,
    face_only: bool = False,
    rng: np.random.Generator,
) -> Pair:
    """A warp-back pair: the photo as the truth, and K warps of it as targets.

    Args:
        identity: the person.
        photo: an RGB crop.
        mesh: its landmarks, pixels of the crop.
        expression: two meshes of one person in mean pose; each target gets a random part of their difference.
        targets: K.
        face_only: supervise inside the face only, and without the mouth if a target's mouth is more closed. Elsewhere
            a model that begins with the warp would learn that hair, ears and background move as in the warp, or that
            teeth grow as a mouth opens.
        rng: draws the turns.
    """
    photo_mesh = face_mesh(mesh, len(photo))
    head, shape = in_mean_pose(mesh)
    before, after = expression
    pictures, meshes = [], []
    for _ in range(targets):
        part = rng.uniform(0.3, 1.0)
        warped = turned(
            mesh,
            rng.uniform(-1, 1, 3) * _LARGEST_TURN_DEG,
            scale=float(rng.uniform(*_SCALES)),
            shift_px=tuple(rng.uniform(-1, 1, 2) * _LARGEST_SHIFT * float(head.scale)),
            shape=transfer_expression(shape, before, before + part * (after - before)),
        )
        pictures.append(draw_face_mesh(photo, photo_mesh, warped, map_size=len(photo)))
        meshes.append(warped)
    mask = np.full(photo.shape[:2], 255, np.uint8)
    if face_only:
        mask = _inside(mesh, FACE_OVAL, len(photo))
        if (_mouth_opening(np.stack(meshes)) + _OPENS < _mouth_opening(mesh[None])).any():
            mask &= ~_inside(mesh, OUTER_LIPS, len(photo))
    return Pair(PairKind.WARP_BACK, identity, np.stack(pictures), np.stack(meshes), photo, mesh, mask)


def photos_pair(
    identity: str,
    photos: UInt8[np.ndarray, "n s s 3"],
    meshes: Float[np.ndarray, "n 478 3"],
    *,
    targets: int,
    rng: np.random.Generator,
) -> Pair:
    """A pair of different photos: a random one is the truth, in the colours of the first target.

    Args:
        identity: the person.
        photos: RGB crops, at least two.
        meshes: their landmarks, pixels of the crops.
        targets: K; photos are repeated if there are too few.
        rng: draws the photos.
    """
    driver, *others = rng.permutation(len(photos)).tolist()
    picked = [others[i % len(others)] for i in range(targets)]
    side = photos.shape[1]
    mask, first = (_inside(meshes[i], FACE_OVAL, side) for i in (driver, picked[0]))
    truth = _in_colours_of(photos[driver], mask, photos[picked[0]], first)
    return Pair(PairKind.PHOTOS, identity, photos[picked], meshes[picked], truth, meshes[driver], mask)


def _in_colours_of(
    picture: UInt8[np.ndarray, "s s 3"],
    mask: UInt8[np.ndarray, "s s"],
    other: UInt8[np.ndarray, "s s 3"],
    other_mask: UInt8[np.ndarray, "s s"],
) -> UInt8[np.ndarray, "s s 3"]:
    """The picture with mean and deviation of each channel as in the other, both measured inside their masks."""
    (mean, deviation), (wanted, spread) = (
        cv2.meanStdDev(one, mask=inside) for one, inside in ((picture, mask), (other, other_mask))
    )
    gain = np.clip(spread / np.maximum(deviation, 1), *_MOST_CONTRAST)
    levels = (np.arange(256)[:, None] - mean.T) * gain.T + wanted.T
    return cv2.LUT(picture, np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None])


def aligned(pair: Pair, size: int) -> Pair:
    """The pair with its faces aligned to the mean shape, as models of `Alignment.MEAN_SHAPE` see them in use.

    Each target is aligned by its own landmarks. The truth lies in the crop of the first target, in which its face has
    moved; that of photos of other occasions in its own. It is not supervised beyond the pack's crop.

    Args:
        pair: of any size.
        size: of the new pictures, pixels.
    """
    crops = [aligned_crop(mesh, size=size) for mesh in pair.target_mesh]
    own = aligned_crop(pair.driver_mesh, size=size) if pair.kind is PairKind.PHOTOS else crops[0]
    return replace(
        pair,
        targets=np.stack([crop.cut(photo) for crop, photo in zip(crops, pair.targets, strict=True)]),
        target_mesh=np.stack([crop.to_crop(mesh) for crop, mesh in zip(crops, pair.target_mesh, strict=True)]),
        truth=own.cut(pair.truth),
        driver_mesh=own.to_crop(pair.driver_mesh),
        mask=np.where(own.cut(pair.mask, border=cv2.BORDER_CONSTANT) > 127, 255, 0).astype(np.uint8),
    )


class PairAugmentation(BaseModel):
    """How strongly pairs are augmented, targets and truth alike. The defaults change nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirror: float = Field(default=0, ge=0, le=1)
    """Probability of mirroring pictures and landmarks."""
    light: float = Field(default=0, ge=0, lt=1)
    """Exposure, contrast and gamma vary by up to this fraction."""
    colour: float = Field(default=0, ge=0, lt=1)
    """The strength of each colour channel varies by up to this fraction."""
    grey: float = Field(default=0, ge=0, le=1)
    """Probability of grey pictures."""
    blur: float = Field(default=0, ge=0, le=1)
    """Probability of a Gaussian blur; its standard deviation is 0.4 to 1.2 hundredths of the side."""
    compression: float = Field(default=0, ge=0, le=1)
    """Probability of strong JPEG compression."""
    occlusion: float = Field(default=0, ge=0, le=1)
    """Probability of an occluder, for each target but the first, so that one always shows the whole face."""

    @classmethod
    def photos(cls) -> PairAugmentation:
        """Augmentation that imitates the differences between photos of a person."""
        return cls(mirror=0.5, light=0.3, colour=0.15, grey=0.05, blur=0.15, compression=0.15, occlusion=0.15)


def augmented(pairs: Sequence[Pair], how: PairAugmentation, rng: np.random.Generator) -> list[Pair]:
    """Augment a pair, or consecutive pairs with the same targets, all in the same way.

    Args:
        pairs: as `clip_pairs` returns them.
        how: probabilities and largest changes.
        rng: draws the changes.
    """
    if how == PairAugmentation():
        return list(pairs)
    if rng.random() < how.mirror:
        pairs = [_mirrored(pair) for pair in pairs]
    tones, grey = _tones(how, rng), rng.random() < how.grey
    deviation = rng.uniform(0.4, 1.2) * len(pairs[0].truth) / 100 if rng.random() < how.blur else 0.0
    quality = int(rng.integers(*_JPEG_QUALITY)) if rng.random() < how.compression else None

    def changed(picture: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        picture = cv2.LUT(np.ascontiguousarray(picture), tones)
        if grey:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if deviation:
            picture = cv2.GaussianBlur(picture, (0, 0), deviation)
        if quality is not None:
            _, written = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            picture = cv2.imdecode(written, cv2.IMREAD_COLOR)
        return picture

    photos = [changed(photo) for photo in pairs[0].targets]
    photos[1:] = [_occluded(photo, rng) if rng.random() < how.occlusion else photo for photo in photos[1:]]
    return [replace(pair, targets=np.stack(photos), truth=changed(pair.truth)) for pair in pairs]


def _mirrored(pair: Pair) -> Pair:
    side = len(pair.truth)
    return replace(
        pair,
        targets=pair.targets[:, :, ::-1],
        target_mesh=mirrored_mesh(pair.target_mesh, side),
        truth=pair.truth[:, ::-1],
        driver_mesh=mirrored_mesh(pair.driver_mesh, side),
        mask=pair.mask[:, ::-1],
    )


def _tones(how: PairAugmentation, rng: np.random.Generator) -> UInt8[np.ndarray, "1 256 3"]:
    """Lookup table for each level of each colour channel."""
    exposure, contrast, gamma = np.exp(rng.uniform(-1, 1, 3) * np.log1p(how.light))
    colours = np.exp(rng.uniform(-1, 1, 3) * np.log1p(how.colour))
    levels = 255 * (np.arange(256) / 255) ** gamma
    levels = ((levels - _MIDDLE_GREY) * contrast + _MIDDLE_GREY) * exposure
    return np.rint(levels[None, :, None] * colours).clip(0, 255).astype(np.uint8)


def _occluded(photo: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
    """The photo with an unevenly lit ellipse of one colour at a random position."""
    side = len(photo)
    shape = np.zeros((side, side), np.uint8)
    centre, diameters = rng.integers(0, side, 2).tolist(), (rng.uniform(*_OCCLUDER, 2) * side).tolist()
    cv2.ellipse(shape, (centre, diameters, rng.uniform(0, 180)), (255,), -1, cv2.LINE_AA)
    light = cv2.resize(rng.uniform(0.6, 1, (4, 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    cover: Float[np.ndarray, "s s 1"] = shape[..., None] / 255
    patch = light[..., None] * rng.uniform(0, 255, 3)
    return np.rint(photo * (1 - cover) + patch.clip(0, 255) * cover).astype(np.uint8)
