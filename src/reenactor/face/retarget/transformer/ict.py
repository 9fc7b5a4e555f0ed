"""Expressions of ICT-FaceKit (Li et al. 2020; MIT licence) at the mesh's vertices; only this file reads its file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import MESH_POINTS, CheckpointError
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.similarity import fit_similarity
from reenactor.face.retarget.transformer.points import PointSet

_SURFACE = 468
"""Vertices of the mesh that ICT-FaceKit has counterparts of; irises are not among them."""


def ict_expressions(path: Path, points: PointSet) -> Float[np.ndarray, "e n 3"]:
    """How far each expression moves the points, in outer-eye distances of the mean face; irises stay.

    Args:
        path: .npz with `neutral` (468, 3) and `expr` (E, 468, 3), both in ICT-FaceKit's axes and unit.
        points: which of the mesh's vertices.

    Raises:
        CheckpointError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            neutral, moved = arrays["neutral"].astype(np.float64), arrays["expr"].astype(np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"cannot read ICT-FaceKit's expressions from {path}: {error}; give another file"
        ) from error
    if neutral.shape != (_SURFACE, 3) or moved.ndim != 3 or moved.shape[1:] != neutral.shape:
        raise CheckpointError(f"{path} has not ICT-FaceKit's expressions at {_SURFACE} vertices; give another file")
    face = mean_face()
    fit = fit_similarity(neutral, face.points[:_SURFACE], face.weights[:_SURFACE])
    mesh = np.zeros((len(moved), MESH_POINTS, 3))
    mesh[:, :_SURFACE] = fit.scale * moved @ fit.R.T
    return mesh[:, points.vertices]
