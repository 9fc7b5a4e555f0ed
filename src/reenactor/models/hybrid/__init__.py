"""The hybrid: geometry moves the photo's own pixels, a small network fills what geometry cannot."""

from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.model import Drawing, Hybrid, HybridCode, HybridGenerator

__all__ = ["Drawing", "Hybrid", "HybridCode", "HybridConfig", "HybridGenerator"]
