"""Sizes of the networks, and their switches."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from reenactor.core import Alignment, MapKind
from reenactor.models.contract import ModelConfig, Needs

Fusion = Literal["learned", "handmade", "none"]

CONCATENATED = 4
"""The decoder's last modules, which read the appearance decoder's maps (paper A, "Network Architecture")."""


class OneShotConfig(ModelConfig):
    """The defaults are the paper's, but for the alignment: checkpoints that do not name it are older, and were trained
    on upright crops. `lite` is a small one. Any number of target photos works with any config."""

    removed: ClassVar[dict[str, Any]] = {"noise": False}

    resolution: Literal[64, 128, 256, 512] = 256
    """Pixels a side that it is trained at; the networks take any multiple of 32."""
    alignment: Alignment = Alignment.BOX
    """How face crops lie on the face; in the paper (and in `paper` and `lite`) aligned to the mean shape."""
    base_width: int = Field(default=64, ge=2, le=1024, multiple_of=2)
    """Channels of the appearance encoder's first map; doubled with each halving ..."""
    max_width: int = Field(default=1024, ge=4, le=4096, multiple_of=2)
    """... up to this, which is also the length of the code."""
    concatenate: bool = True
    """The appearance decoder's maps go to the semantically adaptive decoder (off: the paper's Table 2, "No concat")."""
    spade_from: int = Field(default=16, ge=2)
    """Pixels a side of the smallest map with a SPADE block; 16 in the paper, 4 in its authors' code."""
    spade_kernel: Literal[1, 3] = 1
    """Side of the SPADE blocks' own convolutions."""
    fusion: Fusion = "learned"
    """Fusion with the warped photo: by FusionNet's mask, by the authors' hand-made masks, or none."""
    fusion_width: int = Field(default=32, ge=4, le=1024, multiple_of=4)
    """Channels of FusionNet at half the picture's size."""
    fusion_least: float = Field(default=0.01, ge=0, lt=0.5)
    """Either picture keeps at least this much of each pixel, so that both get gradients."""
    fusion_first_logit: float = 2.0
    """Logit of a fresh mask: 88 % of the skin from the warp, and 88 % of eyes, nose and mouth from the drawn face."""
    tone_step: int = Field(default=8, ge=1)
    """Pixels between the positions at which the tones of the two pictures are compared."""
    tone_least: float = Field(default=0.01, gt=0)
    """Fraction of trusted skin below which a position takes the whole face's correction."""
    handmade_weight: float = Field(default=0.9, ge=0, le=1)
    """The warped photo's weight on skin and irises in hand-made fusion (authors' code, as the next two)."""
    handmade_skin_px: float = Field(default=7, ge=1)
    """Side of the square that the skin's mask is eroded and blurred with, pixels of 256."""
    handmade_iris_px: float = Field(default=5, ge=1)
    """The same for the irises' mask."""
    discriminator_width: int = Field(default=64, ge=4)
    """Channels of the patch discriminators' first maps."""

    @model_validator(mode="after")
    def _spade_blocks_have_a_module(self) -> OneShotConfig:
        if self.spade_from not in [2**i for i in range(1, self.levels)]:
            raise ValueError(f"spade_from must be a power of two from 2 to {self.resolution // 2}")
        return self

    @property
    def needs(self) -> Needs:
        """Inputs of the model."""
        return Needs(alignment=self.alignment, maps=(MapKind.PARSING,))

    @property
    def levels(self) -> int:
        """Halvings from the picture to the code of one pixel."""
        return self.resolution.bit_length() - 1

    def encoder_width(self, halvings: int) -> int:
        """Channels of the appearance encoder's map after this many halvings."""
        return 3 if halvings == 0 else min(self.base_width * 2 ** (halvings - 1), self.max_width)

    def appearance_width(self, halvings: int) -> int:
        """Channels of the appearance decoder's map that is this many halvings smaller than the picture."""
        return 3 if halvings == 0 else min(self.base_width * 2**halvings, self.max_width)

    def decoder_width(self, halvings: int) -> int:
        """Channels of the semantically adaptive decoder's map, before appearance is laid beside it."""
        return min(self.base_width * 2 ** max(halvings - 1, 0), self.max_width // 2)

    @classmethod
    def paper(cls, *, concatenate: bool = True, fusion: Fusion = "learned") -> OneShotConfig:
        """The paper's network; without concatenation its ablation, with `fusion="none"` its row "w/o Fusion"."""
        return cls(alignment=Alignment.MEAN_SHAPE, concatenate=concatenate, fusion=fusion)

    @classmethod
    def lite(cls, *, concatenate: bool = True, fusion: Fusion = "learned") -> OneShotConfig:
        """128 pixels; 1.6 GFLOP a frame instead of 27.5, 5.4 million parameters instead of 174; README.md."""
        return cls(
            resolution=128,
            alignment=Alignment.MEAN_SHAPE,
            base_width=32,
            max_width=160,
            concatenate=concatenate,
            spade_from=8,
            fusion=fusion,
            fusion_width=16,
            discriminator_width=32,
        )
