"""A face by hand: sliders -> the landmarks of a driver who does just that, and back.

The driver is the mean face. What it does reaches a photo as every driver's movement does, so that a slider moves the
photo exactly as the motion file that it is saved in.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, fields
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import lsq_linear

from reenactor.core import Motion
from reenactor.engine.shipped import shipped_motions
from reenactor.face.geometry import (
    angles_from_matrix,
    contours,
    in_mean_pose,
    matrix_from_angles,
    mean_face,
    with_lips_closed,
)
from reenactor.face.retarget import neutral_frame
from reenactor.media import read_motion

_PICTURE_PX = 512
_EYES_APART_PX = 150.0
_NECK = np.array([0.0, 0.25, 0.55])
"""What the head turns about, in outer-eye distances from the middle of the face: between the ears, a little below."""
_ROTATIONS = 3
_REST_S, _EASE_S, _HOLD_S, _FPS = 1.4, 0.6, 0.6, 25
"""Rest is more than half of a movement: the most neutral frame of a driver is looked for near its median."""
_CLOSING = 0.75
"""A fully closed eye of the mesh still gapes by a quarter of its open height (`retarget.relative`)."""
_GAZE_EYE_WIDTHS = 0.16
"""How far the iris goes at 1."""
_BROW_RISE, _BROW_REACH = 0.075, 0.16
"""Outer-eye distances: how far brows go at 1, and how far around them the skin goes along."""
_BROWS = ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (336, 296, 334, 293, 300, 285, 295, 282, 283, 276))
_UPPER = (contours.RIGHT_EYE_UPPER, contours.LEFT_EYE_UPPER)
_LOWER = (contours.RIGHT_EYE_LOWER, contours.LEFT_EYE_LOWER)
_IRISES = (contours.RIGHT_IRIS, contours.LEFT_IRIS)


@dataclass(frozen=True)
class Edits:
    """What the sliders say; all zero is the photo as it is.

    Args:
        yaw, pitch, roll: degrees that the head turns (docs/conventions.md).
        mouth: 1 opens it wide.
        smile: 1 is a broad smile, below 0 the corners of the mouth go down.
        brows: 1 raises them, -1 lowers them.
        blink_left, blink_right: 1 closes the eye on that side of the picture.
        gaze_x, gaze_y: 1 looks to the picture's right, and down.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    mouth: float = 0.0
    smile: float = 0.0
    brows: float = 0.0
    blink_left: float = 0.0
    blink_right: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0


NAMES = tuple(one.name for one in fields(Edits))
LOWEST = Edits(-30, -20, -25, 0, -0.5, -1, 0, 0, -1, -1)
HIGHEST = Edits(30, 20, 25, 1, 1, 1, 1, 1, 1, 1)


def rest_mesh() -> Float[np.ndarray, "478 3"]:
    """The driver at rest, in the pixels of its picture."""
    return _placed(_rest_shape(), np.zeros(3))


def driver_mesh(edits: Edits) -> Float[np.ndarray, "478 3"]:
    """The driver who does what the sliders say, in the pixels of its picture."""
    values = np.array(astuple(edits))
    shape = _rest_shape() + np.tensordot(values[_ROTATIONS:], _directions(), 1)
    return _placed(shape, values[:_ROTATIONS])


def still_motion(edits: Edits) -> Motion:
    """One frame."""
    return _motion([edits], still=True)


def movement(edits: Edits) -> Motion:
    """From rest to what the sliders say, which is held a while."""
    time_s = np.arange(round((_REST_S + _EASE_S + _HOLD_S) * _FPS)) / _FPS
    t = np.clip((time_s - _REST_S) / _EASE_S, 0.0, 1.0)
    return _motion([_scaled(edits, share) for share in t * t * (3 - 2 * t)], still=False)


def edits_of(motion: Motion) -> Edits:
    """The sliders that come nearest to a motion's liveliest frame; exact (to a hundredth) for what was saved here.

    Args:
        motion: with a face in one of its frames at least.
    """
    seen = motion.mesh_px[motion.seen]
    heads, shapes = in_mean_pose(seen)
    if len(seen) == 1:
        rest, turn_back = _rest_shape(), np.eye(3)
    else:
        neutral = neutral_frame(seen)
        rest, turn_back = shapes[neutral], heads.R[neutral].T
    angles = angles_from_matrix(heads.R @ turn_back)
    change = shapes - rest
    liveliest = int(np.argmax(np.linalg.norm(change, axis=2).mean(1) / 0.03 + np.linalg.norm(angles, axis=1) / 15))
    low, high = np.array(astuple(LOWEST), float), np.array(astuple(HIGHEST), float)
    bounds = low[_ROTATIONS:], high[_ROTATIONS:]
    amounts = lsq_linear(_directions().reshape(len(_directions()), -1).T, change[liveliest].ravel(), bounds).x
    turn = np.clip(angles[liveliest], low[:_ROTATIONS], high[:_ROTATIONS])
    return Edits(*(round(float(value), 2) for value in (*turn, *amounts)))


def _motion(all_edits: list[Edits], *, still: bool) -> Motion:
    about: dict[str, Any] = {"source": "made by hand in reenactor's web app", "edits": asdict(all_edits[-1])}
    return Motion(
        mesh_px=np.stack([driver_mesh(one) for one in all_edits]).astype(np.float32),
        seen=np.ones(len(all_edits), bool),
        pts=np.arange(len(all_edits)),
        end_pts=1 if still else len(all_edits),
        time_base=Fraction(1, _FPS),
        pose_deg=np.array([(one.yaw, one.pitch, one.roll) for one in all_edits], np.float32),
        picture_size=(_PICTURE_PX, _PICTURE_PX),
        about=about,
    )


def _scaled(edits: Edits, share: float) -> Edits:
    return Edits(*(value * float(share) for value in astuple(edits)))


def _placed(shape: Float[np.ndarray, "478 3"], angles_deg: Float[np.ndarray, "3"]) -> Float[np.ndarray, "478 3"]:
    turned = (shape - _NECK) @ matrix_from_angles(angles_deg).T + _NECK
    return (turned * _EYES_APART_PX + (_PICTURE_PX / 2, _PICTURE_PX / 2, 0)).astype(np.float32)


@cache
def _rest_shape() -> Float[np.ndarray, "478 3"]:
    return in_mean_pose(with_lips_closed(mean_face().points))[1]


@cache
def _directions() -> Float[np.ndarray, "7 478 3"]:
    """What each slider after the rotations adds to the shape at 1, in outer-eye distances."""
    right, left = (_blink(side) for side in (0, 1))
    changes = [_mouth(), _smile(), _brows(), right, left, _gaze(0), _gaze(1)]
    # Raised brows alone would be taken for a head that turns by 0.4 degrees.
    return np.stack([in_mean_pose(_rest_shape() + change)[1] - _rest_shape() for change in changes])


def _mouth() -> Float[np.ndarray, "478 3"]:
    """How a speaker's mouth opens widest."""
    shapes, rest = _shipped("talk")
    gap = shapes[:, 14, 1] - shapes[:, 13, 1]
    change = _without_eyes(_evened(shapes[np.argsort(gap)[-3:]].mean(0) - rest))
    return change * (0.3 / (change[14, 1] - change[13, 1]))


def _smile() -> Float[np.ndarray, "478 3"]:
    """How a smile goes that shows no teeth."""
    shapes, rest = _shipped("smile")
    wide = shapes[:, 291, 0] - shapes[:, 61, 0]
    change = _without_eyes(_evened(shapes[np.argsort(wide)[-5:]].mean(0) - rest))
    return change * (0.2 / (change[291, 0] - change[61, 0]))


def _brows() -> Float[np.ndarray, "478 3"]:
    rest = _rest_shape()
    brows = rest[list(_BROWS[0] + _BROWS[1])]
    away = np.linalg.norm(rest[:, None, :2] - brows[None, :, :2], axis=2).min(axis=1)
    change = np.zeros_like(rest)
    change[:, 1] = -_BROW_RISE * np.exp(-((away / _BROW_REACH) ** 2))
    return _without_eyes(change)


def _blink(side: int) -> Float[np.ndarray, "478 3"]:
    rest = _rest_shape()
    upper, lower = list(_UPPER[side]), list(_LOWER[side])
    change = np.zeros_like(rest)
    change[upper] = _CLOSING * (rest[lower] - rest[upper])
    return change


def _gaze(axis: int) -> Float[np.ndarray, "478 3"]:
    rest = _rest_shape()
    change = np.zeros_like(rest)
    for upper, iris in zip(_UPPER, _IRISES, strict=True):
        width = np.linalg.norm(rest[upper[-1]] - rest[upper[0]])
        change[list(iris), axis] = _GAZE_EYE_WIDTHS * width * (1.0 if axis == 0 else 0.6)
    return change


def _shipped(name: str) -> tuple[Float[np.ndarray, "t 478 3"], Float[np.ndarray, "478 3"]]:
    """The shapes of a motion's frames in mean pose, and that at rest."""
    meshes = read_motion(shipped_motions()[name]).mesh_px
    _, shapes = in_mean_pose(meshes)
    return shapes, shapes[neutral_frame(meshes)]


def _evened(change: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """The same on both sides."""
    mirrored = change[mean_face().mirror] * (-1, 1, 1)
    return (change + mirrored) / 2


def _without_eyes(change: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """Lids and irises have sliders of their own."""
    change = change.copy()
    for ring in (*_UPPER, *_LOWER, *_IRISES):
        change[list(ring)] = 0
    return change
