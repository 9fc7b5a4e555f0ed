"""The sets of landmarks that can be transformed: the dense mesh and iBUG's 68, in the same normalized space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68
from reenactor.face.geometry.contours import INNER_LIPS, LEFT_EYE, LEFT_IRIS, OUTER_LIPS, RIGHT_EYE, RIGHT_IRIS
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.similarity import Similarity, fit_similarity

PointSetName = Literal["mesh", "ibug68"]

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
"""How far each part's skin goes beyond its contours, in outer-eye distances."""
_IBUG_PARTS = (range(42, 48), range(36, 42), range(17, 27), range(48, 68))


@dataclass(frozen=True)
class PointSet:
    """N points of the face.

    Args:
        vertices: (N,) the mesh's vertices that they are.
        mean: (N, 3) where they are on the mean face.
        weights: (N,) how rigid each one is.
        mirror: (N,) the point that takes each one's place in a mirrored picture.
        groups: the points of each of `GROUPS`; every point is in one.
    """

    vertices: Int[np.ndarray, " n"]
    mean: Float[np.ndarray, "n 3"]
    weights: Float[np.ndarray, " n"]
    mirror: Int[np.ndarray, " n"]
    groups: tuple[Int[np.ndarray, " _"], ...]

    def __len__(self) -> int:
        return len(self.vertices)

    def of(self, landmarks: Float[np.ndarray, "*b m 3"]) -> Float[np.ndarray, "*b n 3"]:
        """These points of the mesh; landmarks that are these points already stay."""
        if landmarks.shape[-2] == len(self):
            return landmarks
        if landmarks.shape[-2] != MESH_POINTS:
            raise ValueError(f"landmarks must be the {MESH_POINTS} of the mesh or these {len(self)}")
        return landmarks[..., self.vertices, :]

    def normalized(self, landmarks: Float[np.ndarray, "*b m 3"]) -> tuple[Similarity, Float[np.ndarray, "*b n 3"]]:
        """The similarity mean face -> landmarks, and the points with it undone: scale, translation, rotation."""
        points = self.of(landmarks)
        head = fit_similarity(self.mean, points, self.weights)
        return head, head.inverse().apply(np.asarray(points, np.float64))


@cache
def point_set(name: PointSetName) -> PointSet:
    """The points of that name."""
    face = mean_face()
    if name == "mesh":
        return PointSet(np.arange(MESH_POINTS), face.points, face.weights, face.mirror, _mesh_groups())
    vertices = np.array(MESH_TO_IBUG68)
    mirror = np.array([MESH_TO_IBUG68.index(face.mirror[v]) for v in vertices])
    groups = _with_the_rest([np.array(part) for part in _IBUG_PARTS], len(vertices))
    return PointSet(vertices, face.points[vertices], face.weights[vertices], mirror, groups)


def _mesh_groups() -> tuple[Int[np.ndarray, " _"], ...]:
    """Each vertex belongs to the part whose contours are nearest, if they are within the part's reach."""
    points = mean_face().points
    far = np.stack([np.linalg.norm(points[:, None] - points[list(s)], axis=2).min(1) for s in _SEEDS])
    far /= _REACH[:, None]
    nearest = far.argmin(0)
    return _with_the_rest([np.flatnonzero((nearest == i) & (far[i] < 1)) for i in range(len(_SEEDS))], len(points))


def _with_the_rest(parts: list[Int[np.ndarray, " _"]], count: int) -> tuple[Int[np.ndarray, " _"], ...]:
    return (*parts, np.setdiff1d(np.arange(count), np.concatenate(parts)))
