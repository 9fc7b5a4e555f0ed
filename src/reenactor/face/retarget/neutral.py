"""Which frame of a driver shows the face at rest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from reenactor.face.geometry.contours import (
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
)
from reenactor.face.geometry.mean_face import in_mean_pose
from reenactor.face.geometry.similarity import angles_from_matrix

_MOST_FRAMES = 600
"""Longer drivers are looked at in even steps: neighbouring frames hardly differ."""


def neutral_frame(mesh: Float[np.ndarray, "t 478 3"], seen: Bool[np.ndarray, " t"] | None = None) -> int:
    """Index of the most neutral frame: mouth closed and relaxed, eyes open, head as it usually is.

    Each frame's cost adds, in units of what is clearly visible: mouth opening beyond the 10th percentile (0.05
    inter-ocular distances), the brows' and mouth corners' distance from their median (0.05), eyes less open than
    usual (a quarter), head angles from their median (10 degrees). The last counts half.

    Args:
        mesh: landmarks of the frames.
        seen: frames in which a face was found; the others are not chosen.
    """
    frames = np.arange(len(mesh)) if seen is None or not seen.any() else np.flatnonzero(seen)
    frames = frames[:: max(1, -(-len(frames) // _MOST_FRAMES))]
    heads, shapes = in_mean_pose(mesh[frames])
    angles = angles_from_matrix(heads.R)

    mouth = _gap(shapes, INNER_LIPS_UPPER, INNER_LIPS_LOWER)
    eyes = _gap(shapes, RIGHT_EYE_UPPER, RIGHT_EYE_LOWER) + _gap(shapes, LEFT_EYE_UPPER, LEFT_EYE_LOWER)
    relaxed = shapes[:, [61, 291, 105, 334, 55, 285]]
    unrest = np.linalg.norm(relaxed - np.median(relaxed, axis=0), axis=2).mean(1)
    cost = (
        np.maximum(mouth - np.percentile(mouth, 10), 0.0) / 0.05
        + unrest / 0.05
        + np.maximum(1 - eyes / np.median(eyes), 0.0) / 0.25
        + 0.5 * np.linalg.norm(angles - np.median(angles, axis=0), axis=1) / 10.0
    )
    return int(frames[np.argmin(cost)])


def _gap(shapes: np.ndarray, upper: tuple[int, ...], lower: tuple[int, ...]) -> np.ndarray:
    return (shapes[:, lower[1:-1], 1] - shapes[:, upper[1:-1], 1]).mean(1)
