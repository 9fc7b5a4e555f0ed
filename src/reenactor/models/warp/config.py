"""Settings of the classical warp."""

from __future__ import annotations

from pydantic import Field

from reenactor.models.contract import ModelConfig


class WarpConfig(ModelConfig):
    """Settings of the warp; the defaults are what ships."""

    map_size: int = Field(default=256, ge=64, le=2048)
    """Pixels a side of the inverse map; larger pictures use it bilinearly enlarged (it is piecewise affine)."""
    pose_blend_deg: float = Field(default=1.5, gt=0)
    """With several photos: head-angle difference over which one photo fades into the next."""
    first_photo_bonus_deg: float = Field(default=3.0, ge=0)
    """The first photo is preferred by this much: it is the one whose hair and background are shown."""
