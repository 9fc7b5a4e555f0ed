"""The raster of one face in NumPy: the same formulas, without the price of a hundred small PyTorch calls.

Nothing passes over the whole picture but the black that it begins with: lines are drawn in a band around each segment,
an iris in its own box.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from jaxtyping import Float

from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._drawing import Drawing
from reenactor.face.maps.gaze import CLOSED, reach_px, soft_px

_TINY = 1e-20


def raise_to_lines(
    picture: Float[np.ndarray, "c h w"], drawing: Drawing, landmarks_px: Float[np.ndarray, "n d"], reach: float
) -> None:
    """`stroke` with 1 at `reach - 1` pixels and 0 at `reach`, as a picture in [-1, 1], and the larger of both kept."""
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
    places = np.stack([first - (steps.cumsum() - steps), drawing.channel * (height * width), step_along, step_across])
    a0, a1, d0, d1, low, high = lines.repeat(steps, 1)
    start, plane, step_along, step_across = places.repeat(steps, 1)
    whole_along = np.arange(len(start)) + start
    along = whole_along.astype(picture.dtype)
    on_line = a1 + d1 / np.where(d0 == 0, 1, d0) * (np.clip(along, low, high) - a0)
    half = math.sqrt(2.0) * reach
    across = np.ceil(on_line - half) + np.arange(int(2 * half) + 1, dtype=picture.dtype)[:, None]
    squared = _squared(along - a0, across - a1, d0, d1)
    inside = (squared < reach * reach) & (across >= 0) & (across < width_across.repeat(steps))
    place = (plane + whole_along * step_along + across.astype(np.intp) * step_across)[inside]
    np.maximum.at(picture.reshape(-1), place, np.minimum(2 * (reach - np.sqrt(squared[inside])) - 1, 1))


def raise_to_irises(
    picture: Float[np.ndarray, "c h w"], channels: list[int], mesh_px: Float[np.ndarray, "478 d"], scale: float
) -> None:
    """`gaze_maps` in these channels, as a picture in [-1, 1], and the larger of both kept."""
    drawing, soft = _eyes_and_irises(), soft_px(scale)
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


@cache
def _eyes_and_irises() -> Drawing:
    return _curves.drawing([*_curves.eyes(0, 1), *_curves.irises(2, 3)], channels=4)


def _segments(drawing: Drawing, landmarks_px: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "s 2 2"]:
    """`Drawing.segments`."""
    weight = drawing.weight.astype(landmarks_px.dtype)[..., None]
    return (landmarks_px[:, :2].take(drawing.control, 0) * weight).sum(1).take(drawing.ends, 0)


def _squared(u: np.ndarray, v: np.ndarray, d0: np.ndarray, d1: np.ndarray) -> np.ndarray:
    """Squared distance of the point (u, v) to the segment from 0 to (d0, d1)."""
    t = np.clip((u * d0 + v * d1) / np.maximum(d0 * d0 + d1 * d1, _TINY), 0, 1)
    u, v = u - t * d0, v - t * d1
    return u * u + v * v


def _distance(
    ends: Float[np.ndarray, "s 2 2"], x: Float[np.ndarray, " p"], y: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """Of each pixel to the nearest segment."""
    (ax, ay), (dx, dy) = ends[:, 0].T[..., None], (ends[:, 1] - ends[:, 0]).T[..., None]
    return np.sqrt(_squared(x - ax, y - ay, dx, dy).min(0))


def _turns(
    ring: Float[np.ndarray, "s 2 2"], x: Float[np.ndarray, " p"], y: Float[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """`winding` of a closed path."""
    (ax, ay), (bx, by) = ring[:, 0].T[..., None], ring[:, 1].T[..., None]
    crosses = (y >= np.minimum(ay, by)) & (y < np.maximum(ay, by))
    crosses &= x >= ax + (y - ay) * ((bx - ax) / np.where(by == ay, 1, by - ay))
    return (crosses * np.sign(ay - by)).sum(0)
