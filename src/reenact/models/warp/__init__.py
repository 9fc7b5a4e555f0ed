"""The classical mesh warp, an entry that needs no training."""

from reenact.models.warp.config import WarpConfig
from reenact.models.warp.model import Warp

__all__ = ["Warp", "WarpConfig"]
