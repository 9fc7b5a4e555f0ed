"""Sizes of the networks, and the ablations."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from reenactor.core import MapKind
from reenactor.models.contract import ModelConfig


class MarioNETteConfig(ModelConfig):
    """The defaults are the paper's; `lite` is a small one. Any number of target photos works with any config."""

    removed: ClassVar[dict[str, Any]] = {"attention_width": None}

    resolution: int = Field(default=256, ge=32, le=2048, multiple_of=32)
    """Pixels a side that it is trained at; the networks take any multiple of 32."""
    irises: bool = False
    """The rasters show the irises too, so that the eyes follow the driver's; ours, not the paper's."""
    levels: int = Field(default=4, ge=1, le=4)
    """Halvings from picture to driver features; the target encoder has one more."""
    base_width: int = Field(default=64, ge=4, le=1024, multiple_of=4)
    """Channels at full size; doubled with each halving ..."""
    max_width: int = Field(default=512, ge=4, le=4096, multiple_of=4)
    """... up to this."""
    wide: bool = True
    """Downsampling blocks of BigGAN's wide kind; see README.md."""
    blender: Literal["attention", "adain"] = "attention"
    """How target features reach the driver's; "adain" is the paper's baseline."""
    blender_blocks: int = Field(default=3, ge=1, le=64)
    alignment: bool = True
    """Target feature alignment (normalization flow and warp-alignment blocks)."""
    mesh_prior: bool = False
    """Ours, not the paper's: alignment starts from the flow between the meshes, not from the normalization flow, and
    reaches full size."""
    flow_scale: float = Field(default=1.0, gt=0)
    """Factor on the driver's flows. A fresh network's flows are random and, under spectral normalization, cannot begin
    at zero; with a tenth they do less harm."""
    mesh_correction: float = Field(default=0.1, gt=0)
    """With the mesh prior, another factor on them: the mesh's flow is right to a pixel or two."""
    discriminator_blocks: int = Field(default=5, ge=1, le=5)

    @model_validator(mode="after")
    def _mesh_prior_has_alignment(self) -> MarioNETteConfig:
        if self.mesh_prior and not self.alignment:
            raise ValueError("mesh_prior is where alignment starts from: it needs alignment")
        return self

    @property
    def raster(self) -> MapKind:
        """The map that all of the networks read."""
        return MapKind.IRIS_RASTER if self.irises else MapKind.LANDMARK_RASTER

    def width(self, halvings: int) -> int:
        """Channels of maps that are this many halvings smaller than the picture."""
        return min(self.base_width * 2**halvings, self.max_width)

    @classmethod
    def paper(cls, *, blender: Literal["attention", "adain"] = "attention", alignment: bool = True) -> MarioNETteConfig:
        """The paper's network; its ablations: AdaIN ("adain", False), +Attention ("attention", False), +Alignment
        ("adain", True), MarioNETte ("attention", True).
        """
        return cls(blender=blender, alignment=alignment)

    @classmethod
    def lite(cls, *, blender: Literal["attention", "adain"] = "attention", alignment: bool = True) -> MarioNETteConfig:
        """128 pixels, irises drawn, where there is alignment with the mesh prior.

        2.4 GFLOP a frame instead of 192, 1.6 million parameters instead of 64.
        """
        return cls(
            resolution=128,
            irises=True,
            levels=3,
            base_width=16,
            max_width=128,
            wide=False,
            blender=blender,
            alignment=alignment,
            mesh_prior=alignment,
            flow_scale=0.1,
            discriminator_blocks=4,
        )
