"""The generator, and the model around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry import mirrored_mesh
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
from reenactor.models.hybrid2.blocks import Head, PhotoEncoder, Trunk, WarpEncoder
from reenactor.models.hybrid2.config import PATCH, Hybrid2Config
from reenactor.nn import resized, unwarped, warp, warp_cubic

RASTER = MapKind.IRIS_RASTER
_HOLES = [FLAGS.index("mouth"), FLAGS.index("eyes")]
_STRETCHED = FLAGS.index("stretched")
_GREY = 0.05
"""Mean distance of the channels from their mean, of 2, above which a photo counts as coloured."""


@dataclass(frozen=True)
class Hybrid2Code(TargetCode):
    """A person, encoded. In training, B people at a time. With `mirror`, the mirrored photos follow the photos.

    Args:
        photos: as they are.
        mesh_px: their landmarks, in their pixels.
        small: at the network's resolution.
        features: of the photos.
        style: of the person.
        colour: 1 for colour photos, 0 for grey ones.
        handicap: logit that each photo lacks.
    """

    photos: Float[Tensor, "b k 3 s s"]
    mesh_px: Float[Tensor, "b k 478 3"]
    small: Float[Tensor, "b k 3 h w"]
    features: Float[Tensor, "b k c h4 w4"]
    style: Float[Tensor, "b _"]
    colour: Float[Tensor, "b 1 1 1"]
    handicap: Float[Tensor, " k"]


@dataclass(frozen=True)
class Drawing:
    """A result and its parts: `warped - blur * (warped - low) + difference`.

    Args:
        image: (B, 3, S, S), may overshoot [-1, 1].
        warped: (B, 3, S, S) the photos, moved by mesh flow and learned flow; holes are dark.
        low: (B, 3, h, w) `warped` in patches.
        difference: (B, 3, H, W) what the network adds.
        blur: (B, 1, H, W) how much of the warp's detail it takes away, 0..1.
        mesh_warped: (B, 3, H, W) the first photo moved by the mesh flow alone, no holes cut.
        flow_ndc: (B, 2, h, w) what was learned.
        weights: (B, K, h, w) of the photos.
        holes: (B, 1, h, w) mouth and eyes that no photo shows.
    """

    image: Float[Tensor, "b 3 s s"]
    warped: Float[Tensor, "b 3 s s"]
    low: Float[Tensor, "b 3 h4 w4"]
    difference: Float[Tensor, "b 3 h w"]
    blur: Float[Tensor, "b 1 h w"]
    mesh_warped: Float[Tensor, "b 3 h w"]
    flow_ndc: Float[Tensor, "b 2 h4 w4"]
    weights: Float[Tensor, "b k h4 w4"]
    holes: Float[Tensor, "b 1 h4 w4"]


class Hybrid2Generator(nn.Module):
    """`W - blur * detail(W) + difference`, with W the photo moved by the mesh flow and a learned one.

    Before training the result is nearly the mesh warp, with dark holes. `detail` is what W has beyond the network's
    patches: where the warp is wrong, the network takes it away and paints its own. All but W is made at the network's
    resolution and enlarged.
    """

    dark: Tensor

    def __init__(self, config: Hybrid2Config) -> None:
        super().__init__()
        self.config = config
        self.photo_encoder = PhotoEncoder(config)
        self.warp_encoder = WarpEncoder(config)
        self.trunk = Trunk(config)
        self.head = Head()
        self.register_buffer("dark", torch.tensor(config.hole_colour)[:, None, None], persistent=False)

    def forward(
        self,
        raster_x: Float[Tensor, "b 3 h w"],
        mesh_x: Float[Tensor, "b 478 3"],
        targets: Float[Tensor, "#b k 3 s s"],
        rasters_y: Float[Tensor, "#b k 3 _ _"],
        mesh_y: Float[Tensor, "#b k 478 3"],
    ) -> Drawing:
        """`decode(encode(targets, rasters_y, mesh_y), raster_x, mesh_x)`.

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
    ) -> Hybrid2Code:
        """Encode the photos: everything that does not depend on the driver."""
        colour, size = colour_of(targets), self.config.resolution
        targets, rasters, mesh_px = self.with_mirrored(targets, rasters, mesh_px)
        axes = targets.shape[:2]
        small = resized(targets.flatten(0, 1), size)
        features, style = self.photo_encoder(small, resized(rasters.flatten(0, 1), size))
        small, features, style = (part.unflatten(0, axes) for part in (small, features, style))
        return Hybrid2Code(targets, mesh_px, small, features, style.mean(1), colour, self.handicap(axes[1]).to(targets))

    def with_mirrored(
        self,
        targets: Float[Tensor, "b k 3 s s"],
        rasters: Float[Tensor, "b k 3 _ _"],
        mesh_px: Float[Tensor, "b k 478 3"],
    ) -> tuple[Float[Tensor, "b k2 3 s s"], Float[Tensor, "b k2 3 _ _"], Float[Tensor, "b k2 478 3"]]:
        """The photos, and with `mirror` each of them mirrored behind them all."""
        if not self.config.mirror:
            return targets, rasters, mesh_px
        mirrored = torch.from_numpy(mirrored_mesh(mesh_px.cpu().numpy(), targets.shape[-1])).to(mesh_px)
        targets, rasters = (torch.cat([one, one.flip(4)], 1) for one in (targets, rasters))
        return targets, rasters, torch.cat([mesh_px, mirrored], 1)

    def decode(
        self, code: Hybrid2Code, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]
    ) -> Drawing:
        """Draw frames; the code of one person serves any number of them."""
        return self.draw(code, raster_x, self.mesh_flows(code, mesh_x, raster_x.device))

    def mesh_flows(self, code: Hybrid2Code, mesh_x: Float[Tensor, "b 478 3"], device: torch.device) -> MeshFlow:
        """The mesh flows of the code's photos for each of B frames; the photos of a frame lie beside each other."""
        if len(code.photos) not in (1, len(mesh_x)):
            raise ValueError(f"{len(mesh_x)} driver frames for the codes of {len(code.photos)} people: give one each")
        config = self.config
        side = code.photos.shape[-1]
        return frame_flows(code.mesh_px, mesh_x, side, config.feature_size, device, config.resolution)

    def draw(self, code: Hybrid2Code, raster_x: Float[Tensor, "b 3 _ _"], mesh: MeshFlow) -> Drawing:
        """The network part of `decode`.

        Args:
            code: of the person, or of each.
            raster_x: the driver's, with irises.
            mesh: from `mesh_flows`.
        """
        batch, k = len(raster_x), code.photos.shape[1]
        size, full = self.config.resolution, code.photos.shape[-1]
        small = _each(code.small, batch)
        dark = self.hole_colour(code.colour)
        moved = warp(small, mesh.enlarged(size))
        holes = F.avg_pool2d(mesh.flags[:, _HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        cut = resized(holes, size)
        h, scores = self.warp_encoder(
            moved + cut * (dark.expand(batch, -1, -1, -1).repeat_interleave(k, dim=0) - moved),
            resized(raster_x, size).repeat_interleave(k, dim=0),
            cut,
            mesh.flags,
            mesh.flow_ndc,
            warp(_each(code.features, batch).float(), mesh.flow_ndc),
        )
        lacking = code.handicap[None].expand(batch, -1).flatten()[:, None, None, None]
        lacking = lacking + self.config.stretched * mesh.flags[:, _STRETCHED : _STRETCHED + 1]
        weights = photo_weights(mesh.flags, k, scores.float() - lacking)
        h = (h.unflatten(0, (batch, k)) * weights[:, :, None]).sum(1)
        flow, fine, blur = (part.float() for part in self.trunk(h, code.style.expand(batch, -1)))
        learned = flow.repeat_interleave(k, dim=0)
        hole = (holes.unflatten(0, (batch, k))[:, :, 0] * weights).sum(1, keepdim=True)

        def warped_at(photos: Tensor, side: int) -> Tensor:
            each = warp_cubic(photos, mesh.enlarged(side, learned)).unflatten(0, (batch, k))
            warped = _weighted(each, weights)
            return warped + resized(hole, side) * (dark - warped)

        under = warped_at(small, size)
        difference = self.head(fine, under, resized(raster_x, size), resized(hole, size)).float()
        grey = difference.mean(1, keepdim=True)
        difference, blur = grey + code.colour * (difference - grey), blur.sigmoid()
        low = F.avg_pool2d(under, PATCH)
        warped = under if full == size else warped_at(_each(code.photos, batch), full)
        return Drawing(
            image=warped - resized(blur, full) * (warped - resized(low, full)) + resized(difference, full),
            warped=warped,
            low=low,
            difference=difference,
            blur=blur,
            mesh_warped=moved.unflatten(0, (batch, k))[:, 0],
            flow_ndc=flow,
            weights=weights,
            holes=hole,
        )

    def taken(
        self, code: Hybrid2Code, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]
    ) -> Float[Tensor, "b k h w"]:
        """Fraction of the frames that `decode` draws that was moved from each position of each photo; no gradients.

        Mirrored photos count as the photos that they were made of.
        """
        mesh = self.mesh_flows(code, mesh_x, raster_x.device)
        with torch.no_grad():
            drawing = self.draw(code, raster_x, mesh)
        k, size = drawing.weights.shape[1:3]
        flow = mesh.flow_ndc + drawing.flow_ndc.repeat_interleave(k, dim=0)
        kept = drawing.weights * (1 - drawing.holes) / size**2
        taken = unwarped(flow, kept.flatten(0, 1)[:, None])[:, 0].unflatten(0, (-1, k))
        if not self.config.mirror:
            return taken
        plain, mirrored = taken.chunk(2, 1)
        return plain + mirrored.flip(3)

    def hole_colour(self, colour: Float[Tensor, "b 1 1 1"]) -> Float[Tensor, "b 3 1 1"]:
        """What fills holes of people whose photos have colours (1) or none (0)."""
        return self.dark.mean(0) + colour * (self.dark - self.dark.mean(0))

    def handicap(self, k: int) -> Float[Tensor, " k"]:
        """Logits that k photos lack: the second half of them, if there are mirrored ones, is mirrored."""
        mirrored = torch.arange(k) >= (k // 2 if self.config.mirror else k)
        return self.config.mirror_handicap * mirrored.float()


def colour_of(photos: Float[Tensor, "b k 3 s s"]) -> Float[Tensor, "b 1 1 1"]:
    """1 for people whose photos have colours, 0 for grey ones."""
    chroma = (photos - photos.mean(2, keepdim=True)).abs().mean((1, 2, 3, 4))
    return (chroma / _GREY).clamp(0, 1)[:, None, None, None]


def _each(of_photos: Float[Tensor, "b k *_"], batch: int) -> Float[Tensor, "bk *_"]:
    """Values of K photos, repeated for each of B frames."""
    return of_photos.expand(batch, *of_photos.shape[1:]).flatten(0, 1)


def _weighted(pictures: Float[Tensor, "b k c s s"], weights: Float[Tensor, "b k h w"]) -> Float[Tensor, "b c s s"]:
    """The sum over photos, with weights enlarged to the pictures' size."""
    if pictures.shape[1] == 1:
        return pictures[:, 0]
    return (pictures * resized(weights, pictures.shape[-1])[:, :, None]).sum(1)


@final
class Hybrid2(ReenactmentModel):
    """The project's own: the photo moved by a mesh flow, and a network that corrects and completes it."""

    name: ClassVar[str] = "hybrid2"
    version = "2"
    config_type: ClassVar[type[Hybrid2Config]] = Hybrid2Config
    config: Hybrid2Config
    needs = Needs(any_resolution=True, maps=(RASTER,))
    photo_uses = (PhotoUse.TAKEN,)

    def __init__(self, config: Hybrid2Config) -> None:
        super().__init__()
        self.config = config
        self.resolution = config.resolution
        self.generator = Hybrid2Generator(config)

    def encode_target(self, targets: TargetSet) -> Hybrid2Code:
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
    def _given(code: TargetCode, driver: DriverFrame) -> tuple[Hybrid2Code, Tensor, Tensor]:
        if not isinstance(code, Hybrid2Code):
            raise TypeError(f"the hybrid draws a Hybrid2Code, got {type(code).__name__}")
        raster = needed_map(driver.maps, RASTER, "the hybrid", "driver frames")
        return code, raster, mesh_tensor(driver.mesh_px, raster)
