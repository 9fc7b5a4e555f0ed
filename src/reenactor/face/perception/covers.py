"""Whether something covers a mouth, and whether a person wears glasses, read from the face's pixels."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reenactor.nn.checkpoint import shipped_network

COVERS = "covers"
"""Kind of its checkpoint, and name of the shipped weights."""


class CoverNetwork(nn.Module):
    """How likely a face's mouth is covered, and how likely the person wears glasses."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 6 * width, 6 * width)
        blocks = []
        for before, after in pairwise(widths):
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]
        self.layers = nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.3), nn.Linear(36 * widths[-1], 2))

    def forward(self, patches: Float[Tensor, "n 3 192 192"]) -> Float[Tensor, "n 2"]:
        """Faces as the mesh network sees them, RGB in [-1, 1] -> logits: mouth covered, glasses."""
        return self.layers(patches)


@cache
def cover_network() -> CoverNetwork:
    """The network with its shipped weights."""
    return shipped_network(COVERS, CoverNetwork)


@torch.inference_mode()
def covered(patch: UInt8[np.ndarray, "192 192 3"]) -> tuple[float, float]:
    """How likely the mouth is covered, and how likely the person wears glasses, each 0 to 1.

    Args:
        patch: RGB, the face upright as the mesh network sees it (`cut_patch` of `Region.of_mesh`).
    """
    image = torch.from_numpy(np.ascontiguousarray(patch)).permute(2, 0, 1)[None].float() / 127.5 - 1
    mouth, glasses = cover_network()(image)[0].sigmoid().tolist()
    return mouth, glasses
