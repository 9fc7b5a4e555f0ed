"""What every map asks of its input."""

from __future__ import annotations

import torch
from torch import Tensor

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68

IBUG_POINTS = len(MESH_TO_IBUG68)
FULL_SIZE = 256
"""Side of the pictures that widths in pixels are given for."""


def as_landmarks(landmarks_px: Tensor, *, mesh_for: str | None = None) -> Tensor:
    """The landmarks in at least single precision, if their shape is right.

    Args:
        landmarks_px: (B, 478, 2 or 3) or (B, 68, 2 or 3).
        mesh_for: what needs the mesh; None if 68 points will do.
    """
    shape = tuple(landmarks_px.shape)
    if len(shape) != 3 or shape[1] not in (IBUG_POINTS, MESH_POINTS) or shape[2] not in (2, 3):
        raise ValueError(f"landmarks must be (B, {MESH_POINTS} or {IBUG_POINTS}, 2 or 3), got {shape}")
    if mesh_for is not None and shape[1] != MESH_POINTS:
        raise ValueError(f"{mesh_for} needs the mesh of {MESH_POINTS} points: iBUG-68 has no irises and few outlines")
    if landmarks_px.dtype in (torch.float32, torch.float64):
        return landmarks_px
    return landmarks_px.float()


def as_ibug68(landmarks_px: Tensor) -> Tensor:
    """The iBUG-68 view of either kind of landmarks."""
    return landmarks_px if landmarks_px.shape[1] == IBUG_POINTS else landmarks_px[:, list(MESH_TO_IBUG68)]


def as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width); one number stands for both."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"a map needs a size of at least 1 x 1 pixel, got {height} x {width}")
    return height, width


def scale_of(size: tuple[int, int]) -> float:
    """What a width given for 256 pixels is multiplied with: by the shorter side."""
    return min(size) / FULL_SIZE
