"""Size of the network, and the ablations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class HybridConfig(BaseModel):
    """The defaults train on a CPU; any number of photos of any size works with any config."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int = Field(default=128, ge=64, multiple_of=32)
    """Pixels a side that the network sees; photos keep their own, and so does the result."""
    cell: Literal[2, 4] = 2
    """Pixels a side that the network's largest maps have one place for. With 4, a network of twice the resolution has
    maps of the same sizes, and a branch for the detail within a cell; `grown` turns the one's weights into the other's.
    """
    base_width: int = Field(default=32, ge=8, multiple_of=8)
    """Channels at one place a cell; twice, three and four times as many where maps are halved once, twice, thrice."""
    attention_width: int = Field(default=64, ge=1)
    """Channels of queries and keys."""
    mesh_prior: bool = True
    """Start from the mesh flow; without, all movement is the learned flow's."""
    attention: bool = False
    """The driver's features ask those of all places of all photos; measured, it earns nothing."""
    soft_paint: bool = False
    """But for holes and what is right beside them, painting has no more detail than one colour a cell."""
    mouth: int = Field(default=0, ge=0, multiple_of=32)
    """Side of an upright crop of the mouth, pixels, in which a second network draws once more; 0: there is none."""
    fusion: bool = True
    """A mask keeps the warped photo where it is right; without, every pixel is painted."""

    @property
    def reach_ndc(self) -> float:
        """Largest learned offset: 6 pixels of 128 beside the mesh flow, a quarter of the picture without."""
        return 0.1 if self.mesh_prior else 0.5

    @property
    def places(self) -> int:
        """Places a side of the network's largest maps."""
        return self.resolution // self.cell

    def width(self, level: int) -> int:
        """Channels of maps that are `places`, a half, a quarter or an eighth of it a side: level 1, 2, 3, 4."""
        return self.base_width * level
