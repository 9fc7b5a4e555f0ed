"""Paper B's landmark raster: the picture of a face's landmarks that MarioNETte reads."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.maps import _curves
from reenactor.face.maps._checks import as_ibug68, as_landmarks, as_size, scale_of
from reenactor.face.maps._drawing import Drawing, stroke
from reenactor.face.maps._raster_numpy import raise_to_irises, raise_to_lines
from reenactor.face.maps.gaze import gaze_maps

LINE_WIDTH_AT_256 = 1.5
_FEW = 4
"""So many faces on a CPU are drawn one by one, in NumPy, unless gradients are wanted ..."""
_FAR = 1e6
"""... or a landmark lies this many pixels away, or nowhere."""


class Group(NamedTuple):
    """Landmarks that one colour joins, as one or more lines."""

    colour: tuple[int, int, int]
    lines: tuple[tuple[int, ...], ...]
    closed: bool = False


def _run(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


RED, GREEN, BLUE, YELLOW, CYAN = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)
IRIS_COLOUR = (1, 0, 1)
"""Magenta, the one bright colour that the paper leaves."""

GROUPS: dict[str, Group] = {
    "left_eye": Group(RED, (_run(42, 47),), closed=True),
    "right_eye": Group(RED, (_run(36, 41),), closed=True),
    "contour": Group(GREEN, (_run(0, 16),)),
    "nose": Group(BLUE, (_run(27, 30), _run(31, 35))),
    "left_brow": Group(YELLOW, (_run(22, 26),)),
    "right_brow": Group(YELLOW, (_run(17, 21),)),
    "inner_mouth": Group(CYAN, (_run(60, 67),), closed=True),
    "outer_mouth": Group(CYAN, (_run(48, 59),), closed=True),
}
"""iBUG-68 numbers of the paper's eight groups; left and right are the subject's."""


def landmark_raster(
    landmarks_px: Float[Tensor, "b n d"],
    size: int | tuple[int, int],
    *,
    irises: bool = False,
    line_width_at_256: float = LINE_WIDTH_AT_256,
) -> Float[Tensor, "b 3 h w"]:
    """Draw the landmarks as coloured lines on black (paper B, appendix; its Figure 8). Differentiable.

    Where lines cross, each colour channel keeps its larger value, so no order of drawing matters.

    Args:
        landmarks_px: iBUG-68 or the mesh, in pixels of the raster, x and y (and z, which is dropped).
        size: of the raster: height and width, or one number for both.
        irises: also draw the irises between the lids, filled (ours, not the paper's; needs the mesh).
        line_width_at_256: in pixels for a picture of 256; scaled with the shorter side, but never thinner than 1.

    Returns:
        RGB in [-1, 1] like every picture that networks see: black is -1.
    """
    landmarks_px, size = as_landmarks(landmarks_px, mesh_for="a raster with irises" if irises else None), as_size(size)
    reach = max(1.0, line_width_at_256 * scale_of(size)) / 2 + 0.5
    if _one_by_one(landmarks_px):
        return _drawn_one_by_one(landmarks_px.detach(), size, reach, irises=irises)
    picture = stroke(_lines(), as_ibug68(landmarks_px), size, lambda d: (reach - d).clamp(0.0, 1.0), reach)
    if irises:
        gaze = gaze_maps(landmarks_px, size).amax(dim=1, keepdim=True)
        colour = torch.tensor(IRIS_COLOUR, dtype=gaze.dtype, device=gaze.device)
        picture = torch.maximum(picture, gaze * colour[:, None, None])
    return picture * 2 - 1


def _one_by_one(landmarks_px: Tensor) -> bool:
    if not landmarks_px.is_cpu or len(landmarks_px) > _FEW:
        return False
    differentiated = landmarks_px.requires_grad and torch.is_grad_enabled()
    return not differentiated and bool((landmarks_px.abs() < _FAR).all())


def _drawn_one_by_one(
    landmarks_px: Float[Tensor, "b n d"], size: tuple[int, int], reach: float, *, irises: bool
) -> Float[Tensor, "b 3 h w"]:
    channels = [i for i in range(3) if IRIS_COLOUR[i]]
    pictures = np.full((len(landmarks_px), 3, *size), -1, landmarks_px.numpy().dtype)
    for picture, points, mesh in zip(pictures, as_ibug68(landmarks_px).numpy(), landmarks_px.numpy(), strict=True):
        raise_to_lines(picture, _lines(), points, reach)
        if irises:
            raise_to_irises(picture, channels, mesh, scale_of(size))
    return torch.from_numpy(pictures)


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
