"""Records, landmarks, errors, options and files that every package shares. Imports no other package of ours."""

from reenactor.core.defaults import DEFAULT_MODEL
from reenactor.core.errors import CheckpointError, MediaError, NoFaceError, ReenactError
from reenactor.core.landmarks import (
    IRIS_CENTRES,
    MESH_POINTS,
    MESH_TO_IBUG68,
    OUTER_EYE_CORNERS,
    Landmarks,
    Motion,
)
from reenactor.core.records import (
    ActionUnits,
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
