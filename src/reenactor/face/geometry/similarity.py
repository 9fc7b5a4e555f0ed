"""Similarity transforms: weighted fits between point sets (Umeyama 1991), and head angles as rotation matrices.

R = Rx(pitch) Ry(yaw) Rz(roll); the signs are in docs/conventions.md. With x right, y down and z away from the camera,
right-handed rotations already give roll and pitch their signs; yaw turns the other way and enters with a minus sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

GIMBAL_COS = 1e-6
"""Below this cosine of yaw (0.00006 degrees from 90) roll and pitch are one angle; roll is taken as 0."""


@dataclass(frozen=True)
class Similarity:
    """x -> scale * R x + t, one or a batch of them, in d = 2 or 3 dimensions.

    Args:
        scale: (...) positive.
        R: (..., d, d) rotation (determinant +1).
        t: (..., d) translation.
    """

    scale: Float[np.ndarray, "..."]
    R: Float[np.ndarray, "... d d"]
    t: Float[np.ndarray, "... d"]

    def apply(self, points: Float[np.ndarray, "... n d"]) -> Float[np.ndarray, "... n d"]:
        """The transformed points (..., n, d)."""
        turned = points @ np.swapaxes(self.R, -1, -2)
        return self.scale[..., None, None] * turned + self.t[..., None, :]

    def inverse(self) -> Similarity:
        """The similarity that undoes this one."""
        back = np.swapaxes(self.R, -1, -2)
        t = (back @ -self.t[..., None])[..., 0] / self.scale[..., None]
        return Similarity(scale=np.asarray(1.0 / self.scale), R=back, t=t)


def fit_similarity(
    source: Float[np.ndarray, "... n d"],
    target: Float[np.ndarray, "... n d"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> Similarity:
    """Similarity that minimises sum_i w_i |scale R source_i + t - target_i|^2, reflections excluded.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991,
    eq. 40-42, with weighted means and covariances.

    Args:
        source: (..., n, d) points; broadcasts against target.
        target: (..., n, d) points.
        weights: (n,) non-negative, not all zero; equal if None.

    Returns:
        Batched like the inputs, float64.

    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> float(fit_similarity(square, 3 * square + 5).scale)
    3.0

    Raises:
        ValueError: the source's points all coincide, so that no scale exists, or the weights are not valid.
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    w = _normalised(weights, source.shape[-2])
    source_mean, target_mean = w @ source, w @ target
    source_c, target_c = source - source_mean[..., None, :], target - target_mean[..., None, :]

    spread = (w @ source_c**2).sum(axis=-1)
    if not (spread > 0).all():
        raise ValueError("a similarity cannot be fitted to points that all coincide")
    covariance = np.swapaxes(target_c * w[:, None], -1, -2) @ source_c
    U, singular, Vt = np.linalg.svd(covariance)
    sign = np.ones_like(singular)
    sign[..., -1] = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0)

    R = (U * sign[..., None, :]) @ Vt
    scale = (singular * sign).sum(axis=-1) / spread
    t = target_mean - scale[..., None] * (R @ source_mean[..., None])[..., 0]
    return Similarity(scale=np.asarray(scale), R=R, t=t)


def matrix_from_angles(angles_deg: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rotation that takes a face looking into the camera to the given pose.

    Args:
        angles_deg: (..., 3) yaw, pitch, roll in degrees.

    Returns:
        (..., 3, 3) float64, to be applied to column vectors: `points @ R.T`.

    >>> nose = np.array([0.0, 0.0, -1.0])
    >>> (matrix_from_angles(np.array([90.0, 0.0, 0.0])) @ nose).round(6) + 0.0  # to the image's right
    array([1., 0., 0.])
    """
    yaw, pitch, roll = np.moveaxis(np.deg2rad(np.asarray(angles_deg, dtype=np.float64)), -1, 0)
    return _axis_rotation(pitch, 0) @ _axis_rotation(-yaw, 1) @ _axis_rotation(roll, 2)


def angles_from_matrix(R: Float[np.ndarray, "*b 3 3"]) -> Float[np.ndarray, "*b 3"]:
    """Inverse of `matrix_from_angles`: (..., 3) yaw in [-90, 90], pitch and roll in [-180, 180] degrees.

    With right-handed angles p, y, r the first row is (cos y cos r, -cos y sin r, sin y) and the last column
    (sin y, -sin p cos y, cos p cos y); the angles are read from these.
    """
    R = np.asarray(R, dtype=np.float64)
    cos_yaw = np.hypot(R[..., 0, 0], R[..., 0, 1])
    free = cos_yaw > GIMBAL_COS
    about_y = np.arctan2(R[..., 0, 2], cos_yaw)
    about_x = np.where(
        free,
        np.arctan2(-R[..., 1, 2], R[..., 2, 2]),
        np.arctan2(R[..., 2, 1], R[..., 1, 1]),
    )
    about_z = np.where(free, np.arctan2(-R[..., 0, 1], R[..., 0, 0]), 0.0)
    return np.rad2deg(np.stack([-about_y, about_x, about_z], axis=-1))


def _axis_rotation(angle_rad: float | Float[np.ndarray, "*b"], axis: int) -> Float[np.ndarray, "*b 3 3"]:
    """Right-handed rotation about one axis (0 x, 1 y, 2 z)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    R = np.zeros((*np.shape(angle_rad), 3, 3))
    R[..., axis, axis] = 1.0
    R[..., first, first] = R[..., second, second] = np.cos(angle_rad)
    R[..., second, first] = np.sin(angle_rad)
    R[..., first, second] = -np.sin(angle_rad)
    return R


def _normalised(weights: Float[np.ndarray, " n"] | None, n: int) -> Float[np.ndarray, " n"]:
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or (w < 0).any() or not w.sum() > 0:
        raise ValueError(f"weights must be {n} non-negative numbers that are not all zero")
    return w / w.sum()
