"""Paper A's graphs. The classical warp of the photo stays outside."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetSet
from reenactor.models.contract import check_targets
from reenactor.models.graphs import ENCODE, PHOTOS, SYNTHESIZE, ExportedCode, Graph, GraphAdapter, simplified
from reenactor.models.oneshot.blocks import PARSING_WIDTH
from reenactor.models.oneshot.classical import WARPED_WIDTH, warped_m1p1, warped_photo
from reenactor.models.oneshot.config import CONCATENATED, OneShotConfig
from reenactor.models.oneshot.model import GAZE, OneShot, OneShotGenerator


class _Modules(nn.Module):
    """Some of the semantic decoder's modules, at the resolution that it was trained at."""

    def __init__(self, generator: OneShotGenerator, numbers: range) -> None:
        super().__init__()
        self.inner, self.numbers = generator.decoder.modules_up, numbers
        self.concatenate, self.levels = generator.config.concatenate, generator.config.levels

    def forward(
        self, x: Float[Tensor, "1 c h w"], maps: tuple[Tensor, ...], parsing: Float[Tensor, "1 9 _ _"] | None = None
    ) -> Float[Tensor, "1 c2 h2 w2"]:
        for number in self.numbers:
            here = number - (self.levels - CONCATENATED)
            appearance = maps[here] if self.concatenate and here >= 0 else None
            module = self.inner[number]
            if parsing is None:
                small = x.new_zeros(1, PARSING_WIDTH, x.shape[2], x.shape[3])  # not read
            else:
                small = F.avg_pool2d(parsing, 2 ** (self.levels - number))
            x = module(x, appearance, small)
        return x


def _first_with_parsing(generator: OneShotGenerator) -> int:
    """Number of the first module that reads the parsing map; those before it depend on the photos alone."""
    return next(i for i, module in enumerate(generator.decoder.modules_up) if module.spade is not None)


class _Encode(nn.Module):
    """Photos -> the map that the first module with a parsing map reads, and the appearance decoder's maps."""

    def __init__(self, generator: OneShotGenerator) -> None:
        super().__init__()
        self.encoder, self.decoder = generator.appearance_encoder, generator.appearance_decoder
        self.modules_up = _Modules(generator, range(_first_with_parsing(generator)))
        self.size = (generator.config.resolution, generator.config.resolution)
        self.concatenate = generator.config.concatenate

    def forward(self, images: Float[Tensor, "1 k 3 h w"]) -> tuple[Tensor, ...]:
        codes = self.encoder(images[0])
        maps, _ = self.decoder(codes, self.size)
        maps = tuple(one.mean(dim=0, keepdim=True) for one in maps)
        start = self.modules_up(codes.mean(dim=0, keepdim=True), maps)
        return (start, *maps) if self.concatenate else (start,)


class _Synthesize(nn.Module):
    """The decoder's other modules, and fusion."""

    def __init__(self, generator: OneShotGenerator) -> None:
        super().__init__()
        self.generator = generator
        self.modules_up = _Modules(generator, range(_first_with_parsing(generator), generator.config.levels))

    def forward(
        self, parsing: Float[Tensor, "1 9 h w"], start: Float[Tensor, "1 _ _ _"], *more: Float[Tensor, "1 _ _ _"]
    ) -> Float[Tensor, "1 3 h w"]:
        """`more`: the appearance decoder's maps where they are read, and with fusion the warped photo and its flags."""
        fused = self.generator.config.fusion != "none"
        maps, warped = (more[:-1], more[-1]) if fused else (more, None)
        face = torch.tanh(self.generator.decoder.to_rgb(self.modules_up(start, maps, parsing)))
        return self.generator.fuse(face, warped, parsing)[0]


class OneShotGraphs(GraphAdapter[OneShot]):
    """See `GraphAdapter`."""

    name = OneShot.name

    config: OneShotConfig

    def __init__(self, config: OneShotConfig) -> None:
        self.config = config
        self.resolution, self.needs = config.resolution, config.needs

    def graphs(self, model: OneShot) -> dict[str, Graph]:
        """See `GraphAdapter.graphs`."""
        generator = simplified(model.generator)
        config, size = self.config, self.resolution
        photos = {"images": torch.rand(1, 2, 3, size, size)}
        outputs = ("start", *(f"map{i + 1}" for i in range(CONCATENATED * config.concatenate)))
        encode = Graph(_Encode(generator), photos, outputs, {"images": {1: PHOTOS}})
        with torch.no_grad():
            encoded = encode.module(*photos.values())
        inputs = {
            "parsing": torch.rand(1, PARSING_WIDTH, size, size),
            **dict(zip(outputs, encoded, strict=True)),
        }
        if config.fusion != "none":
            inputs["warped"] = torch.rand(1, WARPED_WIDTH, size, size)
        # int8 would show in the layers of the largest map: of the lite network they cost 6 % of SSIM.
        exact = ("to_rgb", f"inner.{config.levels - 1}")
        return {ENCODE: encode, SYNTHESIZE: Graph(_Synthesize(generator), inputs, ("image",), exact=exact)}

    def target_inputs(self, targets: TargetSet) -> dict[str, Tensor]:
        """See `GraphAdapter.target_inputs`."""
        check_targets(targets)
        return {"images": targets.images[None]}

    def code(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """See `GraphAdapter.code`."""
        photo = None
        if self.config.fusion != "none":
            photo = warped_photo(targets.images[0], targets.mesh_px[0], targets.maps[MapKind.PARSING][0, GAZE])
        return ExportedCode(dict(encoded), photo, self.resolution)

    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """See `GraphAdapter.frame_inputs`."""
        parsing = driver.maps[MapKind.PARSING]
        given = {"parsing": parsing}
        if code.geometry is not None:
            given["warped"] = warped_m1p1(code.geometry, driver.mesh_px, parsing[:, GAZE])
        return given
