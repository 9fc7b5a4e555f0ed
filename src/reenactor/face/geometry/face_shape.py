"""Changes of one property of a face's shape: its outline, lips or pose."""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float

from reenactor.face.geometry.contours import (
    FACE_OVAL,
    INNER_LIPS,
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE,
    LEFT_EYE_UPPER,
    LEFT_IRIS,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_EYE_UPPER,
    RIGHT_IRIS,
)
from reenactor.face.geometry.mean_face import in_mean_pose, mean_face
from reenactor.face.geometry.similarity import Similarity, matrix_from_angles

_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 336, 296, 334, 293, 300, 285, 295, 282, 283, 276)
_NOSE = (168, 6, 197, 195, 5, 4, 1, 2, 98, 97, 326, 327, 64, 294, 48, 278, 129, 358, 122, 351)
_PARTS = (
    *RIGHT_EYE,
    *LEFT_EYE,
    *RIGHT_IRIS,
    *LEFT_IRIS,
    *INNER_LIPS,
    *OUTER_LIPS,
    *_BROWS,
    *_NOSE,
)


def with_outline_of(
    mesh_px: Float[np.ndarray, "478 3"], other_px: Float[np.ndarray, "478 3"]
) -> Float[np.ndarray, "478 3"]:
    """A face with the outline of another: paper A's contour resampling.

    Both are compared in the mean face's pose, so only the outline's shape is taken, not the other's size or pose.
    Brows, eyes, nose and mouth keep their positions; the skin between them and the outline follows smoothly
    (a harmonic function on the mesh).

    Args:
        mesh_px: (478, 3) the face to change, pixels.
        other_px: (478, 3) the face with the new outline, in any picture's pixels.

    Returns:
        (478, 3) float32, in the first one's pixels.
    """
    head, shape = in_mean_pose(mesh_px)
    _, other = in_mean_pose(other_px)
    oval = list(FACE_OVAL)
    return head.apply(shape + harmonic_weights(FACE_OVAL, _PARTS) @ (other[oval] - shape[oval])).astype(np.float32)


@cache
def harmonic_weights(moved: tuple[int, ...], still: tuple[int, ...] = ()) -> Float[np.ndarray, "478 n"]:
    """Fraction of each moved vertex's displacement that every vertex takes; a row sums to 1 at most.

    A moved vertex takes its own displacement and those that stay still none; the mesh between them follows smoothly (a
    harmonic function). Irises, which are no part of the mesh's surface, take the mean of their eye's corners.

    Args:
        moved: N vertices.
        still: other vertices.
    """
    mean = mean_face()
    adjacency = np.zeros((len(mean.points), len(mean.points)))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        i, j = mean.triangles[:, a], mean.triangles[:, b]
        adjacency[i, j] = adjacency[j, i] = 1.0 / np.linalg.norm(mean.points[i] - mean.points[j], axis=1)
    laplacian = np.diag(adjacency.sum(1)) - adjacency
    free = np.setdiff1d(np.arange(len(mean.points)), moved + still + RIGHT_IRIS + LEFT_IRIS)
    weights = np.zeros((len(mean.points), len(moved)))
    weights[list(moved), np.arange(len(moved))] = 1.0
    weights[free] = np.linalg.solve(laplacian[free][:, free], -laplacian[free][:, list(moved)])
    for iris, lid in ((RIGHT_IRIS, RIGHT_EYE_UPPER), (LEFT_IRIS, LEFT_EYE_UPPER)):
        weights[list(iris)] = weights[[lid[0], lid[-1]]].mean(0)
    weights.setflags(write=False)  # every caller gets the same ones
    return weights


def with_lips_closed(mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """A face (478, 3) with its inner lips closed half-way between them; nothing else moves."""
    closed = mesh.copy()
    upper, lower = list(INNER_LIPS_UPPER), list(INNER_LIPS_LOWER)
    closed[upper] = closed[lower] = (mesh[upper] + mesh[lower]) / 2
    return closed


def turned(
    mesh_px: Float[np.ndarray, "478 3"],
    angles_deg: Float[np.ndarray, "3"],
    *,
    scale: float = 1.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    shape: Float[np.ndarray, "478 3"] | None = None,
) -> Float[np.ndarray, "478 3"]:
    """A face after a further turn of the head about the middle of the face; (478, 3) float32, pixels.

    Args:
        mesh_px: (478, 3) the face, pixels.
        angles_deg: yaw, pitch, roll of the turn, applied after the face's own pose.
        scale: enlargement.
        shift_px: movement in the picture.
        shape: (478, 3) in mean pose, to show instead of the face's own.
    """
    head, own = in_mean_pose(mesh_px)
    moved = Similarity(
        scale=np.asarray(head.scale * scale),
        R=matrix_from_angles(angles_deg) @ head.R,
        t=head.t + np.array([*shift_px, 0.0]),
    )
    return moved.apply(own if shape is None else shape).astype(np.float32)
