"""Pixels to faces: where they are, their landmarks, the head's pose. MediaPipe is imported when needed."""

from reenactor.face.perception.detection import FaceBox, FaceDetector
from reenactor.face.perception.head_pose import head_pose
from reenactor.face.perception.landmarks import FaceMesher, Region
from reenactor.face.perception.observe import FaceFinder
from reenactor.face.perception.smoothing import MeshSmoother, OneEuroFilter
from reenactor.face.perception.tracking import FaceTracker, TrackerMemory

__all__ = [
    "FaceBox",
    "FaceDetector",
    "FaceFinder",
    "FaceMesher",
    "FaceTracker",
    "MeshSmoother",
    "OneEuroFilter",
    "Region",
    "TrackerMemory",
    "head_pose",
]
