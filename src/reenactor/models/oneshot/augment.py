"""Changes to training pictures and their landmarks, on the device, each picture of a batch its own."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import FACE_OVAL
from reenactor.models.contract import ModelConfig

_BLUR_REACH = 4
"""Pixels: three deviations of the widest blur at 128 pixels; at 256 the bell's ends are cut off."""
_BRIDGE = 168
"""The nose's, between the eyes."""
_SOFT_GRAIN = 8
"""Side of the coarse noise that, enlarged, fills occluders; finer noise is added to it."""


class Augmentation(ModelConfig):
    """How far pictures are changed. The defaults change nothing."""

    rotation_deg: float = Field(default=0, ge=0, le=180)
    """At most, either way."""
    zoom: float = Field(default=0, ge=0, lt=1)
    """Scales are between 1 - zoom and 1 + zoom."""
    shift: float = Field(default=0, ge=0, le=1)
    """At most, of the picture's side, in x and in y."""
    mirror: float = Field(default=0, ge=0, le=1)
    """Chance; landmarks change sides with the picture."""
    occluders: int = Field(default=0, ge=0)
    """Patches, each there with a chance of a half, filled with noise or with another picture of the batch."""
    light: float = Field(default=0, ge=0, lt=1)
    """Exposure, contrast, gamma and a slope of the light vary by this factor."""
    colour: float = Field(default=0, ge=0, lt=1)
    """Each colour's strength varies by this factor."""
    grey: float = Field(default=0, ge=0, le=1)
    """Chance that a picture loses its colours."""
    blur: float = Field(default=0, ge=0, le=1)
    """Chance of a Gaussian blur, up to a deviation of a hundredth of the side."""
    coarse: float = Field(default=0, ge=0, le=1)
    """Chance of a half or a quarter of the resolution, enlarged again."""
    blocks: float = Field(default=0, ge=0, le=1)
    """Chance of JPEG's quantization in blocks of 8 pixels."""
    noise: float = Field(default=0, ge=0)
    """Deviation of the strongest noise, of a range of 2."""

    @classmethod
    def strong(cls) -> Augmentation:
        """For the shape encoder, which must cope with any photo."""
        return cls(
            rotation_deg=30,
            zoom=0.2,
            shift=0.1,
            mirror=0.5,
            occluders=2,
            light=0.25,
            colour=0.2,
            grey=0.1,
            blur=0.3,
            coarse=0.15,
            blocks=0.3,
            noise=0.15,
        )

    @classmethod
    def mild(cls) -> Augmentation:
        """For the verification network: what leaves a person the same."""
        return cls(
            rotation_deg=10, zoom=0.1, shift=0.04, mirror=0.5, light=0.2, colour=0.1, grey=0.1, blur=0.2, coarse=0.2
        )

    @classmethod
    def placed(cls) -> Augmentation:
        """For target photos: 10 degrees, 10 of 256 pixels, 0.9 to 1.1 (the authors' code of paper A)."""
        return cls(rotation_deg=10, zoom=0.1, shift=10 / 256)


@torch.no_grad()
def augmented(
    images_m1p1: Float[Tensor, "b 3 s s"],
    mesh_px: Float[Tensor, "b 478 3"],
    how: Augmentation,
    *,
    rng: torch.Generator | None = None,
) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 478 3"]]:
    """Each picture changed in its own way, and where its landmarks are then.

    Args:
        images_m1p1: pictures in [-1, 1], and so are the results.
        mesh_px: their landmarks.
        how: the most that may happen.
        rng: on the pictures' device; None for PyTorch's own.
    """
    draw = _Draws(images_m1p1, rng)
    images = images_m1p1
    if how.rotation_deg or how.zoom or how.shift:
        angle = draw.between(-how.rotation_deg, how.rotation_deg) * (math.pi / 180)
        shift = images.shape[-1] * torch.cat([draw.between(-how.shift, how.shift) for _ in "xy"], dim=1)
        images, mesh_px = moved(images, mesh_px, angle[:, 0], draw.between(1 - how.zoom, 1 + how.zoom)[:, 0], shift)
    if how.mirror:
        images, mesh_px = mirrored(images, mesh_px, draw.chance(how.mirror))
    for _ in range(how.occluders):
        images = _occluded(images, draw)
    if how.light or how.colour or how.grey:
        images = _lit(images, how, draw)
    if how.blur:
        deviation = draw.between(0.3, max(0.31, images.shape[-1] / 100))[:, 0]
        images = draw.some(how.blur, blurred(images, deviation), images)
    if how.coarse:
        for factor in (2, 4):
            small = F.avg_pool2d(images, factor)
            coarse = F.interpolate(small, images.shape[-2:], mode="bilinear", align_corners=False)
            images = draw.some(how.coarse / 2, coarse, images)
    if how.blocks:
        images = draw.some(how.blocks, quantized(images, draw.between(0.05, 0.25)[:, 0]), images)
    if how.noise:
        images = images + draw.between(0, how.noise)[:, :, None, None] * draw.normal(*images.shape)
    return images.clamp(-1, 1), mesh_px


def moved(
    images: Float[Tensor, "b c s s"],
    mesh_px: Float[Tensor, "b n 3"],
    angle: Float[Tensor, " b"],
    scale: Float[Tensor, " b"],
    shift_px: Float[Tensor, "b 2"],
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b n 3"]]:
    """Pictures and points turned and scaled about the picture's middle, then shifted; the border is repeated.

    Args:
        images: pictures.
        mesh_px: points of them; z is scaled.
        angle: radians, clockwise as seen.
        scale: enlargement.
        shift_px: in x and y.
    """
    side = images.shape[-1]
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    middle = (side - 1) / 2
    flat = (scale[:, None, None] * (mesh_px[..., :2] - middle)) @ turn.mT + middle + shift_px[:, None]
    points = torch.cat([flat, scale[:, None, None] * mesh_px[..., 2:]], dim=-1)
    back = turn.mT / scale[:, None, None]
    # The result's position p shows the picture's back (p - shift); normalized, a side is 2.
    theta = torch.cat([back, -(back @ (shift_px * (2 / side))[..., None])], dim=-1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False), points


def mirrored(
    images: Float[Tensor, "b c s s"], mesh_px: Float[Tensor, "b 478 3"], which: Bool[Tensor, " b"]
) -> tuple[Float[Tensor, "b c s s"], Float[Tensor, "b 478 3"]]:
    """Some pictures mirrored; each vertex is then where its partner of the other side was."""
    partner = torch.as_tensor(mean_face().mirror.copy(), device=mesh_px.device)
    flipped = mesh_px[:, partner]
    flipped = torch.cat([images.shape[-1] - 1 - flipped[..., :1], flipped[..., 1:]], dim=-1)
    return (
        torch.where(which[:, None, None, None], images.flip(-1), images),
        torch.where(which[:, None, None], flipped, mesh_px),
    )


def with_occluded_cheek(
    mesh_px: Float[np.ndarray, "478 3"], *, left: bool, begins: float, beyond: float, squeezed: float
) -> Float[np.ndarray, "478 3"]:
    """Landmarks as in a photo in which a cheek is occluded: they lie on hair and background, close together.

    Lengths are fractions of the distance from the nose's bridge to the face's outline, along the line of the eyes.

    Args:
        mesh_px: of a photo that shows both cheeks.
        left: whether the subject's left cheek (at the image's right) is occluded.
        begins: distance at which the occluded part begins.
        beyond: how far outside the outline that part is moved.
        squeezed: its width there, as a fraction of its own.
    """
    across = (mesh_px[263, :2] - mesh_px[33, :2]) * (1 if left else -1)
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    along = (mesh_px[:, :2] - mesh_px[_BRIDGE, :2]) @ across
    edge = max(float(along[list(FACE_OVAL)].max()), 1e-6)
    distance = along / edge
    occluded = distance > begins
    changed = mesh_px.copy()
    changed[occluded, :2] += ((beyond + (1 - squeezed) * (1 - distance[occluded])) * edge)[:, None] * across
    return changed


def blurred(images: Float[Tensor, "b c h w"], deviation_px: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """Each picture blurred by its own Gaussian, cut off at four pixels; the border is repeated."""
    batch, channels = images.shape[:2]
    offset = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=images.device, dtype=images.dtype)
    bell = torch.exp(-offset.square() / (2 * deviation_px[:, None].square()))
    bell = (bell / bell.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None, None]
    flat = F.pad(images.flatten(0, 1)[None], (_BLUR_REACH,) * 4, mode="replicate")
    flat = F.conv2d(flat, bell, groups=batch * channels)
    return F.conv2d(flat, bell.mT, groups=batch * channels)[0].unflatten(0, (batch, channels))


def quantized(images: Float[Tensor, "b c h w"], step: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """What JPEG leaves: the cosine transform of each 8 x 8 block in whole steps, that grow fourfold with frequency."""
    basis = _cosines().to(images)
    frequency = torch.arange(8, device=images.device, dtype=images.dtype)
    steps = step[:, None, None, None, None, None] * (1 + 3 * (frequency[:, None] + frequency) / 14)
    blocks = images.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    whole = (basis @ blocks @ basis.T / steps).round() * steps
    return (basis.T @ whole @ basis).transpose(3, 4).flatten(4, 5).flatten(2, 3)


@cache
def _cosines() -> Float[Tensor, "8 8"]:
    """The orthonormal cosine transform of 8 values."""
    n = torch.arange(8.0)
    rows = torch.cos(math.pi / 8 * (n + 0.5) * n[:, None]) / 2
    rows[0] /= math.sqrt(2)
    return rows


class _Draws:
    """Random numbers, one a picture."""

    def __init__(self, images: Tensor, rng: torch.Generator | None) -> None:
        self._batch, self._rng = len(images), rng
        self._like = {"device": images.device, "dtype": images.dtype}

    def between(self, low: float, high: float) -> Float[Tensor, "b 1"]:
        return low + (high - low) * torch.rand(self._batch, 1, generator=self._rng, **self._like)

    def chance(self, probability: float) -> Bool[Tensor, " b"]:
        return self.between(0, 1)[:, 0] < probability

    def some(self, probability: float, changed: Tensor, images: Tensor) -> Tensor:
        return torch.where(self.chance(probability)[:, None, None, None], changed, images)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._rng, **self._like)


def _occluded(images: Float[Tensor, "b 3 s s"], draw: _Draws) -> Float[Tensor, "b 3 s s"]:
    """Some pictures with a tilted box or ellipse in front of them, up to half the picture long."""
    batch, _, side, _ = images.shape
    x = torch.linspace(-1, 1, side, device=images.device, dtype=images.dtype)
    dx, dy = (x - draw.between(-0.8, 0.8))[:, None, :], (x - draw.between(-0.8, 0.8))[:, :, None]
    tilt = draw.between(0, math.pi)[:, :, None]
    u = (torch.cos(tilt) * dx + torch.sin(tilt) * dy) / draw.between(0.08, 0.5)[:, :, None]
    v = (torch.cos(tilt) * dy - torch.sin(tilt) * dx) / draw.between(0.08, 0.35)[:, :, None]
    ellipse = u.square() + v.square() < 1
    box = torch.maximum(u.abs(), v.abs()) < 1
    inside = torch.where(draw.chance(0.5)[:, None, None], ellipse, box) & draw.chance(0.5)[:, None, None]
    grain = F.interpolate(draw.normal(batch, 3, _SOFT_GRAIN, _SOFT_GRAIN), (side, side), mode="bilinear")
    shade = draw.normal(batch, 3, 1, 1) + 0.5 * grain
    noise = 0.5 * shade + draw.between(0, 0.3)[:, :, None, None] * draw.normal(*images.shape)
    filling = draw.some(0.5, noise.clamp(-1, 1), images.roll(1, dims=0).flip(-1))
    return torch.where(inside[:, None], filling, images)


def _lit(images: Float[Tensor, "b 3 s s"], how: Augmentation, draw: _Draws) -> Float[Tensor, "b 3 s s"]:
    def factor(most: float) -> Tensor:
        """Between 1 - most and its inverse, evenly in the logarithm."""
        reach = -math.log(1 - most)
        return torch.exp(draw.between(-reach, reach))[:, :, None, None]

    linear = ((images + 1) / 2).clamp_min(1e-4) ** factor(how.light) * factor(how.light)
    if how.light:
        x = torch.linspace(-1, 1, images.shape[-1], device=images.device, dtype=images.dtype)
        slopes = [draw.between(-how.light, how.light)[:, :, None] for _ in "xy"]
        linear = linear * (1 + slopes[0] * x / 2 + slopes[1] * x[:, None] / 2)[:, None]
        mean = linear.mean(dim=(1, 2, 3), keepdim=True)
        linear = mean + factor(how.light) * (linear - mean)
    if how.colour:
        linear = linear * torch.cat([factor(how.colour) for _ in "rgb"], dim=1)
    if how.grey:
        linear = draw.some(how.grey, linear.mean(dim=1, keepdim=True).expand_as(linear), linear)
    return (2 * linear - 1).clamp(-1, 1)
