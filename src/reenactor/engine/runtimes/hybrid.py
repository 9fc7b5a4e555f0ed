"""The hybrid's graphs. The mesh flow and the resizing of photos and rasters stay outside."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import MESH_POINTS, DriverFrame, MapKind, TargetSet
from reenactor.engine.runtimes.adapter import ENCODE, SYNTHESIZE, Adapter, ExportedCode
from reenactor.engine.runtimes.graph import PHOTOS, SIDE, Graph
from reenactor.engine.runtimes.simplify import Ask, Offer, simplified
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow
from reenactor.models.contract import check_targets, mesh_beside
from reenactor.models.hybrid import Hybrid, HybridCode, HybridConfig, HybridGenerator
from reenactor.models.hybrid.mouth import mouth_crop, mouth_layers, mouth_place, own_mouth

_RASTER = MapKind.IRIS_RASTER
_EXACT = ("warp_encoder", "up2", "flow8", "heads")
"""Layers that int8 would show in: those of the largest maps, and what flows are made of."""
_HOLES = [FLAGS.index("mouth"), FLAGS.index("eyes")]


class _Encode(nn.Module):
    """Photos and rasters of the network's size -> fine features, and what attention is offered."""

    def __init__(self, generator: HybridGenerator) -> None:
        super().__init__()
        self.photo_encoder = generator.photo_encoder
        attention = generator.trunk.attention
        self.offer = Offer(attention) if attention is not None else None
        self.mouth = generator.mouth

    def forward(
        self,
        small: Float[Tensor, "1 k 3 h w"],
        rasters: Float[Tensor, "1 k 3 h w"],
        own_mouth: Float[Tensor, "1 6 n n"] | None = None,
    ) -> tuple[Tensor, ...]:
        fine, coarse = self.photo_encoder(small[0], rasters[0])
        encoded = [fine[None]]
        if self.offer is not None:
            encoded.append(self.offer(coarse))
        if self.mouth is not None and own_mouth is not None:
            encoded.append(self.mouth.encode(*own_mouth.split(3, dim=1)))
        return tuple(encoded)


class _Synthesize(nn.Module):
    """`HybridGenerator.draw` for one frame: at the network's own size, and then what is left to do at the photos'.

    All that is enlarged to the photos' size is enlarged together.
    """

    def __init__(self, generator: HybridGenerator) -> None:
        super().__init__()
        self.generator = generator
        if generator.trunk.attention is not None:
            generator.trunk.attention = Ask(generator.trunk.attention)  # pyright: ignore[reportAttributeAccessIssue]

    def forward(
        self,
        raster: Float[Tensor, "1 3 h w"],
        flow: Float[Tensor, "k 2 hf wf"],
        flags: Float[Tensor, "k 5 hf wf"],
        photos: Float[Tensor, "1 k 3 s s"],
        small: Float[Tensor, "1 k 3 h w"],
        rasters: Float[Tensor, "1 k 3 h w"],
        fine: Float[Tensor, "1 k _ _ _"],
        *more: Tensor,
    ) -> Float[Tensor, "1 3 s s"]:
        """After `fine` comes what attention is offered, and what the mouth's network reads, if there are such."""
        offer, mouth = (more[0], more[1:]) if self.generator.config.attention else (None, more)
        # The photos' own size comes afterwards, and landmarks serve `place` alone.
        code = HybridCode(small, small.new_zeros(1, small.shape[1], MESH_POINTS, 3), small, rasters, fine, offer)
        drawn = self.generator.draw(code, raster, MeshFlow(flow, flags))
        mask = drawn.logit.sigmoid() if self.generator.config.fusion else torch.zeros_like(drawn.logit)
        paint, mask = _enlarged(torch.cat([drawn.paint, mask], 1), photos).split([3, 1], 1)
        weights = drawn.weights[0]
        holes = F.avg_pool2d(flags[:, _HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        hole = (holes * weights[:, None]).sum(0, keepdim=True)
        # The hole once for each photo, as it is enlarged together with what they have.
        coarse = torch.cat([flow + drawn.flow_ndc, weights[:, None], hole.expand(flow.shape[0], -1, -1, -1)], 1)
        total, weights, hole = _enlarged(coarse, photos).split([2, 1, 1], 1)
        warped, hole = (_warp_cubic(photos[0], total) * weights).sum(0, keepdim=True), hole[:1]
        warped = warped + hole * (self.generator.dark - warped)
        image = paint + mask * (1 - hole) * (warped - paint)
        if self.generator.mouth is not None:
            own, layer, mouth_raster, place = mouth
            pictures = torch.cat([image, warped, hole], 1)
            image = self.generator.mouth.refined(pictures, layer, mouth_raster, place, own)
        return image.clamp(-1, 1)


def _enlarged(maps: Tensor, photos: Tensor) -> Tensor:
    return F.interpolate(maps, (photos.shape[-2], photos.shape[-1]), mode="bilinear", align_corners=False)


def _warp_cubic(pictures: Tensor, flow_ndc: Tensor) -> Tensor:
    """`blocks.warp_cubic`, with the grid's axes moved at the end: converters lay out an inner axis of two badly."""
    height, width = flow_ndc.shape[-2:]
    x = ((2 * torch.arange(width, device=flow_ndc.device) + 1) / width - 1).expand(height, width)
    y = ((2 * torch.arange(height, device=flow_ndc.device) + 1) / height - 1)[:, None].expand(height, width)
    grid = (torch.stack([x, y]) + flow_ndc).permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, mode="bicubic", padding_mode="border", align_corners=False)


class HybridAdapter(Adapter[Hybrid]):
    """See `Adapter`."""

    name = Hybrid.name
    needs = Hybrid.needs

    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        self.config = config
        self.resolution = config.resolution
        with torch.device("meta"):
            self._geometry = HybridGenerator(config)

    def graphs(self, model: Hybrid) -> dict[str, Graph]:
        """See `Adapter.graphs`."""
        generator = simplified(model.generator)
        size = self.resolution
        photos = {"small": torch.rand(1, 2, 3, size, size), "rasters": torch.rand(1, 2, 3, size, size)}
        mouth = {"own_mouth": torch.rand(1, 6, self.config.mouth, self.config.mouth)} if self.config.mouth else {}
        outputs = ("fine", *["offer"] * self.config.attention, *["mouth"] * bool(mouth))
        encode = Graph(_Encode(generator), photos | mouth, outputs, {name: {1: PHOTOS} for name in photos})
        with torch.no_grad():
            encoded = encode.module(*encode.inputs.values())
        side, places = size + 32, encoded[0].shape[-1] * 2
        inputs = {
            "raster": torch.rand(1, 3, size, size),
            "flow": torch.zeros(2, 2, places, places),
            "flags": torch.zeros(2, len(FLAGS), places, places),
            "photos": torch.rand(1, 2, 3, side, side),
            **photos,
            **dict(zip(encode.outputs, encoded, strict=True)),
        }
        free: dict[str, dict[int, str]] = {name: {1: PHOTOS} for name in inputs if name != "mouth"}
        if mouth:
            inputs |= {
                "mouth_layer": torch.rand(1, 4, self.config.mouth, self.config.mouth),
                "mouth_raster": torch.rand(1, 3, self.config.mouth, self.config.mouth),
                "mouth_place": torch.tensor([[0.0, 0.3, 0.4, 0.1]]),
            }
        free |= {"raster": {}, "flow": {0: PHOTOS}, "flags": {0: PHOTOS}, "photos": {1: PHOTOS, 3: SIDE, 4: SIDE}}
        return {ENCODE: encode, SYNTHESIZE: Graph(_Synthesize(generator), inputs, ("image",), free, _EXACT)}

    def photos(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `Adapter.photos`."""
        check_targets(targets)
        images, rasters = targets.images, targets.maps[_RASTER]
        given = {"small": self._small(images)[None], "rasters": self._small(rasters)[None]}
        if self.config.mouth:
            own = own_mouth(images, rasters, mesh_beside(targets.mesh_px, images), self.config.mouth)
            given["own_mouth"] = torch.cat([own.photo, own.raster])[None]
        return given

    def person(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `Adapter.person`."""
        mesh = torch.from_numpy(np.asarray(targets.mesh_px, np.float32))
        photos, side = targets.images[None], targets.images.shape[-1]
        mouths = ()
        if self.config.mouth:
            mouths = (own_mouth(targets.images, targets.maps[_RASTER], mesh, self.config.mouth),)
        place = HybridCode(photos, mesh[None], given["small"], given["rasters"], encoded["fine"], None, mouths)
        kept = {name: one for name, one in given.items() if name != "own_mouth"}
        return ExportedCode({"photos": photos, **kept, **encoded}, place, side)

    def frame(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `Adapter.frame`."""
        mesh = torch.from_numpy(np.asarray(driver.mesh_px, np.float32))
        found = self._geometry.place(code.geometry, mesh, torch.device("cpu"))
        raster = driver.maps[_RASTER]
        inputs = {"raster": self._small(raster), "flow": found.flow_ndc, "flags": found.flags}
        if self.config.mouth:
            where = mouth_place(mesh, code.side)
            inputs |= {
                "mouth_layer": mouth_layers(code.geometry.own_mouths, mesh, where, code.side, self.config.mouth),
                "mouth_raster": mouth_crop(raster, where, self.config.mouth),
                "mouth_place": where,
            }
        return inputs

    def _small(self, pictures: Tensor) -> Tensor:
        if pictures.shape[-1] == self.resolution:
            return pictures
        size = (self.resolution, self.resolution)
        return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
