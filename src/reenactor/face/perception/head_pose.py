"""Head pose of an observed face."""

from __future__ import annotations

from reenactor.core import HeadPose, Landmarks
from reenactor.face.geometry.mean_face import head_angles


def head_pose(landmarks: Landmarks) -> HeadPose:
    """Rotation of the head in degrees (docs/conventions.md); zero is the pose of `mean_face()`."""
    yaw, pitch, roll = head_angles(landmarks.mesh)
    return HeadPose(yaw_deg=float(yaw), pitch_deg=float(pitch), roll_deg=float(roll))
