"""MarioNETte's graphs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenact.core import DriverFrame, TargetSet
from reenact.export.adapter import ENCODE, SYNTHESIZE, Adapter, ExportedCode
from reenact.export.graph import PHOTOS, Graph
from reenact.export.simplify import Ask, Offer, simplified
from reenact.models.contract import Needs, check_targets
from reenact.models.marionette import MarioNETte, MarioNETteConfig
from reenact.models.marionette.blocks import AttentionBlender
from reenact.models.marionette.model import MarioNETteCode, MarioNETteGenerator
from reenact.nn import ImageAttentionBlock


def _blocks(blender: AttentionBlender) -> list[ImageAttentionBlock]:
    return [block for block in blender.blocks if isinstance(block, ImageAttentionBlock)]


class _Encode(nn.Module):
    """Photos and rasters -> what the blender is offered, and S^ averaged over the photos."""

    def __init__(self, generator: MarioNETteGenerator) -> None:
        super().__init__()
        self.target_encoder = generator.target_encoder
        blender = generator.blender
        self.offers = (
            nn.ModuleList(Offer(block) for block in _blocks(blender)) if isinstance(blender, AttentionBlender) else None
        )

    def forward(self, images: Float[Tensor, "1 k 3 h w"], rasters: Float[Tensor, "1 k 3 h w"]) -> tuple[Tensor, ...]:
        found = self.target_encoder(images[0], rasters[0])
        if self.offers is None:
            # All that AdaIN asks for; the mean of one number is that number.
            offer = F.relu(found.z_y).mean(dim=(0, 2, 3))[None, None, :, None, None]
        else:
            offer = torch.cat([block(found.z_y) for block in self.offers], dim=2)
        return offer, *(s.mean(dim=0, keepdim=True) for s in found.s_hat)


class _Synthesize(nn.Module):
    """`MarioNETteGenerator.decode` for one frame."""

    def __init__(self, generator: MarioNETteGenerator) -> None:
        super().__init__()
        self.generator = generator
        blender = generator.blender
        if isinstance(blender, AttentionBlender):
            first, asking = 0, []
            for block in _blocks(blender):
                asking.append(Ask(block, first))
                first = asking[-1].values.stop
            blender.blocks = nn.ModuleList(asking)

    def forward(
        self, raster: Float[Tensor, "1 3 h w"], offer: Float[Tensor, "1 _ _ _ _"], *s_hat: Float[Tensor, "1 _ _ _"]
    ) -> Float[Tensor, "1 3 h w"]:
        return self.generator.decode(MarioNETteCode(offer, s_hat), raster)


class MarioNETteAdapter(Adapter[MarioNETte]):
    """See `Adapter`."""

    name = MarioNETte.name

    config: MarioNETteConfig

    def __init__(self, config: MarioNETteConfig) -> None:
        self.config = config
        self.resolution = config.resolution
        self.needs = Needs(maps=(config.raster,))
        self._raster = config.raster

    def graphs(self, model: MarioNETte) -> dict[str, Graph]:
        """See `Adapter.graphs`."""
        generator = simplified(model.generator)
        size, config = self.resolution, self.config
        encode = Graph(
            _Encode(generator),
            {"images": torch.rand(1, 2, 3, size, size), "rasters": torch.rand(1, 2, 3, size, size)},
            ("offer", *(f"s_hat{i + 1}" for i in range(config.levels * config.alignment))),
            {"images": {1: PHOTOS}, "rasters": {1: PHOTOS}},
            exact=("flow",),
        )
        with torch.no_grad():
            encoded = encode.module(*encode.inputs.values())
        inputs = {"raster": torch.rand(1, 3, size, size), **dict(zip(encode.outputs, encoded, strict=True))}
        free = {"offer": {1: PHOTOS}} if config.blender == "attention" else {}
        exact = ("blender", "to_rgb", f"up.{config.levels - 1}")
        return {ENCODE: encode, SYNTHESIZE: Graph(_Synthesize(generator), inputs, ("image",), free, exact=exact)}

    def photos(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `Adapter.photos`."""
        check_targets(targets)
        return {"images": targets.images[None], "rasters": targets.maps[self._raster][None]}

    def person(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `Adapter.person`."""
        return ExportedCode(dict(encoded), None, self.resolution)

    def frame(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `Adapter.frame`."""
        return {"raster": driver.maps[self._raster]}
