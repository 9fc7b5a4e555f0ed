"""Encoders of photos and of their warps, and the decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.models.hybrid.config import PATCH, HybridConfig
from reenactor.nn import conv3x3, warp

SLOPE = 0.1
_GROUP = 8
"""Channels that are normalized together."""


def doubled(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size, bilinear."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


def weighted(maps: Float[Tensor, "b k c h w"], weights: Float[Tensor, "b k hw ww"]) -> Float[Tensor, "b c h w"]:
    """The sum over photos, with weights averaged down to the maps' size."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return (maps * F.adaptive_avg_pool2d(weights, (maps.shape[-2], maps.shape[-1]))[:, :, None]).sum(1)


def zero_conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 3x3 convolution whose weights and biases start at zero."""
    conv = conv3x3(channels_in, channels_out)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def activated(channels: int) -> nn.Sequential:
    """Group normalization and LeakyReLU, before a convolution."""
    return nn.Sequential(nn.GroupNorm(channels // _GROUP, channels), nn.LeakyReLU(SLOPE))


class Block(nn.Module):
    """`x + [norm, LeakyReLU, 3x3] twice`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            activated(channels),
            conv3x3(channels, channels, bias=False),
            activated(channels),
            conv3x3(channels, channels),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """(B, channels, h, w) -> the same."""
        return x + self.inner(x)


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Half the size: a 3x3 convolution with stride 2, then a block."""
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1), Block(channels_out))


def merged(channels_in: int, channels_out: int) -> nn.Sequential:
    """For concatenated maps: normalized, or the one of the smallest scale would not count; then a block."""
    return nn.Sequential(activated(channels_in), nn.Conv2d(channels_in, channels_out, 1), Block(channels_out))


class PhotoEncoder(nn.Module):
    """A photo and its raster, unwarped -> features at a quarter of their size."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        side = 2 * PATCH
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(side), nn.Conv2d(6 * side**2, config.width(2), 1), Block(config.width(2))
        )

    def forward(
        self, photos: Float[Tensor, "b 3 h w"], rasters: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b c2 h4 w4"]:
        """(B, 3, 128, 128) in [-1, 1], both -> (B, 64, 32, 32)."""
        return self.stem(torch.cat([photos, rasters], dim=1))


class WarpEncoder(nn.Module):
    """A warped photo, how far it can be trusted, and the driver's raster -> features and a score, one a patch."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(PATCH)
        channels = PATCH**2 * (3 + 3) + 3 + len(FLAGS)
        self.stem = nn.Sequential(conv3x3(channels, config.width(1)), activated(config.width(1)))
        self.score = zero_conv(config.width(1), 1)

    def forward(
        self,
        warped: Float[Tensor, "b 3 h w"],
        driver_raster: Float[Tensor, "b 3 h w"],
        warped_raster: Float[Tensor, "b 3 h2 w2"],
        flags: Float[Tensor, "b 5 h2 w2"],
    ) -> tuple[Float[Tensor, "b c1 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
        """Input, output; sizes at 128 pixels.

        | | shape |
        |---|---|
        | warped, driver_raster | (B, 3, 128, 128) in [-1, 1] |
        | warped_raster | (B, 3, 64, 64): the photo's own, moved with it; it differs in the irises |
        | flags | (B, 5, 64, 64) in [0, 1], `MeshFlow.flags` |
        | features, score | (B, 32, 64, 64), (B, 1, 64, 64); the score is 0 before training |
        """
        features = self.stem(
            torch.cat([self.unshuffle(warped), self.unshuffle(driver_raster), warped_raster, flags], dim=1)
        )
        return features, self.score(features)


class Heads(nn.Module):
    """A learned flow, one a patch; the painting's difference from the warp and the mask's logit, one a pixel."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.out = nn.Sequential(activated(config.width(1)), zero_conv(config.width(1), 2 + PATCH**2 * (3 + 1)))
        self.shuffle = nn.PixelShuffle(PATCH)

    def forward(
        self, x: Float[Tensor, "b c1 h2 w2"]
    ) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
        """Flow, difference, logit; all zeros before training."""
        out = self.out(x)
        difference, logit = self.shuffle(out[:, 2:]).split([3, 1], dim=1)
        return out[:, :2], difference, logit


class Trunk(nn.Module):
    """From the warps' features to the heads: three halvings down and up again."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        c1, c2, c3, c4 = (config.width(level) for level in (1, 2, 3, 4))
        self.reach_ndc = config.reach_ndc
        self.down4, self.down8, self.down16 = down(c1, c2), down(c2, c3), down(c3, c4)
        self.up8 = merged(c4 + c3, c3)
        self.flow8 = nn.Sequential(activated(c3), zero_conv(c3, 2))
        self.up4 = merged(c3 + 2 * c2, c2)
        self.narrow = nn.Conv2d(c2, c1, 1)
        self.up2 = nn.Sequential(activated(2 * c1), conv3x3(2 * c1, c1), activated(c1), conv3x3(c1, c1))
        self.heads = Heads(config)

    def forward(
        self,
        h2: Float[Tensor, "b c1 h2 w2"],
        mesh_flow_ndc: Float[Tensor, "b k 2 h2 w2"],
        weights: Float[Tensor, "b k h2 w2"],
        photos: Float[Tensor, "b k c2 h4 w4"],
    ) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
        """Input, output; sizes at 128 pixels.

        | | shape |
        |---|---|
        | h2 | (B, 32, 64, 64), `WarpEncoder`'s features, summed over photos |
        | mesh_flow_ndc, weights | (B, K, 2, 64, 64), (B, K, 64, 64) |
        | photos | (B, K, 64, 32, 32), `PhotoEncoder`'s features |
        | flow | (B, 2, 64, 64), to be added to the mesh flow of every photo |
        | difference, logit | (B, 3, 128, 128), (B, 1, 128, 128), see `Heads` |
        """
        h4 = self.down4(h2)
        h8 = self.down8(h4)
        u8 = self.up8(torch.cat([doubled(self.down16(h8)), h8], dim=1))
        flow8 = self.reach_ndc * self.flow8(u8).tanh()
        flow4 = F.avg_pool2d(mesh_flow_ndc.flatten(0, 1), 2).unflatten(0, mesh_flow_ndc.shape[:2])
        flow4 = flow4 + doubled(flow8)[:, None]
        moved = warp(photos.flatten(0, 1), flow4.flatten(0, 1)).unflatten(0, photos.shape[:2])
        u4 = self.up4(torch.cat([doubled(u8), h4, weighted(moved, weights)], dim=1))
        u2 = self.up2(torch.cat([doubled(self.narrow(u4)), h2], dim=1))
        flow2, difference, logit = self.heads(u2)
        flow = F.interpolate(flow8, scale_factor=4.0, mode="bilinear", align_corners=False)
        return flow + self.reach_ndc * flow2.tanh(), difference, logit
