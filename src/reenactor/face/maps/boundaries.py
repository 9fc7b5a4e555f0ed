"""Paper A's 17 heat maps: 15 boundaries, and where the irises can be seen.

The paper predicts them from pixels with its shape encoder; here they are drawn from landmarks.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._drawing import Drawing, as_landmarks, as_size, edge_distance, scale_of, stroke, winding

BOUNDARIES: dict[str, tuple[int, ...]] = {
    "contour": _curves.JAW,
    "image_left_brow_upper": _curves.IMAGE_LEFT_BROW_UPPER,
    "image_right_brow_upper": _curves.IMAGE_RIGHT_BROW_UPPER,
    "nose_bridge": _curves.NOSE_BRIDGE,
    "nose_tip": _curves.NOSE_TIP,
    "image_left_eye_upper": contours.RIGHT_EYE_UPPER,
    "image_left_eye_lower": contours.RIGHT_EYE_LOWER,
    "image_right_eye_upper": contours.LEFT_EYE_UPPER,
    "image_right_eye_lower": contours.LEFT_EYE_LOWER,
    "upper_lip_upper": contours.OUTER_LIPS_UPPER,
    "upper_lip_lower": contours.INNER_LIPS_UPPER,
    "lower_lip_upper": contours.INNER_LIPS_LOWER,
    "lower_lip_lower": contours.OUTER_LIPS_LOWER,
    "image_left_brow_lower": _curves.IMAGE_LEFT_BROW_LOWER,
    "image_right_brow_lower": _curves.IMAGE_RIGHT_BROW_LOWER,
}
"""Mesh vertices of each boundary, in the authors' order."""
BOUNDARY_CHANNELS = (*BOUNDARIES, "image_left_gaze", "image_right_gaze")

SIGMA_AT_256 = 2.0
"""Pixels; 4.7 wide at half height, like the authors' blurred line of thickness 3, which OpenCV draws 5 wide."""
_REACH_SIGMAS = 3.0
_PIECES = 2
"""Straight pieces between two landmarks: at 256 px no corner turns by more than a few degrees."""


CLOSED = 0.03
"""Width of the band along the lids that shows no iris, in eye widths. MediaPipe never closes an eye:
in blinks the lids stay 0.02 to 0.07 eye widths apart (open: 0.25 to 0.35), which would show a slit of iris."""
SOFT_AT_256 = 3.0
"""Paper A's regions are 1 inside their outline and fall to 0 over this many pixels (at 256) outside of it. So do those
that its code draws with OpenCV: a filled polygon, outline included, dilated by 3 x 3, blurred by 3 x 3."""


def boundary_maps(mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 17 h w"]:
    """15 boundaries, exp(-distance^2 / 2 sigma^2) and 0 from 3 sigma on, and the two gaze maps. Differentiable.

    The boundaries are smooth curves (Catmull-Rom) through the landmarks.

    Args:
        mesh_px: (B, 478, 2 or 3) the mesh in pixels of the maps; z is not used.
        size: of the maps: height and width, or one number for both.

    Returns:
        In [0, 1], in the order of `BOUNDARY_CHANNELS`.

    Raises:
        ValueError: wrong shape or size.
    """
    mesh_px, size = as_landmarks(mesh_px, mesh_for="boundary maps"), as_size(size)
    sigma = SIGMA_AT_256 * scale_of(size)
    reach = _REACH_SIGMAS * sigma

    def bell(distance: Tensor) -> Tensor:
        return torch.where(distance < reach, torch.exp(distance.square() * (-0.5 / sigma**2)), 0.0)

    return torch.cat([stroke(_lines(), mesh_px, size, bell, reach), gaze_maps(mesh_px, size)], dim=1)


def gaze_maps(mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 2 h w"]:
    """Filled irises, clipped to the openings of the eyes; empty where an eye is closed.

    Args:
        mesh_px: (B, 478, 2 or 3) the mesh in pixels of the maps; z is not used.
        size: of the maps: height and width, or one number for both.

    Returns:
        In [0, 1]: the eye at the image's left, the eye at its right.

    Raises:
        ValueError: wrong shape or size.
    """
    mesh_px, size = as_landmarks(mesh_px, mesh_for="a gaze map"), as_size(size)
    scale = scale_of(size)
    reach = reach_px(scale)
    distance, turns = edge_distance(eyes_and_irises(), mesh_px, size, reach), winding(eyes_and_irises(), mesh_px, size)
    iris = soft_region(distance[:, 2:], turns[:, 2:], scale)
    return visible_iris(iris, distance[:, :2], turns[:, :2], mesh_px, reach)


def soft_px(scale: float) -> float:
    """Width of the regions' edge, one pixel at least."""
    return max(1.0, SOFT_AT_256 * scale)


def reach_px(scale: float) -> float:
    """Distance from its outline up to which a region must know it; 2 pixels at least, for `visible_iris`."""
    return max(2.0, soft_px(scale))


def soft_region(distance: Tensor, turns: Tensor, scale: float) -> Tensor:
    """Paper A's soft filling, from the distance to the outline and the outline's winding."""
    return torch.where(turns != 0, 1.0, (1 - distance * (1 / soft_px(scale))).clamp_min(0.0))


def visible_iris(
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


@cache
def _lines() -> Drawing:
    paths = [_curves.Path(i, (_curves.smooth(chain, _PIECES),)) for i, chain in enumerate(BOUNDARIES.values())]
    return _curves.drawing(paths, channels=len(BOUNDARIES))


@cache
def eyes_and_irises() -> Drawing:
    """Channels: the openings of the image-left and image-right eye, then the irises."""
    return _curves.drawing([*_curves.eyes(0, 1), *_curves.irises(2, 3)], channels=4)
