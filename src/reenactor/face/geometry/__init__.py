"""Pure functions on points and grids: similarity fits, angles, crops, inverse maps, mesh flows; the mean face."""

from reenactor.face.geometry.crop import (
    FACE_CROP_SCALE,
    FACE_MARGIN,
    Crop,
    aligned_crop,
    face_crop,
    resize,
)
from reenactor.face.geometry.face_mesh import FaceMesh, draw_face_mesh, face_mesh, inverse_map, sample
from reenactor.face.geometry.face_shape import harmonic_weights, turned, with_lips_closed, with_outline_of
from reenactor.face.geometry.mean_face import MeanFace, fit_head, head_angles, in_mean_pose, mean_face, mirrored_mesh
from reenactor.face.geometry.similarity import Similarity, angles_from_matrix, fit_similarity, matrix_from_angles

__all__ = [
    "FACE_CROP_SCALE",
    "FACE_MARGIN",
    "Crop",
    "FaceMesh",
    "MeanFace",
    "Similarity",
    "aligned_crop",
    "angles_from_matrix",
    "draw_face_mesh",
    "face_crop",
    "face_mesh",
    "fit_head",
    "fit_similarity",
    "harmonic_weights",
    "head_angles",
    "in_mean_pose",
    "inverse_map",
    "matrix_from_angles",
    "mean_face",
    "mirrored_mesh",
    "resize",
    "sample",
    "turned",
    "with_lips_closed",
    "with_outline_of",
]
