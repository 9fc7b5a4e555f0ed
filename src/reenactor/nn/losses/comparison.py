"""Comparison of pictures: pixel by pixel, by features of a frozen network, by features of the discriminator.

Perceptual losses: Johnson, Alahi and Fei-Fei 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from reenactor.core import ReenactError

Divisor = Literal["weights", "pixels"]
"""What a weighted sum over a picture is divided by: the sum of the weights, or the number of pixels."""
LayerWeights = Literal["mean", "sum"] | tuple[float, ...]
"""How layers' distances are added up: their mean, their sum, or a sum with one weight for each, lowest layer first."""
PIX2PIXHD_LAYERS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of VGG19's relu1_1 to relu5_1 (Wang et al. 2018, their released code)."""


def weighted_l1(
    ours: Float[Tensor, "b c h w"],
    theirs: Float[Tensor, "b c h w"],
    weights: Float[Tensor, "b 1 h w"] | None = None,
    *,
    divide_by: Divisor = "weights",
) -> Float[Tensor, ""]:
    """Weighted mean of `|ours - theirs|` in each picture, and the mean of that over the batch.

    Each picture is divided by its own weights' sum, so that a batch counts as the mean of its pictures, however it is
    divided among steps or machines. A picture without any weight counts as a distance of 0.

    Args:
        ours: pictures or feature maps.
        theirs: the same of what they should be.
        weights: of the pixels, at least 0; a mask leaves pixels out. None for equal weights.
        divide_by: "pixels" for a weighted sum over the number of pixels: weights above 1 then enlarge it.
    """
    kind = torch.promote_types(ours.dtype, torch.float32)
    distance = (ours.to(kind) - theirs.to(kind)).abs()
    if weights is None:
        return distance.mean()
    weights = weights.to(kind)
    weighted = weights * distance.mean(dim=1, keepdim=True)
    if divide_by == "pixels":
        return weighted.mean()
    whole = weights.sum(dim=(1, 2, 3)).clamp_min(torch.finfo(kind).tiny)
    return (weighted.sum(dim=(1, 2, 3)) / whole).mean()


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


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network's feature maps. Gradients go to its input, not to its weights."""

    def __call__(self, image_m1p1: Float[Tensor, "b 3 h w"], /) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Feature maps of pictures in [-1, 1], lowest layer first."""
        ...

    def to(self, device: torch.device) -> object:
        """Move the weights, in place."""
        ...


def perceptual_loss(
    network: FeatureNetwork,
    image_m1p1: Float[Tensor, "b 3 h w"],
    truth_m1p1: Float[Tensor, "b 3 h w"],
    *,
    pixel_weights: Float[Tensor, "b 1 h w"] | None = None,
    divide_by: Divisor = "weights",
    layer_weights: LayerWeights = "mean",
) -> Float[Tensor, ""]:
    """Mean L1 distance of feature maps, averaged over layers (paper B, L_P and L_PF) or summed (paper A).

    Args:
        network: gives the feature maps; moved to the picture's device.
        image_m1p1: the drawn picture; gradients go to it alone.
        truth_m1p1: the true one.
        pixel_weights: brought to each map's size by averaging; paper B gives 3 to the landmarks' hull and 1 to the
            rest.
        divide_by: see `weighted_l1`; with "weights", giving all pixels 3 changes nothing.
        layer_weights: how the layers' distances are added up.

    Raises:
        ReenactError: there are more or fewer weights than layers.
    """
    network.to(image_m1p1.device)
    with torch.no_grad():
        truth = network(truth_m1p1)
    layers = []
    for our, their in zip(network(image_m1p1), truth, strict=True):
        size = our.shape[2], our.shape[3]
        weights = None if pixel_weights is None else F.adaptive_avg_pool2d(pixel_weights, size)
        layers.append(weighted_l1(our, their, weights, divide_by=divide_by))
    distances = torch.stack(layers)
    if layer_weights == "mean":
        return distances.mean()
    if layer_weights == "sum":
        return distances.sum()
    if len(layer_weights) != len(layers):
        raise ReenactError(
            f"the feature network has {len(layers)} layers, not {len(layer_weights)}; give layer_weights one for each"
        )
    return (distances * distances.new_tensor(layer_weights)).sum()


def feature_matching(
    fake: Sequence[Float[Tensor, "b _ _ _"]], real: Sequence[Float[Tensor, "b _ _ _"]]
) -> Float[Tensor, ""]:
    """Sum over layers of the mean L1 distance of a discriminator's features (paper B, L_FM; Wang et al. 2018).

    Args:
        fake: each layer's features of the drawn picture.
        real: of the true one; no gradient goes there.
    """
    return torch.stack([weighted_l1(f, r.detach()) for f, r in zip(fake, real, strict=True)]).sum()
