"""Pure functions on points: similarity fits, angles, the mean face."""

from reenact.geometry.mean_face import MeanFace, mean_face
from reenact.geometry.procrustes import Similarity, fit_similarity, generalized_procrustes
from reenact.geometry.rotation import angles_from_matrix, matrix_from_angles

__all__ = [
    "MeanFace",
    "Similarity",
    "angles_from_matrix",
    "fit_similarity",
    "generalized_procrustes",
    "matrix_from_angles",
    "mean_face",
]
