"""Encoders of photos and of their warps, and the decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.models.hybrid.config import HybridConfig
from reenactor.nn import ImageAttentionBlock, conv3x3, warp

SLOPE = 0.1
_GROUP = 8
"""Channels that are normalized together."""


def warp_cubic(pictures: Float[Tensor, "b c h w"], flow_ndc: Float[Tensor, "b 2 hf wf"]) -> Float[Tensor, "b c hf wf"]:
    """Bicubic sampling at the flow's resolution; sharper than `nn.warp`, may overshoot. The border repeats."""
    kind = torch.promote_types(pictures.dtype, torch.float32)
    height, width = flow_ndc.shape[-2:]
    x = (2 * torch.arange(width, dtype=kind, device=flow_ndc.device) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=kind, device=flow_ndc.device) + 1) / height - 1
    grid = torch.stack([x + flow_ndc[:, 0], y[:, None] + flow_ndc[:, 1]], dim=-1).nan_to_num()
    return F.grid_sample(pictures.to(kind), grid, mode="bicubic", padding_mode="border", align_corners=False)


def resized(maps: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c s s"]:
    """To `size` pixels a side: averages where it shrinks, bilinear where it grows."""
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False, antialias=maps.shape[-1] > size)


def doubled(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size, bilinear."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)


def weighted(maps: Float[Tensor, "b k c h w"], weights: Float[Tensor, "b k hw ww"]) -> Float[Tensor, "b c h w"]:
    """The sum over photos, with weights averaged down to the maps' size."""
    if maps.shape[1] == 1:
        return maps[:, 0]
    return (maps * F.adaptive_avg_pool2d(weights, (maps.shape[-2], maps.shape[-1]))[:, :, None]).sum(1)


def zero_conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 3x3 convolution that gives zeros until it has learned."""
    conv = conv3x3(channels_in, channels_out)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def activated(channels: int) -> nn.Sequential:
    """Group normalization, LeakyReLU: what stands before a convolution."""
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
    """Maps laid beside each other are brought to one scale, or the smallest would not be seen; then a block."""
    return nn.Sequential(activated(channels_in), nn.Conv2d(channels_in, channels_out, 1), Block(channels_out))


class PhotoEncoder(nn.Module):
    """A photo and its raster, unwarped -> features at half and, for attention, a quarter of the places."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        cell = 2 * config.cell
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(cell), nn.Conv2d(6 * cell**2, config.width(2), 1), Block(config.width(2))
        )
        self.down = down(config.width(2), config.width(3)) if config.attention else None

    def forward(
        self, photos: Float[Tensor, "b 3 h w"], rasters: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c2 h4 w4"], Float[Tensor, "b c3 h8 w8"] | None]:
        """Input, output; sizes at 128 pixels and cells of 2.

        | | shape |
        |---|---|
        | photos, rasters | (B, 3, 128, 128) in [-1, 1] |
        | fine, coarse | (B, 64, 32, 32), (B, 96, 16, 16); None without attention |
        """
        fine = self.stem(torch.cat([photos, rasters], dim=1))
        return fine, self.down(fine) if self.down is not None else None


class WarpEncoder(nn.Module):
    """A warped photo, how far it can be trusted, and what is wanted -> features and a score, one a cell."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(config.cell)
        channels = config.cell**2 * (3 + 3) + 3 + len(FLAGS)
        self.stem = nn.Sequential(conv3x3(channels, config.width(1)), activated(config.width(1)))
        self.score = zero_conv(config.width(1), 1)

    def forward(
        self,
        warped: Float[Tensor, "b 3 h w"],
        wanted_raster: Float[Tensor, "b 3 h w"],
        warped_raster: Float[Tensor, "b 3 h2 w2"],
        flags: Float[Tensor, "b 5 h2 w2"],
    ) -> tuple[Float[Tensor, "b c1 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
        """Input, output; sizes at 128 pixels and cells of 2.

        | | shape |
        |---|---|
        | warped, wanted_raster | (B, 3, 128, 128) in [-1, 1] |
        | warped_raster | (B, 3, 64, 64): the photo's own, moved with it; it differs in the irises |
        | flags | (B, 5, 64, 64) in [0, 1], `MeshFlow.flags` |
        | features, score | (B, 32, 64, 64), (B, 1, 64, 64); 0 before training |
        """
        features = self.stem(
            torch.cat([self.unshuffle(warped), self.unshuffle(wanted_raster), warped_raster, flags], dim=1)
        )
        return features, self.score(features)


class Heads(nn.Module):
    """A learned flow, one a cell; the painting's difference from the warp and the mask's logit, one a pixel."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        inside = config.cell**2 * (3 + 1)
        self.out = nn.Sequential(activated(config.width(1)), zero_conv(config.width(1), 2 + inside))
        self.detail = None
        if config.cell > 2:
            wide = 3 * config.width(1) // 2
            self.unshuffle = nn.PixelUnshuffle(config.cell)
            self.detail = nn.Sequential(
                conv3x3(config.width(1) + config.cell**2 * 3, wide), activated(wide), zero_conv(wide, inside)
            )
        self.shuffle = nn.PixelShuffle(config.cell)

    def forward(
        self, x: Float[Tensor, "b c1 h2 w2"], warped: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
        """All zeros before training."""
        out = self.out(x)
        flow, rest = out[:, :2], out[:, 2:]
        if self.detail is not None:
            rest = rest + self.detail(torch.cat([x, self.unshuffle(warped)], dim=1))
        difference, logit = self.shuffle(rest).split([3, 1], dim=1)
        return flow, difference, logit


class Trunk(nn.Module):
    """From the warps' features to the heads: three halvings down, attention after two, and up again."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        c1, c2, c3, c4 = (config.width(halvings) for halvings in (1, 2, 3, 4))
        self.reach_ndc = config.reach_ndc
        self.down4, self.down8, self.down16 = down(c1, c2), down(c2, c3), down(c3, c4)
        self.attention = ImageAttentionBlock(c3, c3, config.attention_width) if config.attention else None
        self.up8 = merged(c4 + c3, c3)
        self.flow8 = nn.Sequential(activated(c3), zero_conv(c3, 2))
        self.up4 = merged(c3 + 2 * c2, c2)
        self.narrow = nn.Conv2d(c2, c1, 1)
        self.up2 = nn.Sequential(activated(2 * c1), conv3x3(2 * c1, c1), activated(c1), conv3x3(c1, c1))
        self.heads = Heads(config)

    def forward(
        self,
        h2: Float[Tensor, "b c1 h2 w2"],
        warped: Float[Tensor, "b 3 h w"],
        mesh_flow_ndc: Float[Tensor, "b k 2 h2 w2"],
        weights: Float[Tensor, "b k h2 w2"],
        fine: Float[Tensor, "b k c2 h4 w4"],
        coarse: Float[Tensor, "#b k c3 h8 w8"] | None,
    ) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 3 h w"], Float[Tensor, "b 1 h w"]]:
        """Input, output; sizes at 128 pixels and cells of 2.

        | | shape |
        |---|---|
        | h2 | (B, 32, 64, 64), `WarpEncoder`'s features, summed over photos |
        | warped | (B, 3, 128, 128), the photos moved by the mesh flow, summed alike |
        | mesh_flow_ndc, weights | (B, K, 2, 64, 64), (B, K, 64, 64) |
        | fine, coarse | (B, K, 64, 32, 32), (B or 1, K, 96, 16, 16), `PhotoEncoder`'s |
        | flow | (B, 2, 64, 64), to be added to the mesh flow of every photo |
        | difference, logit | (B, 3, 128, 128), (B, 1, 128, 128), see `Heads` |
        """
        h4 = self.down4(h2)
        h8 = self.down8(h4)
        if self.attention is not None and coarse is not None:
            h8, _ = self.attention(h8, coarse)
        u8 = self.up8(torch.cat([doubled(self.down16(h8)), h8], dim=1))
        flow8 = self.reach_ndc * self.flow8(u8).tanh()
        flow4 = F.avg_pool2d(mesh_flow_ndc.flatten(0, 1), 2).unflatten(0, mesh_flow_ndc.shape[:2])
        flow4 = flow4 + doubled(flow8)[:, None]
        moved = warp(fine.flatten(0, 1), flow4.flatten(0, 1)).unflatten(0, fine.shape[:2])
        u4 = self.up4(torch.cat([doubled(u8), h4, weighted(moved, weights)], dim=1))
        u2 = self.up2(torch.cat([doubled(self.narrow(u4)), h2], dim=1))
        flow2, difference, logit = self.heads(u2, warped)
        flow = F.interpolate(flow8, scale_factor=4.0, mode="bilinear", align_corners=False)
        return flow + self.reach_ndc * flow2.tanh(), difference, logit
