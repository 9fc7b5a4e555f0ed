"""Spectral normalization of whole networks (Miyato et al. 2018)."""

from __future__ import annotations

import copy
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from reenactor.nn.precision import outside_autocast

M = TypeVar("M", bound=nn.Module)

LAYERS = (nn.Conv2d, nn.Linear, nn.Embedding)
"""Layers with a weight matrix. A norm layer's gains are not one."""


class SpectralNorm(_SpectralNorm):
    """PyTorch's parametrization, in the weight's own precision: autocast on CUDA would iterate in bfloat16."""

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by its largest singular value."""
        with outside_autocast(weight):
            return super().forward(weight)


def add_spectral_norm(module: M) -> M:
    """Divide the weight of every convolution, linear layer and embedding by its largest singular value, in place.

    The singular value is followed by one power iteration a forward pass in training mode, by none in evaluation mode.
    A weight of zeros has no direction to normalize (0 / 0), so no such layer may be zero-initialized.
    """
    for layer in module.modules():
        if isinstance(layer, LAYERS) and not parametrize.is_parametrized(layer, "weight"):
            parametrize.register_parametrization(layer, "weight", SpectralNorm(cast(Tensor, layer.weight)))
    return module


def fold_spectral_norm(module: M) -> M:
    """A copy in evaluation mode whose weights are plain numbers: same outputs, no division a frame, can be exported."""
    folded = copy.deepcopy(module).eval()
    for layer in folded.modules():
        if parametrize.is_parametrized(layer, "weight"):
            # A copy shares its class with the original, and `remove_parametrizations` would take the weight off that.
            weight = nn.Parameter(cast(Tensor, layer.weight).detach().clone())
            layer.__class__ = parametrize.type_before_parametrizations(layer)
            del layer.parametrizations
            layer.register_parameter("weight", weight)
    return folded
