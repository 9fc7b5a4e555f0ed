"""The classical mesh warp, an entry that needs no training."""

from reenactor.models.warp.config import WarpConfig
from reenactor.models.warp.model import Warp

__all__ = ["Warp", "WarpConfig"]
