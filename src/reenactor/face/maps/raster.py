"""Paper B's landmark raster: the picture of a face's landmarks that MarioNETte reads.

Few faces on a CPU are drawn in NumPy, one by one: the same formulas without the overhead of a hundred small PyTorch
calls. Nothing there passes over the whole picture but the black background: lines are drawn in a band around each
segment, an iris in its own box.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._drawing import TINY, Drawing, as_ibug68, as_landmarks, as_size, scale_of, stroke
from reenactor.face.maps.boundaries import CLOSED, eyes_and_irises, gaze_maps, reach_px, soft_px

LINE_WIDTH_AT_256 = 1.5
"""Pixels in a picture of 256; scaled with the shorter side, but never thinner than 1 pixel."""
_FAR = 1e6
"""On a CPU faces are drawn one by one, in NumPy, which is 5 times as fast, unless gradients are needed or a landmark is
further away than this, in pixels, or not a number."""


class Group(NamedTuple):
    """Landmarks that one colour joins, as one or more lines."""

    colour: tuple[int, int, int]
    lines: tuple[range, ...]
    closed: bool = False


RED, GREEN, BLUE, YELLOW, CYAN = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)
IRIS_COLOUR = (1, 0, 1)
"""Magenta, the one bright colour that the paper leaves."""

GROUPS: dict[str, Group] = {
    "left_eye": Group(RED, (range(42, 48),), closed=True),
    "right_eye": Group(RED, (range(36, 42),), closed=True),
    "contour": Group(GREEN, (range(0, 17),)),
    "nose": Group(BLUE, (range(27, 31), range(31, 36))),
    "left_brow": Group(YELLOW, (range(22, 27),)),
    "right_brow": Group(YELLOW, (range(17, 22),)),
    "inner_mouth": Group(CYAN, (range(60, 68),), closed=True),
    "outer_mouth": Group(CYAN, (range(48, 60),), closed=True),
}
"""iBUG-68 numbers of the paper's eight groups; left and right are the subject's."""


def landmark_raster(
    landmarks_px: Float[Tensor, "b n d"],
    size: int | tuple[int, int],
    *,
    irises: bool = False,
) -> Float[Tensor, "b 3 h w"]:
    """Draw the landmarks as coloured lines on black (paper B, appendix; its Figure 8). Differentiable.

    Where lines cross, each colour channel keeps its larger value, so no order of drawing matters.

    Args:
        landmarks_px: (B, 68 or 478, 2 or 3) iBUG-68 or the mesh, in pixels of the raster; z is not used.
        size: of the raster: height and width, or one number for both.
        irises: also draw the irises between the lids, filled (ours, not the paper's; needs the mesh).

    Returns:
        RGB in [-1, 1] like every picture that networks see: black is -1.

    Raises:
        ValueError: wrong shape or size, or irises of 68 points.
    """
    landmarks_px, size = as_landmarks(landmarks_px, mesh_for="a raster with irises" if irises else None), as_size(size)
    reach = max(1.0, LINE_WIDTH_AT_256 * scale_of(size)) / 2 + 0.5
    if _one_by_one(landmarks_px):
        return _drawn_one_by_one(landmarks_px.detach(), size, reach, irises=irises)
    picture = stroke(_lines(), as_ibug68(landmarks_px), size, lambda d: (reach - d).clamp(0.0, 1.0), reach)
    if irises:
        gaze = gaze_maps(landmarks_px, size).amax(dim=1, keepdim=True)
        colour = torch.tensor(IRIS_COLOUR, dtype=gaze.dtype, device=gaze.device)
        picture = torch.maximum(picture, gaze * colour[:, None, None])
    return picture * 2 - 1


def _one_by_one(landmarks_px: Tensor) -> bool:
    """Whether the faces are drawn one by one in NumPy."""
    if not landmarks_px.is_cpu:
        return False
    differentiated = landmarks_px.requires_grad and torch.is_grad_enabled()
    return not differentiated and bool((landmarks_px.abs() < _FAR).all())


def _drawn_one_by_one(
    landmarks_px: Float[Tensor, "b n d"], size: tuple[int, int], reach: float, *, irises: bool
) -> Float[Tensor, "b 3 h w"]:
    channels = [i for i in range(3) if IRIS_COLOUR[i]]
    pictures = np.full((len(landmarks_px), 3, *size), -1, landmarks_px.numpy().dtype)
    for picture, points, mesh in zip(pictures, as_ibug68(landmarks_px).numpy(), landmarks_px.numpy(), strict=True):
        _raise_to_lines(picture, _lines(), points, reach)
        if irises:
            _raise_to_irises(picture, channels, mesh, scale_of(size))
    return torch.from_numpy(pictures)


def _raise_to_lines(
    picture: Float[np.ndarray, "c h w"], drawing: Drawing, landmarks_px: Float[np.ndarray, "n d"], reach: float
) -> None:
    """Draw lines into a picture in [-1, 1], in place: `stroke`, 1 up to `reach - 1` pixels and 0 from `reach` on."""
    height, width = picture.shape[1:]
    (ax, ay), (bx, by) = _segments(drawing, landmarks_px).T.swapaxes(0, 1)
    steep = np.abs(by - ay) > np.abs(bx - ax)
    # First along the longer axis, then across it.
    a0, a1, b0, b1 = (np.where(steep, *pair) for pair in ((ay, ax), (ax, ay), (by, bx), (bx, by)))
    low, high, ends_at = np.minimum(a0, b0), np.maximum(a0, b0), np.where(steep, height, width)
    first = np.clip(np.ceil(low - reach), 0, ends_at).astype(np.intp)
    steps = np.clip(np.floor(high + reach) + 1, first, ends_at).astype(np.intp) - first
    # Where steep, a step along is a row down; elsewhere it is a column to the right.
    step_along, step_across, width_across = np.where(steep, ((width,), (1,), (width,)), ((1,), (width,), (height,)))
    lines = np.stack([a0, a1, b0 - a0, b1 - a1, low, high])
    starts = np.stack([first - (steps.cumsum() - steps), drawing.channel * (height * width), step_along, step_across])
    a0, a1, d0, d1, low, high = lines.repeat(steps, 1)
    start, plane, step_along, step_across = starts.repeat(steps, 1)
    whole_along = np.arange(len(start)) + start
    along = whole_along.astype(picture.dtype)
    on_line = a1 + d1 / np.where(d0 == 0, 1, d0) * (np.clip(along, low, high) - a0)
    half = math.sqrt(2.0) * reach
    across = np.ceil(on_line - half) + np.arange(int(2 * half) + 1, dtype=picture.dtype)[:, None]
    squared = _squared(along - a0, across - a1, d0, d1)
    inside = (squared < reach * reach) & (across >= 0) & (across < width_across.repeat(steps))
    index = (plane + whole_along * step_along + across.astype(np.intp) * step_across)[inside]
    np.maximum.at(picture.reshape(-1), index, np.minimum(2 * (reach - np.sqrt(squared[inside])) - 1, 1))


def _raise_to_irises(
    picture: Float[np.ndarray, "c h w"], channels: list[int], mesh_px: Float[np.ndarray, "478 d"], scale: float
) -> None:
    """Draw irises (`gaze_maps`) into these channels of a picture in [-1, 1], in place."""
    drawing, soft = eyes_and_irises(), soft_px(scale)
    ends = _segments(drawing, mesh_px)
    right, left = contours.RIGHT_EYE_UPPER, contours.LEFT_EYE_UPPER
    corners = mesh_px[[right[0], left[0]], :2] - mesh_px[[right[-1], left[-1]], :2]
    margin = min(CLOSED * float(np.sqrt((corners * corners).sum(-1)).mean()), reach_px(scale) - 1)
    for eye in range(2):
        lids, iris = ends[drawing.channel == eye], ends[drawing.channel == 2 + eye]
        # Nothing is seen outside of either.
        low = np.maximum(lids.min((0, 1)), iris.min((0, 1)) - soft)
        high = np.minimum(lids.max((0, 1)), iris.max((0, 1)) + soft)
        x0, y0 = (max(math.ceil(v), 0) for v in low)
        x1, y1 = (min(math.floor(v) + 1, n) for v, n in zip(high, picture.shape[:0:-1], strict=True))
        if x0 >= x1 or y0 >= y1:
            continue
        x = np.tile(np.arange(x0, x1, dtype=picture.dtype), y1 - y0)
        y = np.arange(y0, y1, dtype=picture.dtype).repeat(x1 - x0)
        opened = np.where(_turns(lids, x, y) > 0, np.clip(_distance(lids, x, y) - margin, 0, 1), 0)
        (at,) = opened.nonzero()
        x, y = x.take(at), y.take(at)
        opened[at] *= np.where(_turns(iris, x, y) != 0, 1, np.maximum(1 - _distance(iris, x, y) * (1 / soft), 0))
        seen = 2 * opened.reshape(y1 - y0, -1) - 1
        for channel in channels:
            box = picture[channel, y0:y1, x0:x1]
            np.maximum(box, seen, out=box)


def _segments(drawing: Drawing, landmarks_px: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "s 2 2"]:
    """`Drawing.segments`."""
    weight = drawing.weight.astype(landmarks_px.dtype)[..., None]
    return (landmarks_px[:, :2].take(drawing.control, 0) * weight).sum(1).take(drawing.ends, 0)


def _squared(u: np.ndarray, v: np.ndarray, d0: np.ndarray, d1: np.ndarray) -> np.ndarray:
    """Squared distance of the point (u, v) to the segment from 0 to (d0, d1)."""
    t = np.clip((u * d0 + v * d1) / np.maximum(d0 * d0 + d1 * d1, TINY), 0, 1)
    u, v = u - t * d0, v - t * d1
    return u * u + v * v


def _distance(
    ends: Float[np.ndarray, "s 2 2"], x: Float[np.ndarray, " p"], y: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """Of each pixel to the nearest segment."""
    (ax, ay), (dx, dy) = ends[:, 0].T[..., None], (ends[:, 1] - ends[:, 0]).T[..., None]
    return np.sqrt(_squared(x - ax, y - ay, dx, dy).min(0))


def _turns(
    path: Float[np.ndarray, "s 2 2"], x: Float[np.ndarray, " p"], y: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """`winding` of a closed path."""
    (ax, ay), (bx, by) = path[:, 0].T[..., None], path[:, 1].T[..., None]
    crosses = (y >= np.minimum(ay, by)) & (y < np.maximum(ay, by))
    crosses &= x >= ax + (y - ay) * ((bx - ax) / np.where(by == ay, 1, by - ay))
    return (crosses * np.sign(ay - by)).sum(0)


@cache
def _lines() -> Drawing:
    paths = [
        _curves.Path(channel, (_curves.smooth(line),), closed=group.closed)
        for group in GROUPS.values()
        for line in group.lines
        for channel in range(3)
        if group.colour[channel]
    ]
    return _curves.drawing(paths, channels=3)
