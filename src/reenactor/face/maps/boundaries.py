"""Paper A's 17 heatmaps: what its shape encoder predicts from pixels, here drawn from landmarks."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.core import MESH_POINTS
from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._checks import as_landmarks, as_size, scale_of
from reenactor.face.maps._drawing import Drawing, stroke
from reenactor.face.maps.gaze import gaze_maps

BOUNDARIES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: (mesh vertices, iBUG-68 landmarks)
    "contour": (_curves.JAW, tuple(range(17))),
    "image_left_brow_upper": (_curves.IMAGE_LEFT_BROW_UPPER, tuple(range(17, 22))),
    "image_right_brow_upper": (_curves.IMAGE_RIGHT_BROW_UPPER, tuple(range(22, 27))),
    "nose_bridge": (_curves.NOSE_BRIDGE, tuple(range(27, 31))),
    "nose_tip": (_curves.NOSE_TIP, tuple(range(31, 36))),
    "image_left_eye_upper": (contours.RIGHT_EYE_UPPER, (36, 37, 38, 39)),
    "image_left_eye_lower": (contours.RIGHT_EYE_LOWER, (36, 41, 40, 39)),
    "image_right_eye_upper": (contours.LEFT_EYE_UPPER, (42, 43, 44, 45)),
    "image_right_eye_lower": (contours.LEFT_EYE_LOWER, (42, 47, 46, 45)),
    "upper_lip_upper": (contours.OUTER_LIPS_UPPER, tuple(range(48, 55))),
    "upper_lip_lower": (contours.INNER_LIPS_UPPER, (60, 61, 62, 63, 64)),
    "lower_lip_upper": (contours.INNER_LIPS_LOWER, (60, 67, 66, 65, 64)),
    "lower_lip_lower": (contours.OUTER_LIPS_LOWER, (48, 59, 58, 57, 56, 55, 54)),
    "image_left_brow_lower": (_curves.IMAGE_LEFT_BROW_LOWER, ()),
    "image_right_brow_lower": (_curves.IMAGE_RIGHT_BROW_LOWER, ()),
}
"""In the authors' order. iBUG-68 has no lower edge of the brows."""
GAZE = ("image_left_gaze", "image_right_gaze")
BOUNDARY_CHANNELS = (*BOUNDARIES, *GAZE)

SIGMA_AT_256 = 2.0
"""Pixels; 4.7 wide at half height, like the authors' blurred line of thickness 3, which OpenCV draws 5 wide."""
_REACH_SIGMAS = 3.0
_MESH_PIECES, _IBUG_PIECES = 2, 4
"""Straight pieces between two landmarks: at 256 px no corner turns by more than a few degrees."""


def boundary_maps(
    landmarks_px: Float[Tensor, "b n d"], size: int | tuple[int, int], *, sigma_at_256: float = SIGMA_AT_256
) -> Float[Tensor, "b 17 h w"]:
    """15 boundaries, exp(-distance^2 / 2 sigma^2) and 0 from 3 sigma on, and the two gazes. Differentiable.

    The boundaries are smooth curves (Catmull-Rom) through the landmarks.

    Args:
        landmarks_px: the mesh or iBUG-68 in pixels of the maps, x and y (and z, which is not used). With iBUG-68 the
            lower edges of the brows and the gazes stay empty.
        size: of the maps: height and width, or one number for both.
        sigma_at_256: in pixels for a picture of 256; scaled with the shorter side.

    Returns:
        In [0, 1], in the order of `BOUNDARY_CHANNELS`.
    """
    landmarks_px, size = as_landmarks(landmarks_px), as_size(size)
    from_mesh = landmarks_px.shape[1] == MESH_POINTS
    sigma = sigma_at_256 * scale_of(size)
    reach = _REACH_SIGMAS * sigma

    def bell(distance: Tensor) -> Tensor:
        return torch.where(distance < reach, torch.exp(distance.square() * (-0.5 / sigma**2)), 0.0)

    lines = stroke(_lines(from_mesh), landmarks_px, size, bell, reach)
    return torch.cat([lines, gaze_maps(landmarks_px, size)], dim=1) if from_mesh else lines


@cache
def _lines(from_mesh: bool) -> Drawing:
    pieces = _MESH_PIECES if from_mesh else _IBUG_PIECES
    chains = [mesh if from_mesh else ibug for mesh, ibug in BOUNDARIES.values()]
    paths = [_curves.Path(i, (_curves.smooth(chain, pieces),)) for i, chain in enumerate(chains) if chain]
    return _curves.drawing(paths, channels=len(BOUNDARIES if from_mesh else BOUNDARY_CHANNELS))
