"""Landmarks and head pose found in the results against the driver's: position, pose, gaze, steadiness.

Landmarks are pixels, angles are yaw, pitch, roll in degrees (docs/conventions.md).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from reenactor.core import MESH_POINTS, OUTER_EYE_CORNERS
from reenactor.face.geometry import contours, in_mean_pose

_OUTER_EYE_CORNERS = {MESH_POINTS: OUTER_EYE_CORNERS, 68: (36, 45)}

_EYES = (
    (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER, contours.RIGHT_IRIS[0]),
    (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER, contours.LEFT_IRIS[0]),
)
SINE_PER_EYE_WIDTH = 3.0
"""Sine of the gaze's angle per iris offset in eye widths: eyes are about 30 mm wide from corner to corner, and the iris
lies about 10 mm before the eyeball's centre."""
_CLOSED = 0.1
"""Mean gap of the lids, in eye widths, below which the mesh's iris is a guess (open eyes have about 0.25)."""


def landmark_nme(
    drawn_px: Float[np.ndarray, "n p d"], driver_px: Float[np.ndarray, "n p d"]
) -> Float[np.ndarray, " n"]:
    """Normalized mean error: the points' mean distance in the picture plane over the outer-eye distance of `driver_px`.

    Args:
        drawn_px: (N, P, 2 or 3) landmarks found in the results, P = 478 (mesh) or 68 (iBUG); NaN where none were.
        driver_px: (N, P, 2 or 3) landmarks of the true pictures.

    Returns:
        (N,) in outer-eye distances; 0 is ideal.
    """
    a, b = drawn_px[..., :2].astype(np.float64), driver_px[..., :2].astype(np.float64)
    return np.linalg.norm(a - b, axis=2).mean(axis=1) / _eye_distance(b)


def gaze_error(
    drawn_px: Float[np.ndarray, "n 478 3"],
    driver_px: Float[np.ndarray, "n 478 3"],
    *,
    about_mean: bool = False,
) -> Float[np.ndarray, " n"]:
    """Difference of the gaze relative to the head (head poses are removed first), the mean of both eyes.

    The iris' offset from the middle between the eye's corners, in eye widths, gives the sines of the horizontal and
    vertical angles (`SINE_PER_EYE_WIDTH`); the result is the root of the sum of the squared differences of both. Eyes
    closed on either side are left out.

    Args:
        drawn_px: (N, 478, 3) landmarks found in the results; NaN where none were.
        driver_px: (N, 478, 3) of the driver's frames.
        about_mean: subtract each side's mean over the N frames (of one clip) first. Needed between different people:
            eyes differ in shape, by 8.7 degrees on average between two people who look into the camera.

    Returns:
        (N,) degrees; 0 is ideal, NaN where no eye can be judged. Two measurements of one frame (one mirrored and
        recompressed) differ by 4.9 on average (3.8 about their means), a clip and its reversal by 9.0.
    """
    a, b = _gaze_deg(drawn_px), _gaze_deg(driver_px)
    if about_mean:
        both = ~(np.isnan(a) | np.isnan(b))
        a, b = (angles - _mean_of_known(np.where(both, angles, np.nan)) for angles in (a, b))
    return _mean_of_known(np.linalg.norm(a - b, axis=2), axis=1)


def angle_errors(drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Difference of angles, `drawn - driver`, wrapped to [-180, 180) degrees: (N, 3) from (N, 3) each."""
    return (drawn_deg.astype(np.float64) - driver_deg + 180) % 360 - 180


def pose_mae(drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Mean absolute error of yaw, pitch and roll (paper A, table 1: the mean over frames).

    Args:
        drawn_deg: (N, 3) of the results; NaN where no face was found.
        driver_deg: (N, 3) of the driver's frames. Take both sides from one estimator: `geometry.head_angles` differs
            from OpenFace, which paper B uses, by 4.9, 3.1 and 1.5 degrees (RMS).

    Returns:
        (N,) degrees; 0 is ideal.
    """
    return np.abs(angle_errors(drawn_deg, driver_deg)).mean(axis=1)


def temporal_jitter(drawn_px: Float[np.ndarray, "t p d"], driver_px: Float[np.ndarray, "t p d"]) -> float:
    """Ratio of the result's `roughness` to the driver's.

    Take both tracks from one detector, frame by frame without smoothing, so that its noise is on both sides.

    Args:
        drawn_px: (T, P, 2 or 3) landmarks found in consecutive results, P = 478 or 68; NaN where none were.
        driver_px: (T, P, 2 or 3) in the driver's frames at the same times.

    Returns:
        1 is ideal, more is jitter, less is over-smoothed; NaN if the driver does not move at all.
    """
    # The same frames on both sides: where a result has no face, the driver's movement is left out too.
    known = ~(np.isnan(drawn_px) | np.isnan(driver_px)).any(axis=(1, 2), keepdims=True)
    calm = roughness(np.where(known, driver_px, np.nan))
    return roughness(np.where(known, drawn_px, np.nan)) / calm if calm > 0 else float("nan")


def roughness(points_px: Float[np.ndarray, "t p d"]) -> float:
    """RMS second difference `x[t-1] - 2 x[t] + x[t+1]` in the picture plane, over the mean outer-eye distance.

    Args:
        points_px: (T, P, 2 or 3) of consecutive frames, P = 478 or 68; triples with NaN are left out.

    Returns:
        Outer-eye distances per frame squared; NaN with fewer than three frames.
    """
    points = points_px[..., :2].astype(np.float64)
    second = points[:-2] - 2 * points[1:-1] + points[2:]
    squared = (second**2).sum(axis=2).mean(axis=1)
    return float(np.sqrt(_mean_of_known(squared)) / _mean_of_known(_eye_distance(points)))


def _eye_distance(points: Float[np.ndarray, "n p 2"]) -> Float[np.ndarray, " n"]:
    if points.shape[1] not in _OUTER_EYE_CORNERS:
        raise ValueError(f"landmarks must be the mesh's 478 or iBUG's 68 points, got {points.shape[1]}")
    right, left = _OUTER_EYE_CORNERS[points.shape[1]]
    return np.linalg.norm(points[:, left] - points[:, right], axis=1)


def _gaze_deg(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 2 2"]:
    """Angles of both eyes to the image's right and down, after removing the head pose; NaN for a closed eye."""
    gaze = np.full((len(mesh_px), len(_EYES), 2), np.nan)
    known = ~np.isnan(mesh_px).any(axis=(1, 2))
    _, shape = in_mean_pose(mesh_px[known])
    for i, (upper, lower, iris) in enumerate(_EYES):
        ends = shape[:, [upper[0], upper[-1]], :2]
        width = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)[:, None]
        gap = (shape[:, lower[1:-1], 1] - shape[:, upper[1:-1], 1]).mean(axis=1)[:, None]
        sine = SINE_PER_EYE_WIDTH * (shape[:, iris, :2] - ends.mean(axis=1)) / width
        gaze[known, i] = np.where(gap > _CLOSED * width, np.rad2deg(np.arcsin(np.clip(sine, -1, 1))), np.nan)
    return gaze


def _mean_of_known(values: Float[np.ndarray, "..."], axis: int = 0) -> Float[np.ndarray, "..."]:
    """Mean that leaves NaN out; NaN if nothing is left."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=axis) / np.maximum(count, 1), np.nan)
