"""The landmark transformer of paper B: separates identity and expression, from one photo on."""

from reenactor.face.retarget.transformer.config import (
    LandmarkTransformerConfig,
    LandmarkTransformerObjectiveConfig,
    PretrainedResNet50,
)
from reenactor.face.retarget.transformer.model import (
    KIND,
    LandmarkDisentangler,
    LandmarkTransformer,
    TransformerRetargeter,
)
from reenactor.face.retarget.transformer.objective import LandmarkTransformerObjective
from reenactor.face.retarget.transformer.statistics import (
    GROUPS,
    LandmarkStatistics,
    PointSet,
    fit_statistics,
    point_set,
)

__all__ = [
    "GROUPS",
    "KIND",
    "LandmarkDisentangler",
    "LandmarkStatistics",
    "LandmarkTransformer",
    "LandmarkTransformerConfig",
    "LandmarkTransformerObjective",
    "LandmarkTransformerObjectiveConfig",
    "PointSet",
    "PretrainedResNet50",
    "TransformerRetargeter",
    "fit_statistics",
    "point_set",
]
