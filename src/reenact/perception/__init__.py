"""Pixels to faces: where they are, their landmarks, the head's pose. MediaPipe is imported when needed."""

from reenact.perception.detection import FaceBox, FaceDetector
from reenact.perception.head_pose import head_pose
from reenact.perception.landmarks import FaceMesher, Region
from reenact.perception.observe import FaceFinder
from reenact.perception.smoothing import MeshSmoother, OneEuroFilter
from reenact.perception.tracking import FaceTracker, TrackerMemory

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
