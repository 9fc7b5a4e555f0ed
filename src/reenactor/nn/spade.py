"""Spatially adaptive normalization (Park et al. 2019, "SPADE"), in the form that paper A's code gives it."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.nn.residual import conv3x3


class SPADE(nn.Module):
    """Instance normalization whose gain and bias are, at each place, a linear function of the map around it.

    Unlike in the SPADE paper there is no hidden layer between map and gain, and the gain is gamma, not 1 + gamma. Fresh
    weights have gains around 1, as learned gains of normalization layers have; a gain around 0 where the map is empty
    would begin by deleting what lies there.

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
