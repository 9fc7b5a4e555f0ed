"""What flows through reenact, and how it is named. Imports nothing else of ours."""

from reenact.core.action_units import ActionUnits
from reenact.core.defaults import DEFAULT_MODEL
from reenact.core.errors import CheckpointError, MediaError, NoFaceError, ReenactError
from reenact.core.landmarks import (
    IRIS_CENTRES,
    MESH_POINTS,
    MESH_TO_IBUG68,
    OUTER_EYE_CORNERS,
    Landmarks,
)
from reenact.core.motion import Motion
from reenact.core.records import (
    DriverFrame,
    FaceObservation,
    FrameBatch,
    HeadPose,
    MapKind,
    PairBatch,
    TargetCode,
    TargetSet,
)

__all__ = [
    "DEFAULT_MODEL",
    "IRIS_CENTRES",
    "MESH_POINTS",
    "MESH_TO_IBUG68",
    "OUTER_EYE_CORNERS",
    "ActionUnits",
    "CheckpointError",
    "DriverFrame",
    "FaceObservation",
    "FrameBatch",
    "HeadPose",
    "Landmarks",
    "MapKind",
    "MediaError",
    "Motion",
    "NoFaceError",
    "PairBatch",
    "ReenactError",
    "TargetCode",
    "TargetSet",
]
