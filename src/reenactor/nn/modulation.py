"""Normalization set by another input: AdaIN by a style vector, SPADE by a map.

AdaIN: Huang and Belongie 2017. SPADE: Park et al. 2019, in the form that paper A's code gives it.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.nn.residual import conv3x3


class AdaIN(nn.Module):
    """Instance normalization whose gain and bias are a linear function of a style vector."""

    def __init__(self, channels: int, style_width: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style_width, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "#b s"]) -> Float[Tensor, "b c h w"]:
        """`(1 + gain(style)) * (x - mean) / std + bias(style)`, mean and std over each map of x.

        | | shape |
        |---|---|
        | x | (B, channels, h, w) |
        | style | (B or 1, style_width) |
        | result | (B, channels, h, w) |
        """
        gain, bias = self.affine(style)[..., None, None].chunk(2, dim=1)
        return (1 + gain) * F.instance_norm(x) + bias


class AdaINResidualBlock(nn.Module):
    """`x + [AdaIN, ReLU, 3x3, AdaIN, ReLU, 3x3]`, the size and channels kept."""

    def __init__(self, channels: int, style_width: int) -> None:
        super().__init__()
        self.adain1 = AdaIN(channels, style_width)
        self.conv1 = conv3x3(channels, channels, bias=False)
        self.adain2 = AdaIN(channels, style_width)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Float[Tensor, "b c h w"], style: Float[Tensor, "#b s"]) -> Float[Tensor, "b c h w"]:
        """Input, output.

        | | shape |
        |---|---|
        | x | (B, channels, h, w) |
        | style | (B or 1, style_width) |
        | result | (B, channels, h, w) |
        """
        h = self.conv1(F.relu(self.adain1(x, style)))
        return x + self.conv2(F.relu(self.adain2(h, style)))


class SPADE(nn.Module):
    """Instance normalization whose gain and bias are, at each position, a linear function of the map around it.

    Unlike in the SPADE paper there is no hidden layer between map and gain, and the gain is gamma, not 1 + gamma. Fresh
    weights have gains around 1; a gain around 0 where the map is empty would delete the features there.

    Args:
        channels: of the features.
        map_channels: of the map.
    """

    def __init__(self, channels: int, map_channels: int) -> None:
        super().__init__()
        # Gamma's and beta's convolutions side by side in one.
        self.affine = conv3x3(map_channels, 2 * channels)
        bias = self.affine.bias
        assert bias is not None
        nn.init.ones_(bias[:channels])
        nn.init.zeros_(bias[channels:])

    def forward(self, x: Float[Tensor, "b c h w"], spatial_map: Float[Tensor, "b m h w"]) -> Float[Tensor, "b c h w"]:
        """`gamma(map) * (x - mean) / std + beta(map)`, mean and std over each map of x; gamma, beta 3x3 convolutions.

        | | shape |
        |---|---|
        | x | (B, channels, h, w) |
        | spatial_map | (B, map_channels, h, w), resized to x's size |
        | result | (B, channels, h, w) |
        """
        gamma, beta = self.affine(spatial_map).chunk(2, dim=1)
        return gamma * F.instance_norm(x) + beta


class SPADEResidualBlock(nn.Module):
    """`[SPADE, ReLU, conv, SPADE, ReLU, conv] + [SPADE, ReLU, conv]`, the size and channels kept.

    Args:
        channels: of the features.
        map_channels: of the map.
        kernel: side of the three convolutions, odd; 1 in paper A's code, 3 in the SPADE paper.
    """

    def __init__(self, channels: int, map_channels: int, *, kernel: int = 1) -> None:
        super().__init__()

        def conv(*, bias: bool) -> nn.Conv2d:
            return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=bias)

        self.spade1 = SPADE(channels, map_channels)
        # The next SPADE subtracts a bias again; the skip's would only add to conv2's.
        self.conv1 = conv(bias=False)
        self.spade2 = SPADE(channels, map_channels)
        self.conv2 = conv(bias=True)
        self.spade_skip = SPADE(channels, map_channels)
        self.skip = conv(bias=False)

    def forward(self, x: Float[Tensor, "b c h w"], spatial_map: Float[Tensor, "b m h w"]) -> Float[Tensor, "b c h w"]:
        """Input, output.

        | | shape |
        |---|---|
        | x | (B, channels, h, w), not yet activated |
        | spatial_map | (B, map_channels, h, w), resized to x's size |
        | result | (B, channels, h, w), not activated |
        """
        h = self.conv1(F.relu(self.spade1(x, spatial_map)))
        h = self.conv2(F.relu(self.spade2(h, spatial_map)))
        return h + self.skip(F.relu(self.spade_skip(x, spatial_map)))
