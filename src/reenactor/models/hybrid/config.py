"""Size of the hybrid's network, its ablations, and the constants that shape its pictures."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from reenactor.models.contract import ANY, ModelConfig

PATCH = 2
"""Pixels a side of one position of the network's largest feature maps."""


class HybridConfig(ModelConfig):
    """The defaults train on a CPU; any number of photos of any size works with any config."""

    removed: ClassVar[dict[str, Any]] = {"cell": PATCH, "attention": False, "attention_width": ANY}

    resolution: int = Field(default=128, ge=64, le=2048, multiple_of=32)
    """Pixels a side that the network sees; photos keep their own, and so does the result."""
    base_width: int = Field(default=32, ge=8, le=1024, multiple_of=8)
    """Channels at half the resolution; twice, three and four times as many at a quarter, an eighth, a sixteenth."""
    mesh_prior: bool = True
    """Start from the mesh flow; without, all movement is the learned flow's."""
    fusion: bool = True
    """A mask keeps the warped photo where it is right; without, every pixel is painted."""
    soft_paint: bool = False
    """Except in and right beside holes, the painting has no more detail than one colour a patch of 2 x 2 pixels."""
    hole_colour: tuple[float, float, float] = (-0.55, -0.75, -0.75)
    """RGB in [-1, 1] that fills a hole before the network paints it: the inside of a mouth."""
    hole_margin: int = Field(default=5, ge=1, le=255)
    """Side of the square, in patches, that counts as beside a hole; odd."""
    mouth: int = Field(default=0, ge=0, le=2048, multiple_of=32)
    """Side of the upright crop of the mouth, pixels, that a second network refines; 0: no mouth refiner."""
    mouth_margin: float = Field(default=1.3, ge=1)
    """Side of that crop, in the lips' width or height, whichever is larger."""
    mouth_window: float = Field(default=0.75, ge=0, lt=1)
    """Changes count fully up to this distance from the crop's centre (border: 1) and fade to 0 at the border."""
    mouth_learned: float = Field(default=0.5, ge=0, le=1)
    """Weight of the learned mouth. The rest is the classical one: always teeth or dark, never a mean of both."""
    mouth_common: float = Field(default=0.55, ge=0)
    """Height over width of an opening up to which mouths are common in training clips; above, the weight falls ..."""
    mouth_shout: float = Field(default=0.85, gt=0)
    """... to 0 here: a mouth that shouts is drawn classically."""

    @property
    def reach_ndc(self) -> float:
        """Largest learned offset: 6 pixels of 128 beside the mesh flow, a quarter of the picture without."""
        return 0.1 if self.mesh_prior else 0.5

    @property
    def detail_size(self) -> int:
        """Side of the mesh flow's detail around mouth and eyes."""
        return 2 * self.resolution

    @property
    def feature_size(self) -> int:
        """Side of the network's largest feature maps."""
        return self.resolution // PATCH

    def width(self, level: int) -> int:
        """Channels of maps at a half, a quarter, an eighth and a sixteenth of the resolution: level 1, 2, 3, 4."""
        return self.base_width * level
