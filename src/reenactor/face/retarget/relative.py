"""The driver's landmarks on the target's face without training: neutral frame, head movement, expression transfer.

Both faces are brought to the pose and size of the mean face (`geometry.mean_face`), where shapes can be compared. The
driver's change of shape is added to the target's shape, and the driver's head movement is applied to the target's head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from reenactor.core import Head, Transfer, head_with
from reenactor.face.geometry import Similarity, angles_from_matrix, in_mean_pose
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


@dataclass(frozen=True)
class Eye:
    """Vertices of one eye; `lids` is the skin between eye, brow and cheek, which moves with the lid beside it."""

    upper: list[int]
    lower: list[int]
    iris: list[int]
    lids: list[int]

    @property
    def outline(self) -> list[int]:
        """The edge of the opening."""
        return self.upper + self.lower[1:-1]

    @property
    def corners(self) -> list[int]:
        """The ends of the opening."""
        return [self.upper[0], self.upper[-1]]

    def opening(self, face: np.ndarray) -> float:
        """Mean height between the lids."""
        return float(self.openings(face))

    def openings(self, faces: Float[np.ndarray, "*b 478 3"]) -> Float[np.ndarray, "*b"]:
        """Of several faces."""
        return _gap(faces, self.upper, self.lower)

    def gaze(self, face: np.ndarray) -> np.ndarray:
        """Offset of the iris from the middle between the corners, in eye widths."""
        a, b = face[self.corners]
        return (face[self.iris[0]] - (a + b) / 2) / np.linalg.norm(b - a)


EYES = (
    Eye(
        list(RIGHT_EYE_UPPER),
        list(RIGHT_EYE_LOWER),
        list(RIGHT_IRIS),
        [247, 30, 29, 27, 28, 56, 190, 130, 25, 110, 24, 23, 22, 26, 112, 243],
    ),
    Eye(
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
_MOST_NEUTRAL_FRAMES = 600
"""Longer drivers are searched for the neutral frame in even steps: neighbouring frames hardly differ."""
_FREE_EYE_DISTANCES, _FARTHEST_EYE_DISTANCES = 0.25, 0.4
"""Head translation up to the first, in inter-ocular distances, is followed as it is; beyond, it is bent smoothly to
stay under the second: the photo has no more to show, and necks stretch."""
UPPER_LID = 0.85
"""Fraction of a blink that the upper lid moves."""


def neutral_frame(
    mesh: Float[np.ndarray, "t 478 3"], seen: Bool[np.ndarray, " t"] | None = None, *, frontal: bool = False
) -> int:
    """Index of the most neutral frame: mouth closed and relaxed, eyes open, head as it usually is.

    A frame's cost is a sum, in units of what is clearly visible: mouth opening beyond the 10th percentile (0.05
    inter-ocular distances), distance of brows and mouth corners from their median (0.05), eyes less open than the
    median (a quarter), head angles from their median (10 degrees). The last term counts half, unless `frontal`.

    Args:
        mesh: (T, 478, 3) landmarks of the frames, pixels.
        seen: (T,) frames in which a face was found; the others are not chosen, unless there is none.
        frontal: the head's yaw and roll count from facing the camera, not from their median.
    """
    frames = np.arange(len(mesh)) if seen is None or not seen.any() else np.flatnonzero(seen)
    frames = frames[:: max(1, -(-len(frames) // _MOST_NEUTRAL_FRAMES))]
    heads, shapes = in_mean_pose(mesh[frames])
    angles = angles_from_matrix(heads.R)

    mouth = _gap(shapes, INNER_LIPS_UPPER, INNER_LIPS_LOWER)
    eyes = _gap(shapes, RIGHT_EYE_UPPER, RIGHT_EYE_LOWER) + _gap(shapes, LEFT_EYE_UPPER, LEFT_EYE_LOWER)
    relaxed = shapes[:, [61, 291, 105, 334, 55, 285]]
    tension = np.linalg.norm(relaxed - np.median(relaxed, axis=0), axis=2).mean(1)
    usual = np.median(angles, axis=0) * ((0, 1, 0) if frontal else 1)
    cost = (
        np.maximum(mouth - np.percentile(mouth, 10), 0.0) / 0.05
        + tension / 0.05
        + np.maximum(1 - eyes / max(float(np.median(eyes)), 1e-6), 0.0) / 0.25
        + (1.0 if frontal else 0.5) * np.linalg.norm(angles - usual, axis=1) / 10.0
    )
    return int(frames[np.argmin(cost)])


@dataclass(frozen=True)
class HeadMovement:
    """Applies the driver's head movement since its neutral frame to the target's head.

    Args:
        target: similarity from the mean face to the target's photo (`geometry.fit_head`).
        neutral: similarity from the mean face to the driver's neutral frame.
        absolute: take the driver's angles as they are, not their change.
    """

    target: Similarity
    neutral: Similarity
    absolute: bool = False

    def __call__(self, driver: Similarity) -> Similarity:
        """Similarity from the mean face to the target's crop, for that from the mean face to the driver's frame."""
        turn = driver.R if self.absolute else driver.R @ self.neutral.R.T @ self.target.R
        enlargement = self.target.scale / self.neutral.scale
        shift = _soft_limit((driver.t - self.neutral.t)[:2] * enlargement, float(self.target.scale))
        return Similarity(scale=np.asarray(driver.scale * enlargement), R=turn, t=self.target.t + np.append(shift, 0.0))


def _soft_limit(shift: Float[np.ndarray, "2"], unit: float) -> Float[np.ndarray, "2"]:
    """Shorten a vector longer than `_FREE_EYE_DISTANCES` units so that it stays under `_FARTHEST_EYE_DISTANCES`."""
    length = float(np.linalg.norm(shift)) / unit
    if length <= _FREE_EYE_DISTANCES:
        return shift
    room = _FARTHEST_EYE_DISTANCES - _FREE_EYE_DISTANCES
    return shift * ((_FREE_EYE_DISTANCES + room * np.tanh((length - _FREE_EYE_DISTANCES) / room)) / length)


class Retargeter:
    """Maps one driver's landmarks to one target's face.

    Args:
        target_mesh: (478, 3) the target's landmarks in pixels of its crop.
        neutral_mesh: (478, 3) the driver's most neutral frame (`neutral_frame`), driver's pixels.
        transfer: relative or absolute.
        head: how the head turns; None for the transfer's usual.

    Raises:
        ValueError: the transfer needs a `transformer.TransformerRetargeter`.
    """

    def __init__(
        self,
        target_mesh: Float[np.ndarray, "478 3"],
        neutral_mesh: Float[np.ndarray, "478 3"],
        transfer: Transfer = Transfer.RELATIVE,
        head: Head | None = None,
    ) -> None:
        if transfer is Transfer.TRANSFORMER:
            raise ValueError("this transfer needs a TransformerRetargeter")
        self.transfer = transfer
        target_head, self._target = in_mean_pose(target_mesh)
        neutral_head, self._neutral = in_mean_pose(neutral_mesh)
        absolute = head_with(transfer, head) is Head.ABSOLUTE
        self._moved = HeadMovement(target_head, neutral_head, absolute=absolute)

    def __call__(self, driver_mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
        """Target landmarks (478, 3) float32 in pixels of the target's crop, for the driver's in its own pixels."""
        driver_head, driver = in_mean_pose(driver_mesh)
        absolute = self.transfer is Transfer.ABSOLUTE
        shape = driver if absolute else transfer_expression(self._target, self._neutral, driver)
        return self._moved(driver_head).apply(shape).astype(np.float32)


def transfer_expression(
    target: Float[np.ndarray, "478 3"],
    neutral: Float[np.ndarray, "478 3"],
    driver: Float[np.ndarray, "478 3"],
) -> Float[np.ndarray, "478 3"]:
    """The target's shape with the driver's change of expression; all (478, 3) in mean pose.

    Skin and lips take the driver's displacement; where the target's mouth is already open, further opening is added
    as the root of the sum of squares, and a smile widens a smile only up to the wider of the two. Eyelids take the
    *ratio* of the driver's opening, so that a blink closes both narrow and wide eyes; irises take the change of gaze
    in eye widths. Lips may touch but not pass each other.
    """
    shape = target + (driver - neutral)
    _ease_smile(shape, target, driver)
    _ease_mouth_opening(shape, target)
    for eye, opening in zip(EYES, _eye_openings(neutral, driver), strict=True):
        _transfer_eye(eye, opening, shape, target, neutral, driver)
    keep_apart(shape, INNER_LIPS_UPPER, INNER_LIPS_LOWER)
    return shape


def _eye_openings(neutral: np.ndarray, driver: np.ndarray) -> Float[np.ndarray, "2"]:
    """Each eye's opening as a fraction of its opening at rest; 0 is closed."""
    ratios = np.array([eye.opening(driver) / max(eye.opening(neutral), 1e-3) for eye in EYES])
    ratios = np.clip((ratios - _CLOSED_RATIO) / (1 - _CLOSED_RATIO), 0.0, _LARGEST_OPENING_RATIO)
    # Eyes blink together, and the mesh of the farther one is uncertain. Only a clear difference is a wink.
    wink = np.clip((abs(ratios[0] - ratios[1]) - 0.5) / 0.25, 0.0, 1.0)
    return ratios.mean() + wink * (ratios - ratios.mean())


def _transfer_eye(
    eye: Eye, opening: float, shape: np.ndarray, target: np.ndarray, neutral: np.ndarray, driver: np.ndarray
) -> None:
    drift = move_lids(eye, opening, shape, target, neutral, driver)
    # The iris of a closing eye is a guess of the landmark model: hold the gaze there.
    trust = float(np.clip((opening - 0.3) / 0.4, 0.0, 1.0))
    width = np.linalg.norm(target[eye.corners[1]] - target[eye.corners[0]])
    shape[eye.iris] = target[eye.iris] + drift + trust * (eye.gaze(driver) - eye.gaze(neutral)) * width


def move_lids(
    eye: Eye,
    opening: float,
    shape: Float[np.ndarray, "478 3"],
    target: Float[np.ndarray, "478 3"],
    neutral: Float[np.ndarray, "478 3"],
    driver: Float[np.ndarray, "478 3"],
) -> Float[np.ndarray, "3"]:
    """Open an eye of a shape as far as asked for, in place; return how the whole eye moves with its corners.

    Args:
        eye: which one.
        opening: as a fraction of the target's.
        shape: to change; this and all others in mean pose.
        target, neutral: both people at rest.
        driver: the frame.
    """
    # The movement of the corners moves the whole eye; that of the lids is added.
    drift = (driver - neutral)[eye.corners].mean(0)
    gap = target[eye.lower] - target[eye.upper]
    shape[eye.outline] = target[eye.outline] + drift
    shape[eye.upper] += (1 - opening) * UPPER_LID * gap
    shape[eye.lower] -= (1 - opening) * (1 - UPPER_LID) * gap
    gain = float(np.clip(eye.opening(target) / max(eye.opening(neutral), 1e-3), 0.5, 2.0))
    shape[eye.lids] = target[eye.lids] + drift + gain * ((driver - neutral)[eye.lids] - drift)
    return drift


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
    fraction = np.clip((target[:, 1] - nose_y) / max(corner_y - nose_y, 0.05), 0.0, 1.0)
    shape[:, 0] -= fraction * (1 - gain) * (shape[:, 0] - target[:, 0])


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
    fraction = np.clip((target[:, 1] - corner_y) / (lip_y - corner_y), 0.0, 1.0)
    below = (fraction > 0) & ~np.isin(np.arange(len(shape)), INNER_LIPS_UPPER + OUTER_LIPS_UPPER)
    shape[below, 1] -= excess * fraction[below]


def lip_gap(faces: Float[np.ndarray, "*b 478 3"]) -> Float[np.ndarray, "*b"]:
    """Mean height between the lips of shapes in mean pose."""
    return _gap(faces, INNER_LIPS_UPPER, INNER_LIPS_LOWER)


def _gap(shapes: Float[np.ndarray, "*b 478 3"], upper: Sequence[int], lower: Sequence[int]) -> Float[np.ndarray, "*b"]:
    """Mean height between two edges that fraction their ends, of shapes in mean pose."""
    return np.asarray((shapes[..., lower[1:-1], 1] - shapes[..., upper[1:-1], 1]).mean(-1))


def keep_apart(shape: Float[np.ndarray, "478 3"], upper: tuple[int, ...], lower: tuple[int, ...]) -> None:
    """Where two lips or lids of a shape in mean pose have passed each other, let them meet half-way; in place."""
    overlap = np.maximum(shape[list(upper), 1] - shape[list(lower), 1], 0.0)
    shape[list(upper), 1] -= overlap / 2
    shape[list(lower), 1] += overlap / 2
