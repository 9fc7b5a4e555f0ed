"""The hybrid's generator, and the zoo entry around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow, frame_flows, photo_weights, upsample_flow
from reenactor.models.contract import Needs, ReenactmentModel, check_targets, mesh_beside
from reenactor.models.hybrid.blocks import PhotoEncoder, Trunk, WarpEncoder, resized, warp_cubic, weighted
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.mouth import MouthRefiner, OwnMouth, mouth_crop, mouth_layers, mouth_place, own_mouth

RASTER = MapKind.IRIS_RASTER
_DARK = (-0.55, -0.75, -0.75)
"""What a hole is filled with before the network paints it: the inside of a mouth."""
_NEAR = 5
"""Places a side that belong to a hole's surroundings."""
_HOLES = [FLAGS.index("mouth"), FLAGS.index("eyes")]


@dataclass(frozen=True)
class HybridCode(TargetCode):
    """A person, encoded: all that the driver's frames need. B people at a time, in training.

    Args:
        photos: the K photos, as they are.
        mesh_px: their landmarks, in their pixels.
        small, rasters: photos and rasters at the network's resolution.
        fine, coarse: their features at half of `HybridConfig.places` and, for attention, a quarter.
        own_mouths, mouth: of each person, and features of that; none where no mouth is drawn once more.
    """

    photos: Float[Tensor, "b k 3 s s"]
    mesh_px: Float[Tensor, "b k 478 3"]
    small: Float[Tensor, "b k 3 h w"]
    rasters: Float[Tensor, "b k 3 h w"]
    fine: Float[Tensor, "b k _ _ _"]
    coarse: Float[Tensor, "b k _ _ _"] | None
    own_mouths: tuple[OwnMouth, ...] = ()
    mouth: Float[Tensor, "b _ _ _"] | None = None


@dataclass(frozen=True)
class Drawing:
    """A result and what it is made of: `mask * warped + (1 - mask) * paint`.

    All are of the photos' size, but for `logit` and `mesh_warped` (the network's) and `flow_ndc` and `weights` (its
    `places`).

    Args:
        image: may overshoot [-1, 1]. No gradient goes from here to the mask: what closes it early on, when all
            painting is bad, leaves nothing from which painting could learn.
        warped: the photos, moved; sums over photos with `weights`. Holes are filled with a dark colour.
        paint: what the network makes.
        mask: where the warp is kept; 0 in holes.
        logit: the mask's, before holes are cut.
        holes: mouth and eyes that no photo shows.
        flow_ndc: what was learned, added to the mesh flow.
        weights: of the photos.
        mesh_warped: moved by the mesh flow alone, no holes cut: the classical sheet.
    """

    image: Float[Tensor, "b 3 s s"]
    warped: Float[Tensor, "b 3 s s"]
    paint: Float[Tensor, "b 3 s s"]
    mask: Float[Tensor, "b 1 s s"]
    logit: Float[Tensor, "b 1 h w"]
    holes: Float[Tensor, "b 1 s s"]
    flow_ndc: Float[Tensor, "b 2 _ _"]
    weights: Float[Tensor, "b k _ _"]
    mesh_warped: Float[Tensor, "b 3 h w"]

    @property
    def pictures(self) -> Float[Tensor, "b 7 s s"]:
        """What the mouth's network reads: image, warped photo, holes."""
        return torch.cat([self.image, self.warped, self.holes], dim=1)


class HybridGenerator(nn.Module):
    """`mask * W + (1 - mask) * paint`, W the photo moved by the mesh flow and a learned one.

    Before training the result is the mesh warp, with dark holes: all heads are zero, and the painting is what W is
    at the network's resolution plus a learned difference. The mask begins at 1/2, so the painting learns from the
    first step on.
    """

    dark: Tensor

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.photo_encoder = PhotoEncoder(config)
        self.warp_encoder = WarpEncoder(config)
        self.trunk = Trunk(config)
        self.mouth = MouthRefiner(config.mouth) if config.mouth else None
        self.register_buffer("dark", torch.tensor(_DARK)[:, None, None], persistent=False)

    def forward(
        self,
        raster_x: Float[Tensor, "b 3 h w"],
        mesh_x: Float[Tensor, "b 478 3"],
        targets: Float[Tensor, "#b k 3 s s"],
        rasters_y: Float[Tensor, "#b k 3 _ _"],
        mesh_y: Float[Tensor, "#b k 478 3"],
    ) -> Drawing:
        """The whole generator: `decode(encode(targets, rasters_y, mesh_y), raster_x, mesh_x)`.

        | | shape |
        |---|---|
        | raster_x | (B, 3, H, W) in [-1, 1], the driver's, with irises |
        | mesh_x, mesh_y | (B, 478, 3), (B or 1, K, 478, 3) pixels of the photos |
        | targets, rasters_y | (B or 1, K, 3, S, S) in [-1, 1] |
        """
        return self.decode(self.encode(targets, rasters_y, mesh_y), raster_x, mesh_x)

    def encode(
        self,
        targets: Float[Tensor, "b k 3 s s"],
        rasters: Float[Tensor, "b k 3 _ _"],
        mesh_px: Float[Tensor, "b k 478 3"],
    ) -> HybridCode:
        """All that depends on the photos alone."""
        axes, size = targets.shape[:2], self.config.resolution
        mouths, mouth = (), None
        if self.mouth is not None:
            mouths = tuple(own_mouth(*one, self.mouth.side) for one in zip(targets, rasters, mesh_px, strict=True))
            mouth = self.mouth.encode(torch.stack([m.photo for m in mouths]), torch.stack([m.raster for m in mouths]))
        small = resized(targets.flatten(0, 1), size)
        rasters = resized(rasters.flatten(0, 1), size)
        fine, coarse = self.photo_encoder(small, rasters)
        small, rasters, fine = (part.unflatten(0, axes) for part in (small, rasters, fine))
        coarse = coarse.unflatten(0, axes) if coarse is not None else None
        return HybridCode(targets, mesh_px, small, rasters, fine, coarse, mouths, mouth)

    def decode(self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]) -> Drawing:
        """Draw: `place`, then `draw`, then the mouth once more. The code of one person serves any number of frames."""
        drawing = self.draw(code, raster_x, self.place(code, mesh_x, raster_x.device))
        if self.mouth is None or code.mouth is None:
            return drawing
        side = code.photos.shape[-1]
        place = mouth_place(mesh_x, side).to(raster_x.device)
        layer = mouth_layers(code.own_mouths, mesh_x, place, side, self.mouth.side).to(drawing.image)
        raster = mouth_crop(raster_x, place, self.mouth.side)
        return replace(drawing, image=self.mouth.refined(drawing.pictures, layer, raster, place, code.mouth))

    def place(self, code: HybridCode, mesh_x: Float[Tensor, "b 478 3"], device: torch.device) -> MeshFlow:
        """The mesh flows of the K photos for each of B frames: B x K of them, photos of a frame beside each other."""
        batch, k = len(mesh_x), code.photos.shape[1]
        if len(code.photos) not in (1, batch):
            raise ValueError(f"{batch} driver frames for the codes of {len(code.photos)} people: give one each")
        size = self.config.places
        if not self.config.mesh_prior:
            nothing = torch.zeros(batch * k, 2 + len(FLAGS), size, size, device=device)
            return MeshFlow(nothing[:, :2], nothing[:, 2:])
        return frame_flows(code.mesh_px, mesh_x, code.photos.shape[-1], size, device)

    def draw(self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh: MeshFlow) -> Drawing:
        """All of `decode` that is a network.

        Args:
            code: of the person, or of each.
            raster_x: the driver's, with irises.
            mesh: from `place`.
        """
        batch, k = len(raster_x), code.photos.shape[1]
        size, full = self.config.resolution, code.photos.shape[-1]
        small = _each(code.small, batch)
        moved = warp_cubic(small, upsample_flow(mesh.flow_ndc, size))
        holes = F.avg_pool2d(mesh.flags[:, _HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        filled = self._filled(moved, resized(holes, size))
        features, scores = self.warp_encoder(
            filled,
            resized(raster_x, size).repeat_interleave(k, dim=0),
            warp_cubic(_each(code.rasters, batch), mesh.flow_ndc),
            mesh.flags,
        )
        weights = photo_weights(mesh.flags, k, scores)
        flow, difference, logit = self.trunk(
            weighted(features.unflatten(0, (batch, k)), weights),
            _weighted_up(filled.unflatten(0, (batch, k)), weights),
            mesh.flow_ndc.unflatten(0, (batch, k)),
            weights,
            code.fine.expand(batch, *code.fine.shape[1:]),
            code.coarse,
        )
        total = mesh.flow_ndc + flow.repeat_interleave(k, dim=0)
        hole = (holes.unflatten(0, (batch, k))[:, :, 0] * weights).sum(1, keepdim=True)

        def warped_at(photos: Tensor, side: int) -> Tensor:
            places = warp_cubic(photos, upsample_flow(total, side)).unflatten(0, (batch, k))
            return self._filled(_weighted_up(places, weights), resized(hole, side))

        under = warped_at(small, size)
        paint = under + difference
        if self.config.soft_paint:
            near = F.max_pool2d(hole, _NEAR, 1, _NEAR // 2)
            paint = _soft_elsewhere(paint, resized(near, size), self.config.cell)
        paint = resized(paint, full)
        warped = under if full == size else warped_at(_each(code.photos, batch), full)
        holes = resized(hole, full)
        mask = resized(logit.sigmoid(), full) * (1 - holes) if self.config.fusion else torch.zeros_like(holes)
        return Drawing(
            image=paint + mask.detach() * (warped - paint),
            warped=warped,
            paint=paint,
            mask=mask,
            logit=logit,
            holes=holes,
            flow_ndc=flow,
            weights=weights,
            mesh_warped=_weighted_up(moved.unflatten(0, (batch, k)), weights),
        )

    def _filled(self, pictures: Tensor, holes: Tensor) -> Tensor:
        return pictures + holes * (self.dark - pictures)


def _each(of_photos: Float[Tensor, "b k *_"], batch: int) -> Float[Tensor, "bk *_"]:
    """The K photos' once for each of B frames."""
    return of_photos.expand(batch, *of_photos.shape[1:]).flatten(0, 1)


def _weighted_up(pictures: Float[Tensor, "b k c s s"], weights: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c s s"]:
    """The sum over photos, with weights enlarged to the pictures' size."""
    if pictures.shape[1] == 1:
        return pictures[:, 0]
    return (pictures * resized(weights, pictures.shape[-1])[:, :, None]).sum(1)


def _soft_elsewhere(
    paint: Float[Tensor, "b 3 s s"], parts: Float[Tensor, "b 1 s s"], cell: int
) -> Float[Tensor, "b 3 s s"]:
    """The painting, but for some parts of it with no more detail than one colour a cell.

    Detail belongs into mouths and eyes that open. What is painted elsewhere are outlines, hair and background whose
    places are not certain: drawn sharply beside the true ones they are further from the truth.
    """
    soft = resized(F.avg_pool2d(paint, cell), paint.shape[-1])
    return soft + parts * (paint - soft)


@final
class Hybrid(ReenactmentModel):
    """The project's own: the photo moved by a mesh flow, and a network that corrects and completes it."""

    name: ClassVar[str] = "hybrid"
    version = "1"
    config_type: ClassVar[type[HybridConfig]] = HybridConfig
    needs = Needs(any_resolution=True, maps=(RASTER,))

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.generator = HybridGenerator(config)

    def encode_target(self, targets: TargetSet) -> HybridCode:
        """Encode the K photos of one person; see `ReenactmentModel.encode_target`."""
        check_targets(targets)
        rasters = raster_of(targets.maps, "target photos")
        return self.generator.encode(targets.images[None], rasters[None], mesh_beside(targets.mesh_px, rasters)[None])

    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the frames; see `ReenactmentModel.synthesize`."""
        if not isinstance(code, HybridCode):
            raise TypeError(f"the hybrid draws a HybridCode, got {type(code).__name__}")
        raster = raster_of(driver.maps, "driver frames")
        return self.generator.decode(code, raster, mesh_beside(driver.mesh_px, raster)).image.clamp(-1, 1)


def raster_of(maps: Mapping[MapKind, Tensor], whose: str) -> Float[Tensor, "n 3 h w"]:
    """What the network reads of `whose` maps."""
    if RASTER not in maps:
        raise ValueError(f"the hybrid reads the {RASTER.value} of the {whose}: put it into their maps")
    return maps[RASTER]
