"""Records, landmarks, errors, options and files that every package shares. Imports no other package of ours."""

from reenactor.core.errors import CheckpointError, MediaError, NoFaceError, ReenactError
from reenactor.core.landmarks import (
    IRIS_CENTRES,
    MESH_POINTS,
    MESH_TO_IBUG68,
    OUTER_EYE_CORNERS,
    Landmarks,
    Motion,
)
from reenactor.core.options import (
    DEFAULT_MODEL,
    Background,
    Head,
    Layout,
    Options,
    Runtime,
    Transfer,
    check_face_number,
    head_with,
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
    "Background",
    "CheckpointError",
    "DriverFrame",
    "FaceObservation",
    "FrameBatch",
    "Head",
    "HeadPose",
    "Landmarks",
    "Layout",
    "MapKind",
    "MediaError",
    "Motion",
    "NoFaceError",
    "Options",
    "PairBatch",
    "ReenactError",
    "Runtime",
    "TargetCode",
    "TargetSet",
    "Transfer",
    "check_face_number",
    "head_with",
]
