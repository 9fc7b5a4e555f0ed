"""Parts of patch discriminators."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn


class PatchProjection(nn.Module):
    """A projection discriminator's head (Miyato and Koyama 2018) without its global sum: one score a patch (paper B).

    Args:
        channels: of the features.
        identities: people that the embedding knows.
    """

    def __init__(self, channels: int, identities: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, 1, 1)
        self.identity = nn.Embedding(identities, channels)

    def forward(self, features: Float[Tensor, "b c h w"], identity: Int[Tensor, " b"]) -> Float[Tensor, "b 1 h w"]:
        """`score(features) + <embedding(identity), features>` at each place.

        | | shape |
        |---|---|
        | features | (B, channels, h, w), activated |
        | identity | (B,) whole numbers 0..identities-1 |
        | result | (B, 1, h, w), the larger the more real |
        """
        wanted = self.identity(identity)[..., None, None]
        return self.score(features) + (wanted * features).sum(dim=1, keepdim=True)
