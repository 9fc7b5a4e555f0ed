"""The driver's movement on the target's face, part by part; needs no photo at rest.

Both people's neutral faces are estimated (`neutral`). Skin, brows, cheeks and jaw take the driver's change from its
neutral face. Contacts are absolute: where the driver's lips or lids meet, so do the target's, and eyes are as far open
as the driver's, each in its own measure. Gaze is the driver's, in the eye. The head turns as the driver's does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from reenactor.core import Head
from reenactor.face.geometry import Similarity, angles_from_matrix, in_mean_pose
from reenactor.face.geometry.contours import INNER_LIPS_LOWER, INNER_LIPS_UPPER
from reenactor.face.geometry.layers import smoothstep
from reenactor.face.retarget.neutral import neutral_face, with_lips_together
from reenactor.face.retarget.relative import EYES, Eye, HeadMovement, keep_apart, lip_gap, move_lids
from reenactor.face.retarget.rest import DriverRest, RestLearner

_LIPS_MEET, _LIPS_PART = 0.018, 0.045
"""Openings, in outer-eye distances, up to which lips touch, and from which they open as the driver's."""
_FAR_EYE_DEG = (25.0, 45.0)
"""Yaws from which the eye that is turned away is trusted less than the other, and not at all."""
_WINK = (0.35, 0.6)
"""Differences of the eyes' openings that are noise, and a wink."""
_WIDEST = 1.5
_KEPT_GAZE = (0.25, 0.6)
"""Openings of an eye below which its iris is a guess, and from which it is trusted."""


class PartsRetargeter:
    """Maps one driver's landmarks to one target's face.

    Args:
        target_meshes: (K, 478, 3) landmarks of the target's photos, each in its crop's pixels; the first is animated.
        rest: the driver at rest.
        head: how the head turns.
        keep_expression: the first photo's expression stays beneath the movement; lips and lids still meet.
        learn: the driver is seen live, frame after frame: what it is like at rest is learned while it moves.
        neutral: the target's face at rest, in mean pose; None to estimate it from these landmarks.
    """

    def __init__(
        self,
        target_meshes: Float[np.ndarray, "k 478 3"],
        rest: DriverRest,
        *,
        head: Head = Head.RELATIVE,
        keep_expression: bool = False,
        learn: bool = False,
        neutral: Float[np.ndarray, "478 3"] | None = None,
    ) -> None:
        shapes = in_mean_pose(target_meshes)[1]
        self._target = neutral_face(shapes) if neutral is None else neutral.astype(np.float64)
        if keep_expression:
            self._target = _with_eyes_of(with_lips_together(shapes[0]), self._target)
        self._rest, self._learner = rest, RestLearner(rest) if learn else None
        heads = (in_mean_pose(mesh)[0] for mesh in (target_meshes[0], rest.mesh_px))
        self._moved = HeadMovement(*heads, absolute=head is Head.ABSOLUTE)

    def __call__(self, driver_mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
        """Target landmarks (478, 3) float32 in pixels of the target's crop, for the driver's in its own pixels."""
        head, driver = in_mean_pose(driver_mesh)
        if self._learner is not None:
            self._rest = self._learner.learned(driver)
        rest, target = self._rest, self._target
        shape = target + (driver - rest.shape)
        for eye, opening in zip(EYES, _openings(rest, driver, head), strict=True):
            _move_eye(eye, float(opening), shape, target, rest.shape, driver)
        _part_lips(shape, driver, rest.lips)
        return self._moved(head).apply(shape).astype(np.float32)


def _openings(rest: DriverRest, driver: np.ndarray, head: Similarity) -> Float[np.ndarray, "2"]:
    """Each eye's opening, of its usual one; 0 is closed."""
    ratios = np.array([eye.opening(driver) for eye in EYES]) / np.maximum(rest.open, 1e-3)
    ratios = np.clip((ratios - rest.shut) / (1 - rest.shut), 0, _WIDEST)
    yaw = float(angles_from_matrix(head.R)[0])
    # A head that turns to the picture's right hides its left eye.
    hidden = float(smoothstep(abs(yaw), *_FAR_EYE_DEG))
    far, near = (1, 0) if yaw > 0 else (0, 1)
    ratios[far] += hidden * (ratios[near] - ratios[far])
    wink = float(smoothstep(abs(ratios[0] - ratios[1]), *_WINK))
    return ratios.mean() + wink * (ratios - ratios.mean())


def _move_eye(
    eye: Eye, opening: float, shape: np.ndarray, target: np.ndarray, rest: np.ndarray, driver: np.ndarray
) -> None:
    """Lids and iris of a shape, in place."""
    drift = move_lids(eye, opening, shape, target, rest, driver)
    # A closing eye's iris is a guess of the landmark model: it looks as at rest.
    trust = float(smoothstep(opening, *_KEPT_GAZE))
    gaze = eye.gaze(rest) + trust * (eye.gaze(driver) - eye.gaze(rest))
    width = np.linalg.norm(target[eye.corners[1]] - target[eye.corners[0]])
    shape[eye.iris] = target[eye.iris] + drift + (gaze - eye.gaze(target)) * width


def _part_lips(shape: np.ndarray, driver: np.ndarray, at_rest: float) -> None:
    """Lips that touch where the driver's do, and approach each other smoothly; in place."""
    upper, lower = list(INNER_LIPS_UPPER), list(INNER_LIPS_LOWER)
    less = max(0.0, at_rest - _LIPS_MEET / 2)
    parted = float(smoothstep(lip_gap(driver) - less, _LIPS_MEET, _LIPS_PART))
    excess = (1 - parted) * (shape[lower] - shape[upper])
    shape[upper] += excess / 2
    shape[lower] -= excess / 2
    keep_apart(shape, INNER_LIPS_UPPER, INNER_LIPS_LOWER)


def _with_eyes_of(shape: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The shape with the lids of another, open as far, where its own eyes are."""
    made = shape.copy()
    for eye in EYES:
        whole: Sequence[int] = [*eye.outline, *eye.iris, *eye.lids]
        made[whole] = other[whole] + (shape - other)[eye.corners].mean(0)
    return made
