"""A face edited by hand: sliders -> the landmarks of a driver who does just that, and back.

The driver is the mean face. Its movement is carried over to a photo like every driver's, so that a slider changes the
photo exactly as the motion file saved from it does.
"""

from __future__ import annotations

from collections.abc import Sequence
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
"""The head's pivot, in outer-eye distances from the middle of the face: between the ears, a little below."""
_ROTATIONS = 3
_REST_S, _EASE_S, _HOLD_S, _FPS = 1.4, 0.6, 0.6, 25
"""Rest is more than half of a movement, as a driver's most neutral frame is searched near its median."""
_CLOSING = 0.75
"""A fully closed eye of the mesh still gapes by a quarter of its open height (`retarget.relative`)."""
_GAZE_EYE_WIDTHS = 0.16
"""Movement of the iris at 1."""
_BROW_RISE, _BROW_REACH = 0.075, 0.16
"""In outer-eye distances: movement of the brows at 1, and the distance within which the skin follows."""
_BROWS = ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (336, 296, 334, 293, 300, 285, 295, 282, 283, 276))
_UPPER = (contours.RIGHT_EYE_UPPER, contours.LEFT_EYE_UPPER)
_LOWER = (contours.RIGHT_EYE_LOWER, contours.LEFT_EYE_LOWER)
_IRISES = (contours.RIGHT_IRIS, contours.LEFT_IRIS)


@dataclass(frozen=True)
class Edits:
    """The values of the sliders; all zero is the photo as it is.

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
    """The driver at rest, in the pixels of a 512 x 512 picture."""
    return _placed(_rest_shape(), np.zeros(3))


def driver_mesh(edits: Edits) -> Float[np.ndarray, "478 3"]:
    """The driver with the expression and pose of the sliders, in the pixels of a 512 x 512 picture."""
    values = np.array(astuple(edits))
    shape = _rest_shape() + np.tensordot(values[_ROTATIONS:], _directions(), 1)
    return _placed(shape, values[:_ROTATIONS])


def still_motion(edits: Edits) -> Motion:
    """A motion of one frame."""
    return _motion([edits], still=True)


def movement(edits: Edits) -> Motion:
    """A motion from rest to the values of the sliders, which are held for 0.6 s."""
    time_s = np.arange(round((_REST_S + _EASE_S + _HOLD_S) * _FPS)) / _FPS
    t = np.clip((time_s - _REST_S) / _EASE_S, 0.0, 1.0)
    return _motion([_scaled(edits, fraction) for fraction in t * t * (3 - 2 * t)], still=False)


def edits_of(motion: Motion) -> Edits:
    """The sliders nearest to a motion's liveliest frame; exact to 0.01 for motions saved here.

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


def clipped(values: Sequence[float]) -> Edits:
    """The edits of a list of values, each within its slider's range."""
    return Edits(*np.clip(np.nan_to_num(values), astuple(LOWEST), astuple(HIGHEST)).tolist())


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


def _scaled(edits: Edits, fraction: float) -> Edits:
    return Edits(*(value * float(fraction) for value in astuple(edits)))


def _placed(shape: Float[np.ndarray, "478 3"], angles_deg: Float[np.ndarray, "3"]) -> Float[np.ndarray, "478 3"]:
    turned = (shape - _NECK) @ matrix_from_angles(angles_deg).T + _NECK
    return (turned * _EYES_APART_PX + (_PICTURE_PX / 2, _PICTURE_PX / 2, 0)).astype(np.float32)


@cache
def _rest_shape() -> Float[np.ndarray, "478 3"]:
    return in_mean_pose(with_lips_closed(mean_face().points))[1]


@cache
def _directions() -> Float[np.ndarray, "7 478 3"]:
    """The change of shape at 1 of each slider after the rotations, in outer-eye distances."""
    right, left = (_blink(side) for side in (0, 1))
    changes = [_mouth(), _smile(), _brows(), right, left, _gaze(0), _gaze(1)]
    # Raised brows alone would be taken for a head that turns by 0.4 degrees.
    return np.stack([in_mean_pose(_rest_shape() + change)[1] - _rest_shape() for change in changes])


def _mouth() -> Float[np.ndarray, "478 3"]:
    """A speaker's widest open mouth."""
    shapes, rest = _shipped("talk")
    gap = shapes[:, 14, 1] - shapes[:, 13, 1]
    change = _without_eyes(_symmetric(shapes[np.argsort(gap)[-3:]].mean(0) - rest))
    return change * (0.3 / (change[14, 1] - change[13, 1]))


def _smile() -> Float[np.ndarray, "478 3"]:
    """A smile that shows no teeth."""
    shapes, rest = _shipped("smile")
    wide = shapes[:, 291, 0] - shapes[:, 61, 0]
    change = _without_eyes(_symmetric(shapes[np.argsort(wide)[-5:]].mean(0) - rest))
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
    """The shapes of a shipped motion's frames in mean pose, and the one at rest."""
    meshes = read_motion(shipped_motions()[name]).mesh_px
    _, shapes = in_mean_pose(meshes)
    return shapes, shapes[neutral_frame(meshes)]


def _symmetric(change: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """The mean of a change and its mirror image."""
    mirrored = change[mean_face().mirror] * (-1, 1, 1)
    return (change + mirrored) / 2


def _without_eyes(change: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """Lids and irises have sliders of their own."""
    change = change.copy()
    for contour in (*_UPPER, *_LOWER, *_IRISES):
        change[list(contour)] = 0
    return change
