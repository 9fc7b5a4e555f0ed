"""A moving average of a network's weights, which draws steadier pictures than the weights themselves."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def average_of(network: M) -> M:
    """A copy to keep the average in: evaluation mode, no gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, samples: int, halflife_samples: float) -> None:
    """Move the average towards the network; what is not a parameter is copied.

    Args:
        average: changed in place.
        network: as it is now.
        samples: seen since the last update.
        halflife_samples: after which old weights count half; 0 copies.
    """
    keep = 0.5 ** (samples / halflife_samples) if halflife_samples > 0 else 0.0
    for mine, their in zip(average.parameters(), network.parameters(), strict=True):
        mine.lerp_(their, 1 - keep)
    for mine_buffer, their_buffer in zip(average.buffers(), network.buffers(), strict=True):
        mine_buffer.copy_(their_buffer)
