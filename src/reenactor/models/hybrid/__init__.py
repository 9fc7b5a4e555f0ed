"""The hybrid: geometry moves the photo's own pixels, a small network fills what geometry cannot."""

from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.discriminator import PartsDiscriminator
from reenactor.models.hybrid.model import Drawing, Hybrid, HybridCode, HybridGenerator
from reenactor.models.hybrid.mouth_objective import MouthObjective, MouthObjectiveConfig
from reenactor.models.hybrid.objective import HybridObjective, HybridObjectiveConfig

__all__ = [
    "Drawing",
    "Hybrid",
    "HybridCode",
    "HybridConfig",
    "HybridGenerator",
    "HybridObjective",
    "HybridObjectiveConfig",
    "MouthObjective",
    "MouthObjectiveConfig",
    "PartsDiscriminator",
]
