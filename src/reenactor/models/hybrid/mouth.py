"""The mouth refiner: a small network on an upright crop of the mouth, where teeth have enough pixels to be teeth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.contours import OUTER_LIPS, OUTER_LIPS_UPPER
from reenactor.face.geometry.mouth import MouthInside, best_inside, mouth_inside, mouth_layer
from reenactor.models.contract import to_uint8
from reenactor.models.hybrid.blocks import SLOPE, Block, activated, doubled, down, merged, zero_conv
from reenactor.models.hybrid.config import HybridConfig
from reenactor.nn import conv3x3

_CHANNELS = 3 + 3 + 1 + 3 + 1
"""The drawn picture, the warped photo, holes, the classical mouth, and where that lies."""


def mouth_box(mesh_px: Float[Tensor, "*b 478 3"], side: int, config: HybridConfig) -> Float[Tensor, "*b 4"]:
    """Position of the mouth's crop: its centre, and the vector to the middle of its right border; x, y of each, NDC.

    The lips' corners are level in the crop.

    Args:
        mesh_px: landmarks.
        side: of their pictures, pixels.
        config: has the crop's margin.
    """
    lips = (mesh_px[..., OUTER_LIPS, :2].float() + 0.5) * (2 / side) - 1
    first, last = OUTER_LIPS.index(OUTER_LIPS_UPPER[0]), OUTER_LIPS.index(OUTER_LIPS_UPPER[-1])
    across = F.normalize(lips[..., last, :] - lips[..., first, :], dim=-1)
    down_ = torch.stack([-across[..., 1], across[..., 0]], dim=-1)
    axes = torch.stack([across, down_], dim=-1)
    along = lips @ axes
    low, high = along.amin(-2), along.amax(-2)
    centre = (axes @ ((low + high) / 2)[..., None])[..., 0]
    half = ((high - low).amax(-1, keepdim=True) * (config.mouth_margin / 2)).clamp_min(1 / side)
    return torch.cat([centre, half * across], dim=-1)


def mouth_crop(
    pictures: Float[Tensor, "b c s s"], box_ndc: Float[Tensor, "b 4"], side: int
) -> Float[Tensor, "b c n n"]:
    """The pictures' crops, `side` pixels a side, bilinear; the border repeats. Differentiable.

    Args:
        pictures: any values.
        box_ndc: from `mouth_box`.
        side: of the crops.
    """
    x, y, across, down_ = (part[:, None, None] for part in box_ndc.unbind(-1))
    right, below = _pixel_centres(side, box_ndc)
    return _sampled(pictures, x + across * right - down_ * below, y + down_ * right + across * below, "border")


def mouth_pasted(crops: Float[Tensor, "b c n n"], box_ndc: Float[Tensor, "b 4"], side: int) -> Float[Tensor, "b c s s"]:
    """The inverse: pictures of `side` pixels with the crops at their positions and zeros around. Differentiable."""
    return _sampled(crops, *_in_crop(*_pixel_centres(side, box_ndc), box_ndc[:, None, None]), "zeros")


def _in_crop(x: Tensor, y: Tensor, box_ndc: Float[Tensor, "*_ 4"]) -> tuple[Tensor, Tensor]:
    """From a picture's NDC to the crop's."""
    centre_x, centre_y, across, down_ = box_ndc.unbind(-1)
    right, below, size = x - centre_x, y - centre_y, across.square() + down_.square()
    return (across * right + down_ * below) / size, (across * below - down_ * right) / size


@dataclass(frozen=True)
class ReferenceMouth:
    """A person's mouth, from the photo that shows most of it.

    Args:
        photo, raster: (3, n, n) crops of photo and raster.
        inside: what the classical warp shows between the lips.
        lips_meet: opening at which the first photo's lips touch.
    """

    photo: Float[Tensor, "3 n n"]
    raster: Float[Tensor, "3 n n"]
    inside: MouthInside
    lips_meet: float


def reference_mouth(
    photos: Float[Tensor, "k 3 s s"],
    rasters: Float[Tensor, "k 3 _ _"],
    mesh_px: Float[Tensor, "k 478 3"],
    config: HybridConfig,
) -> ReferenceMouth:
    """The reference mouth of one person.

    Args:
        photos, rasters: in [-1, 1].
        mesh_px: landmarks in the photos.
        config: has the crop's side and margin.
    """
    insides: list[MouthInside] = []
    for photo, mesh in zip(photos, mesh_px, strict=True):
        insides.append(mouth_inside(to_uint8(photo), mesh.cpu().numpy()))
        if insides[0].shows:
            break
    best = best_inside(insides)
    box = mouth_box(mesh_px[best], photos.shape[-1], config).to(photos.device)[None]
    photo, raster = (mouth_crop(maps[best][None], box, config.mouth)[0] for maps in (photos, rasters))
    return ReferenceMouth(photo, raster, insides[best], insides[0].lips_meet)


def mouth_layers(
    people: Sequence[ReferenceMouth],
    mesh_px: Float[Tensor, "b 478 3"],
    box_ndc: Float[Tensor, "b 4"],
    side: int,
    crop_side: int,
) -> Float[Tensor, "b 4 n n"]:
    """The classical mouth in the crops: RGB in [-1, 1], and its coverage.

    Args:
        people: one for each frame, or one for all.
        mesh_px: the target landmarks.
        box_ndc: of their mouths, from `mouth_box`.
        side: of the whole pictures, pixels.
        crop_side: of the crops.
    """
    layers = np.zeros((len(mesh_px), 4, crop_side, crop_side), np.float32)
    in_crops = _in_pixels_of_crops(mesh_px.detach().cpu().double(), box_ndc.cpu().double(), side, crop_side)
    for i, mesh in enumerate(in_crops.numpy()):
        person = people[i if len(people) > 1 else 0]
        found = mouth_layer(person.inside, mesh, crop_side, lips_meet=person.lips_meet)
        if found is not None:
            region, layer, covers = found
            here = layers[i][:, region.slices[0], region.slices[1]]
            here[:3], here[3] = np.moveaxis(layer / 127.5 - 1, -1, 0), covers
    return torch.from_numpy(layers)


def _in_pixels_of_crops(
    mesh_px: Float[Tensor, "b 478 3"], box_ndc: Float[Tensor, "b 4"], side: int, crop_side: int
) -> Float[Tensor, "b 478 3"]:
    """Landmarks in the crops' pixels."""
    x, y, depth = mesh_px.unbind(-1)
    inside = _in_crop((x + 0.5) * (2 / side) - 1, (y + 0.5) * (2 / side) - 1, box_ndc[:, None])
    larger = (crop_side / side) / box_ndc[:, 2:].norm(dim=-1, keepdim=True)
    return torch.stack([*((one + 1) * (crop_side / 2) - 0.5 for one in inside), depth * larger], dim=-1)


class MouthRefiner(nn.Module):
    """Adds what a crop of the drawn picture lacks of teeth, tongue and lips, given what the classical warp shows there.

    Args:
        config: side of the crops, and the weights of the learned and the classical mouth.
        width: channels at half of the side; twice and three times as many at a quarter and an eighth.
    """

    window: Tensor

    def __init__(self, config: HybridConfig, width: int = 24) -> None:
        super().__init__()
        self.config = config
        c1, c2, c3 = width, 2 * width, 3 * width
        self.own = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(6 * 16, c2, 1), Block(c2))
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), conv3x3(4 * (_CHANNELS + 3), c1))
        self.down4, self.down8 = down(c1, c2), down(c2, c3)
        self.beside = merged(2 * c2, c2)
        self.up4 = merged(c3 + c2, c2)
        self.narrow = nn.Conv2d(c2, c1, 1)
        self.up2 = nn.Sequential(activated(2 * c1), conv3x3(2 * c1, c1), activated(c1), conv3x3(c1, c1))
        self.thin = nn.Conv2d(c1, c1 // 2, 1)
        self.out = nn.Sequential(conv3x3(c1 // 2 + _CHANNELS, c1 // 2), nn.LeakyReLU(SLOPE), zero_conv(c1 // 2, 3))
        away = ((2 * torch.arange(config.mouth) + 1) / config.mouth - 1).abs()
        ramp = ((1 - away) / (1 - config.mouth_window)).clamp(0, 1)
        self.register_buffer("window", ramp * ramp[:, None], persistent=False)

    def encode(self, photo: Float[Tensor, "b 3 n n"], raster: Float[Tensor, "b 3 n n"]) -> Float[Tensor, "b c2 n4 n4"]:
        """Features of the reference mouth, from crops of a photo and of its raster."""
        return self.own(torch.cat([photo, raster], dim=1))

    def forward(
        self,
        pictures: Float[Tensor, "b 7 n n"],
        layer: Float[Tensor, "b 4 n n"],
        raster: Float[Tensor, "b 3 n n"],
        reference: Float[Tensor, "#b c2 n4 n4"],
    ) -> Float[Tensor, "b 3 n n"]:
        """The learned difference, added to the drawn picture and its classical mouth; sizes with crops of 96 pixels.

        | | shape |
        |---|---|
        | pictures | (B, 7, 96, 96): image, warped photo and holes of a `Drawing` |
        | layer | (B, 4, 96, 96), from `mouth_layers` |
        | raster | (B, 3, 96, 96), the driver's |
        | reference | (B or 1, 48, 24, 24), from `encode` |
        | result | (B, 3, 96, 96), 0 along the border |
        """
        given = torch.cat([pictures, pictures[:, :3] + _laid_over(pictures, layer), layer[:, 3:]], dim=1)
        h2 = self.stem(torch.cat([given, raster], dim=1))
        h4 = self.beside(torch.cat([self.down4(h2), reference.expand(len(h2), -1, -1, -1)], dim=1))
        u4 = self.up4(torch.cat([doubled(self.down8(h4)), h4], dim=1))
        u2 = self.up2(torch.cat([doubled(self.narrow(u4)), h2], dim=1))
        return self.window * self.out(torch.cat([doubled(self.thin(u2)), given], dim=1))

    def classical(
        self, pictures: Float[Tensor, "b 7 n n"], layer: Float[Tensor, "b 4 n n"]
    ) -> Float[Tensor, "b 3 n n"]:
        """The classical mouth's difference from the drawn picture, 0 along the border."""
        return self.window * _laid_over(pictures, layer)

    def refine(
        self,
        pictures: Float[Tensor, "b 7 s s"],
        layer: Float[Tensor, "b 4 n n"],
        raster: Float[Tensor, "b 3 n n"],
        box_ndc: Float[Tensor, "b 4"],
        reference: Float[Tensor, "#b c2 n4 n4"],
    ) -> Float[Tensor, "b 3 s s"]:
        """The whole picture with its mouth refined: part learned, part classical; all classical in a mouth that shouts.

        Arguments as for `forward`, except that pictures are whole.
        """
        config = self.config
        crops = mouth_crop(pictures, box_ndc, config.mouth)
        covers = layer[:, 3:]
        high, wide = (covers.amax(dim=axis, keepdim=True).mean(dim=(2, 3), keepdim=True) for axis in (3, 2))
        openness = (config.mouth_shout - high / wide.clamp_min(1e-3)) / (config.mouth_shout - config.mouth_common)
        learned = config.mouth_learned * openness.clamp(0, 1)
        difference = self.classical(crops, layer) + learned * self(crops, layer, raster, reference)
        return pictures[:, :3] + mouth_pasted(difference, box_ndc, pictures.shape[-1])


def _laid_over(pictures: Float[Tensor, "b 7 n n"], layer: Float[Tensor, "b 4 n n"]) -> Float[Tensor, "b 3 n n"]:
    return layer[:, 3:] * (layer[:, :3] - pictures[:, :3])


def _pixel_centres(side: int, like: Tensor) -> tuple[Float[Tensor, "side side"], Float[Tensor, "side side"]]:
    """x and y of the centres of `side` x `side` pixels, NDC."""
    steps = (2 * torch.arange(side, dtype=torch.float32, device=like.device) + 1) / side - 1
    return steps.expand(side, side), steps[:, None].expand(side, side)


def _sampled(
    pictures: Float[Tensor, "b c h w"], x: Float[Tensor, "b n n"], y: Float[Tensor, "b n n"], beyond: str
) -> Float[Tensor, "b c n n"]:
    kind = torch.promote_types(pictures.dtype, torch.float32)
    # The axis of two is made last: converters lay it out badly otherwise.
    grid = torch.stack([x, y]).permute(1, 2, 3, 0).to(kind)
    return F.grid_sample(pictures.to(kind), grid, padding_mode=beyond, align_corners=False)
