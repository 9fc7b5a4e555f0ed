"""Computations whose precision autocast must not lower."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def outside_autocast(beside: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast, if it is on for the tensor's device, is off."""
    device = beside.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
