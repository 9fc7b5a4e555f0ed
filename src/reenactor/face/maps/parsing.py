"""Paper A's parsing map: which part of the face is where."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._checks import as_landmarks, as_size, scale_of
from reenactor.face.maps._curves import opening, smooth
from reenactor.face.maps._drawing import Drawing, edge_distance, stroke, winding
from reenactor.face.maps.gaze import reach_px, seen_iris, soft_px, soft_region

PARSING_CHANNELS = ("face", "brows", "eyes", "gaze", "nose", "upper_lip", "lower_lip", "teeth", "nose_bridge")
BRIDGE_WIDTH_AT_256 = 8.0
"""The authors' line of thickness 3, which OpenCV draws 5 pixels wide, grown by a 4 x 4 dilation."""
_EYES, _IRISES = PARSING_CHANNELS.index("eyes"), PARSING_CHANNELS.index("gaze")
_FACE_HALVES = (8, 9)


def parsing_map(mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 9 h w"]:
    """The parts of a face, filled, with soft edges; parts lie on top of the face and of each other. Differentiable.

    The face reaches up to the brows' upper edges, as in the authors' code, and stays whole in turned heads. At 256 px
    edges fall off over 3 pixels outside of the outline (see `gaze.SOFT_AT_256`), at other sizes in proportion.

    Args:
        mesh_px: the mesh in pixels of the map, x and y (and z, which is not used).
        size: of the map: height and width, or one number for both.

    Returns:
        In [0, 1], in the order of `PARSING_CHANNELS`.
    """
    mesh_px, size = as_landmarks(mesh_px, mesh_for="a parsing map"), as_size(size)
    scale = scale_of(size)
    reach = reach_px(scale)
    distance, turns = edge_distance(_regions(), mesh_px, size, reach), winding(_regions(), mesh_px, size)
    filled = soft_region(distance, turns, scale)
    eyes, iris = slice(_EYES, _EYES + 1), slice(_IRISES, _IRISES + 1)
    gaze = seen_iris(filled[:, iris], distance[:, eyes], turns[:, eyes], mesh_px, reach)
    soft, edge = soft_px(scale), BRIDGE_WIDTH_AT_256 / 2 * scale
    bridge = stroke(_bridge(), mesh_px, size, lambda d: ((edge - d) / soft + 0.5).clamp(0.0, 1.0), edge + soft / 2)
    face = filled[:, [0, *_FACE_HALVES]].amax(dim=1, keepdim=True)
    return torch.cat([face, filled[:, 1 : iris.start], gaze, filled[:, iris.stop : _FACE_HALVES[0]], bridge], dim=1)


@cache
def _regions() -> Drawing:
    left_brow = (_curves.IMAGE_LEFT_BROW_UPPER, _curves.IMAGE_LEFT_BROW_LOWER)
    right_brow = (_curves.IMAGE_RIGHT_BROW_UPPER, _curves.IMAGE_RIGHT_BROW_LOWER)
    paths = [
        *_curves.face(0, *_FACE_HALVES),
        *(opening(*brow, channel=1, pieces=2) for brow in (left_brow, right_brow)),
        *_curves.eyes(2, 2),
        *_curves.irises(3, 3),
        _curves.nose(4),
        opening(contours.OUTER_LIPS_UPPER, contours.INNER_LIPS_UPPER, 5),
        opening(contours.INNER_LIPS_LOWER, contours.OUTER_LIPS_LOWER, 6),
        opening(contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER, 7),
    ]
    return _curves.drawing(paths, channels=10)


@cache
def _bridge() -> Drawing:
    return _curves.drawing([_curves.Path(0, (smooth(_curves.NOSE_BRIDGE, 2),))], channels=1)
