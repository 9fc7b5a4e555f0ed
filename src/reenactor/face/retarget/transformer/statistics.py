"""Statistics of faces in clips: the mean, each clip's identity, and bases of expressions, for a set of landmarks.

`l(c, t) = l_m + l_id(c) + l_exp(c, t)` (paper B, equations 3 and 13), in normalized space, which is
the pose and size of the mean face.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68, ReenactError
from reenactor.face.geometry import Similarity, fit_similarity, mean_face
from reenactor.face.geometry.contours import INNER_LIPS, LEFT_EYE, LEFT_IRIS, OUTER_LIPS, RIGHT_EYE, RIGHT_IRIS
from reenactor.face.retarget.transformer.config import LandmarkTransformerConfig, PointSetName

GROUPS = ("left eye", "right eye", "brows", "mouth", "other")
"""Parts of the face that have expression bases of their own (paper B, supplement B); the subject's left and right."""

_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 336, 296, 334, 293, 300, 285, 295, 282, 283, 276)
_SEEDS = (
    (*LEFT_EYE, *LEFT_IRIS),
    (*RIGHT_EYE, *RIGHT_IRIS),
    _BROWS,
    (*INNER_LIPS, *OUTER_LIPS),
)
_REACH = np.array([0.065, 0.065, 0.06, 0.08])
"""Distance that the skin of each part extends beyond its contours, in outer-eye distances."""
_IBUG_PARTS = (range(42, 48), range(36, 42), range(17, 27), range(48, 68))


@dataclass(frozen=True)
class PointSet:
    """N points of the face.

    Args:
        vertices: (N,) their vertices of the mesh.
        mean: (N, 3) their positions on the mean face.
        weights: (N,) how rigid each one is.
        mirror: (N,) for each point, the point at the same position in a mirrored picture.
        groups: numbers of the points in each of `GROUPS`; every point is in one group.
    """

    vertices: Int[np.ndarray, " n"]
    mean: Float[np.ndarray, "n 3"]
    weights: Float[np.ndarray, " n"]
    mirror: Int[np.ndarray, " n"]
    groups: tuple[Int[np.ndarray, " _"], ...]

    def __len__(self) -> int:
        return len(self.vertices)

    def of(self, landmarks: Float[np.ndarray, "*b m 3"]) -> Float[np.ndarray, "*b n 3"]:
        """These points (..., N, 3) of the mesh (..., 478, 3); (..., N, 3) landmarks are returned as they are.

        Raises:
            ValueError: another number of landmarks.
        """
        if landmarks.shape[-2] == len(self):
            return landmarks
        if landmarks.shape[-2] != MESH_POINTS:
            raise ValueError(f"landmarks must be the {MESH_POINTS} of the mesh or these {len(self)}")
        return landmarks[..., self.vertices, :]

    def normalized(self, landmarks: Float[np.ndarray, "*b m 3"]) -> tuple[Similarity, Float[np.ndarray, "*b n 3"]]:
        """The similarity from the mean face to the landmarks (pixels), and the points in normalized space."""
        points = self.of(landmarks)
        head = fit_similarity(self.mean, points, self.weights)
        return head, head.inverse().apply(np.asarray(points, np.float64))


@cache
def point_set(name: PointSetName) -> PointSet:
    """The set of points of that name."""
    face = mean_face()
    if name == "mesh":
        return PointSet(np.arange(MESH_POINTS), face.points, face.weights, face.mirror, _mesh_groups())
    vertices = np.array(MESH_TO_IBUG68)
    mirror = np.array([MESH_TO_IBUG68.index(face.mirror[v]) for v in vertices])
    groups = _with_the_rest([np.array(part) for part in _IBUG_PARTS], len(vertices))
    return PointSet(vertices, face.points[vertices], face.weights[vertices], mirror, groups)


def _mesh_groups() -> tuple[Int[np.ndarray, " _"], ...]:
    """Each vertex belongs to the part with the nearest contours, if they are within the part's reach."""
    points = mean_face().points
    far = np.stack([np.linalg.norm(points[:, None] - points[list(s)], axis=2).min(1) for s in _SEEDS])
    far /= _REACH[:, None]
    nearest = far.argmin(0)
    return _with_the_rest([np.flatnonzero((nearest == i) & (far[i] < 1)) for i in range(len(_SEEDS))], len(points))


def _with_the_rest(parts: list[Int[np.ndarray, " _"]], count: int) -> tuple[Int[np.ndarray, " _"], ...]:
    return (*parts, np.setdiff1d(np.arange(count), np.concatenate(parts)))


@dataclass(frozen=True)
class LandmarkStatistics:
    """What `fit_statistics` finds; lengths are in outer-eye distances of the mean face.

    Args:
        mean: (N, 3) l_m.
        clips: (C,) numbers of the clips, ascending.
        identities: (C, N, 3) l_id of each.
        basis: (K, N, 3) orthonormal directions of expression; each moves one of `GROUPS` only.
        std: (K,) root mean square of expressions along each.
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
) -> LandmarkStatistics:
    """Mean, identities and bases, in one pass: besides the identities, one clip is in memory at a time.

    Every clip weighs the same, however long it is: the paper's clips have equal numbers of frames.

    Args:
        clips: number (the row in the pack's index) and landmarks (T, 478 or N, 3) of each, pixels.
        config: which points, how many bases.

    Raises:
        ReenactError: there is no clip, or the clips show fewer kinds of expression than there are bases.
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
        for i, group in enumerate(points.groups):
            flat = moved[:, group].reshape(len(moved), -1)
            sums[i] += flat.T @ flat / len(flat)
    if not numbers:
        raise ReenactError("there is no clip to learn expressions from; prepare videos, not only photos")
    order = np.argsort(numbers)
    by_clip = np.stack(means)[order]
    mean = by_clip.mean(0)
    identities = by_clip - mean
    covariances = [total / len(numbers) for total in sums]
    basis, std = _bases(covariances, points, config)
    square = sum(float(np.trace(covariance)) for covariance in covariances) / mean.size + float((identities**2).mean())
    return LandmarkStatistics(mean, np.array(numbers)[order], identities, basis, std, float(np.sqrt(square)))


def _bases(
    covariances: list[Float[np.ndarray, "_ _"]], points: PointSet, config: LandmarkTransformerConfig
) -> tuple[Float[np.ndarray, "k n 3"], Float[np.ndarray, " k"]]:
    bases, stds = [], []
    for i, group in enumerate(points.groups):
        _, vectors = np.linalg.eigh(covariances[i])
        # Of largest variance, largest first.
        directions = np.ascontiguousarray(vectors[:, ::-1][:, : config.pca_bases[i]].T)
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
