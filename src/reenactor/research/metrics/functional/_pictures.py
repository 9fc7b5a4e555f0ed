"""What picture metrics share: their input, and the Gaussian window of SSIM."""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

Pictures: TypeAlias = Float[Tensor, "b 3 h w"] | UInt8[Tensor, "b 3 h w"]
"""RGB, float in [-1, 1] or uint8."""

WINDOW_PX = 11
_SIGMA_PX = 1.5


def in_01(pictures: Pictures) -> Float[Tensor, "b 3 h w"]:
    """Either form of pictures in [0, 1]."""
    if pictures.dtype == torch.uint8:
        return pictures.float() / 255
    return (pictures.to(torch.promote_types(pictures.dtype, torch.float32)) + 1) / 2


def pair_in_01(drawn: Pictures, truth: Pictures) -> tuple[Tensor, Tensor]:
    """Two batches to be compared, both in [0, 1]."""
    if drawn.shape != truth.shape:
        raise ValueError(f"pictures to be compared differ in shape: {tuple(drawn.shape)} and {tuple(truth.shape)}")
    return in_01(drawn), in_01(truth)


def masked_mean(values: Float[Tensor, "b c h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Mean with the mask as weight; NaN where it is empty."""
    return (values * mask).sum(dim=(1, 2, 3)) / (values.shape[1] * mask.sum(dim=(1, 2, 3)))


def gaussian_blur(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Sigma 1.5, cut off at 5 pixels; beyond its edges the picture is mirrored, edge pixels repeated (as in SciPy)."""
    if min(x.shape[-2:]) < WINDOW_PX:
        raise ValueError(f"pictures must be at least {WINDOW_PX} pixels wide and high, got {tuple(x.shape)}")
    kernel, channels = _kernel().to(x), x.shape[1]
    x = x[..., _mirrored(x.shape[-2]), :][..., _mirrored(x.shape[-1])]
    x = F.conv2d(x, kernel.expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, kernel[:, None].expand(channels, 1, -1, 1), groups=channels)


@cache
def _kernel() -> Float[Tensor, "11"]:
    x = torch.arange(WINDOW_PX, dtype=torch.float64) - WINDOW_PX // 2
    weights = torch.exp(-(x**2) / (2 * _SIGMA_PX**2))
    return weights / weights.sum()


def _mirrored(length: int) -> list[int]:
    r = WINDOW_PX // 2
    return [*range(r - 1, -1, -1), *range(length), *range(length - 1, length - r - 1, -1)]
