"""Pixel by pixel comparison of pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def weighted_l1(
    ours: Float[Tensor, "b c h w"],
    theirs: Float[Tensor, "b c h w"],
    weights: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean of `|ours - theirs|` in each picture, and the mean of that over the batch.

    Each picture is divided by its own weights' sum, so that a batch counts as the mean of its pictures, however it is
    divided among steps or machines. A picture without any weight counts as a distance of 0.

    Args:
        ours: pictures or feature maps.
        theirs: the same of what they should be.
        weights: of the pixels, at least 0; a mask leaves pixels out. None for equal weights.
    """
    kind = torch.promote_types(ours.dtype, torch.float32)
    distance = (ours.to(kind) - theirs.to(kind)).abs()
    if weights is None:
        return distance.mean()
    weights = weights.to(kind)
    whole = weights.sum(dim=(1, 2, 3)).clamp_min(torch.finfo(kind).tiny)
    return ((weights * distance.mean(dim=1, keepdim=True)).sum(dim=(1, 2, 3)) / whole).mean()


def truth_outside(
    drawn: Float[Tensor, "b c h w"], truth: Float[Tensor, "b c h w"], mask: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b c h w"]:
    """The drawn picture inside the mask, the true one outside, so that nothing is compared there."""
    return mask * drawn + (1 - mask) * truth


def psnr_of_each(
    ours: Float[Tensor, "b c h w"], theirs: Float[Tensor, "b c h w"], mask: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, " b"]:
    """PSNR of each of the pictures in [-1, 1] inside the mask, dB.

    Papers' tables are made with `reenactor.research.metrics`, which models do not see.
    """
    error = (ours.float() - theirs).square().mean(dim=1, keepdim=True)
    mean = (error * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    return 10 * torch.log10(4 / mean.clamp_min(1e-10))


def masked_psnr(
    ours: Float[Tensor, "b c h w"], theirs: Float[Tensor, "b c h w"], mask: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """The mean of `psnr_of_each`: to watch training by."""
    return psnr_of_each(ours, theirs, mask).mean()
