"""Pictures against the truth: PSNR, SSIM, both within a mask, and sharpness.

Pictures are brought to [0, 1] first. For SSIM that matters: its brightness term is not free of the origin, so the same
pictures give another number in [-1, 1] with a data range of 2.
"""

from __future__ import annotations

from enum import Enum

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.research.metrics.functional._pictures import (
    WINDOW_PX,
    Pictures,
    gaussian_blur,
    in_01,
    masked_mean,
    pair_in_01,
)

_C1, _C2 = 0.01**2, 0.03**2
_LUMA = (0.299, 0.587, 0.114)


class Outside(Enum):
    """What masked metrics make of the pixels outside of the mask."""

    LEFT_OUT = "left out"
    """They do not count: the mean is taken over the mask."""
    BLACK = "black"
    """Both pictures are black there, and the mean is taken over the whole frame. Paper B does not say what it did, but
    its M-SSIM and M-PSNR lie as far above its SSIM and PSNR (.94 to .72, 32 to 23 dB) as this puts them."""


def psnr(drawn: Pictures, truth: Pictures) -> Float[Tensor, " b"]:
    """`-10 log10(mean (drawn - truth)^2)` of pictures in [0, 1]: dB, infinite for equal pictures.

    Args:
        drawn: (B, 3, H, W) RGB, float in [-1, 1] or uint8.
        truth: likewise.

    Returns:
        (B,). Paper B, table 1: the whole frame, the mean over pictures.
    """
    a, b = pair_in_01(drawn, truth)
    return _decibel(((a - b) ** 2).mean(dim=(1, 2, 3)))


def m_psnr(
    drawn: Pictures, truth: Pictures, mask: Float[Tensor, "b 1 h w"], *, outside: Outside = Outside.LEFT_OUT
) -> Float[Tensor, " b"]:
    """`psnr` of the face: the squared error's mean has the mask as weight.

    Args:
        drawn: (B, 3, H, W) RGB, float in [-1, 1] or uint8.
        truth: likewise.
        mask: (B, 1, H, W) in [0, 1]: paper B's "facial region", for us the hull of the truth's 68 landmarks.
        outside: what becomes of the rest.

    Returns:
        (B,) dB; NaN where nothing is inside. Paper B, table 1.
    """
    a, b = pair_in_01(drawn, truth)
    if outside is Outside.BLACK:
        return _decibel(((a * mask - b * mask) ** 2).mean(dim=(1, 2, 3)))
    return _decibel(masked_mean((a - b) ** 2, mask))


def ssim(drawn: Pictures, truth: Pictures) -> Float[Tensor, " b"]:
    """Mean structural similarity (Wang et al. 2004) in a Gaussian window of sigma 1.5, 11 x 11; 1 for equal pictures.

    Equals scikit-image's with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`. Like there, places whose
    window leaves the picture do not count: a border of 5 pixels, which changes the mean by up to 0.009.

    Args:
        drawn: (B, 3, H, W) RGB, float in [-1, 1] or uint8, at least 11 x 11.
        truth: likewise.

    Returns:
        (B,) in [-1, 1], the mean over places and colours. Paper B, table 1.
    """
    return _without_border(_similarity(*pair_in_01(drawn, truth)))


def m_ssim(
    drawn: Pictures, truth: Pictures, mask: Float[Tensor, "b 1 h w"], *, outside: Outside = Outside.LEFT_OUT
) -> Float[Tensor, " b"]:
    """`ssim` of the face: the map of the whole frame, border included, averaged with the mask as weight.

    Args:
        drawn: (B, 3, H, W) RGB, float in [-1, 1] or uint8, at least 11 x 11.
        truth: likewise.
        mask: (B, 1, H, W) in [0, 1], see `m_psnr`. Windows at its edge see 5 pixels beyond.
        outside: what becomes of the rest.

    Returns:
        (B,) in [-1, 1]; NaN where nothing is inside. Paper B, table 1.
    """
    a, b = pair_in_01(drawn, truth)
    if outside is Outside.BLACK:
        return _without_border(_similarity(a * mask, b * mask))
    return masked_mean(_similarity(a, b), mask)


def ssim_map(drawn: Pictures, truth: Pictures) -> Float[Tensor, "b 3 h w"]:
    """Structural similarity around each pixel, for each colour; pictures are mirrored at their edges.

    `(2 ma mb + C1) (2 cov + C2) / ((ma^2 + mb^2 + C1) (va + vb + C2))`, C1 = 0.01^2, C2 = 0.03^2.
    """
    return _similarity(*pair_in_01(drawn, truth))


def sharpness(pictures: Pictures, mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Share of fine detail in the face's contrast: std(Y - blurred Y) / std(Y) of brightness Y inside the mask.

    Detail is what a Gaussian of sigma 1.5 pixels takes away, so compare pictures of one size. Contrast and brightness
    cancel out.

    Args:
        pictures: (B, 3, H, W) RGB, float in [-1, 1] or uint8, at least 11 x 11.
        mask: (B, 1, H, W) in [0, 1].

    Returns:
        (B,) >= 0; NaN where nothing is inside.
    """
    brightness = (in_01(pictures) * pictures.new_tensor(_LUMA, dtype=torch.float32).view(1, 3, 1, 1)).sum(1, True)
    detail = brightness - gaussian_blur(brightness)
    return _masked_std(detail, mask) / _masked_std(brightness, mask)


def sharpness_ratio(
    drawn: Pictures,
    drawn_mask: Float[Tensor, "b 1 h w"],
    real: Pictures,
    real_mask: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, " b"]:
    """`sharpness` of a drawn face against that of a real one: the driver's frame, or with no truth the target's photo.

    1 is ideal, less is blurred, more is noisy or over-sharpened.

    Args:
        drawn: (B, 3, H, W) RGB, float in [-1, 1] or uint8, at least 11 x 11.
        drawn_mask: (B, 1, H, W) in [0, 1], the face there.
        real: likewise.
        real_mask: likewise.

    Returns:
        (B,). Of 40 portraits (median): blurred by a sigma of 0.5, 1, 2 pixels 0.85, 0.58, 0.32; shifted half a pixel
        bilinearly 0.80, bicubically 0.97; but JPEG at 80 and noise of 2/255 only 0.98 and 1.02. The Laplacian's
        variance falls faster (0.50, 0.11, 0.03), but JPEG and noise already make 0.86 and 1.12 of it.
    """
    return sharpness(drawn, drawn_mask) / sharpness(real, real_mask)


def _similarity(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    # Variances are differences of nearly equal numbers: in float32 flat places would be off by up to 2e-4.
    a, b, kept = a.double(), b.double(), a.dtype
    blurred = gaussian_blur(torch.cat([a, b, a * a, b * b, a * b], dim=1))
    mean_a, mean_b, aa, bb, ab = blurred.chunk(5, dim=1)
    variances, covariance = aa - mean_a**2 + bb - mean_b**2, ab - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return (brightness * (2 * covariance + _C2) / (variances + _C2)).to(kept)


def _without_border(values: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    border = WINDOW_PX // 2
    return values[..., border:-border, border:-border].mean(dim=(1, 2, 3))


def _decibel(squared_error: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    return -10 * torch.log10(squared_error)


def _masked_std(values: Float[Tensor, "b c h w"], mask: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    mean = masked_mean(values, mask).view(-1, 1, 1, 1)
    return masked_mean((values - mean) ** 2, mask).sqrt()
