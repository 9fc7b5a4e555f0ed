"""MarioNETte's graphs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, TargetSet
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow
from reenactor.models.contract import Needs, check_targets, mesh_tensor
from reenactor.models.graphs import ENCODE, PHOTOS, SYNTHESIZE, ExportedCode, Graph, GraphAdapter, simplified
from reenactor.models.marionette.blocks import AttentionBlender, mesh_flows
from reenactor.models.marionette.config import MarioNETteConfig
from reenactor.models.marionette.model import MarioNETte, MarioNETteCode, MarioNETteGenerator
from reenactor.nn import ImageAttentionBlock, attend, positional_encoding


class TargetAttention(nn.Module):
    """The half of `ImageAttentionBlock` that depends on the photos alone: keys and values."""

    def __init__(self, block: ImageAttentionBlock) -> None:
        super().__init__()
        self.key, self.key_position, self.value = block.key, block.key_position, block.value

    def forward(self, maps: Float[Tensor, "k c h w"]) -> Float[Tensor, "1 k n h w"]:
        """(K, c_y, h_y, w_y) -> (1, K, c_a + c_x, h_y, w_y): each position's key, then its value."""
        _, channels, height, width = maps.shape
        features = maps.flatten(2).transpose(1, 2)
        position = positional_encoding(channels, height, width, device=maps.device).flatten(1).T
        value = self.value(features)
        # What all positions have in common is subtracted after mixing anyway; it would take bf16's few digits.
        value = value - value.mean(dim=(0, 1))
        both = torch.cat([self.key(features) + self.key_position(position), value], dim=-1)
        return both.transpose(1, 2).unflatten(2, (height, width))[None]


class DriverAttention(nn.Module):
    """The half of `ImageAttentionBlock` that a frame needs; reads `TargetAttention`'s result, not the target maps.

    Args:
        block: the whole.
        first: channel of that result at which this block's keys begin.
    """

    def __init__(self, block: ImageAttentionBlock, first: int = 0) -> None:
        super().__init__()
        self.query, self.query_position = block.query, block.query_position
        self.norm, self.conv = block.norm, block.conv
        keys, values = block.key.out_features, block.value.out_features
        self.keys, self.values = slice(first, first + keys), slice(first + keys, first + keys + values)

    def forward(
        self, z_x: Float[Tensor, "b cx hx wx"], target: Float[Tensor, "1 k n hy wy"]
    ) -> tuple[Float[Tensor, "b cx hx wx"], Float[Tensor, "b hx wx k hy wy"]]:
        """As `ImageAttentionBlock.forward`."""
        height, width = z_x.shape[-2:]
        k, _, target_height, target_width = target.shape[1:]
        both = target.permute(0, 1, 3, 4, 2).flatten(1, 3)
        position = positional_encoding(z_x.shape[1], height, width, device=z_x.device).flatten(1).T
        query = self.query(z_x.flatten(2).transpose(1, 2)) + self.query_position(position)
        mixed, weights = attend(query, both[..., self.keys], both[..., self.values])
        mixed = (mixed - mixed.mean(dim=1, keepdim=True)).to(z_x.dtype)
        mixed = mixed.transpose(1, 2).unflatten(2, (height, width))
        attention = weights.unflatten(2, (k, target_height, target_width)).unflatten(1, (height, width))
        return self.conv(z_x + self.norm(mixed)), attention


def _attention_blocks(blender: AttentionBlender) -> list[ImageAttentionBlock]:
    return [block for block in blender.blocks if isinstance(block, ImageAttentionBlock)]


class _Encode(nn.Module):
    """Photos and rasters -> the blender's keys and values, and S^ averaged over the photos, or the mesh prior's S."""

    def __init__(self, generator: MarioNETteGenerator) -> None:
        super().__init__()
        self.target_encoder = generator.target_encoder
        self.mesh_prior = generator.config.mesh_prior
        blender = generator.blender
        self.attention = None
        if isinstance(blender, AttentionBlender):
            self.attention = nn.ModuleList(TargetAttention(block) for block in _attention_blocks(blender))

    def forward(self, images: Float[Tensor, "1 k 3 h w"], rasters: Float[Tensor, "1 k 3 h w"]) -> tuple[Tensor, ...]:
        found = self.target_encoder(images[0], rasters[0])
        kept = (s[None] for s in found.s) if self.mesh_prior else (s.mean(dim=0, keepdim=True) for s in found.s_hat)
        if self.attention is None:
            # All that AdaIN reads; the mean of one number is that number.
            offer = F.relu(found.z_y).mean(dim=(0, 2, 3))[None, None, :, None, None]
        else:
            offer = torch.cat([block(found.z_y) for block in self.attention], dim=2)
        return offer, *kept


class _Synthesize(nn.Module):
    """`MarioNETteGenerator.draw` for one frame."""

    def __init__(self, generator: MarioNETteGenerator) -> None:
        super().__init__()
        self.generator = generator
        blender = generator.blender
        if isinstance(blender, AttentionBlender):
            first, halves = 0, []
            for block in _attention_blocks(blender):
                halves.append(DriverAttention(block, first))
                first = halves[-1].values.stop
            blender.blocks = nn.ModuleList(halves)

    def forward(
        self, raster: Float[Tensor, "1 3 h w"], offer: Float[Tensor, "1 _ _ _ _"], *s_hat: Float[Tensor, "1 _ _ _"]
    ) -> Float[Tensor, "1 3 h w"]:
        return self.generator.draw(MarioNETteCode(offer, s_hat), raster)


class _SynthesizeWithMesh(_Synthesize):
    """With the mesh prior: flows and flags are inputs."""

    def forward(
        self,
        raster: Float[Tensor, "1 3 h w"],
        offer: Float[Tensor, "1 _ _ _ _"],
        flow: Float[Tensor, "k 2 hf wf"],
        flags: Float[Tensor, "k 5 hf wf"],
        *s: Float[Tensor, "1 k _ _ _"],
    ) -> Float[Tensor, "1 3 h w"]:
        return self.generator.draw(MarioNETteCode(offer, (), s), raster, MeshFlow(flow, flags))


class MarioNETteGraphs(GraphAdapter[MarioNETte]):
    """See `GraphAdapter`."""

    name = MarioNETte.name

    config: MarioNETteConfig

    def __init__(self, config: MarioNETteConfig) -> None:
        self.config = config
        self.resolution = config.resolution
        self.needs = Needs(maps=(config.raster,))
        self._raster = config.raster

    def graphs(self, model: MarioNETte) -> dict[str, Graph]:
        """See `GraphAdapter.graphs`."""
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
        module = (_SynthesizeWithMesh if config.mesh_prior else _Synthesize)(generator)
        exact = ("blender", "to_rgb", f"up.{config.levels - 1 + config.mesh_prior}")
        return {ENCODE: encode, SYNTHESIZE: Graph(module, inputs, ("image",), free, exact=exact)}

    def target_inputs(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `GraphAdapter.target_inputs`."""
        check_targets(targets)
        return {"images": targets.images[None], "rasters": targets.maps[self._raster][None]}

    def code(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `GraphAdapter.code`."""
        mesh = mesh_tensor(targets.mesh_px)[None]
        return ExportedCode(dict(encoded), mesh, self.resolution)

    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `GraphAdapter.frame_inputs`."""
        raster = driver.maps[self._raster]
        if not self.config.mesh_prior:
            return {"raster": raster}
        mesh = mesh_tensor(driver.mesh_px)
        flows = mesh_flows(code.geometry, mesh, code.side, torch.device("cpu"))
        return {"raster": raster, "flow": flows.flow_ndc, "flags": flows.flags}
