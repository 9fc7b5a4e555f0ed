"""Patch discriminators: pix2pix's (Isola et al. 2017), one a scale (Wang et al. 2018), and a projection head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

_SLOPE = 0.2


@dataclass(frozen=True)
class PatchScores:
    """A patch discriminator's result for each picture.

    Args:
        scores: one a patch; the larger the more real.
        features: outputs of the layers before (largest first), for feature matching.
    """

    scores: Float[Tensor, "b 1 hp wp"]
    features: tuple[Float[Tensor, "b _ _ _"], ...]


class PatchGAN(nn.Module):
    """4x4 convolutions, LeakyReLU 0.2; instance normalization in all but the first and the last; no sigmoid.

    Args:
        channels_in: of the picture.
        width: channels of the first layer; doubled in each ...
        max_width: ... up to this.
        halvings: layers with stride 2; one with stride 1 and the scores' follow. 3 see patches of 70 pixels, 2 of 34.
    """

    def __init__(self, channels_in: int, *, width: int = 64, max_width: int = 512, halvings: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for layer in range(halvings + 1):
            channels_out = min(width * 2**layer, max_width)
            # A bias that goes straight into instance normalization is subtracted again.
            conv = nn.Conv2d(
                channels_in, channels_out, 4, stride=2 if layer < halvings else 1, padding=1, bias=layer == 0
            )
            norm = nn.InstanceNorm2d(channels_out) if layer > 0 else nn.Identity()
            self.layers.append(nn.Sequential(conv, norm, nn.LeakyReLU(_SLOPE)))
            channels_in = channels_out
        self.score = nn.Conv2d(channels_in, 1, 4, padding=1)

    def forward(self, images: Float[Tensor, "b c h w"]) -> PatchScores:
        """Scores of each patch.

        | | shape, with 3 halvings of 256 pixels |
        |---|---|
        | images | (B, channels_in, 256, 256) |
        | features | (B, 64, 128, 128), (B, 128, 64, 64), (B, 256, 32, 32), (B, 512, 31, 31) |
        | scores | (B, 1, 30, 30) |
        """
        features, h = [], images
        for layer in self.layers:
            h = layer(h)
            features.append(h)
        return PatchScores(self.score(h), tuple(features))


class MultiScalePatchGAN(nn.Module):
    """A patch discriminator for each of several sizes of the picture: its own, a half, a quarter, ...

    Args:
        channels_in: of the picture.
        width: channels of the first layers.
        max_width: of any layer.
        halvings: of each scale's discriminator, the largest scale first.
    """

    def __init__(
        self, channels_in: int, *, width: int = 64, max_width: int = 512, halvings: Sequence[int] = (3, 2, 2)
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            PatchGAN(channels_in, width=width, max_width=max_width, halvings=count) for count in halvings
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[PatchScores, ...]:
        """Each scale's result, the largest scale first; pictures shrink by 2x2 averages.

        Args:
            images: (B, channels_in, H, W).
        """
        results = []
        for number, scale in enumerate(self.scales):
            if number > 0:
                images = F.avg_pool2d(images, 2)
            results.append(scale(images))
        return tuple(results)


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
        """`score(features) + <embedding(identity), features>` at each position.

        | | shape |
        |---|---|
        | features | (B, channels, h, w), activated |
        | identity | (B,) whole numbers 0..identities-1 |
        | result | (B, 1, h, w), the larger the more real |
        """
        embedding = self.identity(identity)[..., None, None]
        return self.score(features) + (embedding * features).sum(dim=1, keepdim=True)
