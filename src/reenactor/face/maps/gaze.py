"""Where the irises can be seen: paper A's gaze channels."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._checks import as_landmarks, as_size, scale_of
from reenactor.face.maps._drawing import Drawing, edge_distance, winding

CLOSED = 0.03
"""Width of the band along the lids where nothing of the iris is seen, in eye widths. MediaPipe never closes an eye:
in blinks the lids stay 0.02 to 0.07 eye widths apart (open: 0.25 to 0.35), which would show a slit of iris."""
SOFT_AT_256 = 3.0
"""Paper A's regions are 1 inside their outline and fall to 0 over this many pixels (at 256) outside of it. So do those
that its code draws with OpenCV: a filled polygon, outline included, dilated by 3 x 3, blurred by 3 x 3."""


def soft_px(scale: float) -> float:
    """Width of the regions' edge, one pixel at least."""
    return max(1.0, SOFT_AT_256 * scale)


def reach_px(scale: float) -> float:
    """How near its outline a region's distance must be known; 2 pixels at least, for `seen_iris`."""
    return max(2.0, soft_px(scale))


def soft_region(distance: Tensor, turns: Tensor, scale: float) -> Tensor:
    """Paper A's soft filling, from the distance to the outline and the outline's winding."""
    return torch.where(turns != 0, 1.0, (1 - distance * (1 / soft_px(scale))).clamp_min(0.0))


def seen_iris(
    iris: Float[Tensor, "b c h w"],
    to_lids_px: Float[Tensor, "b c h w"],
    eye_turns: Float[Tensor, "b c h w"],
    mesh_px: Float[Tensor, "b n d"],
    reach: float,
) -> Float[Tensor, "b c h w"]:
    """The iris inside the eye's opening.

    Args:
        iris: the filled iris.
        to_lids_px: distance to the lids, known up to `reach`.
        eye_turns: winding of the eye's outline; where the lower lid lies above the upper one it is negative: closed.
        mesh_px: the mesh, for the width of the eyes.
        reach: pixels, more than 1.
    """
    right, left = contours.RIGHT_EYE_UPPER, contours.LEFT_EYE_UPPER
    corners = mesh_px[:, [right[0], left[0]], :2] - mesh_px[:, [right[-1], left[-1]], :2]
    width_px = corners.square().sum(-1).clamp_min(1e-20).sqrt().mean(1)[:, None, None, None]
    margin = (CLOSED * width_px).clamp_max(reach - 1)
    return iris * torch.where(eye_turns > 0, (to_lids_px - margin).clamp(0.0, 1.0), 0.0)


def gaze_maps(mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 2 h w"]:
    """Filled irises, clipped to the openings of the eyes; nothing where an eye is closed.

    Args:
        mesh_px: the mesh in pixels of the map, x and y (and z, which is not used).
        size: of the map: height and width, or one number for both.

    Returns:
        In [0, 1]: the eye at the image's left, the eye at its right.
    """
    mesh_px, size = as_landmarks(mesh_px, mesh_for="gaze"), as_size(size)
    scale = scale_of(size)
    reach = reach_px(scale)
    distance, turns = edge_distance(_gaze(), mesh_px, size, reach), winding(_gaze(), mesh_px, size)
    iris = soft_region(distance[:, 2:], turns[:, 2:], scale)
    return seen_iris(iris, distance[:, :2], turns[:, :2], mesh_px, reach)


@cache
def _gaze() -> Drawing:
    return _curves.drawing([*_curves.eyes(0, 1), *_curves.irises(2, 3)], channels=4)
