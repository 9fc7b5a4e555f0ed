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
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow, frame_flows, photo_weights, upsample_flow
from reenactor.models.contract import Needs, ReenactmentModel, check_targets, mesh_tensor, needed_map
from reenactor.models.hybrid2.blocks import Head, PhotoEncoder, Trunk, WarpEncoder
from reenactor.models.hybrid2.config import Hybrid2Config
from reenactor.nn import resized, warp, warp_cubic

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
    """

    photos: Float[Tensor, "b k 3 s s"]
    mesh_px: Float[Tensor, "b k 478 3"]
    small: Float[Tensor, "b k 3 h w"]
    features: Float[Tensor, "b k c h4 w4"]
    style: Float[Tensor, "b _"]
    colour: Float[Tensor, "b 1 1 1"]


@dataclass(frozen=True)
class Drawing:
    """A result and its parts.

    Args:
        image: (B, 3, S, S), may overshoot [-1, 1].
        warped: (B, 3, S, S) the photos, moved by mesh flow and learned flow; holes are dark.
        mesh_warped: (B, 3, H, W) the first photo moved by the mesh flow alone, no holes cut.
        flow_ndc: (B, 2, h, w) what was learned.
        holes: (B, 1, S, S) mouth and eyes that no photo shows.
    """

    image: Float[Tensor, "b 3 s s"]
    warped: Float[Tensor, "b 3 s s"]
    mesh_warped: Float[Tensor, "b 3 h w"]
    flow_ndc: Float[Tensor, "b 2 _ _"]
    holes: Float[Tensor, "b 1 s s"]


class Hybrid2Generator(nn.Module):
    """`W - blur * detail(W) + difference`, with W the photo moved by the mesh flow and a learned one.

    Before training the result is nearly the mesh warp, with dark holes. `detail` is what W has beyond the network's
    patches: where the warp is wrong, the network takes it away and paints its own.
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
        size, chroma = self.config.resolution, (targets - targets.mean(2, keepdim=True)).abs().mean((1, 2, 3, 4))
        if self.config.mirror:
            mirrored = torch.from_numpy(mirrored_mesh(mesh_px.cpu().numpy(), targets.shape[-1])).to(mesh_px)
            targets, rasters = (torch.cat([one, one.flip(4)], 1) for one in (targets, rasters))
            mesh_px = torch.cat([mesh_px, mirrored], 1)
        axes = targets.shape[:2]
        small = resized(targets.flatten(0, 1), size)
        features, style = self.photo_encoder(small, resized(rasters.flatten(0, 1), size))
        small, features, style = (part.unflatten(0, axes) for part in (small, features, style))
        colour = (chroma / _GREY).clamp(0, 1)[:, None, None, None]
        return Hybrid2Code(targets, mesh_px, small, features, style.mean(1), colour)

    def decode(
        self, code: Hybrid2Code, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]
    ) -> Drawing:
        """Draw frames; the code of one person serves any number of them."""
        return self.draw(code, raster_x, self.mesh_flows(code, mesh_x, raster_x.device))

    def mesh_flows(self, code: Hybrid2Code, mesh_x: Float[Tensor, "b 478 3"], device: torch.device) -> MeshFlow:
        """The mesh flows of the code's photos for each of B frames; the photos of a frame lie beside each other."""
        if len(code.photos) not in (1, len(mesh_x)):
            raise ValueError(f"{len(mesh_x)} driver frames for the codes of {len(code.photos)} people: give one each")
        return frame_flows(code.mesh_px, mesh_x, code.photos.shape[-1], self.config.feature_size, device)

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
        dark = self.dark.mean(0) + code.colour * (self.dark - self.dark.mean(0))
        moved = warp(small, upsample_flow(mesh.flow_ndc, size))
        holes = F.avg_pool2d(mesh.flags[:, _HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        cut = resized(holes, size)
        h, scores = self.warp_encoder(
            moved + cut * (dark.repeat_interleave(len(moved) // len(dark), 0) - moved),
            resized(raster_x, size).repeat_interleave(k, dim=0),
            cut,
            mesh.flags,
            mesh.flow_ndc,
            warp(_each(code.features, batch).float(), mesh.flow_ndc),
        )
        weights = photo_weights(mesh.flags, k, scores.float() + self._logits(mesh.flags, k))
        h = (h.unflatten(0, (batch, k)) * weights[:, :, None]).sum(1)
        flow, fine, blur = (part.float() for part in self.trunk(h, code.style.expand(batch, -1)))
        total = mesh.flow_ndc + flow.repeat_interleave(k, dim=0)
        each = warp_cubic(_each(code.photos, batch), upsample_flow(total, full)).unflatten(0, (batch, k))
        hole = resized((holes.unflatten(0, (batch, k))[:, :, 0] * weights).sum(1, keepdim=True), full)
        warped = _weighted(each, weights)
        warped = warped + hole * (dark - warped)
        detail = warped - resized(resized(warped, self.config.feature_size, antialias=True), full)
        difference = self.head(resized(fine, full), warped, resized(raster_x, full), hole).float()
        grey = difference.mean(1, keepdim=True)
        difference = grey + code.colour * (difference - grey)
        return Drawing(
            image=warped - resized(blur.sigmoid(), full) * detail + difference,
            warped=warped,
            mesh_warped=moved.unflatten(0, (batch, k))[:, 0],
            flow_ndc=flow,
            holes=hole,
        )

    def _logits(self, flags: Float[Tensor, "bk 5 h w"], k: int) -> Float[Tensor, "bk 1 h w"]:
        """Of the photos' weights, besides `photo_weights`' own: mirrored photos, the second half of k, come later."""
        mirrored = torch.arange(k, device=flags.device) >= (k // 2 if self.config.mirror else k)
        handicap = (self.config.mirror_handicap * mirrored).repeat(len(flags) // k)[:, None, None, None]
        return -handicap - self.config.stretched * flags[:, _STRETCHED : _STRETCHED + 1]


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
    version = "1"
    config_type: ClassVar[type[Hybrid2Config]] = Hybrid2Config
    config: Hybrid2Config
    needs = Needs(any_resolution=True, maps=(RASTER,))

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
        if not isinstance(code, Hybrid2Code):
            raise TypeError(f"the hybrid draws a Hybrid2Code, got {type(code).__name__}")
        raster = needed_map(driver.maps, RASTER, "the hybrid", "driver frames")
        return self.generator.decode(code, raster, mesh_tensor(driver.mesh_px, raster)).image.clamp(-1, 1)
