"""The second hybrid: geometry moves the photo's own pixels, a network corrects and completes them at 256 pixels."""

from reenactor.models.hybrid2.config import Hybrid2Config
from reenactor.models.hybrid2.model import Hybrid2, Hybrid2Code, Hybrid2Generator
from reenactor.models.hybrid2.objective import Hybrid2Objective, Hybrid2ObjectiveConfig

__all__ = ["Hybrid2", "Hybrid2Code", "Hybrid2Config", "Hybrid2Generator", "Hybrid2Objective", "Hybrid2ObjectiveConfig"]
