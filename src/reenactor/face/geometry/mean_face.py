"""The mean 3D face (`assets/mean_face.npz`), and heads as similarity transforms of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from jaxtyping import Float, Int

from reenactor.face.geometry.similarity import Similarity, angles_from_matrix, fit_similarity


@dataclass(frozen=True)
class MeanFace:
    """An average face at pose zero, exactly left-right symmetric. Made by `tools/build_mean_face.py`.

    The arrays are read-only, because every caller gets the same ones.

    Args:
        points: (478, 3) x right, y down, z away from the camera; outer eye corners 1 apart; weighted mean 0.
        weights: (478,) rigidity, sums to 1: high where faces move little with expression.
        mirror: (478,) for each vertex, the vertex at the same position in a mirrored picture (its own inverse).
        triangles: (852, 3) the surface without eyes and inner mouth, clockwise as seen in the picture.
    """

    points: Float[np.ndarray, "478 3"]
    weights: Float[np.ndarray, " 478"]
    mirror: Int[np.ndarray, " 478"]
    triangles: Int[np.ndarray, "852 3"]


@cache
def mean_face() -> MeanFace:
    """The mean face that ships with the package; loaded once.

    >>> mean_face().points.shape
    (478, 3)
    """
    file = resources.files("reenactor") / "assets" / "mean_face.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        fields = {name: arrays[name] for name in ("points", "weights", "mirror", "triangles")}
    for array in fields.values():
        array.setflags(write=False)
    return MeanFace(**fields)


def mirrored_mesh(mesh_px: Float[np.ndarray, "*b 478 3"], side: int) -> Float[np.ndarray, "*b 478 3"]:
    """The landmarks of the mirrored picture.

    Args:
        mesh_px: (..., 478, 3) pixels.
        side: width of the picture, pixels.
    """
    partner = mesh_px[..., mean_face().mirror, :]
    return np.concatenate([side - 1 - partner[..., :1], partner[..., 1:]], axis=-1)


def fit_head(mesh: Float[np.ndarray, "*b 478 3"]) -> Similarity:
    """Similarity from the mean face to a mesh, weighted by how rigid each vertex is.

    Expressions hardly move it, since lips, jaw, brows and lids weigh little. It is more accurate than a perspective
    fit of a few points (RMS difference to OpenFace in yaw, pitch, roll: 4.9, 3.1, 1.5 degrees against 8.0, 4.3, 1.5).

    Args:
        mesh: (..., 478, 3) pixels, z at the same scale.

    Returns:
        The scale is in pixels per outer-eye distance of the mean face; it does not shrink when the head turns.
    """
    face = mean_face()
    return fit_similarity(face.points, mesh, face.weights)


def head_angles(mesh: Float[np.ndarray, "*b 478 3"]) -> Float[np.ndarray, "*b 3"]:
    """Yaw, pitch, roll in degrees of meshes (..., 478, 3) in pixels."""
    return angles_from_matrix(fit_head(mesh).R)


def in_mean_pose(mesh: Float[np.ndarray, "*b 478 3"]) -> tuple[Similarity, Float[np.ndarray, "*b 478 3"]]:
    """Separate meshes (..., 478, 3) into the head's similarity (`fit_head`) and the shape without it.

    The shape (float64) has the pose and size of the mean face: outer eye corners are about 1 apart.
    """
    head = fit_head(mesh)
    return head, head.inverse().apply(np.asarray(mesh, np.float64))
