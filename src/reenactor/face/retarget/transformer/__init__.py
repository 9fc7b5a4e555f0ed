"""The landmark transformer of paper B: identity and expression told apart, from one photo on."""

from reenactor.face.retarget.transformer.config import (
    LandmarkTransformerConfig,
    LandmarkTransformerObjectiveConfig,
    PretrainedResNet50,
)
from reenactor.face.retarget.transformer.model import KIND, LandmarkDisentangler, LandmarkTransformer
from reenactor.face.retarget.transformer.objective import LandmarkTransformerObjective
from reenactor.face.retarget.transformer.points import GROUPS, PointSet, point_set
from reenactor.face.retarget.transformer.retargeter import TransformerRetargeter
from reenactor.face.retarget.transformer.statistics import LandmarkStatistics, fit_statistics

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
