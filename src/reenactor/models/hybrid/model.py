"""The generator, and the model around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry import head_angles, mirrored_mesh
from reenactor.face.geometry.looks import HEAD, crop_looks
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
from reenactor.models.hybrid.blocks import Head, PhotoEncoder, Trunk, WarpEncoder
from reenactor.models.hybrid.config import PATCH, HybridConfig
from reenactor.models.hybrid.mouth import Mouth, mouth_fill, mouth_of
from reenactor.nn import resized, unwarped, warp, warp_cubic

RASTER = MapKind.IRIS_RASTER
_HOLES = [FLAGS.index("mouth"), FLAGS.index("eyes")]
_STRETCHED = FLAGS.index("stretched")
_BEYOND = FLAGS.index("beyond")
_SAME_SCENE = (0.08, 0.16)
"""Difference of what two photos show around the face, of 2: below 0.12 in 95 % of pairs of frames of a clip; above 0.16
in 76 % of pairs of a person's photos, of which some are of one occasion."""
_GREY = 0.05
"""Mean distance of the channels from their mean, of 2, above which a photo counts as coloured."""
_FADED = 1e-4
"""Least weight, of its own, of a photo that others are about to replace."""
_FAR_BEHIND = 3.0
"""Logit that a photo may lack more than the likest one, and still be drawn."""
_NEVER = 1e4
"""Logit that a photo lacks which another person of the batch needs."""


@dataclass(frozen=True)
class HybridCode(TargetCode):
    """A person, encoded. In training, B people at a time. Mirrored photos follow the photos.

    Args:
        photos: in [-1, 1]; or `in_bytes`, until some are chosen for a frame.
        mesh_px: their landmarks, in their pixels.
        small: at the network's resolution.
        features: of the photos.
        style: of the person.
        colour: 1 for colour photos, 0 for grey ones.
        handicap: logit that each photo lacks.
        unlike, unlike_beyond: ... that it lacks besides, within the face and around it, as it is not like the frame.
        origins: number of the photo that each one is, or was mirrored from.
        mouths: of each person.
        looks: of the photos, `crop_looks`.
        same_scene: 1 for photos that show around the face what the first one shows, 0 for others.
    """

    photos: Float[Tensor, "#b k 3 s s"] | UInt8[Tensor, "#b k 3 s s"]
    mesh_px: Float[Tensor, "#b k 478 3"]
    small: Float[Tensor, "#b k 3 h w"]
    features: Float[Tensor, "#b k c h4 w4"]
    style: Float[Tensor, "#b _"]
    colour: Float[Tensor, "#b 1 1 1"]
    handicap: Float[Tensor, "#b k"]
    unlike: Float[Tensor, "#b k"]
    unlike_beyond: Float[Tensor, "#b k"]
    origins: tuple[int, ...]
    mouths: tuple[Mouth, ...]
    looks: Float[Tensor, "#b k 9"]
    same_scene: Float[Tensor, "#b k"]


@dataclass(frozen=True)
class Drawing:
    """A result and its parts: `kept * warped + painted`; `warped` are the moved photos, filled where they show nothing.

    Args:
        image: (B, 3, S, S), may overshoot [-1, 1].
        kept: (B, 1, H, W) how much of the warp stays, 0..1: little where its detail is wrong.
        painted: (B, 3, H, W) what the network adds.
        flows_ndc: (B * K, 2, H, W) the flows that move the photos: mesh flow and learned flow.
        weights: (B, K, H, W) of the photos.
        holes: (B, 1, H, W) mouth and eyes that no photo shows.
        flow_ndc: (B, 2, h, w) what was learned.
        warped: (B, 3, H, W).
        mesh_warped: (B, 3, H, W) the first photo moved by the mesh flow alone, no holes filled.
    """

    image: Float[Tensor, "b 3 s s"]
    kept: Float[Tensor, "b 1 h w"]
    painted: Float[Tensor, "b 3 h w"]
    flows_ndc: Float[Tensor, "bk 2 h w"]
    weights: Float[Tensor, "b k h w"]
    holes: Float[Tensor, "b 1 h w"]
    flow_ndc: Float[Tensor, "b 2 h4 w4"]
    warped: Float[Tensor, "b 3 h w"]
    mesh_warped: Float[Tensor, "b 3 h w"]


class HybridGenerator(nn.Module):
    """`(1 - blur) * W + blur * means of W + difference`; W are the photos moved by mesh flow and learned flow.

    Before training the result is nearly the mesh warp with the classical mouth. The means are those of the network's
    patches: where the warp is wrong, the network takes its detail away and paints its own. All but W and what fills
    its holes is made at the network's resolution and enlarged.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.photo_encoder = PhotoEncoder(config)
        self.warp_encoder = WarpEncoder(config)
        self.trunk = Trunk(config)
        self.head = Head()

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
    ) -> HybridCode:
        """Encode the photos: everything that does not depend on the driver."""
        colour, size = colour_of(targets), self.config.resolution
        origins, handicap = self.mirrored(mesh_px)
        mouths = tuple(mouth_of(*person) for person in zip(targets, mesh_px, strict=True))
        targets, rasters, mesh_px = with_mirrored(targets, rasters, mesh_px, origins)
        axes = targets.shape[:2]
        small = resized(targets.flatten(0, 1), size)
        features, style = self.photo_encoder(small, resized(rasters.flatten(0, 1), size))
        small, features, style = (part.unflatten(0, axes) for part in (small, features, style))
        none = torch.zeros_like(handicap).to(targets)
        return HybridCode(
            photos=targets,
            mesh_px=mesh_px,
            small=small,
            features=features,
            style=style.mean(1),
            colour=colour,
            handicap=handicap.to(targets),
            unlike=none,
            unlike_beyond=none,
            origins=origins,
            mouths=mouths,
            looks=looks_of(mesh_px, targets.shape[-1]),
            same_scene=self.same_scene(small, mesh_px, targets.shape[-1], origins),
        )

    def same_scene(
        self,
        small: Float[Tensor, "b k 3 h w"],
        mesh_px: Float[Tensor, "b k 478 3"],
        side: int,
        origins: tuple[int, ...],
    ) -> Float[Tensor, "b k"]:
        """`HybridCode.same_scene`: photos of other days have other hair, clothes and light."""
        k, size = max(origins) + 1, self.config.feature_size
        if k == 1:
            return small.new_ones(small.shape[:2])
        first, others = resized(small[:, 0], size), resized(small[:, 1:k].flatten(0, 1), size)
        flows = frame_flows(mesh_px[:, 1:k], mesh_px[:, 0], side, size, small.device)
        beyond = flows.flags[:, _BEYOND : _BEYOND + 1]
        apart = warp(others, flows.flow_ndc) - first.repeat_interleave(k - 1, dim=0)
        apart, whole = (F.avg_pool2d(one, size // 8) for one in (apart * beyond, beyond))
        apart = (apart.abs().mean(1).sum((1, 2)) / whole.sum((1, 2, 3)).clamp_min(1e-6)).unflatten(0, (-1, k - 1))
        low, high = _SAME_SCENE
        same = ((high - apart) / (high - low)).clamp(0, 1)
        return torch.cat([torch.ones_like(same[:, :1]), same, same.new_zeros(len(same), len(origins) - k)], 1)

    def mirrored(self, mesh_px: Float[Tensor, "b k 478 3"]) -> tuple[tuple[int, ...], Float[Tensor, "b k2"]]:
        """`HybridCode`'s `origins` and `handicap`: photos that are turned far enough are also used mirrored."""
        config, k = self.config, mesh_px.shape[1]
        turned = torch.zeros(mesh_px.shape[:2], dtype=torch.bool)
        if config.mirror:
            yaw = head_angles(mesh_px.cpu().double().numpy())[..., 0]
            turned = torch.from_numpy(np.abs(yaw) > config.mirror_from_degrees)
            # Not where another photo shows that side.
            other_side = -(yaw[:, None] * np.sign(yaw[:, :, None])).min(-1)
            turned &= torch.from_numpy(other_side < config.mirror_from_degrees / 2)
        chosen = [i for i in range(k) if turned[:, i].any()]
        handicap = torch.where(turned[:, chosen], config.mirror_handicap, _NEVER)
        return (*range(k), *chosen), torch.cat([torch.zeros(len(mesh_px), k), handicap], 1)

    def decode(self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]) -> Drawing:
        """Draw frames; the code of one person serves any number of them."""
        chosen, _ = self.nearest(code, mesh_x)
        return self.draw(chosen, raster_x, self.mesh_flows(chosen, mesh_x, raster_x.device), *self.fills(code, mesh_x))

    def nearest(self, code: HybridCode, mesh_x: Float[Tensor, "b 478 3"]) -> tuple[HybridCode, Int[Tensor, "#b n"]]:
        """Of several photos, those that look most as each frame will, and count the more for it.

        A photo that is about to be replaced by another counts less and less, so that nothing changes at once.

        Returns:
            The code of each frame; and which of its photos were taken, the first always among them.
        """
        if len(code.photos) not in (1, len(mesh_x)):
            raise ValueError(f"{len(mesh_x)} driver frames for the codes of {len(code.photos)} people: give one each")
        config, k = self.config, len(code.origins)
        index = torch.arange(k, device=code.handicap.device)[None]
        if max(code.origins) == 0:
            return code, index
        apart = (looks_of(mesh_x, code.photos.shape[-1]).to(code.looks)[:, None] - code.looks).to(code.handicap)
        # Hair, neck and background know the head's pose and place alone.
        unlike, moved = config.likeness * apart.norm(dim=-1), config.likeness_beyond * apart[..., :HEAD].norm(dim=-1)
        lacking = unlike + code.handicap
        ordered, others = lacking[:, 1:].sort(dim=1)
        behind = ordered - ordered[:, :1]
        fading = 1 - behind / _FAR_BEHIND
        n = config.photos_a_frame - 1
        if k > n + 1:
            fading = fading.minimum(1 - behind / behind[:, n : n + 1].clamp_min(1e-6))[:, :n]
        # What no frame of these needs is not drawn.
        fading = fading[:, : int((fading > 0).sum(1).max())].clamp_min(_FADED)
        index = F.pad(others[:, : fading.shape[1]] + 1, (1, 0))
        unlike, moved = unlike.gather(1, index), moved.gather(1, index)
        same = code.same_scene.expand(len(index), -1).gather(1, index)
        handicap = code.handicap.expand(len(index), -1).gather(1, index) - F.pad(fading.log(), (1, 0))
        person = torch.arange(len(code.photos), device=index.device)[:, None]
        pictures = {name: getattr(code, name)[person, index] for name in ("photos", "mesh_px", "small", "features")}
        if not pictures["photos"].is_floating_point():
            pictures["photos"] = (pictures["photos"] / 127.5 - 1).to(code.small)
        return replace(
            code,
            **pictures,
            handicap=handicap,
            unlike=unlike,
            unlike_beyond=moved[:, :1] + same * (moved - moved[:, :1]),
            looks=code.looks[person, index],
            same_scene=same,
        ), index

    def mesh_flows(self, code: HybridCode, mesh_x: Float[Tensor, "b 478 3"], device: torch.device) -> MeshFlow:
        """The mesh flows of the code's photos for each of B frames; the photos of a frame lie beside each other."""
        config = self.config
        side = code.photos.shape[-1]
        return frame_flows(code.mesh_px, mesh_x, side, config.feature_size, device, config.resolution)

    def fills(
        self, code: HybridCode, mesh_x: Float[Tensor, "b 478 3"]
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 s s"]]:
        """What is in the holes of each frame, at the network's resolution and at the photos'."""
        side, size = code.photos.shape[-1], self.config.resolution
        dark = torch.tensor(self.config.hole_colour, device=code.colour.device)[:, None, None]
        dark = dark.mean() + code.colour * (dark - dark.mean())
        small = mouth_fill(code.mouths, mesh_x, side, size, dark, code.colour)
        return small, small if side == size else mouth_fill(code.mouths, mesh_x, side, side, dark, code.colour)

    def draw(
        self,
        code: HybridCode,
        raster_x: Float[Tensor, "b 3 _ _"],
        mesh: MeshFlow,
        fill: Float[Tensor, "b 3 h w"],
        large_fill: Float[Tensor, "b 3 s s"],
    ) -> Drawing:
        """The network part of `decode`.

        Args:
            code: of the person, or of each.
            raster_x: the driver's, with irises.
            mesh: from `mesh_flows`.
            fill, large_fill: from `fills`.
        """
        drawing = self.draw_small(code, raster_x, mesh, fill)
        if code.photos.shape[-1] == self.config.resolution:
            return drawing
        parts = drawing.kept, drawing.painted, drawing.flows_ndc, drawing.weights, drawing.holes
        return replace(drawing, image=enlarged_drawing(_each(code.photos, len(raster_x)), large_fill, *parts))

    def draw_small(
        self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh: MeshFlow, fill: Float[Tensor, "b 3 h w"]
    ) -> Drawing:
        """`draw`, at the network's resolution, from `code.small`."""
        batch, k = len(raster_x), code.small.shape[1]
        size = self.config.resolution
        small, raster = _each(code.small, batch), resized(raster_x, size)
        holes = F.avg_pool2d(mesh.flags[:, _HOLES].amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        # What is enlarged is enlarged together: on a CPU that takes a good part of a frame's time.
        mesh_flow, cut = resized(torch.cat([mesh.flow_ndc, holes], 1), size).split([2, 1], 1)
        if mesh.detail_ndc is not None:
            mesh_flow = mesh_flow + resized(mesh.detail_ndc, size)
        moved = warp(small, mesh_flow)
        h, scores = self.warp_encoder(
            moved + cut * (fill.repeat_interleave(k, dim=0) - moved),
            raster.repeat_interleave(k, dim=0),
            cut,
            mesh.flags,
            mesh.flow_ndc,
            warp(_each(code.features, batch).float(), mesh.flow_ndc),
        )
        beyond = mesh.flags[:, _BEYOND : _BEYOND + 1]
        lacking, unlike, unlike_beyond = (
            one.expand(batch, -1).flatten()[:, None, None, None]
            for one in (code.handicap, code.unlike, code.unlike_beyond)
        )
        lacking = lacking + unlike + beyond * (unlike_beyond - unlike)
        lacking = lacking + self.config.stretched * mesh.flags[:, _STRETCHED : _STRETCHED + 1]
        weights = photo_weights(mesh.flags, k, scores.float() - lacking)
        h = (h.unflatten(0, (batch, k)) * weights[:, :, None]).sum(1)
        flow, fine, blur = (part.float() for part in self.trunk(h, code.style.expand(batch, -1)))
        hole = (holes.unflatten(0, (batch, k))[:, :, 0] * weights).sum(1, keepdim=True)
        learned, hole, weights = resized(torch.cat([flow, hole, weights], 1), size).split([2, 1, k], 1)
        flows = mesh_flow + learned.repeat_interleave(k, dim=0)
        photo = _weighted(warp_cubic(small, flows).unflatten(0, (batch, k)), weights)
        warped = photo + hole * (fill - photo)
        difference = self.head(fine, warped, raster, hole).float()
        grey = difference.mean(1, keepdim=True)
        difference, blur = grey + code.colour * (difference - grey), blur.sigmoid()
        kept, painted = 1 - blur, blur * resized(F.avg_pool2d(warped, PATCH), size) + difference
        return Drawing(
            image=kept * warped + painted,
            kept=kept,
            painted=painted,
            flows_ndc=flows,
            weights=weights,
            holes=hole,
            flow_ndc=flow,
            warped=warped,
            mesh_warped=moved.unflatten(0, (batch, k))[:, 0],
        )

    def taken(
        self, code: HybridCode, raster_x: Float[Tensor, "b 3 _ _"], mesh_x: Float[Tensor, "b 478 3"]
    ) -> Float[Tensor, "b k h w"]:
        """Fraction of the frames that `decode` draws that was moved from each position of each photo; no gradients.

        Mirrored photos count as the photos that they were made of.
        """
        chosen, index = self.nearest(code, mesh_x)
        mesh = self.mesh_flows(chosen, mesh_x, raster_x.device)
        with torch.no_grad():
            drawing = self.draw_small(chosen, raster_x, mesh, self.fills(code, mesh_x)[0])
        used = drawing.weights * (1 - drawing.holes) / self.config.resolution**2
        of_chosen = unwarped(drawing.flows_ndc, used.flatten(0, 1)[:, None])[:, 0].unflatten(0, used.shape[:2])
        each = of_chosen.new_zeros(len(of_chosen), len(code.origins), *of_chosen.shape[2:])
        each[torch.arange(len(each))[:, None], index] = of_chosen
        k = max(code.origins) + 1
        taken = each[:, :k].clone()
        for i, origin in enumerate(code.origins[k:], k):
            taken[:, origin] += each[:, i].flip(2)
        return taken


def with_mirrored(
    targets: Float[Tensor, "b k 3 s s"],
    rasters: Float[Tensor, "b k 3 _ _"],
    mesh_px: Float[Tensor, "b k 478 3"],
    origins: tuple[int, ...],
) -> tuple[Float[Tensor, "b k2 3 s s"], Float[Tensor, "b k2 3 _ _"], Float[Tensor, "b k2 478 3"]]:
    """The photos, and behind them mirrored those that `origins` names again."""
    again = list(origins[targets.shape[1] :])
    if not again:
        return targets, rasters, mesh_px
    mesh = torch.from_numpy(mirrored_mesh(mesh_px[:, again].cpu().numpy(), targets.shape[-1])).to(mesh_px)
    targets, rasters = (torch.cat([one, one[:, again].flip(4)], 1) for one in (targets, rasters))
    return targets, rasters, torch.cat([mesh_px, mesh], 1)


def in_bytes(code: HybridCode) -> HybridCode:
    """The code with several photos in 8 bits, as they came: a quarter of the memory that 32 large ones take."""
    if max(code.origins) == 0:
        return code
    photos = [one.add(1).mul_(127.5).round_().clamp_(0, 255).byte() for one in code.photos.unbind(1)]
    return replace(code, photos=torch.stack(photos, 1))


def enlarged_drawing(
    photos: Float[Tensor, "bk 3 s s"],
    fill: Float[Tensor, "b 3 s s"],
    kept: Float[Tensor, "b 1 h w"],
    painted: Float[Tensor, "b 3 h w"],
    flows_ndc: Float[Tensor, "bk 2 h w"],
    weights: Float[Tensor, "b k h w"],
    holes: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, "b 3 s s"]:
    """The image at the photos' own size, from the parts of a `Drawing`."""
    side, (batch, k) = photos.shape[-1], weights.shape[:2]
    maps = torch.cat([kept, painted, holes, weights, flows_ndc.unflatten(0, (batch, k)).flatten(1, 2)], 1)
    kept, painted, holes, weights, flows = resized(maps, side).split([1, 3, 1, k, 2 * k], 1)
    moved = warp_cubic(photos, flows.unflatten(1, (k, 2)).flatten(0, 1)).unflatten(0, (batch, k))
    photo = _weighted(moved, weights)
    return kept * (photo + holes * (fill - photo)) + painted


def looks_of(mesh_px: Float[Tensor, "*b 478 3"], side: int) -> Float[Tensor, "*b 9"]:
    """`crop_looks`, where the landmarks are."""
    return torch.from_numpy(crop_looks(mesh_px.detach().cpu().double().numpy(), side)).to(mesh_px)


def colour_of(photos: Float[Tensor, "b k 3 s s"]) -> Float[Tensor, "b 1 1 1"]:
    """1 for people whose photos have colours, 0 for grey ones."""
    # One by one: of 32 large photos all differences take half a gigabyte.
    chroma = [(one - one.mean(1, keepdim=True)).abs().mean((1, 2, 3)) for one in photos.unbind(1)]
    return (torch.stack(chroma).mean(0) / _GREY).clamp(0, 1)[:, None, None, None]


def _each(of_photos: Float[Tensor, "b k *_"], batch: int) -> Float[Tensor, "bk *_"]:
    """Values of K photos, repeated for each of B frames."""
    return of_photos.expand(batch, *of_photos.shape[1:]).flatten(0, 1)


def _weighted(pictures: Float[Tensor, "b k c s s"], weights: Float[Tensor, "b k s s"]) -> Float[Tensor, "b c s s"]:
    """The sum over photos."""
    return pictures[:, 0] if pictures.shape[1] == 1 else (pictures * weights[:, :, None]).sum(1)


@final
class Hybrid(ReenactmentModel):
    """The project's own: the photo moved by a mesh flow, and a network that corrects and completes it."""

    name: ClassVar[str] = "hybrid"
    version = "3"
    config_type: ClassVar[type[HybridConfig]] = HybridConfig
    config: HybridConfig
    needs = Needs(any_resolution=True, video_frames=32, maps=(RASTER,))
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
        mesh_px = mesh_tensor(targets.mesh_px, rasters)
        return in_bytes(self.generator.encode(targets.images[None], rasters[None], mesh_px[None]))

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
