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


def fast_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16: a CPU without them is twenty times slower than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
