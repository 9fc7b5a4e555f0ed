"""Residual blocks of BigGAN (Brock, Donahue and Simonyan 2019, figure 15) and of ResNet (He et al. 2016)."""

from __future__ import annotations

from enum import Enum

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Resample(Enum):
    """Change of the map's size by a block."""

    DOWN = "half the size"
    SAME = "the same size"
    UP = "twice the size"


class Norm(Enum):
    """The layer before each ReLU."""

    INSTANCE = "instance normalization with learned gain and bias"
    NONE = "nothing"


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """The layer that `norm` names."""
    return nn.InstanceNorm2d(channels, affine=True) if norm is Norm.INSTANCE else nn.Identity()


def conv3x3(channels_in: int, channels_out: int, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


class ResidualBlock(nn.Module):
    """`[norm, ReLU, (x2), 3x3, norm, ReLU, 3x3, (/2)] + [1x1, resampled]`, the norm of paper B instead of BatchNorm.

    Upsampling is by nearest neighbours, downsampling by 2x2 averages.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        resample: what happens to the size.
        norm: before each ReLU.
        wide: downsampling blocks only: the inner map has the output's channels (BigGAN's "wide"), else the input's.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, resample: Resample, norm: Norm, wide: bool = True
    ) -> None:
        super().__init__()
        inner = channels_in if resample is Resample.DOWN and not wide else channels_out
        self.resample = resample
        self.norm1 = norm_layer(norm, channels_in)
        # A bias that goes straight into instance normalization is subtracted again.
        self.conv1 = conv3x3(channels_in, inner, bias=norm is Norm.NONE)
        self.norm2 = norm_layer(norm, inner)
        self.conv2 = conv3x3(inner, channels_out)
        plain = resample is Resample.SAME and channels_in == channels_out
        # conv2 has a bias already; a second one would only add to it.
        self.skip = nn.Identity() if plain else nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Input, output.

        | | shape |
        |---|---|
        | x | (B, channels_in, h, w), not yet activated; h and w even for `DOWN` |
        | result | (B, channels_out, h, w), (.., h/2, w/2) or (.., 2h, 2w), not activated |
        """
        h = F.relu(self.norm1(x))
        if self.resample is Resample.UP:
            h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        h = self.conv2(F.relu(self.norm2(self.conv1(h))))
        # The 1x1 convolution commutes with both ways of resampling: it runs at the smaller size.
        if self.resample is Resample.DOWN:
            return F.avg_pool2d(h, 2) + self.skip(F.avg_pool2d(x, 2))
        if self.resample is Resample.UP:
            return h + F.interpolate(self.skip(x), scale_factor=2.0, mode="nearest")
        return h + self.skip(x)


def conv_norm(channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (or halves it) and batch normalization, which folds away in export."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class BasicBlock(nn.Module):
    """ResNet's: `ReLU([3x3, norm, ReLU, 3x3, norm] + skip)`; skip is a 1x1 convolution where size or channels change.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        stride: 1, or 2 to halve the size.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv_norm(channels_in, channels_out, stride=stride)
        self.conv2 = conv_norm(channels_out, channels_out)
        same = stride == 1 and channels_in == channels_out
        self.skip = nn.Identity() if same else conv_norm(channels_in, channels_out, kernel=1, stride=stride)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Input, output.

        | | shape |
        |---|---|
        | x | (B, channels_in, h, w) |
        | result | (B, channels_out, h / stride, w / stride), >= 0 |
        """
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.skip(x))
