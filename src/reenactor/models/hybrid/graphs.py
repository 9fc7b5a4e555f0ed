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
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.model import HOLES, RASTER, Hybrid, HybridCode, HybridGenerator
from reenactor.models.hybrid.mouth import mouth_box, mouth_crop, mouth_layers, reference_mouth
from reenactor.nn import resized, warp_cubic

_EXACT = ("warp_encoder", "up2", "flow8", "heads")
"""Layers that int8 would show in: those of the largest maps, and what flows are made of."""


class _Encode(nn.Module):
    """Photos and rasters of the network's size -> their features, and those of the reference mouth."""

    def __init__(self, generator: HybridGenerator) -> None:
        super().__init__()
        self.photo_encoder = generator.photo_encoder
        self.mouth = generator.mouth

    def forward(
        self,
        small: Float[Tensor, "1 k 3 h w"],
        rasters: Float[Tensor, "1 k 3 h w"],
        reference: Float[Tensor, "1 6 n n"] | None = None,
    ) -> tuple[Tensor, ...]:
        features = self.photo_encoder(small[0], rasters[0])[None]
        if self.mouth is None or reference is None:
            return (features,)
        return features, self.mouth.encode(*reference.split(3, dim=1))


class _Synthesize(nn.Module):
    """`HybridGenerator.draw` for one frame: at the network's own size, and then what is left to do at the photos'.

    All that is enlarged to the photos' size is enlarged together.
    """

    def __init__(self, generator: HybridGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self,
        raster: Float[Tensor, "1 3 h w"],
        flow: Float[Tensor, "k 2 hf wf"],
        flags: Float[Tensor, "k 5 hf wf"],
        detail: Float[Tensor, "k 2 f f"],
        photos: Float[Tensor, "1 k 3 s s"],
        small: Float[Tensor, "1 k 3 h w"],
        rasters: Float[Tensor, "1 k 3 h w"],
        features: Float[Tensor, "1 k _ _ _"],
        *mouth: Tensor,
    ) -> Float[Tensor, "1 3 s s"]:
        """`mouth`: what the mouth refiner reads, if there is one."""
        # The photos' own size comes afterwards, and landmarks serve `mesh_flows` alone.
        code = HybridCode(small, small.new_zeros(1, small.shape[1], MESH_POINTS, 3), small, rasters, features)
        drawn = self.generator.draw(code, raster, MeshFlow(flow, flags, detail))
        mask = drawn.logit.sigmoid() if self.generator.config.fusion else torch.zeros_like(drawn.logit)
        paint, mask = _enlarged(torch.cat([drawn.paint, mask], 1), photos).split([3, 1], 1)
        weights = drawn.weights[0]
        holes = F.avg_pool2d(flags[:, HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        hole = (holes * weights[:, None]).sum(0, keepdim=True)
        # The hole once for each photo, as it is enlarged together with what they have.
        coarse = torch.cat([flow + drawn.flow_ndc, weights[:, None], hole.expand(flow.shape[0], -1, -1, -1)], 1)
        total, weights, hole = _enlarged(coarse, photos).split([2, 1, 1], 1)
        total = total + _enlarged(detail, photos)
        warped, hole = (warp_cubic(photos[0], total) * weights).sum(0, keepdim=True), hole[:1]
        warped = warped + hole * (self.generator.dark - warped)
        image = paint + mask * (1 - hole) * (warped - paint)
        if self.generator.mouth is not None:
            reference, layer, mouth_raster, box = mouth
            pictures = torch.cat([image, warped, hole], 1)
            image = self.generator.mouth.refine(pictures, layer, mouth_raster, box, reference)
        return image.clamp(-1, 1)


def _enlarged(maps: Tensor, photos: Tensor) -> Tensor:
    return F.interpolate(maps, (photos.shape[-2], photos.shape[-1]), mode="bilinear", align_corners=False)


class HybridGraphs(GraphAdapter[Hybrid]):
    """See `GraphAdapter`."""

    name = Hybrid.name
    needs = Hybrid.needs

    config: HybridConfig

    def __init__(self, config: HybridConfig) -> None:
        self.config = config
        self.resolution = config.resolution
        with torch.device("meta"):
            self._geometry = HybridGenerator(config)

    def graphs(self, model: Hybrid) -> dict[str, Graph]:
        """See `GraphAdapter.graphs`."""
        generator = simplified(model.generator)
        size = self.resolution
        photos = {"small": torch.rand(1, 2, 3, size, size), "rasters": torch.rand(1, 2, 3, size, size)}
        mouth = {"own_mouth": torch.rand(1, 6, self.config.mouth, self.config.mouth)} if self.config.mouth else {}
        outputs = ("fine", "mouth") if mouth else ("fine",)
        encode = Graph(_Encode(generator), photos | mouth, outputs, {name: {1: PHOTOS} for name in photos})
        with torch.no_grad():
            encoded = encode.module(*encode.inputs.values())
        side, flow_size = size + 32, self.config.feature_size
        inputs = {
            "raster": torch.rand(1, 3, size, size),
            "flow": torch.zeros(2, 2, flow_size, flow_size),
            "flags": torch.zeros(2, len(FLAGS), flow_size, flow_size),
            "detail": torch.zeros(2, 2, self.config.detail_size, self.config.detail_size),
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
        free |= {
            "raster": {},
            "flow": {0: PHOTOS},
            "flags": {0: PHOTOS},
            "detail": {0: PHOTOS},
            "photos": {1: PHOTOS, 3: SIDE, 4: SIDE},
        }
        return {ENCODE: encode, SYNTHESIZE: Graph(_Synthesize(generator), inputs, ("image",), free, _EXACT)}

    def target_inputs(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `GraphAdapter.target_inputs`."""
        check_targets(targets)
        images, rasters = targets.images, targets.maps[RASTER]
        given = {"small": resized(images, self.resolution)[None], "rasters": resized(rasters, self.resolution)[None]}
        if self.config.mouth:
            reference = reference_mouth(images, rasters, mesh_tensor(targets.mesh_px, images), self.config)
            given["own_mouth"] = torch.cat([reference.photo, reference.raster])[None]
        return given

    def code(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `GraphAdapter.code`."""
        images, mesh = targets.images, mesh_tensor(targets.mesh_px)
        mouths = ()
        if self.config.mouth:
            mouths = (reference_mouth(images, targets.maps[RASTER], mesh, self.config),)
        geometry = HybridCode(images[None], mesh[None], given["small"], given["rasters"], encoded["fine"], mouths)
        kept = {name: one for name, one in given.items() if name != "own_mouth"}
        return ExportedCode({"photos": images[None], **kept, **encoded}, geometry, images.shape[-1])

    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `GraphAdapter.frame_inputs`."""
        mesh = mesh_tensor(driver.mesh_px)
        flows = self._geometry.mesh_flows(code.geometry, mesh, torch.device("cpu"))
        raster = driver.maps[RASTER]
        inputs = {"raster": resized(raster, self.resolution), **flow_inputs(flows)}
        if self.config.mouth:
            box = mouth_box(mesh, code.side, self.config)
            inputs |= {
                "mouth_layer": mouth_layers(code.geometry.mouths, mesh, box, code.side, self.config.mouth),
                "mouth_raster": mouth_crop(raster, box, self.config.mouth),
                "mouth_place": box,
            }
        return inputs
