"""Adversarial losses on patch scores, of one discriminator or of several at several scales (their losses add up)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Scores = Float[Tensor, "b *patches"] | Sequence[Float[Tensor, "_ *_"]]
"""The larger the more real; a map of patches, or several: one at each scale, or of other parts of the picture."""


def hinge_generator(fake: Scores) -> Float[Tensor, ""]:
    """`-mean D(fake)` (paper B, equation 11)."""
    return _total(-score.mean() for score in _scales(fake))


def hinge_discriminator(real: Scores, fake: Scores) -> Float[Tensor, ""]:
    """`mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))` (paper B, equation 10)."""
    pairs = zip(_scales(real), _scales(fake), strict=True)
    return _total(F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in pairs)


def least_squares_generator(fake: Scores) -> Float[Tensor, ""]:
    """`mean (D(fake) - 1)^2` (Mao et al. 2017, with pix2pixHD's factors: paper A)."""
    return _total((score - 1).square().mean() for score in _scales(fake))


def least_squares_discriminator(real: Scores, fake: Scores) -> Float[Tensor, ""]:
    """`(mean (D(real) - 1)^2 + mean D(fake)^2) / 2` (Mao et al. 2017, equation 9: paper A)."""
    pairs = zip(_scales(real), _scales(fake), strict=True)
    return _total(((r - 1).square().mean() + f.square().mean()) / 2 for r, f in pairs)


def mean_score(scores: Scores) -> Float[Tensor, ""]:
    """Mean over the pictures' patches, and over scales; no gradients."""
    return torch.stack([score.detach().mean() for score in _scales(scores)]).mean()


def _scales(scores: Scores) -> list[Tensor]:
    """In float32 at least: means of bfloat16 have three digits."""
    maps = [scores] if isinstance(scores, Tensor) else scores
    return [one.to(torch.promote_types(one.dtype, torch.float32)) for one in maps]


def _total(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
