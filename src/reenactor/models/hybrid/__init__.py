"""The hybrid: geometry moves the photo's own pixels, a network corrects and completes them at 256 pixels."""

from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.model import Hybrid, HybridCode, HybridGenerator
from reenactor.models.hybrid.objective import HybridObjective, HybridObjectiveConfig, tuning_objective

__all__ = [
    "Hybrid",
    "HybridCode",
    "HybridConfig",
    "HybridGenerator",
    "HybridObjective",
    "HybridObjectiveConfig",
    "tuning_objective",
]
