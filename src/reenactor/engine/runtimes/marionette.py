"""MarioNETte's graphs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, TargetSet
from reenactor.engine.runtimes.adapter import ENCODE, SYNTHESIZE, Adapter, ExportedCode
from reenactor.engine.runtimes.graph import PHOTOS, Graph
from reenactor.engine.runtimes.simplify import Ask, Offer, simplified
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow
from reenactor.models.contract import Needs, check_targets
from reenactor.models.marionette import MarioNETte, MarioNETteConfig
from reenactor.models.marionette.blocks import AttentionBlender
from reenactor.models.marionette.mesh_prior import place
from reenactor.models.marionette.model import MarioNETteCode, MarioNETteGenerator
from reenactor.nn import ImageAttentionBlock


def _blocks(blender: AttentionBlender) -> list[ImageAttentionBlock]:
    return [block for block in blender.blocks if isinstance(block, ImageAttentionBlock)]


class _Encode(nn.Module):
    """Photos and rasters -> what the blender is offered, and S^ averaged over the photos, or the mesh prior's S."""

    def __init__(self, generator: MarioNETteGenerator) -> None:
        super().__init__()
        self.target_encoder = generator.target_encoder
        self.mesh_prior = generator.config.mesh_prior
        blender = generator.blender
        self.offers = (
            nn.ModuleList(Offer(block) for block in _blocks(blender)) if isinstance(blender, AttentionBlender) else None
        )

    def forward(self, images: Float[Tensor, "1 k 3 h w"], rasters: Float[Tensor, "1 k 3 h w"]) -> tuple[Tensor, ...]:
        found = self.target_encoder(images[0], rasters[0])
        kept = (s[None] for s in found.s) if self.mesh_prior else (s.mean(dim=0, keepdim=True) for s in found.s_hat)
        if self.offers is None:
            # All that AdaIN asks for; the mean of one number is that number.
            offer = F.relu(found.z_y).mean(dim=(0, 2, 3))[None, None, :, None, None]
        else:
            offer = torch.cat([block(found.z_y) for block in self.offers], dim=2)
        return offer, *kept


class _Synthesize(nn.Module):
    """`MarioNETteGenerator.draw` for one frame."""

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
        return self.generator.draw(MarioNETteCode(offer, s_hat), raster)


class _SynthesizePlaced(_Synthesize):
    """The same with the mesh prior: flows and flags come from outside."""

    def forward(
        self,
        raster: Float[Tensor, "1 3 h w"],
        offer: Float[Tensor, "1 _ _ _ _"],
        flow: Float[Tensor, "k 2 hf wf"],
        flags: Float[Tensor, "k 5 hf wf"],
        *s: Float[Tensor, "1 k _ _ _"],
    ) -> Float[Tensor, "1 3 h w"]:
        return self.generator.draw(MarioNETteCode(offer, (), s), raster, MeshFlow(flow, flags))


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
        kept = [f"s_hat{i + 1}" for i in range(config.levels * config.alignment)]
        if config.mesh_prior:
            kept = [f"s{i}" for i in range(config.levels + 1)]
        encode = Graph(
            _Encode(generator),
            {"images": torch.rand(1, 2, 3, size, size), "rasters": torch.rand(1, 2, 3, size, size)},
            ("offer", *kept),
            {"images": {1: PHOTOS}, "rasters": {1: PHOTOS}},
            exact=("flow",),
        )
        with torch.no_grad():
            encoded = encode.module(*encode.inputs.values())
        inputs = {"raster": torch.rand(1, 3, size, size), "offer": encoded[0]}
        free = {"offer": {1: PHOTOS}} if config.blender == "attention" else {}
        if config.mesh_prior:
            inputs |= {"flow": torch.zeros(2, 2, size // 2, size // 2)}
            inputs |= {"flags": torch.zeros(2, len(FLAGS), size // 2, size // 2)}
            free |= {"flow": {0: PHOTOS}, "flags": {0: PHOTOS}, **{name: {1: PHOTOS} for name in kept}}
        inputs |= dict(zip(kept, encoded[1:], strict=True))
        module = (_SynthesizePlaced if config.mesh_prior else _Synthesize)(generator)
        exact = ("blender", "to_rgb", f"up.{config.levels - 1 + config.mesh_prior}")
        return {ENCODE: encode, SYNTHESIZE: Graph(module, inputs, ("image",), free, exact=exact)}

    def photos(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `Adapter.photos`."""
        check_targets(targets)
        return {"images": targets.images[None], "rasters": targets.maps[self._raster][None]}

    def person(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `Adapter.person`."""
        mesh = torch.from_numpy(np.asarray(targets.mesh_px, np.float32))[None]
        return ExportedCode(dict(encoded), mesh, self.resolution)

    def frame(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `Adapter.frame`."""
        raster = driver.maps[self._raster]
        if not self.config.mesh_prior:
            return {"raster": raster}
        mesh = torch.from_numpy(np.asarray(driver.mesh_px, np.float32))
        found = place(code.geometry, mesh, code.side, torch.device("cpu"))
        return {"raster": raster, "flow": found.flow_ndc, "flags": found.flags}
