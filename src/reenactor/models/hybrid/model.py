"""The hybrid's generator, and the model around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow, frame_flows, photo_weights
from reenactor.models.contract import (
    Needs,
    PhotoMap,
    PhotoUse,
    ReenactmentModel,
    check_targets,
    mesh_tensor,
    needed_map,
)
from reenactor.models.hybrid.blocks import PhotoEncoder, Trunk, WarpEncoder, weighted
from reenactor.models.hybrid.config import PATCH, HybridConfig
from reenactor.models.hybrid.mouth import (
    MouthRefiner,
    ReferenceMouth,
    mouth_box,
    mouth_crop,
    mouth_layers,
    reference_mouth,
)
from reenactor.nn import resized, unwarped, warp_cubic

RASTER = MapKind.IRIS_RASTER
HOLES = [FLAGS.index("mouth"), FLAGS.index("eyes")]


@dataclass(frozen=True)
class HybridCode(TargetCode):
    """A person, encoded. In training, B people at a time.

    Args:
        photos: the K photos, as they are.
        mesh_px: their landmarks, in their pixels.
        small, rasters: photos and rasters at the network's resolution.
        features: of the photos, at a quarter of the network's resolution.
        mouths: each person's reference mouth; empty if the model has no mouth refiner.
        mouth: features of the reference mouths; None if the model has no mouth refiner.
    """

    photos: Float[Tensor, "b k 3 s s"]
    mesh_px: Float[Tensor, "b k 478 3"]
    small: Float[Tensor, "b k 3 h w"]
    rasters: Float[Tensor, "b k 3 h w"]
    features: Float[Tensor, "b k _ _ _"]
    mouths: tuple[ReferenceMouth, ...] = ()
    mouth: Float[Tensor, "b _ _ _"] | None = None


@dataclass(frozen=True)
class Drawing:
    """A result and its parts: `mask * warped + (1 - mask) * paint`.

    All are of the photos' size, except `logit` and `mesh_warped` (the network's resolution), `flow_ndc` and `weights`
    (its `feature_size`).

    Args:
        image: may overshoot [-1, 1]. It gives the mask no gradient: early on, when all painting is bad, that would
            close the mask, and the painting would get no gradient any more.
        warped: the photos, moved; sums over photos with `weights`. Holes are filled with a dark colour.
        paint: what the network makes.
        mask: where the warp is kept; 0 in holes.
        logit: the mask's, before holes are cut.
        holes: mouth and eyes that no photo shows.
        flow_ndc: what was learned, added to the mesh flow.
        weights: of the photos.
        mesh_warped: moved by the mesh flow alone, no holes cut: the classical warp.
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
        """What the mouth refiner reads: image, warped photo, holes."""
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
        self.mouth = MouthRefiner(config) if config.mouth else None
        self.register_buffer("dark", torch.tensor(config.hole_colour)[:, None, None], persistent=False)

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
        """Encode the photos: everything that does not depend on the driver."""
        axes, size = targets.shape[:2], self.config.resolution
        mouths, mouth = (), None
        if self.mouth is not None:
            people = zip(targets, rasters, mesh_px, strict=True)
            mouths = tuple(reference_mouth(*one, self.config) for one in people)
            mouth = self.mouth.encode(torch.stack([m.photo for m in mouths]), torch.stack([m.raster for m in mouths]))
        small = resized(targets.flatten(0, 1), size)
        rasters = resized(rasters.flatten(0, 1), size)
        features = self.photo_encoder(small, rasters)
        small, rasters, features = (part.unflatten(0, axes) for part in (small, rasters, features))
        return HybridCode(targets, mesh_px, small, rasters, features, mouths, mouth)

    def decode(self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]) -> Drawing:
        """Draw: `mesh_flows`, `draw`, and the mouth refiner. The code of one person serves any number of frames."""
        drawing = self.draw(code, raster_x, self.mesh_flows(code, mesh_x, raster_x.device))
        if self.mouth is None or code.mouth is None:
            return drawing
        side = code.photos.shape[-1]
        box = mouth_box(mesh_x, side, self.config).to(raster_x.device)
        layer = mouth_layers(code.mouths, mesh_x, box, side, self.config.mouth).to(drawing.image)
        raster = mouth_crop(raster_x, box, self.config.mouth)
        return replace(drawing, image=self.mouth.refine(drawing.pictures, layer, raster, box, code.mouth))

    def mesh_flows(self, code: HybridCode, mesh_x: Float[Tensor, "b 478 3"], device: torch.device) -> MeshFlow:
        """The mesh flows of the K photos for each of B frames: B x K of them, photos of a frame beside each other."""
        batch, k = len(mesh_x), code.photos.shape[1]
        if len(code.photos) not in (1, batch):
            raise ValueError(f"{batch} driver frames for the codes of {len(code.photos)} people: give one each")
        size = self.config.feature_size
        if not self.config.mesh_prior:
            nothing = torch.zeros(batch * k, 2 + len(FLAGS), size, size, device=device)
            fine = self.config.detail_size
            detail = torch.zeros(batch * k, 2, fine, fine, device=device)
            return MeshFlow(nothing[:, :2], nothing[:, 2:], detail)
        return frame_flows(code.mesh_px, mesh_x, code.photos.shape[-1], size, device, self.config.detail_size)

    def draw(self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh: MeshFlow) -> Drawing:
        """The network part of `decode`.

        Args:
            code: of the person, or of each.
            raster_x: the driver's, with irises.
            mesh: from `mesh_flows`.
        """
        batch, k = len(raster_x), code.photos.shape[1]
        size, full = self.config.resolution, code.photos.shape[-1]
        small = _each(code.small, batch)
        moved = warp_cubic(small, mesh.enlarged(size))
        holes = F.avg_pool2d(mesh.flags[:, HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
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
            mesh.flow_ndc.unflatten(0, (batch, k)),
            weights,
            code.features.expand(batch, *code.features.shape[1:]),
        )
        learned = flow.repeat_interleave(k, dim=0)
        hole = (holes.unflatten(0, (batch, k))[:, :, 0] * weights).sum(1, keepdim=True)

        def warped_at(photos: Tensor, side: int) -> Tensor:
            each = warp_cubic(photos, mesh.enlarged(side, learned)).unflatten(0, (batch, k))
            return self._filled(_weighted_up(each, weights), resized(hole, side))

        under = warped_at(small, size)
        paint = under + difference
        if self.config.soft_paint:
            margin = self.config.hole_margin
            near = F.max_pool2d(hole, margin, 1, margin // 2)
            paint = _soft_elsewhere(paint, resized(near, size))
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

    def taken(
        self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]
    ) -> Float[Tensor, "b k h2 w2"]:
        """Fraction of the frames that `decode` draws that was moved from each position of each photo; no gradients.

        The sum over all positions is `Drawing.mask`'s mean; the rest of the picture is painted.
        """
        mesh = self.mesh_flows(code, mesh_x, raster_x.device)
        with torch.no_grad():
            drawing = self.draw(code, raster_x, mesh)
        k, size = drawing.weights.shape[1:3]
        flow = mesh.flow_ndc + drawing.flow_ndc.repeat_interleave(k, dim=0)
        kept = drawing.weights * resized(drawing.mask, size) / size**2
        return unwarped(flow, kept.flatten(0, 1)[:, None])[:, 0].unflatten(0, (-1, k))

    def _filled(self, pictures: Tensor, holes: Tensor) -> Tensor:
        return pictures + holes * (self.dark - pictures)


def _each(of_photos: Float[Tensor, "b k *_"], batch: int) -> Float[Tensor, "bk *_"]:
    """Values of K photos, repeated for each of B frames."""
    return of_photos.expand(batch, *of_photos.shape[1:]).flatten(0, 1)


def _weighted_up(pictures: Float[Tensor, "b k c s s"], weights: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c s s"]:
    """The sum over photos, with weights enlarged to the pictures' size."""
    if pictures.shape[1] == 1:
        return pictures[:, 0]
    return (pictures * resized(weights, pictures.shape[-1])[:, :, None]).sum(1)


def _soft_elsewhere(paint: Float[Tensor, "b 3 s s"], sharp: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 3 s s"]:
    """The painting with no more detail than one colour a patch, except where `sharp` is 1.

    Detail belongs into mouths and eyes that open. Elsewhere outlines, hair and background are painted whose positions
    are not certain: drawn sharply beside the true ones they are further from the truth.
    """
    soft = resized(F.avg_pool2d(paint, PATCH), paint.shape[-1])
    return soft + sharp * (paint - soft)


@final
class Hybrid(ReenactmentModel):
    """The project's own: the photo moved by a mesh flow, and a network that corrects and completes it."""

    name: ClassVar[str] = "hybrid"
    version = "2"
    config_type: ClassVar[type[HybridConfig]] = HybridConfig
    config: HybridConfig
    needs = Needs(any_resolution=True, maps=(RASTER,))
    photo_uses = (PhotoUse.TAKEN,)

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.generator = HybridGenerator(config)

    def encode_target(self, targets: TargetSet) -> HybridCode:
        """Encode the K photos of one person; see `ReenactmentModel.encode_target`."""
        check_targets(targets)
        rasters = needed_map(targets.maps, RASTER, "the hybrid", "target photos")
        return self.generator.encode(targets.images[None], rasters[None], mesh_tensor(targets.mesh_px, rasters)[None])

    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the frames; see `ReenactmentModel.synthesize`."""
        return self.generator.decode(*self._given(code, driver)).image.clamp(-1, 1)

    def photo_maps(self, code: TargetCode, driver: DriverFrame) -> list[PhotoMap]:
        """What is moved into a frame; see `ReenactmentModel.photo_maps`."""
        taken = self.generator.taken(*self._given(code, driver))[0].cpu().numpy()
        # Brightest is a position that is used once; where the frame is magnified, one pixel is used several times.
        return [PhotoMap(PhotoUse.TAKEN, taken, 1 / taken[0].size)]

    @staticmethod
    def _given(code: TargetCode, driver: DriverFrame) -> tuple[HybridCode, Tensor, Tensor]:
        if not isinstance(code, HybridCode):
            raise TypeError(f"the hybrid draws a HybridCode, got {type(code).__name__}")
        raster = needed_map(driver.maps, RASTER, "the hybrid", "driver frames")
        return code, raster, mesh_tensor(driver.mesh_px, raster)
