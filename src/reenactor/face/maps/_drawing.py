"""Soft strokes and filled polygons, many at once, visiting only the pixels near an edge; checks of a map's input.

A picture has far more pixels than lie near a line, so distances are computed in a narrow band around every segment
(all segments of all pictures together) and gathered with a scatter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68

FULL_SIZE = 256
"""Side of the pictures that widths in pixels are given for."""
TINY = 1e-20
"""Least squared length in pixels that is divided by or rooted."""
_IBUG_POINTS = len(MESH_TO_IBUG68)


@dataclass(frozen=True)
class Drawing:
    """What to draw: line segments whose ends are weighted sums of four landmarks each.

    Weighted sums, and not a matrix product, because autocast and TF32 would round a product's coordinates to 3 digits.

    Args:
        control: (P, 4) landmark numbers of each point.
        weight: (P, 4) their weights, which add up to 1.
        ends: (S, 2) numbers of the points that each segment joins.
        channel: (S,) channel that each segment is drawn to.
        channels: how many there are.
    """

    control: Int[np.ndarray, "p 4"]
    weight: Float[np.ndarray, "p 4"]
    ends: Int[np.ndarray, "s 2"]
    channel: Int[np.ndarray, " s"]
    channels: int

    def segments(self, landmarks_px: Float[Tensor, "b n d"]) -> Float[Tensor, "b s 2 2"]:
        """Both ends (x, y) of every segment."""
        device = landmarks_px.device
        control = torch.as_tensor(self.control, device=device)
        weight = torch.as_tensor(self.weight, device=device, dtype=landmarks_px.dtype)
        points = (landmarks_px[:, control, :2] * weight[..., None]).sum(dim=2)
        return points[:, torch.as_tensor(self.ends, device=device)]


def stroke(
    drawing: Drawing,
    landmarks_px: Float[Tensor, "b n d"],
    size: tuple[int, int],
    profile: Callable[[Tensor], Tensor],
    reach_px: float,
) -> Float[Tensor, "b c h w"]:
    """Lines: each pixel takes the largest `profile(distance)` of its channel's segments.

    Differentiable in the landmarks.

    Args:
        drawing: the segments.
        landmarks_px: landmarks that `drawing` refers to.
        size: (height, width).
        profile: intensity (>= 0) at a distance in pixels, falling.
        reach_px: distance from which on `profile` counts as 0.
    """
    squared, index = _band(drawing, landmarks_px, size, reach_px)
    # The square root's slope at 0 is infinite, and infinite times the profile's 0 is not a number.
    value = profile(squared.clamp_min(TINY).sqrt())
    return _gathered(value, index, 0.0, "amax", (len(landmarks_px), drawing.channels, *size))


def edge_distance(
    drawing: Drawing, landmarks_px: Float[Tensor, "b n d"], size: tuple[int, int], reach_px: float
) -> Float[Tensor, "b c h w"]:
    """Pixels to the nearest segment of each channel, but never more than `reach_px`. Differentiable."""
    squared, index = _band(drawing, landmarks_px, size, reach_px)
    distance = squared.clamp(TINY, reach_px * reach_px).sqrt()
    return _gathered(distance, index, reach_px, "amin", (len(landmarks_px), drawing.channels, *size))


@torch.no_grad()
def winding(drawing: Drawing, landmarks_px: Float[Tensor, "b n d"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """How often the closed paths of each channel run around each pixel; clockwise in the picture counts +1.

    Every edge leaves its sign (up +1, down -1) where it crosses a row of pixels; summing along the row does the rest.
    """
    height, width = size
    a, b = drawing.segments(landmarks_px.detach()).unbind(dim=2)
    low, high = torch.minimum(a[..., 1], b[..., 1]), torch.maximum(a[..., 1], b[..., 1])
    steps = _count(high - low, height)
    row = low.ceil().clamp(0, height)[..., None] + torch.arange(steps, device=a.device)
    run = b - a
    slope = run[..., 0] / torch.where(run[..., 1] == 0, 1.0, run[..., 1])
    x = a[..., :1] + (row - a[..., 1:]) * slope[..., None]
    crosses = (row >= low[..., None]) & (row < high[..., None]) & (row < height) & (x <= width - 1)
    index = (_planes(drawing, a) * height + row.long()) * width + x.ceil().clamp_min(0).long()
    index.masked_fill_(~crosses, len(a) * drawing.channels * height * width)
    sign = -run[..., 1].sign()[..., None].expand_as(row)
    shape = (len(a), drawing.channels, height, width)
    total = torch.zeros(math.prod(shape) + 1, dtype=a.dtype, device=a.device)
    total.scatter_add_(0, index.flatten(), sign.flatten())
    return total[:-1].view(shape).cumsum_(dim=-1)


def fill(drawing: Drawing, landmarks_px: Float[Tensor, "b n d"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Filled closed paths, whichever way round they run: 1 inside, 0 outside, with edges one pixel soft."""
    distance = edge_distance(drawing, landmarks_px, size, 0.5)
    inside = winding(drawing, landmarks_px, size).abs().sub_(0.5)
    return (torch.copysign(distance, inside) + 0.5).clamp(0.0, 1.0)


def as_landmarks(landmarks_px: Tensor, *, mesh_for: str | None = None) -> Tensor:
    """The landmarks in at least single precision, if their shape is right.

    Args:
        landmarks_px: (B, 478, 2 or 3) or (B, 68, 2 or 3).
        mesh_for: what needs the mesh; None if 68 points will do.
    """
    shape = tuple(landmarks_px.shape)
    if len(shape) != 3 or shape[1] not in (_IBUG_POINTS, MESH_POINTS) or shape[2] not in (2, 3):
        raise ValueError(f"landmarks must be (B, {MESH_POINTS} or {_IBUG_POINTS}, 2 or 3), got {shape}")
    if mesh_for is not None and shape[1] != MESH_POINTS:
        raise ValueError(f"{mesh_for} needs the mesh of {MESH_POINTS} points: iBUG-68 has no irises and few outlines")
    if landmarks_px.dtype in (torch.float32, torch.float64):
        return landmarks_px
    return landmarks_px.float()


def as_ibug68(landmarks_px: Tensor) -> Tensor:
    """The iBUG-68 view of either kind of landmarks."""
    return landmarks_px if landmarks_px.shape[1] == _IBUG_POINTS else landmarks_px[:, list(MESH_TO_IBUG68)]


def as_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width); one number stands for both."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"a map needs a size of at least 1 x 1 pixel, got {height} x {width}")
    return height, width


def scale_of(size: tuple[int, int]) -> float:
    """What a width given for 256 pixels is multiplied with: by the shorter side."""
    return min(size) / FULL_SIZE


def _band(
    drawing: Drawing, landmarks_px: Tensor, size: tuple[int, int], reach_px: float
) -> tuple[Float[Tensor, "b s k m"], Int[Tensor, "b s k m"]]:
    """Squared distance to each segment of the pixels within `reach_px` of it, and the flat index of these pixels.

    Walks along the segment's longer axis (k steps) with m pixels across: as the slope is at most 1, a pixel
    within reach is at most sqrt(2) times the reach away, counted across.
    """
    height, width = size
    a, b = drawing.segments(landmarks_px).unbind(dim=2)
    with torch.no_grad():
        run = (b - a).abs()
        steep = (run[..., 1] > run[..., 0])[..., None]
    a, b = torch.where(steep, a.flip(-1), a), torch.where(steep, b.flip(-1), b)
    a0, a1, b0 = a[..., 0], a[..., 1], b[..., 0]
    d0, d1 = (b - a).unbind(dim=-1)
    with torch.no_grad():
        low, high = torch.minimum(a0, b0), torch.maximum(a0, b0)
        steps = _count(high - low + 2 * reach_px, max(height, width))
        along = (low - reach_px).ceil().clamp(0, max(height, width))[..., None] + torch.arange(steps, device=a.device)
        slope = d1 / torch.where(d0 == 0, 1.0, d0)
        on_line = a1[..., None] + slope[..., None] * (along.clamp(low[..., None], high[..., None]) - a0[..., None])
        half = math.sqrt(2.0) * reach_px
        across = (on_line - half).ceil()[..., None] + torch.arange(int(2 * half) + 1, device=a.device)
    u, v = (along - a0[..., None])[..., None], across - a1[..., None, None]
    d0, d1 = d0[..., None, None], d1[..., None, None]
    t = ((u * d0 + v * d1) / (d0 * d0 + d1 * d1).clamp_min(TINY)).clamp(0.0, 1.0)
    squared = (u - t * d0).square() + (v - t * d1).square()
    with torch.no_grad():
        steep = steep[..., None]
        along_end = torch.where(steep, height, width)
        across_end = torch.where(steep, width, height)
        inside = (across >= 0) & (across < across_end) & (along[..., None] < along_end)
        # Where steep, a step along is a row down; elsewhere it is a column to the right.
        step_along, step_across = torch.where(steep, width, 1), torch.where(steep, 1, width)
        index = across.long() * step_across + along[..., None].long() * step_along
        index += (_planes(drawing, a) * (height * width))[..., None]
        index.masked_fill_(~inside, len(a) * drawing.channels * height * width)
    return squared, index


def _planes(drawing: Drawing, a: Tensor) -> Int[Tensor, "b s 1"]:
    """Number of the (picture, channel) plane that each segment is drawn to."""
    channel = torch.as_tensor(drawing.channel, device=a.device)
    return (torch.arange(len(a), device=a.device)[:, None] * drawing.channels + channel)[..., None]


def _count(extent_px: Tensor, most: int) -> int:
    """Pixels that the longest of these extents can cover, `most` at most."""
    longest = float(extent_px.max()) if extent_px.numel() else 0.0
    return int(min(longest, most) if math.isfinite(longest) else most) + 1


def _gathered(value: Tensor, index: Tensor, start: float, reduce: str, shape: tuple[int, ...]) -> Tensor:
    """The values combined where their indices agree; the last index is the waste bin for what lies outside."""
    flat = torch.full((math.prod(shape) + 1,), start, dtype=value.dtype, device=value.device)
    return flat.scatter_reduce_(0, index.flatten(), value.flatten(), reduce)[:-1].view(shape)
