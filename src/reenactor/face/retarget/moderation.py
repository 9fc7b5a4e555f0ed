"""How far and how fast a target follows its driver.

Head movement is counted from a reference and bounded, expression scaled: of the driver's landmarks, before they are
transferred, so that it means the same with each transfer. After a gap the target's landmarks ease to the driver's pose.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float

from reenactor.face.geometry import Similarity, in_mean_pose
from reenactor.face.geometry.layers import smoothstep
from reenactor.face.retarget.relative import EYES

SMALLEST_HEAD, LARGEST_HEAD = 0.85, 1.2
"""Sizes of the driver's head, of its usual one, that the target's does not pass: beyond, the photo has no more to show
of hair and neck, or too few pixels."""
_FREE = 0.5
"""Part of the way to these bounds on which size is followed as it is; beyond, it is bent smoothly to stay within."""
EASE_S = 0.3
"""How long a target takes from a pose that it held to the driver's."""
_EYES = sorted({vertex for eye in EYES for vertex in (*eye.outline, *eye.iris, *eye.lids)})


class Moderation:
    """Maps a driver's landmarks to moderated ones of the same driver.

    Args:
        rest_px: (478, 3) the driver's face from which head movement counts, and from which the transfer counts it.
        neutral: (478, 3) the driver's neutral face in mean pose, from which expression counts.
        absolute: the head's angles are the driver's own, and stay.
        head: how much of the head's turn, movement and change of size is followed: 1 all, 0 none.
        strength: of the expression: 1 as it is, 0 none, 2 twice. Lids and gaze are always followed as they are.
    """

    def __init__(
        self,
        rest_px: Float[np.ndarray, "478 3"],
        neutral: Float[np.ndarray, "478 3"],
        *,
        absolute: bool = False,
        head: float = 1.0,
        strength: float = 1.0,
    ) -> None:
        self._rest = self._from = in_mean_pose(rest_px)[0]
        self._neutral = neutral
        self._absolute, self._head, self._strength = absolute, head, strength

    def __call__(self, mesh_px: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
        """Landmarks (478, 3) in the driver's pixels; unchanged where nothing is to be moderated."""
        head, shape = in_mean_pose(mesh_px)
        size = float(head.scale / self._from.scale)
        followed = bounded(size)
        if self._from is self._rest and self._head == self._strength == 1 and followed == size:
            return mesh_px
        rest, since = self._rest, self._from
        turn = head.R if self._absolute else _part(head.R @ since.R.T, self._head) @ rest.R
        shift = self._head * (head.t - since.t) * (rest.scale / since.scale)
        moved = Similarity(np.asarray(rest.scale * followed**self._head), turn, rest.t + shift)
        if self._strength != 1:
            eyes = shape[_EYES]
            shape = self._neutral + self._strength * (shape - self._neutral)
            shape[_EYES] = eyes
        return moved.apply(shape).astype(np.float32)

    def count_from(self, mesh_px: Float[np.ndarray, "478 3"]) -> None:
        """Count the head's movement from this face of the driver (478, 3), pixels, from now on."""
        self._from = in_mean_pose(mesh_px)[0]


class Easing:
    """Takes the target's landmarks from where they were held to where the driver is, within `EASE_S`."""

    def __init__(self) -> None:
        self._shown: tuple[np.ndarray, float] | None = None
        self._from: tuple[np.ndarray, float] | None = None

    def __call__(self, mesh_px: Float[np.ndarray, "478 3"], time_s: float) -> Float[np.ndarray, "478 3"]:
        """The landmarks (478, 3) to show at a time, for those of the driver's pose."""
        if self._from is not None:
            before, began_s = self._from
            way = float(smoothstep(time_s - began_s, 0, EASE_S))
            mesh_px = before + np.float32(way) * (mesh_px - before)
            if way == 1:
                self._from = None
        self._shown = mesh_px, time_s
        return mesh_px

    def hold(self, time_s: float) -> Float[np.ndarray, "478 3"] | None:
        """The landmarks shown last, at a time at which the driver is not seen; None if there are none yet."""
        if self._shown is None:
            return None
        self._shown = self._from = self._shown[0], time_s
        return self._shown[0]

    def restart(self) -> None:
        """The driver's pose jumps now: ease there from what was shown last."""
        self._from = self._shown


def bounded(size: float) -> float:
    """A head's size, of its usual one, kept between `SMALLEST_HEAD` and `LARGEST_HEAD`."""
    log = math.log(size)
    bound = math.log(LARGEST_HEAD if log > 0 else SMALLEST_HEAD)
    free = _FREE * bound
    if abs(log) <= abs(free):
        return size
    return math.exp(free + (bound - free) * math.tanh((log - free) / (bound - free)))


def _part(turn: Float[np.ndarray, "3 3"], part: float) -> Float[np.ndarray, "3 3"]:
    """A rotation by a part of the angle, about the same axis."""
    return turn if part == 1 else cv2.Rodrigues(part * cv2.Rodrigues(turn)[0])[0]
