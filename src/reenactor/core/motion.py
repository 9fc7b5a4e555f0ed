"""A motion: what a driver did, without its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from reenactor.core.landmarks import MESH_POINTS


@dataclass(frozen=True)
class Motion:
    """Landmarks of a driver over time.

    Args:
        mesh_px: (T, 478, 3) float32, pixels of the driver's picture. Frames without a face repeat the last pose seen.
        seen: (T,) whether a face was found in the frame.
        pts: (T,) presentation time of each frame in units of `time_base`, strictly increasing, first frame at 0.
        end_pts: when the last frame ends, same units.
        time_base: seconds per unit, exact (29.97 frames a second stay 30000/1001).
        pose_deg: (T, 3) yaw, pitch, roll of the head.
        picture_size: width and height of the driver's picture, pixels.
        about: free text facts: source name, licence, who made it.
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
        """The frames that begin within [start_s, end_s), moved to time 0.

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
