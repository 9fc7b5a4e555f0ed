"""The landmark transformer of paper B: identity and expression told apart, from one photo on."""

from reenact.retarget.transformer.config import (
    LandmarkTransformerConfig,
    LandmarkTransformerObjectiveConfig,
    PretrainedResNet50,
)
from reenact.retarget.transformer.model import KIND, LandmarkDisentangler, LandmarkTransformer
from reenact.retarget.transformer.objective import LandmarkTransformerObjective
from reenact.retarget.transformer.points import GROUPS, PointSet, point_set
from reenact.retarget.transformer.retargeter import TransformerRetargeter
from reenact.retarget.transformer.statistics import LandmarkStatistics, fit_statistics

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
