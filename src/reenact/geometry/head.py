"""Heads as poses of the mean face."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from reenact.geometry.mean_face import mean_face
from reenact.geometry.procrustes import Similarity, fit_similarity


def in_mean_pose(mesh: Float[np.ndarray, "478 3"]) -> tuple[Similarity, Float[np.ndarray, "478 3"]]:
    """The similarity mean face -> mesh, and the mesh with it undone (outer eye corners about 1 apart)."""
    mean = mean_face()
    head = fit_similarity(mean.points, mesh, mean.weights)
    return head, head.inverse().apply(mesh.astype(np.float64))
