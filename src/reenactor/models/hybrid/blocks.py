"""Encoders of photos and of their warps, the trunk, and its head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.models.hybrid.config import PATCH, HybridConfig

_SLOPE = 0.2
_GROUPS = 8
_FLOW_UNIT = 10.0
"""Factor on flows that the network reads: offsets of a tenth of half the picture become 1."""
_LARGEST_FLOW = 0.05
"""Factor on learned flows, which start at 0."""
_FINE = 6
"""Channels that the head hands on at full resolution."""
_KEPT = -3.0
"""Logit of how much of the warp's detail is taken away before training: a twentieth."""


class Block(nn.Module):
    """`x + [norm, LeakyReLU, 3x3] twice`; the second normalization may be modulated by the person's style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(_GROUPS, channels) for _ in range(2))
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = _zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "b c2"] | None = None) -> Tensor:
        """(B, channels, h, w), gains and shifts (B, 2 channels) -> (B, channels, h, w)."""
        h = self.norm2(self.conv1(F.leaky_relu(self.norm1(x), _SLOPE)))
        if style is not None:
            # Split first, then shaped: parts of a map of 1 x 1 crash OpenVINO 2026.4.
            gain, shift = style.chunk(2, 1)
            h = h * (1 + gain[..., None, None]) + shift[..., None, None]
        return x + self.conv2(F.leaky_relu(h, _SLOPE))


class PhotoEncoder(nn.Module):
    """A photo and its raster, unwarped -> features at a quarter of their size, and the person's style."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        w4, w8, w16, w32 = config.widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(PATCH), nn.Conv2d(6 * PATCH**2, w4, 1), Block(w4))
        self.down8 = nn.Sequential(nn.Conv2d(w4, w8, 3, 2, 1), Block(w8))
        self.down32 = nn.Sequential(
            nn.Conv2d(w8, w16, 3, 2, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(w16, w32, 3, 2, 1), nn.LeakyReLU(_SLOPE)
        )
        self.style = _zero(nn.Linear(w32, 2 * sum(config.widths)))

    def forward(
        self, photos: Float[Tensor, "b 3 h w"], rasters: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c h4 w4"], Float[Tensor, "b _"]]:
        """(B, 3, 256, 256) in [-1, 1], both -> features (B, 48, 64, 64), style (B, 672)."""
        features = self.stem(torch.cat([photos, rasters], 1))
        return features, self.style(self.down32(self.down8(features)).mean((2, 3)))


class WarpEncoder(nn.Module):
    """A warped photo and all that is known about it -> features and a score, one a patch."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        w = config.base_width
        self.unshuffle = nn.PixelUnshuffle(PATCH)
        self.stem = nn.Conv2d(7 * PATCH**2 + len(FLAGS) + 2, w, 1)
        self.mix = nn.Conv2d(2 * w, w, 1)
        self.score = _zero(nn.Conv2d(w, 1, 1))

    def forward(
        self,
        warped: Float[Tensor, "b 3 h w"],
        raster: Float[Tensor, "b 3 h w"],
        holes: Float[Tensor, "b 1 h w"],
        flags: Float[Tensor, "b 5 h4 w4"],
        flow_ndc: Float[Tensor, "b 2 h4 w4"],
        moved: Float[Tensor, "b c h4 w4"],
    ) -> tuple[Float[Tensor, "b c h4 w4"], Float[Tensor, "b 1 h4 w4"]]:
        """Input, output; sizes at 256 pixels.

        | | shape |
        |---|---|
        | warped, raster, holes | (B, 3, 256, 256) in [-1, 1], the driver's raster, (B, 1, 256, 256) |
        | flags, flow_ndc | (B, 5, 64, 64), (B, 2, 64, 64): `MeshFlow`'s |
        | moved | (B, 48, 64, 64) the photo's features, moved |
        | features, score | (B, 48, 64, 64), (B, 1, 64, 64); the score is 0 before training |
        """
        pictures = self.unshuffle(torch.cat([warped, raster, holes], 1))
        h = self.stem(torch.cat([pictures, flags, flow_ndc * _FLOW_UNIT], 1))
        h = self.mix(torch.cat([h, moved], 1))
        return h, self.score(h)


class Trunk(nn.Module):
    """From the warps' features to the head: three halvings down and up again."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        w4, w8, w16, w32 = config.widths
        self.block4 = Block(w4)
        self.down8, self.block8 = nn.Conv2d(w4, w8, 3, 2, 1), Block(w8)
        self.down16, self.block16 = nn.Conv2d(w8, w16, 3, 2, 1), Block(w16)
        self.down32 = nn.Conv2d(w16, w32, 3, 2, 1)
        self.block32, self.last32 = Block(w32), Block(w32)
        self.up16, self.out16 = nn.Conv2d(w32 + w16, w16, 1), Block(w16)
        self.up8, self.out8 = nn.Conv2d(w16 + w8, w8, 1), Block(w8)
        self.up4, self.out4, self.last4 = nn.Conv2d(w8 + w4, w4, 1), Block(w4), Block(w4)
        self.flow = _zero(nn.Conv2d(w4, 2, 3, padding=1))
        self.fine = nn.Sequential(nn.Conv2d(w4, (_FINE + 1) * PATCH**2, 1), nn.PixelShuffle(PATCH))
        self.styles = [2 * w32, 2 * w16, 2 * w8, 2 * w4]

    def forward(
        self, h: Float[Tensor, "b c h4 w4"], style: Float[Tensor, "b _"]
    ) -> tuple[Float[Tensor, "b 2 h4 w4"], Float[Tensor, "b 6 h w"], Float[Tensor, "b 1 h w"]]:
        """Input, output; sizes at 256 pixels.

        | | shape |
        |---|---|
        | h, style | (B, 48, 64, 64), (B, 672) |
        | flow | (B, 2, 64, 64), to be added to the mesh flow of every photo; 0 before training |
        | fine | (B, 6, 256, 256), for `Head` |
        | blur | (B, 1, 256, 256), logit of how much of the warp's detail is wrong |
        """
        s32, s16, s8, s4 = style.split(self.styles, 1)
        h4 = self.block4(h)
        h8 = self.block8(self.down8(h4))
        h16 = self.block16(self.down16(h8))
        h = self.last32(self.block32(self.down32(h16)), s32)
        h = self.out16(self.up16(torch.cat([_doubled(h), h16], 1)), s16)
        h = self.out8(self.up8(torch.cat([_doubled(h), h8], 1)), s8)
        h = F.leaky_relu(self.last4(self.out4(self.up4(torch.cat([_doubled(h), h4], 1))), s4), _SLOPE)
        fine, blur = self.fine(h).split([_FINE, 1], 1)
        return _LARGEST_FLOW * self.flow(h), fine, blur + _KEPT


class Head(nn.Module):
    """The difference to add to the warped photo; 0 before training."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_FINE + 3 + 3 + 1, 16, 3, padding=1)
        self.conv2 = _zero(nn.Conv2d(16, 3, 3, padding=1))

    def forward(
        self,
        fine: Float[Tensor, "b 6 h w"],
        warped: Float[Tensor, "b 3 h w"],
        raster: Float[Tensor, "b 3 h w"],
        holes: Float[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Features, warped photo, the driver's raster, holes -> RGB."""
        return self.conv2(F.leaky_relu(self.conv1(torch.cat([fine, warped, raster, holes], 1)), _SLOPE))


def _doubled(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


def _zero(layer: nn.Conv2d | nn.Linear):
    """The layer, with weights and biases of 0."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
