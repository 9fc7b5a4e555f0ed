"""Likeness in the eyes of a frozen network (Johnson, Alahi and Fei-Fei 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from reenactor.nn.losses.pixel import weighted_l1


@runtime_checkable
class FeatureNetwork(Protocol):
    """A frozen network's feature maps. Gradients go to its input, not to its weights."""

    def __call__(self, image_m1p1: Float[Tensor, "b 3 h w"], /) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Of pictures in [-1, 1], lowest layer first."""
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
    layer_weights: Sequence[float] | None = None,
) -> Float[Tensor, ""]:
    """`feature_distance` of what the network sees in the two pictures; gradients go to the first alone."""
    with torch.no_grad():
        wanted = network(truth_m1p1)
    return feature_distance(network(image_m1p1), wanted, pixel_weights=pixel_weights, layer_weights=layer_weights)


def feature_distance(
    ours: Sequence[Float[Tensor, "b _ _ _"]],
    theirs: Sequence[Float[Tensor, "b _ _ _"]],
    *,
    pixel_weights: Float[Tensor, "b 1 h w"] | None = None,
    layer_weights: Sequence[float] | None = None,
) -> Float[Tensor, ""]:
    """Mean over layers of the mean L1 distance of feature maps (paper B, L_P and L_PF).

    Args:
        ours: of the drawn picture, a map a layer.
        theirs: of the true one.
        pixel_weights: of the picture's places, brought to each map's size by averaging; paper B gives 3 to the
            landmarks' hull and 1 to the rest. They are a mean's weights: giving all places 3 changes nothing.
        layer_weights: of the layers' mean; None for all alike.
    """
    layers = []
    for our, their in zip(ours, theirs, strict=True):
        size = our.shape[2], our.shape[3]
        weights = None if pixel_weights is None else F.adaptive_avg_pool2d(pixel_weights, size)
        layers.append(weighted_l1(our, their, weights))
    distances = torch.stack(layers)
    if layer_weights is None:
        return distances.mean()
    if len(layer_weights) != len(layers):
        raise ValueError(f"{len(layer_weights)} weights for {len(layers)} layers: give each its own")
    of_layers = distances.new_tensor(layer_weights)
    return (of_layers * distances).sum() / of_layers.sum()
