"""The hybrid: geometry moves the photo's own pixels, a small network fills what geometry cannot."""

from reenact.models.hybrid.attention import PhotoUse, photo_use
from reenact.models.hybrid.config import HybridConfig
from reenact.models.hybrid.discriminator import PartsDiscriminator
from reenact.models.hybrid.model import Drawing, Hybrid, HybridCode, HybridGenerator
from reenact.models.hybrid.mouth_objective import MouthObjective, MouthObjectiveConfig
from reenact.models.hybrid.objective import HybridObjective, HybridObjectiveConfig

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
    "PhotoUse",
    "photo_use",
]
