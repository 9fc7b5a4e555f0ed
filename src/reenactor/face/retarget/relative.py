"""The driver's landmarks on the target's face, without training: absolute and relative transfer.

Both faces are brought to the pose and size of the mean face (`geometry.mean_face`), where shapes can be compared;
what the driver's face does there is added to the target's shape, and the driver's head movement is applied to the
target's head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reenactor.core import Transfer
from reenactor.face.geometry.contours import (
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    LEFT_IRIS,
    OUTER_LIPS_UPPER,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
    RIGHT_IRIS,
)
from reenactor.face.geometry.mean_face import in_mean_pose
from reenactor.face.retarget.head_movement import HeadMovement


@dataclass(frozen=True)
class _Eye:
    """Vertices of one eye; `lids` is the skin between eye, brow and cheek, which travels with the lid beside it."""

    upper: list[int]
    lower: list[int]
    iris: list[int]
    lids: list[int]

    @property
    def ring(self) -> list[int]:
        return self.upper + self.lower[1:-1]

    @property
    def corners(self) -> list[int]:
        return [self.upper[0], self.upper[-1]]

    def opening(self, face: np.ndarray) -> float:
        """Mean height between the lids."""
        return float((face[self.lower[1:-1], 1] - face[self.upper[1:-1], 1]).mean())

    def gaze(self, face: np.ndarray) -> np.ndarray:
        """Where the iris stands between the corners, in eye widths."""
        a, b = face[self.corners]
        return (face[self.iris[0]] - (a + b) / 2) / np.linalg.norm(b - a)


_EYES = (
    _Eye(
        list(RIGHT_EYE_UPPER),
        list(RIGHT_EYE_LOWER),
        list(RIGHT_IRIS),
        [247, 30, 29, 27, 28, 56, 190, 130, 25, 110, 24, 23, 22, 26, 112, 243],
    ),
    _Eye(
        list(LEFT_EYE_UPPER),
        list(LEFT_EYE_LOWER),
        list(LEFT_IRIS),
        [467, 260, 259, 257, 258, 286, 414, 359, 255, 339, 254, 253, 252, 256, 341, 463],
    ),
)
_CLOSED_RATIO = 0.25
"""The mesh of a fully closed eye still gapes by about a quarter of its open height; that counts as closed."""
_LIP_CORNERS = (61, 291)
_NOSE_BASE = 2
_LARGEST_OPENING_RATIO = 1.6
_UPPER_LID_SHARE = 0.85
"""A blink is nearly all upper lid."""


class Retargeter:
    """Maps one driver's landmarks to one target's face.

    Args:
        target_mesh: (478, 3) the target's landmarks in the pixels of its crop.
        neutral_mesh: (478, 3) the driver's most neutral frame (`neutral_frame`), driver's pixels.
        transfer: relative or absolute; the third way is `transformer.TransformerRetargeter`.
    """

    def __init__(
        self,
        target_mesh: Float[np.ndarray, "478 3"],
        neutral_mesh: Float[np.ndarray, "478 3"],
        transfer: Transfer = Transfer.RELATIVE,
    ) -> None:
        if transfer is Transfer.TRANSFORMER:
            raise ValueError("this is done by a TransformerRetargeter")
        self.transfer = transfer
        target_head, self._target = in_mean_pose(target_mesh)
        neutral_head, self._neutral = in_mean_pose(neutral_mesh)
        self._moved = HeadMovement(target_head, neutral_head, absolute=transfer is Transfer.ABSOLUTE)

    def __call__(self, driver_mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
        """The landmarks wanted of the target, in the pixels of its crop."""
        driver_head, driver = in_mean_pose(driver_mesh)
        absolute = self.transfer is Transfer.ABSOLUTE
        shape = driver if absolute else transfer_expression(self._target, self._neutral, driver)
        return self._moved(driver_head).apply(shape).astype(np.float32)


def transfer_expression(
    target: Float[np.ndarray, "478 3"],
    neutral: Float[np.ndarray, "478 3"],
    driver: Float[np.ndarray, "478 3"],
) -> Float[np.ndarray, "478 3"]:
    """Target's shape with the driver's expression change; all three in mean pose.

    Skin and lips take the driver's displacement; where the target's mouth is open already, further opening adds as
    the legs of a right triangle do, not as a sum, and a smile widens a smile only up to the wider of the two.
    Eyelids take the *ratio* of the driver's opening, so that a blink closes narrow and wide eyes alike; irises take
    the change of gaze in eye widths. Lips may touch but not pass each other.
    """
    shape = target + (driver - neutral)
    _ease_smile(shape, target, driver)
    _ease_mouth_opening(shape, target)
    for eye, opening in zip(_EYES, _eye_openings(neutral, driver), strict=True):
        _transfer_eye(eye, opening, shape, target, neutral, driver)
    keep_apart(shape, INNER_LIPS_UPPER, INNER_LIPS_LOWER)
    return shape


def _eye_openings(neutral: np.ndarray, driver: np.ndarray) -> Float[np.ndarray, "2"]:
    """Each eye's opening as a share of its opening at rest; 0 is closed."""
    ratios = np.array([eye.opening(driver) / max(eye.opening(neutral), 1e-3) for eye in _EYES])
    ratios = np.clip((ratios - _CLOSED_RATIO) / (1 - _CLOSED_RATIO), 0.0, _LARGEST_OPENING_RATIO)
    # Eyes blink together; the mesh of the farther one is unsure. Only a clear difference is a wink.
    wink = np.clip((abs(ratios[0] - ratios[1]) - 0.5) / 0.25, 0.0, 1.0)
    return ratios.mean() + wink * (ratios - ratios.mean())


def _transfer_eye(
    eye: _Eye, opening: float, shape: np.ndarray, target: np.ndarray, neutral: np.ndarray, driver: np.ndarray
) -> None:
    # What the corners do moves the whole eye; the lids' own travel comes on top.
    drift = (driver - neutral)[eye.corners].mean(0)
    gap = target[eye.lower] - target[eye.upper]
    shape[eye.ring] = target[eye.ring] + drift
    shape[eye.upper] += (1 - opening) * _UPPER_LID_SHARE * gap
    shape[eye.lower] -= (1 - opening) * (1 - _UPPER_LID_SHARE) * gap

    travel = float(np.clip(eye.opening(target) / max(eye.opening(neutral), 1e-3), 0.5, 2.0))
    shape[eye.lids] = target[eye.lids] + drift + travel * ((driver - neutral)[eye.lids] - drift)

    # The iris of a closing eye is a guess of the landmark model: hold the gaze there.
    trust = float(np.clip((opening - 0.3) / 0.4, 0.0, 1.0))
    width = np.linalg.norm(target[eye.corners[1]] - target[eye.corners[0]])
    shape[eye.iris] = target[eye.iris] + drift + trust * (eye.gaze(driver) - eye.gaze(neutral)) * width


def _ease_smile(shape: np.ndarray, target: np.ndarray, driver: np.ndarray) -> None:
    right, left = _LIP_CORNERS

    def width(face: np.ndarray) -> float:
        return float(face[left, 0] - face[right, 0])

    more = width(shape) - width(target)
    allowed = max(width(driver), width(target)) - width(target)
    if more <= allowed:
        return
    gain = allowed / more
    # Nothing above the nose's base, all of it at the lips' corners and below.
    nose_y, corner_y = float(target[_NOSE_BASE, 1]), float(target[list(_LIP_CORNERS), 1].mean())
    share = np.clip((target[:, 1] - nose_y) / max(corner_y - nose_y, 0.05), 0.0, 1.0)
    shape[:, 0] -= share * (1 - gain) * (shape[:, 0] - target[:, 0])


def _ease_mouth_opening(shape: np.ndarray, target: np.ndarray) -> None:
    upper, lower = INNER_LIPS_UPPER[5], INNER_LIPS_LOWER[5]
    had = max(float(target[lower, 1] - target[upper, 1]), 0.0)
    more = float(shape[lower, 1] - shape[upper, 1]) - had
    if more <= 0:
        return
    excess = had + more - float(np.hypot(had, more))
    # The jaw gives the excess back: nothing at the lips' corners, all of it from the lower lip down.
    corner_y = float(target[list(_LIP_CORNERS), 1].mean())
    lip_y = max(float(target[lower, 1]), corner_y + 0.05)
    share = np.clip((target[:, 1] - corner_y) / (lip_y - corner_y), 0.0, 1.0)
    below = (share > 0) & ~np.isin(np.arange(len(shape)), INNER_LIPS_UPPER + OUTER_LIPS_UPPER)
    shape[below, 1] -= excess * share[below]


def keep_apart(shape: Float[np.ndarray, "478 3"], upper: tuple[int, ...], lower: tuple[int, ...]) -> None:
    """Where two lips or two lids of a face in mean pose have passed each other, let them meet half-way; in place."""
    overlap = np.maximum(shape[list(upper), 1] - shape[list(lower), 1], 0.0)
    shape[list(upper), 1] -= overlap / 2
    shape[list(lower), 1] += overlap / 2
