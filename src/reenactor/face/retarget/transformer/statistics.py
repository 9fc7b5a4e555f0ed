"""What clips show of faces in general: the mean, each clip's identity, and in which ways expressions move.

`l(c, t) = l_m + l_id(c) + l_exp(c, t)` (paper B, equations 3 and 13), in normalized space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from reenactor.core import ReenactError
from reenactor.face.retarget.transformer.config import LandmarkTransformerConfig
from reenactor.face.retarget.transformer.ict import ict_expressions
from reenactor.face.retarget.transformer.points import GROUPS, PointSet, point_set


@dataclass(frozen=True)
class LandmarkStatistics:
    """Lengths are in outer-eye distances of the mean face.

    Args:
        mean: (N, 3) l_m.
        clips: (C,) numbers of the clips, ascending.
        identities: (C, N, 3) l_id of each.
        basis: (K, N, 3) ways to move, orthonormal; each moves one of `GROUPS` only.
        std: (K,) how far expressions go along each, in root mean square.
        scale: root mean square of a coordinate of l - l_m.
    """

    mean: Float[np.ndarray, "n 3"]
    clips: Int[np.ndarray, " c"]
    identities: Float[np.ndarray, "c n 3"]
    basis: Float[np.ndarray, "k n 3"]
    std: Float[np.ndarray, " k"]
    scale: float


def fit_statistics(
    clips: Iterable[tuple[int, Float[np.ndarray, "_ m 3"]]],
    config: LandmarkTransformerConfig,
    *,
    ict: Path | None = None,
) -> LandmarkStatistics:
    """Mean, identities and bases, in one pass: one clip is in memory at a time, besides the identities.

    Every clip weighs the same, however long it is: the paper's clips have equal numbers of frames.

    Args:
        clips: number (the row in the pack's index) and landmarks of each, pixels.
        config: which points, how many bases.
        ict: file of ICT-FaceKit's expressions, for `config.ict_bases`.

    Raises:
        ReenactError: there are fewer kinds of expression in the clips than bases.
    """
    points = point_set(config.points)
    numbers: list[int] = []
    means: list[Float[np.ndarray, "n 3"]] = []
    sums: list[Float[np.ndarray, "d d"]] = [np.zeros((3 * len(group), 3 * len(group))) for group in points.groups]
    for number, landmarks in clips:
        _, shapes = points.normalized(landmarks)
        numbers.append(number)
        means.append(shapes.mean(0))
        moved = shapes - means[-1]
        for place, group in enumerate(points.groups):
            flat = moved[:, group].reshape(len(moved), -1)
            sums[place] += flat.T @ flat / len(flat)
    if not numbers:
        raise ReenactError("there is no clip to learn expressions from; prepare videos, not only photos")
    order = np.argsort(numbers)
    by_clip = np.stack(means)[order]
    mean = by_clip.mean(0)
    identities = by_clip - mean
    covariances = [total / len(numbers) for total in sums]
    basis, std = _bases(covariances, points, config, ict)
    square = sum(float(np.trace(covariance)) for covariance in covariances) / mean.size + float((identities**2).mean())
    return LandmarkStatistics(mean, np.array(numbers)[order], identities, basis, std, float(np.sqrt(square)))


def _bases(
    covariances: list[Float[np.ndarray, "_ _"]], points: PointSet, config: LandmarkTransformerConfig, ict: Path | None
) -> tuple[Float[np.ndarray, "k n 3"], Float[np.ndarray, " k"]]:
    expressions = ict_expressions(ict, points) if ict is not None else np.zeros((0, len(points), 3))
    bases, stds = [], []
    for i, group in enumerate(points.groups):
        directions = principal_directions(covariances[i], config.pca_bases[i])
        further = expressions[:, group].reshape(len(expressions), 3 * len(group))
        directions = np.concatenate([directions, further_directions(directions, further, config.ict_bases[i])])
        std = np.sqrt(np.maximum(np.einsum("kd,de,ke->k", directions, covariances[i], directions), 0))
        if std.min(initial=np.inf) <= 1e-6:
            raise ReenactError(
                f"the clips show fewer expressions of the {GROUPS[i]} than the {len(directions)} bases asked for; "
                "prepare more clips, or ask for fewer bases"
            )
        placed = np.zeros((len(directions), len(points), 3))
        placed[:, group] = directions.reshape(len(directions), len(group), 3)
        bases.append(placed)
        stds.append(std)
    return np.concatenate(bases), np.concatenate(stds)


def principal_directions(covariance: Float[np.ndarray, "d d"], count: int) -> Float[np.ndarray, "k d"]:
    """Orthonormal directions of largest variance, largest first."""
    _, vectors = np.linalg.eigh(covariance)
    return vectors[:, ::-1][:, :count].T


def further_directions(
    basis: Float[np.ndarray, "k d"], examples: Float[np.ndarray, "e d"], count: int
) -> Float[np.ndarray, "k2 d"]:
    """Orthonormal directions, at right angles to the basis, in which examples go beyond it; farthest first.

    Raises:
        ReenactError: the examples have fewer.
    """
    beyond = examples - examples @ basis.T @ basis
    _, lengths, directions = np.linalg.svd(beyond, full_matrices=False)
    if np.count_nonzero(lengths > 1e-6) < count:
        raise ReenactError(f"ICT-FaceKit's expressions have fewer than {count} further directions; ask for fewer")
    return directions[:count]
