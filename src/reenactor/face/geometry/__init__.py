"""Pure functions on points and grids: similarity fits, angles, crops, mesh maps; the mean face."""

from reenactor.face.geometry.crop import FACE_CROP_SCALE, FACE_MARGIN, Crop, face_crop, resize
from reenactor.face.geometry.face_mesh import FaceMesh, draw_face_mesh, face_mesh
from reenactor.face.geometry.face_shape import turned, with_lips_closed, with_outline_of
from reenactor.face.geometry.head import fit_head, head_angles, in_mean_pose
from reenactor.face.geometry.mean_face import MeanFace, mean_face, mirrored_mesh
from reenactor.face.geometry.mesh_map import inverse_map
from reenactor.face.geometry.procrustes import Similarity, fit_similarity, generalized_procrustes
from reenactor.face.geometry.rotation import angles_from_matrix, matrix_from_angles
from reenactor.face.geometry.sampling import sample

__all__ = [
    "FACE_CROP_SCALE",
    "FACE_MARGIN",
    "Crop",
    "FaceMesh",
    "MeanFace",
    "Similarity",
    "angles_from_matrix",
    "draw_face_mesh",
    "face_crop",
    "face_mesh",
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
