"""What is measured on single pictures: the face found anew, who it is, how sharp; and against the truth, how alike."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from reenactor.core import MESH_POINTS, Landmarks
from reenactor.face.geometry import mean_face
from reenactor.face.maps import hull_mask
from reenactor.face.perception import FaceFinder
from reenactor.face.perception.identity import EMBEDDING_SIZE, IdentityEmbedder
from reenactor.face.perception.observe import face_side_px
from reenactor.research.evaluation.packs import Frame, Packs
from reenactor.research.evaluation.pixels import band_mask, fine_detail, mean_difference, mouth_mask, similarity_map
from reenactor.research.evaluation.predictions import Predictions, read_prediction
from reenactor.research.evaluation.protocols import Case
from reenactor.research.evaluation.store import Row, Store
from reenactor.research.evaluation.workers import WorkerPool
from reenactor.research.metrics import m_psnr, psnr

VERSION = "2"
"""Of what is measured here; part of every store's context."""

COMPARED = ("ssim", "m_ssim", "psnr", "m_psnr", "mouth_psnr", "rim_error")
BEST_PSNR_DB = 100.0
"""Stands for equal pictures, whose PSNR is infinite: one that differs in a single colour by 1 of 255 has 101 dB."""
OF_EQUALS = (1.0, 1.0, BEST_PSNR_DB, BEST_PSNR_DB, BEST_PSNR_DB, 0.0)
"""`COMPARED` of a picture with itself."""
_SSIM_BORDER_PX = 5
_JPEG_QUALITY = 80


class FaceReader:
    """The networks that look at pictures."""

    def __init__(self) -> None:
        self._finder = FaceFinder()
        self._embedder = IdentityEmbedder()

    def read(self, pictures: Sequence[UInt8[np.ndarray, "s s 3"]]) -> list[Row]:
        """`mesh` (478, 3), `embedding` (128,), `sharpness` () of each picture's largest face; NaN without one."""
        meshes = [self.mesh(picture) for picture in pictures]
        seen = [i for i, mesh in enumerate(meshes) if not np.isnan(mesh).any()]
        embeddings = np.full((len(pictures), EMBEDDING_SIZE), np.nan, np.float32)
        sharp = np.full(len(pictures), np.nan)
        if seen:
            embeddings[seen] = self._embedder.embed_batch(
                [pictures[i] for i in seen], [Landmarks(meshes[i]) for i in seen]
            )
            masks = hull_mask(torch.from_numpy(np.stack([meshes[i] for i in seen])), len(pictures[0]))
            sharp[seen] = [fine_detail(pictures[i], mask[0]) for i, mask in zip(seen, masks.numpy(), strict=True)]
        return [
            {"mesh": mesh, "embedding": embedding, "sharpness": np.array(value)}
            for mesh, embedding, value in zip(meshes, embeddings, sharp, strict=True)
        ]

    def mesh(self, picture: UInt8[np.ndarray, "s s 3"]) -> Float[np.ndarray, "478 3"]:
        """Landmarks of the largest face, pixels; NaN without one. In face crops there are no small faces to search."""
        found = self._finder.observe_all(picture, thorough=False)
        if not found:
            return np.full((MESH_POINTS, 3), np.nan, np.float32)
        return max(found, key=lambda one: face_side_px(one.landmarks.mesh)).landmarks.mesh.astype(np.float32)

    def mesh_again(self, picture: UInt8[np.ndarray, "s s 3"]) -> Float[np.ndarray, "478 3"]:
        """A second reading of the same face, mirrored and recompressed: how well it can be read at all."""
        buffer = io.BytesIO()
        Image.fromarray(picture[:, ::-1]).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        mesh = self.mesh(np.array(Image.open(buffer)))[mean_face().mirror]
        mesh[:, 0] = picture.shape[1] - 1 - mesh[:, 0]
        return mesh


def compare(
    drawn: UInt8[np.ndarray, "s s 3"], truth: UInt8[np.ndarray, "s s 3"], truth_mesh: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "6"]:
    """`COMPARED`; the face is the hull of the truth's 68 landmarks, the mouth `mouth_mask`, the rim `band_mask`."""
    size = len(drawn)
    a, b = (_tensor(picture) for picture in (drawn, truth))
    face = hull_mask(torch.from_numpy(truth_mesh[None]), size)
    mouth = torch.from_numpy(mouth_mask(truth_mesh, size)[None])
    alike = similarity_map(drawn, truth)
    inner = slice(_SSIM_BORDER_PX, -_SSIM_BORDER_PX)
    in_face = face[0, 0].numpy()
    decibels = [psnr(a, b), m_psnr(a, b, face), m_psnr(a, b, mouth)]
    return np.array(
        [
            alike[inner, inner].mean(),
            (alike * in_face[..., None]).sum() / (3 * in_face.sum()),
            *(min(float(value), BEST_PSNR_DB) for value in decibels),
            mean_difference(drawn, truth, band_mask(truth_mesh, size)),
        ]
    )


def read_frames(
    packs: Packs, side: str, frames: Sequence[Frame], size: int, store: Store, pool: WorkerPool, *, again: bool = False
) -> list[Row]:
    """Readings of a pack's frames: those in the store, and the rest.

    Args:
        packs: drivers and targets.
        side: `driver` or `target`.
        frames: which, repeated or not.
        size: side of the pictures, pixels.
        store: of this pack, size and kind of reading.
        pool: does the work.
        again: second readings instead (`mesh` alone).
    """
    new = [frame for frame in dict.fromkeys(frames) if store.get(str(frame)) is None]
    new.sort(key=lambda frame: (frame.key, frame.number))
    work = _Frames(packs.folders, side, size, again)
    what = f"read {side} frames{' again' if again else ''}"
    try:
        if new:
            for part, rows in pool.spread(work, new, what=what):
                for frame, row in zip(part, rows, strict=True):
                    store.put(str(frame), row)
    finally:
        store.save()
    return [row for frame in frames if (row := store.get(str(frame))) is not None]


def read_drawn(packs: Packs, predictions: Predictions, store: Store, pool: WorkerPool) -> list[Row]:
    """Readings of drawn pictures, with `compared` (6,): those in the store whose file is the same, and the rest."""
    sets = predictions.sets.sets
    paths = {one: path for one in sets if (path := predictions.path(one)) is not None}
    digests = {one: hashlib.sha256(path.read_bytes()).hexdigest() for one, path in paths.items()}
    new = [(one, paths[one]) for one in sets if store.get(one.id, digests[one]) is None]
    new.sort(key=lambda pair: (pair[0].driver.key, pair[0].driver.number))
    truth = predictions.sets.protocol.has_truth
    work = _Drawn(packs.folders, predictions.sets.size, truth)
    try:
        for part, rows in pool.spread(work, new, what=f"read {predictions.method.name}"):
            for (one, _), row in zip(part, rows, strict=True):
                store.put(one.id, row, digests[one])
    finally:
        store.save()
    return [row for one in sets if (row := store.get(one.id, digests[one])) is not None]


def compare_copies(packs: Packs, sets: Sequence[Case], size: int, store: Store, pool: WorkerPool) -> list[Row]:
    """`compared` (6,) of each set's first target, shown as if it were the result."""
    new = [one for one in sets if store.get(one.id) is None]
    new.sort(key=lambda one: (one.driver.key, one.driver.number))
    try:
        if new:
            work = _Copies(packs.folders, size)
            for part, rows in pool.spread(work, new, what="compare copies"):
                for one, row in zip(part, rows, strict=True):
                    store.put(one.id, row)
    finally:
        store.save()
    return [row for one in sets if (row := store.get(one.id)) is not None]


@dataclass(frozen=True)
class _Frames:
    folders: tuple[Path, Path | None]
    side: str
    size: int
    again: bool

    def __call__(self, frames: Sequence[Frame]) -> list[Row]:
        packs, reader = _tools(self.folders)
        pack = packs.driver if self.side == "driver" else packs.target
        pictures = pack.pictures(frames, self.size)
        if self.again:
            return [{"mesh": reader.mesh_again(pictures[frame])} for frame in frames]
        return reader.read([pictures[frame] for frame in frames])


@dataclass(frozen=True)
class _Drawn:
    folders: tuple[Path, Path | None]
    size: int
    truth: bool

    def __call__(self, drawn: Sequence[tuple[Case, Path]]) -> list[Row]:
        packs, reader = _tools(self.folders)
        pictures = [read_prediction(path, self.size) for _, path in drawn]
        compared = np.full((len(drawn), len(COMPARED)), np.nan)
        if self.truth:
            compared = _compared(packs, pictures, [one.driver for one, _ in drawn], self.size)
        return [{**row, "compared": values} for row, values in zip(reader.read(pictures), compared, strict=True)]


@dataclass(frozen=True)
class _Copies:
    folders: tuple[Path, Path | None]
    size: int

    def __call__(self, sets: Sequence[Case]) -> list[Row]:
        packs, _ = _tools(self.folders)
        shown = packs.target.pictures((one.targets[0] for one in sets), self.size)
        compared = _compared(packs, [shown[one.targets[0]] for one in sets], [one.driver for one in sets], self.size)
        return [{"compared": values} for values in compared]


def _compared(
    packs: Packs, pictures: list[UInt8[np.ndarray, "s s 3"]], drivers: list[Frame], size: int
) -> Float[np.ndarray, "b 6"]:
    truth = packs.driver.pictures(drivers, size)
    pairs = zip(pictures, drivers, strict=True)
    return np.stack([compare(picture, truth[frame], packs.driver.mesh(frame, size)) for picture, frame in pairs])


@lru_cache(maxsize=1)
def _tools(folders: tuple[Path, Path | None]) -> tuple[Packs, FaceReader]:
    return Packs(*folders), _reader()


@cache
def _reader() -> FaceReader:
    """A process' own."""
    return FaceReader()


def _tensor(picture: UInt8[np.ndarray, "s s 3"]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None]
