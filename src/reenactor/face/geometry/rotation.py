"""Head angles <-> rotation matrices: R = Rx(pitch) Ry(yaw) Rz(roll), signs in docs/conventions.md.

With x right, y down and z away from the camera, the usual right-handed elementary rotations already give roll
(clockwise in the picture) and pitch (a nose at z = -1 goes down) their signs; yaw turns the other way round
and enters with a minus sign.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

GIMBAL_COS = 1e-6
"""Below this cosine of yaw (0.00006 degrees from 90) roll and pitch are one angle; roll is taken as 0."""


def matrix_from_angles(angles_deg: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3 3"]:
    """Rotation that takes a face looking into the camera to the given pose.

    Args:
        angles_deg: (..., 3) yaw, pitch, roll in degrees.

    Returns:
        (..., 3, 3) float64, to be applied to column vectors: `points @ R.T`.
    """
    yaw, pitch, roll = np.moveaxis(np.deg2rad(np.asarray(angles_deg, dtype=np.float64)), -1, 0)
    return _turn(pitch, 0) @ _turn(-yaw, 1) @ _turn(roll, 2)


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


def _turn(angle_rad: float | Float[np.ndarray, "*b"], axis: int) -> Float[np.ndarray, "*b 3 3"]:
    """Right-handed rotation about one axis (0 x, 1 y, 2 z)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    R = np.zeros((*np.shape(angle_rad), 3, 3))
    R[..., axis, axis] = 1.0
    R[..., first, first] = R[..., second, second] = np.cos(angle_rad)
    R[..., second, first] = np.sin(angle_rad)
    R[..., first, second] = -np.sin(angle_rad)
    return R
