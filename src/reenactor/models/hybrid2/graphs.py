"""The hybrid's graphs. The mesh flow and the resizing of photos and rasters stay outside."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import MESH_POINTS, DriverFrame, TargetSet
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow
from reenactor.models.contract import check_targets, mesh_tensor
from reenactor.models.graphs import (
    ENCODE,
    PHOTOS,
    SIDE,
    SYNTHESIZE,
    ExportedCode,
    Graph,
    GraphAdapter,
    flow_inputs,
    simplified,
)
from reenactor.models.hybrid2.config import Hybrid2Config
from reenactor.models.hybrid2.model import RASTER, Hybrid2, Hybrid2Code, Hybrid2Generator, colour_of
from reenactor.nn import resized, warp_cubic

_EXACT = ("warp_encoder", "flow", "fine", "head")
"""Layers that int8 would show in: those of the largest maps, and what flows are made of."""


class _Encode(nn.Module):
    """Photos and rasters of the network's size, mirrored ones included -> their features, and the person's style."""

    def __init__(self, generator: Hybrid2Generator) -> None:
        super().__init__()
        self.photo_encoder = generator.photo_encoder

    def forward(self, small: Float[Tensor, "1 k 3 h w"], rasters: Float[Tensor, "1 k 3 h w"]) -> tuple[Tensor, Tensor]:
        features, style = self.photo_encoder(small[0], rasters[0])
        return features[None], style.mean(0, keepdim=True)


class _Synthesize(nn.Module):
    """`Hybrid2Generator.draw` for one frame: at the network's own size, and then what is left to do at the photos'.

    All that is enlarged to the photos' size is enlarged together.
    """

    def __init__(self, generator: Hybrid2Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self,
        raster: Float[Tensor, "1 3 h w"],
        flow: Float[Tensor, "k 2 hf wf"],
        flags: Float[Tensor, "k 5 hf wf"],
        detail: Float[Tensor, "k 2 h w"],
        photos: Float[Tensor, "1 k 3 s s"],
        small: Float[Tensor, "1 k 3 h w"],
        features: Float[Tensor, "1 k _ _ _"],
        style: Float[Tensor, "1 _"],
        colour: Float[Tensor, "1 1 1 1"],
        handicap: Float[Tensor, " k"],
    ) -> Float[Tensor, "1 3 s s"]:
        # The photos' own size comes afterwards, and landmarks serve `mesh_flows` alone.
        code = Hybrid2Code(small, small.new_zeros(1, 1, MESH_POINTS, 3), small, features, style, colour, handicap)
        drawn = self.generator.draw(code, raster, MeshFlow(flow, flags, detail))
        side = (photos.shape[-2], photos.shape[-1])
        difference, blur = _enlarged(torch.cat([drawn.difference, drawn.blur], 1), side).split([3, 1], 1)
        low, hole = _enlarged(torch.cat([drawn.low, drawn.holes], 1), side).split([3, 1], 1)
        total, weights = _enlarged(torch.cat([flow + drawn.flow_ndc, drawn.weights[0][:, None]], 1), side).split(
            [2, 1], 1
        )
        total = total + _enlarged(detail, side)
        warped = (warp_cubic(photos[0], total) * weights).sum(0, keepdim=True)
        warped = warped + hole * (self.generator.hole_colour(colour) - warped)
        return (warped - blur * (warped - low) + difference).clamp(-1, 1)


def _enlarged(maps: Tensor, side: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, side, mode="bilinear", align_corners=False)


class Hybrid2Graphs(GraphAdapter[Hybrid2]):
    """See `GraphAdapter`. Where the model mirrors photos, the graphs are given each photo and its mirror image."""

    name = Hybrid2.name
    needs = Hybrid2.needs

    config: Hybrid2Config

    def __init__(self, config: Hybrid2Config) -> None:
        self.config = config
        self.resolution = config.resolution
        with torch.device("meta"):
            self._geometry = Hybrid2Generator(config)

    def graphs(self, model: Hybrid2) -> dict[str, Graph]:
        """See `GraphAdapter.graphs`."""
        generator = simplified(model.generator)
        size = self.resolution
        photos = {"small": torch.rand(1, 2, 3, size, size), "rasters": torch.rand(1, 2, 3, size, size)}
        encode = Graph(_Encode(generator), photos, ("features", "style"), {name: {1: PHOTOS} for name in photos})
        with torch.no_grad():
            encoded = encode.module(*photos.values())
        side, flow_size = size + 32, self.config.feature_size
        inputs = {
            "raster": torch.rand(1, 3, size, size),
            "flow": torch.zeros(2, 2, flow_size, flow_size),
            "flags": torch.zeros(2, len(FLAGS), flow_size, flow_size),
            "detail": torch.zeros(2, 2, size, size),
            "photos": torch.rand(1, 2, 3, side, side),
            "small": photos["small"],
            **dict(zip(encode.outputs, encoded, strict=True)),
            "colour": torch.ones(1, 1, 1, 1),
            "handicap": torch.zeros(2),
        }
        free: dict[str, dict[int, str]] = {
            "flow": {0: PHOTOS},
            "flags": {0: PHOTOS},
            "detail": {0: PHOTOS},
            "photos": {1: PHOTOS, 3: SIDE, 4: SIDE},
            "small": {1: PHOTOS},
            "features": {1: PHOTOS},
            "handicap": {0: PHOTOS},
        }
        return {ENCODE: encode, SYNTHESIZE: Graph(_Synthesize(generator), inputs, ("image",), free, _EXACT)}

    def target_inputs(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `GraphAdapter.target_inputs`."""
        check_targets(targets)
        photos, rasters, _ = self._geometry.with_mirrored(
            targets.images[None], targets.maps[RASTER][None], mesh_tensor(targets.mesh_px, targets.images)[None]
        )
        return {name: resized(one[0], self.resolution)[None] for name, one in (("small", photos), ("rasters", rasters))}

    def code(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `GraphAdapter.code`."""
        images, mesh = targets.images[None], mesh_tensor(targets.mesh_px)[None]
        colour = colour_of(images)
        photos, _, mesh = self._geometry.with_mirrored(images, images, mesh)
        lacking = self._geometry.handicap(photos.shape[1])
        geometry = Hybrid2Code(photos, mesh, given["small"], encoded["features"], encoded["style"], colour, lacking)
        tensors = {"photos": photos, "small": given["small"], **encoded, "colour": colour, "handicap": lacking}
        return ExportedCode(tensors, geometry, images.shape[-1])

    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `GraphAdapter.frame_inputs`."""
        flows = self._geometry.mesh_flows(code.geometry, mesh_tensor(driver.mesh_px), torch.device("cpu"))
        raster = resized(driver.maps[RASTER], self.resolution)
        return {"raster": raster, **flow_inputs(flows)}
