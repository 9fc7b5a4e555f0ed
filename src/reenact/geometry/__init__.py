"""Pure functions on points and grids: similarity fits, angles, crops, mesh maps; the mean face."""

from reenact.geometry.crop import FACE_CROP_SCALE, FACE_MARGIN, Crop, face_crop, resize
from reenact.geometry.face_shape import turned, with_lips_closed, with_outline_of
from reenact.geometry.face_sheet import FaceSheet, draw_sheet, face_sheet
from reenact.geometry.head import fit_head, head_angles, in_mean_pose
from reenact.geometry.mean_face import MeanFace, mean_face, mirrored_mesh
from reenact.geometry.mesh_map import inverse_map
from reenact.geometry.procrustes import Similarity, fit_similarity, generalized_procrustes
from reenact.geometry.rotation import angles_from_matrix, matrix_from_angles
from reenact.geometry.sampling import sample

__all__ = [
    "FACE_CROP_SCALE",
    "FACE_MARGIN",
    "Crop",
    "FaceSheet",
    "MeanFace",
    "Similarity",
    "angles_from_matrix",
    "draw_sheet",
    "face_crop",
    "face_sheet",
    "fit_head",
    "fit_similarity",
    "generalized_procrustes",
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
