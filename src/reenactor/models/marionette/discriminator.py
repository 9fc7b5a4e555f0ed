"""MarioNETte's patch discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from reenactor.models.marionette.blocks import down_blocks
from reenactor.models.marionette.config import MarioNETteConfig
from reenactor.nn import Norm, PatchProjection, PatchScores, add_spectral_norm, conv3x3


class MarioNETteDiscriminator(nn.Module):
    """D(x^, r^, c): residual blocks without normalization layers or attention; spectral normalization on every layer.

    Args:
        config: the generator's.
        identities: people (videos) in the training set.
    """

    def __init__(self, config: MarioNETteConfig, identities: int) -> None:
        super().__init__()
        self.stem = conv3x3(6, config.width(0))
        self.down = down_blocks(config, config.discriminator_blocks, Norm.NONE)
        self.head = PatchProjection(config.width(config.discriminator_blocks), identities)
        add_spectral_norm(self)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], rasters: Float[Tensor, "b 3 h w"], identity: Int[Tensor, " b"]
    ) -> PatchScores:
        """Input, output; sizes of the `paper` config.

        | | shape | paper |
        |---|---|---|
        | images, rasters | (B, 3, 256, 256) in [-1, 1] | x^, r^ |
        | identity | (B,) whole numbers 0..identities-1 | c |
        | scores | (B, 1, 8, 8) | D(x^, r^, c), equation 10 |
        | features | (B, 128, 128, 128) .. (B, 512, 8, 8) | feature matching, equation 12 |
        """
        h = self.stem(torch.cat([images, rasters], dim=1))
        features = []
        for block in self.down:
            h = block(h)
            features.append(h)
        return PatchScores(self.head(F.relu(h), identity), tuple(features))
