"""Adaptive instance normalization (Huang and Belongie 2017): a style vector sets gain and bias."""

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
