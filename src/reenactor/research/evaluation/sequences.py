"""Consecutive pictures: how much what ought to be still flickers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from reenactor.core import OUTER_EYE_CORNERS
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.pixels import distance_to_face
from reenactor.research.evaluation.predictions import Predictions, read_prediction
from reenactor.research.evaluation.protocols import Case, CaseList
from reenactor.research.evaluation.store import Store
from reenactor.research.evaluation.workers import WorkerPool

_VERSION = "1"
"""Of what is measured here; part of the store's context."""

Film = UInt8[np.ndarray, "t s s 3"]

_FACE_MARGIN = 0.3
"""How far the face's own surroundings reach, in outer-eye distances: chin, ears, the rim that a drawn face tears."""
STILL_LEVELS = 3.0
"""Standard deviation over time, grey levels, up to which a pixel of the true clip is still."""
_LEAST_SHARE = 0.01
"""Of the picture; less background than this tells nothing."""


def sequences_of(sets: CaseList) -> list[list[Case]]:
    """The sets of each sequence, in order of first appearance."""
    found: dict[str, list[Case]] = {}
    for one in sets.sets:
        found.setdefault(one.clip, []).append(one)
    return list(found.values())


def still_background(truth: Film, meshes_px: Float[np.ndarray, "t 478 3"]) -> Bool[np.ndarray, "s s"]:
    """Pixels away from the face in all of the frames, and still in the true clip: so hair and shoulders that move, and
    the background of a camera that moves, are none of them.

    Args:
        truth: consecutive frames.
        meshes_px: the faces in them.
    """
    size = truth.shape[1]
    away = np.ones((size, size), bool)
    for mesh in meshes_px:
        right, left = mesh[list(OUTER_EYE_CORNERS), :2]
        away &= distance_to_face(mesh, size) > _FACE_MARGIN * np.linalg.norm(left - right)
    return away & (truth.std(axis=0, dtype=np.float32).max(axis=2) <= STILL_LEVELS)


def flicker(film: Film, mask: Bool[np.ndarray, "s s"]) -> float:
    """Mean absolute second difference `x[t-1] - 2 x[t] + x[t+1]` over time of the pixels within a mask, grey levels.

    NaN with fewer than three frames, or where the mask holds less than a hundredth of the picture.
    """
    if len(film) < 3 or mask.mean() < _LEAST_SHARE:
        return float("nan")
    inside = film[:, mask].astype(np.int16)
    return float(np.abs(inside[:-2] - 2 * inside[1:-1] + inside[2:]).mean())


def read_flicker(
    packs: Packs, sets: CaseList, drawn: Predictions | None, folder: Path, pool: WorkerPool
) -> Float[np.ndarray, " c"]:
    """`flicker` of each sequence's still background; what was measured before is kept.

    Args:
        packs: where the sets' pictures are.
        sets: of one person each.
        drawn: the results; None for the true pictures.
        folder: for the store.
        pool: does the work.
    """
    store = Store(folder / f"flicker-{sets.digest[:16]}.npz", f"{_VERSION} {sets.digest}")
    films = [(some, None if drawn is None else _paths(drawn, some)) for some in sequences_of(sets)]
    digests = [_digest(paths or ()) for _, paths in films]
    new = [i for i, (some, _) in enumerate(films) if store.get(some[0].clip, digests[i]) is None]
    work = _Flicker(packs.folders, sets.size)
    what = f"read sequences of {'drivers' if drawn is None else drawn.method.name}"
    digest_of = {films[i][0][0].clip: digests[i] for i in new}
    try:
        for part, values in pool.spread(work, [films[i] for i in new], what=what):
            for (some, _), value in zip(part, values, strict=True):
                store.put(some[0].clip, {"flicker": np.array(value)}, digest_of[some[0].clip])
    finally:
        store.save()
    rows = [store.get(some[0].clip, digest) for (some, _), digest in zip(films, digests, strict=True)]
    return np.array([np.nan if row is None else row["flicker"] for row in rows])


@dataclass(frozen=True)
class _Flicker:
    folders: tuple[Path, Path | None]
    size: int

    def __call__(self, films: Sequence[tuple[list[Case], list[Path] | None]]) -> list[float]:
        packs, values = _packs(self.folders), []
        for some, paths in films:
            pictures = packs.driver.pictures((one.driver for one in some), self.size)
            truth = np.stack([pictures[one.driver] for one in some])
            mask = still_background(truth, np.stack([packs.driver.mesh(one.driver, self.size) for one in some]))
            film = truth if paths is None else np.stack([read_prediction(path, self.size) for path in paths])
            values.append(flicker(film, mask))
        return values


@lru_cache(maxsize=1)
def _packs(folders: tuple[Path, Path | None]) -> Packs:
    """A process' own."""
    return Packs(*folders)


def _paths(drawn: Predictions, some: Sequence[Case]) -> list[Path]:
    return [path for one in some if (path := drawn.path(one)) is not None]


def _digest(paths: Sequence[Path]) -> str:
    """Of all pictures of a sequence: one that changed changes its neighbours' differences."""
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
