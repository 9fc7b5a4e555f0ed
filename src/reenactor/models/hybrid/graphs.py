"""The hybrid's graphs. The mesh flow and the resizing of photos and rasters stay outside."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import MESH_POINTS, DriverFrame, TargetSet
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow
from reenactor.models.contract import check_targets, mesh_tensor
from reenactor.models.graphs import (
    ENCODE,
    ENLARGE,
    PHOTOS,
    SIDE,
    SYNTHESIZE,
    ExportedCode,
    Graph,
    GraphAdapter,
    simplified,
)
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.model import (
    RASTER,
    Hybrid,
    HybridCode,
    HybridGenerator,
    colour_of,
    enlarged_drawing,
    in_bytes,
    looks_of,
    with_mirrored,
)
from reenactor.models.hybrid.mouth import mouth_of
from reenactor.nn import resized

_OF_PHOTOS = ("photos", "small", "features", "handicap", "unlike", "unlike_beyond")
"""What changes from frame to frame, as other photos are chosen."""
_EXACT = ("warp_encoder", "flow", "fine", "head")
"""Layers that int8 would show in: those of the largest maps, and what flows are made of."""


class _Encode(nn.Module):
    """Photos and rasters of the network's size, mirrored ones included -> their features, and the person's style."""

    def __init__(self, generator: HybridGenerator) -> None:
        super().__init__()
        self.photo_encoder = generator.photo_encoder

    def forward(self, small: Float[Tensor, "1 k 3 h w"], rasters: Float[Tensor, "1 k 3 h w"]) -> tuple[Tensor, Tensor]:
        features, style = self.photo_encoder(small[0], rasters[0])
        return features[None], style.mean(0, keepdim=True)


class _Synthesize(nn.Module):
    """`HybridGenerator.draw_small` for one frame: the picture, and what its enlargement needs."""

    def __init__(self, generator: HybridGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self,
        raster: Float[Tensor, "1 3 h w"],
        flow: Float[Tensor, "k 2 hf wf"],
        flags: Float[Tensor, "k 5 hf wf"],
        detail: Float[Tensor, "k 2 h w"],
        fill: Float[Tensor, "1 3 h w"],
        small: Float[Tensor, "1 k 3 h w"],
        features: Float[Tensor, "1 k _ _ _"],
        style: Float[Tensor, "1 _"],
        colour: Float[Tensor, "1 1 1 1"],
        handicap: Float[Tensor, "1 k"],
        unlike: Float[Tensor, "1 k"],
        unlike_beyond: Float[Tensor, "1 k"],
    ) -> tuple[Tensor, ...]:
        # The other fields serve what lies outside the graph.
        k = small.shape[1]
        code = HybridCode(
            photos=small,
            mesh_px=small.new_zeros(1, k, MESH_POINTS, 3),
            small=small,
            features=features,
            style=style,
            colour=colour,
            handicap=handicap,
            unlike=unlike,
            unlike_beyond=unlike_beyond,
            origins=(),
            mouths=(),
            looks=small.new_zeros(1, k, 9),
            same_scene=unlike,
        )
        drawn = self.generator.draw_small(code, raster, MeshFlow(flow, flags, detail), fill)
        return drawn.image.clamp(-1, 1), drawn.kept, drawn.painted, drawn.flows_ndc, drawn.weights, drawn.holes


class _Enlarge(nn.Module):
    """`enlarged_drawing` of one frame."""

    def forward(
        self,
        photos: Float[Tensor, "1 k 3 s s"],
        large_fill: Float[Tensor, "1 3 s s"],
        kept: Float[Tensor, "1 1 h w"],
        painted: Float[Tensor, "1 3 h w"],
        flows: Float[Tensor, "k 2 h w"],
        weights: Float[Tensor, "1 k h w"],
        holes: Float[Tensor, "1 1 h w"],
    ) -> Float[Tensor, "1 3 s s"]:
        return enlarged_drawing(photos[0], large_fill, kept, painted, flows, weights, holes).clamp(-1, 1)


class HybridGraphs(GraphAdapter[Hybrid]):
    """See `GraphAdapter`. Where the model mirrors photos, the graphs are given each photo and its mirror image."""

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
        encode = Graph(_Encode(generator), photos, ("features", "style"), {name: {1: PHOTOS} for name in photos})
        with torch.no_grad():
            encoded = encode.module(*photos.values())
        flow_size = self.config.feature_size
        inputs = {
            "raster": torch.rand(1, 3, size, size),
            "flow": torch.zeros(2, 2, flow_size, flow_size),
            "flags": torch.zeros(2, len(FLAGS), flow_size, flow_size),
            "detail": torch.zeros(2, 2, size, size),
            "fill": torch.zeros(1, 3, size, size),
            "small": photos["small"],
            **dict(zip(encode.outputs, encoded, strict=True)),
            "colour": torch.ones(1, 1, 1, 1),
            "handicap": torch.zeros(1, 2),
            "unlike": torch.zeros(1, 2),
            "unlike_beyond": torch.zeros(1, 2),
        }
        free: dict[str, dict[int, str]] = {
            "flow": {0: PHOTOS},
            "flags": {0: PHOTOS},
            "detail": {0: PHOTOS},
            "small": {1: PHOTOS},
            "features": {1: PHOTOS},
            "handicap": {1: PHOTOS},
            "unlike": {1: PHOTOS},
            "unlike_beyond": {1: PHOTOS},
        }
        outputs = ("image", "kept", "painted", "flows", "weights", "holes")
        synthesize = Graph(_Synthesize(generator), inputs, outputs, free, _EXACT)
        with torch.no_grad():
            drawn = dict(zip(outputs, synthesize.module(*inputs.values()), strict=True))
        photos = torch.rand(1, 2, 3, size + 32, size + 32)
        larger = {"photos": photos, "large_fill": photos[:, 0]} | {name: drawn[name] for name in outputs[1:]}
        free = {
            "photos": {1: PHOTOS, 3: SIDE, 4: SIDE},
            "large_fill": {2: SIDE, 3: SIDE},
            "flows": {0: PHOTOS},
            "weights": {1: PHOTOS},
        }
        return {ENCODE: encode, SYNTHESIZE: synthesize, ENLARGE: Graph(_Enlarge(), larger, ("image",), free)}

    def target_inputs(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `GraphAdapter.target_inputs`."""
        check_targets(targets)
        images, rasters, mesh_px = self._of_photos(targets)
        origins, _ = self._geometry.mirrored(mesh_px)
        photos, rasters, _ = with_mirrored(images, rasters, mesh_px, origins)
        return {name: resized(one[0], self.resolution)[None] for name, one in (("small", photos), ("rasters", rasters))}

    def code(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `GraphAdapter.code`."""
        images, rasters, mesh_px = self._of_photos(targets)
        colour = colour_of(images)
        origins, lacking = self._geometry.mirrored(mesh_px)
        mouths = (mouth_of(images[0], mesh_px[0]),)
        photos, _, mesh_px = with_mirrored(images, rasters, mesh_px, origins)
        small, style, none = given["small"], encoded["style"], torch.zeros_like(lacking)
        geometry = HybridCode(
            photos=photos,
            mesh_px=mesh_px,
            small=small,
            features=encoded["features"],
            style=style,
            colour=colour,
            handicap=lacking,
            unlike=none,
            unlike_beyond=none,
            origins=origins,
            mouths=mouths,
            looks=looks_of(mesh_px, images.shape[-1]),
            same_scene=self._geometry.same_scene(small, mesh_px, images.shape[-1], origins),
        )
        return ExportedCode({"style": style, "colour": colour}, in_bytes(geometry), images.shape[-1])

    @staticmethod
    def _of_photos(targets: TargetSet) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, rasters and landmarks of one person."""
        return targets.images[None], targets.maps[RASTER][None], mesh_tensor(targets.mesh_px, targets.images)[None]

    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `GraphAdapter.frame_inputs`."""
        mesh_px = mesh_tensor(driver.mesh_px)
        chosen, _ = self._geometry.nearest(code.geometry, mesh_px)
        flows = self._geometry.mesh_flows(chosen, mesh_px, torch.device("cpu"))
        raster = resized(driver.maps[RASTER], self.resolution)
        fill, large_fill = self._geometry.fills(code.geometry, mesh_px)
        assert flows.detail_ndc is not None
        photos = {name: getattr(chosen, name) for name in _OF_PHOTOS}
        flow_inputs = {"flow": flows.flow_ndc, "flags": flows.flags, "detail": flows.detail_ndc}
        return {"raster": raster, "fill": fill, "large_fill": large_fill, **photos, **flow_inputs}
