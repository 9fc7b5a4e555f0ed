"""Sizes of the network."""

from __future__ import annotations

from pydantic import Field

from reenactor.models.contract import ModelConfig

PATCH = 4
"""Pixels a side of one position of the network's largest feature maps."""


class HybridConfig(ModelConfig):
    """The defaults ship; any number of photos of any size works with any config."""

    resolution: int = Field(default=256, ge=64, le=1024, multiple_of=32)
    """Pixels a side that the network sees; photos keep their own, and so does the result."""
    base_width: int = Field(default=48, ge=16, le=256, multiple_of=16)
    """Channels at a quarter of the resolution; 1.5, 2 and 2.5 times as many at an eighth, a 16th, a 32nd."""
    mirror: bool = True
    """Photos of turned heads count again, mirrored, with a handicap: what one side hides, the other shows."""
    mirror_from_degrees: float = Field(default=15.0, ge=0)
    """Yaw from which a photo is mirrored."""
    mirror_handicap: float = Field(default=3.0, ge=0)
    """Logit that mirrored photos lack."""
    photos_a_frame: int = Field(default=3, ge=2)
    """Of more photos, each frame is drawn from the first and from those that look most as it will."""
    likeness: float = Field(default=10.0, ge=0)
    """Logit that a photo loses for each unit of `crop_looks` between it and the frame, if there are several photos."""
    likeness_beyond: float = Field(default=24.0, ge=0)
    """The same around the face, for each unit of the head's: what lies there is taken from one photo, or it doubles."""
    stretched: float = Field(default=6.0, ge=0)
    """Logit that any photo loses where it has too few pixels, besides `photo_weights`' 3: a turned head's far side."""
    hole_colour: tuple[float, float, float] = (-0.55, -0.75, -0.75)
    """RGB in [-1, 1] that fills a hole before the network paints it, where the classical mouth has nothing."""

    @property
    def feature_size(self) -> int:
        """Side of the network's largest feature maps."""
        return self.resolution // PATCH

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels at a quarter, an eighth, a 16th and a 32nd of the resolution."""
        return self.base_width, self.base_width * 3 // 2, self.base_width * 2, self.base_width * 5 // 2
