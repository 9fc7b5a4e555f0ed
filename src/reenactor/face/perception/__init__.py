"""Pixels to faces: boxes, landmarks, action units, identity. MediaPipe is imported when it is needed."""

from reenactor.face.perception.detection import FaceBox, FaceDetector, person_mask
from reenactor.face.perception.landmarks import FaceMesher, Region
from reenactor.face.perception.observe import FaceFinder
from reenactor.face.perception.tracking import FaceTracker, MeshSmoother, Missing, OneEuroFilter, TrackerMemory

__all__ = [
    "FaceBox",
    "FaceDetector",
    "FaceFinder",
    "FaceMesher",
    "FaceTracker",
    "MeshSmoother",
    "Missing",
    "OneEuroFilter",
    "Region",
    "TrackerMemory",
    "person_mask",
]
