"""Facial landmarks: the 478-point mesh of one face, its iBUG-68 view, and a driver's landmarks over time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

MESH_POINTS = 478
"""MediaPipe face mesh with irises: 468 surface points, then 5 for the image-left iris, 5 for the image-right."""

MESH_TO_IBUG68: tuple[int, ...] = (
    # jaw 0-16
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    # brows 17-26
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    # nose 27-35
    *(168, 197, 195, 4, 75, 97, 2, 326, 305),
    # eyes 36-47
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    # outer lip 48-59, inner lip 60-67
    *(61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""Mesh vertex that stands for each iBUG-68 landmark (mean error to a 68-point predictor 3.8% of the eye distance)."""

IRIS_CENTRES = (468, 473)
"""Mesh vertices at the two iris centres: the subject's right (image left), the subject's left."""

OUTER_EYE_CORNERS = (33, 263)


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one face in one image.

    Args:
        mesh: (478, 3) float32, x and y in pixels (see docs/conventions.md), z at the same scale, toward the
            camera negative.
    """

    mesh: Float[np.ndarray, "478 3"]

    def __post_init__(self) -> None:
        if self.mesh.shape != (MESH_POINTS, 3):
            raise ValueError(f"landmarks need shape ({MESH_POINTS}, 3), got {self.mesh.shape}")

    @cached_property
    def ibug68(self) -> Float[np.ndarray, "68 3"]:
        """The same face as 68 points in iBUG order."""
        return self.mesh[list(MESH_TO_IBUG68)]

    @cached_property
    def irises(self) -> Float[np.ndarray, "2 3"]:
        """Iris centres, image-left eye first (for an unmirrored image)."""
        return self.mesh[list(IRIS_CENTRES)]

    @cached_property
    def interocular_px(self) -> float:
        """Distance between the outer eye corners, in pixels of the image plane."""
        right, left = self.mesh[list(OUTER_EYE_CORNERS), :2]
        return float(np.linalg.norm(left - right))


@dataclass(frozen=True)
class Motion:
    """Landmarks of a driver over time: what they did, without their pixels.

    Args:
        mesh_px: (T, 478, 3) float32, pixels of the driver's frame. Frames without a face repeat the last pose seen.
        seen: (T,) whether a face was found in the frame.
        pts: (T,) presentation time of each frame in units of `time_base`, strictly increasing, first frame at 0.
        end_pts: when the last frame ends, same units.
        time_base: seconds per unit, exact (29.97 frames a second stay 30000/1001).
        pose_deg: (T, 3) yaw, pitch, roll of the head.
        picture_size: width and height of the driver's frames, pixels.
        about: facts as text: name of the source, its licence, who made it.
    """

    mesh_px: Float[np.ndarray, "t 478 3"]
    seen: Bool[np.ndarray, " t"]
    pts: Int[np.ndarray, " t"]
    end_pts: int
    time_base: Fraction
    pose_deg: Float[np.ndarray, "t 3"]
    picture_size: tuple[int, int]
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t = len(self.pts)
        if self.mesh_px.shape != (t, MESH_POINTS, 3) or self.seen.shape != (t,) or self.pose_deg.shape != (t, 3):
            raise ValueError("a motion's arrays must agree on the number of frames")
        if t == 0:
            raise ValueError("a motion needs at least one frame")
        if not (np.diff(np.append(self.pts, self.end_pts)) > 0).all():
            raise ValueError("a motion's times must increase")

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def duration_s(self) -> float:
        """From the first frame's start to the last frame's end."""
        return float(self.end_pts * self.time_base)

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return len(self) / self.duration_s

    def between(self, start_s: float, end_s: float) -> Motion:
        """The frames that begin within [start_s, end_s), shifted to begin at time 0.

        Raises:
            ValueError: if there are none.
        """
        time_s = self.pts * float(self.time_base)
        kept = np.flatnonzero((time_s >= start_s) & (time_s < end_s))
        if len(kept) == 0:
            raise ValueError(f"no frame between {start_s} and {end_s} s")
        first, last = int(kept[0]), int(kept[-1])
        end_pts = int(self.pts[last + 1]) if last + 1 < len(self) else self.end_pts
        return replace(
            self,
            mesh_px=self.mesh_px[kept],
            seen=self.seen[kept],
            pts=self.pts[kept] - self.pts[first],
            end_pts=end_pts - int(self.pts[first]),
            pose_deg=self.pose_deg[kept],
        )
