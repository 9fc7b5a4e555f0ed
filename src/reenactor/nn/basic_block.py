"""ResNet's basic blocks (He et al. 2016), for networks that read pictures. Batch normalization folds away in export."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def conv_norm(channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size (or halves it) and batch normalization."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class BasicBlock(nn.Module):
    """`ReLU([3x3, norm, ReLU, 3x3, norm] + skip)`; the skip is a 1x1 convolution where size or channels change.

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
