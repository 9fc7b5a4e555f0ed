"""Mouth and eyes in a mesh flow: which triangles cover them, how far they open, and how the gaze moves."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reenactor.core import MESH_POINTS
from reenactor.face.geometry.contours import (
    INNER_LIPS,
    LEFT_EYE,
    LEFT_EYE_LOWER,
    LEFT_IRIS,
    OPENINGS,
    RIGHT_EYE,
    RIGHT_EYE_LOWER,
    RIGHT_IRIS,
)
from reenactor.face.geometry.face_mesh import face_mesh_triangles

OPENS_MORE = (0.01, 0.04)
"""How much further than the photo's, in eye distances, a mouth or eye opens that has no hole yet, and a full one."""
SHUT = (0.025, 0.05)
"""Openings of the photo, in eye distances, that show nothing of what lies within, and all of it."""
HOLE_EDGE = 0.15
"""Width of the edge of a hole, as a fraction of what the photo shows of the opening."""
MOUTH, EYES, BORDER = 1, (2, 3), 4
"""Kinds of triangles (`triangle_kinds`); 0 is skin."""
EYE_POINTS = tuple(
    (lid[0], lid[-1], *iris) for lid, iris in ((RIGHT_EYE_LOWER, RIGHT_IRIS), (LEFT_EYE_LOWER, LEFT_IRIS))
)
"""Landmarks of each eye for `gaze_shift_px`: its corners, the centre of the iris, four points of the iris' outline."""
_LEAST_WHITE, _LEAST_IRIS = 0.03, 0.05
"""Least lengths of the white on either side and of the iris, as fractions of the eye's length."""


@cache
def triangle_kinds() -> Int[np.ndarray, " t"]:
    """Kind of each of `face_mesh_triangles`: 0, `MOUTH`, one of `EYES`, or `BORDER`."""
    triangles = face_mesh_triangles()
    kinds = np.zeros(len(triangles), np.int64)
    for kind, edge in ((MOUTH, INNER_LIPS), (EYES[0], RIGHT_EYE), (EYES[1], LEFT_EYE)):
        kinds[np.isin(triangles, edge).all(1)] = kind
    kinds[(triangles >= MESH_POINTS).any(1)] = BORDER
    return kinds


@cache
def corner_sides() -> tuple[Int[np.ndarray, " t"], Bool[np.ndarray, "3 t"], Bool[np.ndarray, "3 t"]]:
    """For each of `face_mesh_triangles`, 1 + the number of its opening in `OPENINGS` (0: none).

    Then (3, T) which of its corners lie on the opening's fixed edge, and which on the moving one; the ends of the edges
    lie on neither.
    """
    corners, kinds = face_mesh_triangles(), triangle_kinds()
    number, fixed, moving = (
        np.zeros(len(corners), np.int64),
        np.zeros(corners.shape, bool),
        np.zeros(corners.shape, bool),
    )
    for i, (kind, edges) in enumerate(zip((MOUTH, *EYES), OPENINGS, strict=True)):
        inside = kinds == kind
        number[inside] = i + 1
        fixed[inside], moving[inside] = (np.isin(corners[inside], edge[1:-1]) for edge in edges)
    return number, np.ascontiguousarray(fixed.T), np.ascontiguousarray(moving.T)


def opening(mesh: Float[Tensor, "*b 478 3"], upper: tuple[int, ...], lower: tuple[int, ...]) -> Float[Tensor, "*b"]:
    """Mean distance in space between two edges that share their ends, in inter-ocular distances.

    Args:
        mesh: (..., 478, 3) landmarks.
        upper, lower: vertices of the edges; the shared ends are left out.
    """
    gap = (mesh[..., list(upper[1:-1]), :] - mesh[..., list(lower[1:-1]), :]).norm(dim=-1).mean(-1)
    return gap / (mesh[..., 263, :] - mesh[..., 33, :]).norm(dim=-1).clamp_min(1e-6)


def gaze_shift_px(
    pixels: Float[Tensor, "#*b p 2"],
    positions: Float[Tensor, "*b p 2"],
    photo_eye: Float[Tensor, "*b 7 2"],
    target_eye: Float[Tensor, "*b 7 2"],
) -> Float[Tensor, "*b p 2"]:
    """Offset to add to `positions`, along the photo's eye, so that the iris moves as in the target.

    A point between a corner and the iris stays between them, at the same fraction of the way, and points within the
    iris stay in it: the white is stretched on one side and squeezed on the other, and nothing folds.

    Args:
        pixels: (..., P, 2) pixels of the result.
        positions: (..., P, 2) where the photo shows them without eye movement, in the photo's pixels.
        photo_eye, target_eye: (..., 7, 2) the landmarks `EYE_POINTS` of photo and result.
    """
    first, last = _iris_ends(photo_eye)
    target_first, target_last = _iris_ends(target_eye)
    along = _along(pixels, target_eye)
    fraction = (
        first * (along / target_first).clip(0, 1)
        + (last - first) * ((along - target_first) / (target_last - target_first)).clip(0, 1)
        + (1 - last) * ((along - target_last) / (1 - target_last)).clip(0, 1)
    )
    return (fraction - _along(positions, photo_eye))[..., None] * (photo_eye[..., 1:2, :] - photo_eye[..., :1, :])


def _iris_ends(eye: Float[Tensor, "*b 7 2"]) -> tuple[Float[Tensor, "*b 1"], Float[Tensor, "*b 1"]]:
    """Where the iris begins and ends between the corners (0 and 1)."""
    length = (eye[..., 1:2, :] - eye[..., :1, :]).norm(dim=-1).clamp_min(1e-6)
    radius = (eye[..., 3:, :] - eye[..., 2:3, :]).norm(dim=-1).mean(-1, keepdim=True) / length
    centre = _along(eye[..., 2:3, :], eye)
    first = (centre - radius).clip(_LEAST_WHITE, 1 - _LEAST_WHITE - _LEAST_IRIS)
    return first, (centre + radius).clip(max=1 - _LEAST_WHITE).maximum(first + _LEAST_IRIS)


def _along(points: Float[Tensor, "#*b p 2"], eye: Float[Tensor, "*b 7 2"]) -> Float[Tensor, "*b p"]:
    """Position of points along the eye: 0 at the first corner, 1 at the other."""
    corner, axis = eye[..., :1, :], eye[..., 1:2, :] - eye[..., :1, :]
    return ((points - corner) * axis).sum(-1) / axis.square().sum(-1).clamp_min(1e-9)
