"""Paper A's parsing map, the parts of a face as filled regions, and the weights of these parts in its L1 loss."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry import contours
from reenactor.face.maps import _curves
from reenactor.face.maps._curves import opening, smooth
from reenactor.face.maps._drawing import Drawing, as_landmarks, as_size, edge_distance, scale_of, stroke, winding
from reenactor.face.maps.boundaries import reach_px, soft_px, soft_region, visible_iris

PART_WEIGHTS: dict[str, float] = {
    "face": 1.0,
    "brows": 2.0,
    "eyes": 3.0,
    "gaze": 4.0,
    "nose": 2.0,
    "upper_lip": 3.0,
    "lower_lip": 3.0,
    "teeth": 2.0,
    "nose_bridge": 1.0,
}
"""Weight of each part in the L1 loss, from the authors' code of paper A."""
PARSING_CHANNELS = tuple(PART_WEIGHTS)
EVERYWHERE = 0.5
"""Weight of every pixel, which the parts' weights are added to."""
BRIDGE_WIDTH_AT_256 = 8.0
"""The authors' line of thickness 3, which OpenCV draws 5 pixels wide, widened by a 4 x 4 dilation."""
_EYES, _IRISES = PARSING_CHANNELS.index("eyes"), PARSING_CHANNELS.index("gaze")
_FACE_HALVES = (8, 9)


def parsing_map(mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 9 h w"]:
    """The parts of a face, filled, with soft edges; parts overlap the face and each other. Differentiable.

    The face reaches up to the brows' upper edges, as in the authors' code, and stays whole in turned heads. At 256 px
    edges fall off over 3 pixels outside of the outline (see `boundaries.SOFT_AT_256`), at other sizes in proportion.

    Args:
        mesh_px: (B, 478, 2 or 3) the mesh in pixels of the map; z is not used.
        size: of the map: height and width, or one number for both.

    Returns:
        In [0, 1], in the order of `PARSING_CHANNELS`.

    Raises:
        ValueError: wrong shape or size.
    """
    mesh_px, size = as_landmarks(mesh_px, mesh_for="a parsing map"), as_size(size)
    scale = scale_of(size)
    reach = reach_px(scale)
    distance, turns = edge_distance(_regions(), mesh_px, size, reach), winding(_regions(), mesh_px, size)
    filled = soft_region(distance, turns, scale)
    eyes, iris = slice(_EYES, _EYES + 1), slice(_IRISES, _IRISES + 1)
    gaze = visible_iris(filled[:, iris], distance[:, eyes], turns[:, eyes], mesh_px, reach)
    soft, edge = soft_px(scale), BRIDGE_WIDTH_AT_256 / 2 * scale
    bridge = stroke(_bridge(), mesh_px, size, lambda d: ((edge - d) / soft + 0.5).clamp(0.0, 1.0), edge + soft / 2)
    face = filled[:, [0, *_FACE_HALVES]].amax(dim=1, keepdim=True)
    return torch.cat([face, filled[:, 1 : iris.start], gaze, filled[:, iris.stop : _FACE_HALVES[0]], bridge], dim=1)


def part_weights(parsing: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Paper A's weight of each pixel in the L1 loss: 0.5 plus the weights of all parts that cover it.

    Parts overlap, so an iris weighs 0.5 + 1 (face) + 3 (eyes) + 4 (gaze) = 8.5.

    Args:
        parsing: (B, 9, H, W) from `parsing_map`.

    Raises:
        ValueError: not 9 channels.
    """
    if parsing.shape[1] != len(PARSING_CHANNELS):
        raise ValueError(f"a parsing map has {len(PARSING_CHANNELS)} channels, got {parsing.shape[1]}")
    weights = torch.tensor([PART_WEIGHTS[name] for name in PARSING_CHANNELS], device=parsing.device)
    return (parsing * weights.to(parsing.dtype)[:, None, None]).sum(dim=1, keepdim=True) + EVERYWHERE


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
