"""Cuts a clip into stretches that one steady square can show, and chooses that square."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8

from reenactor.face.geometry import FACE_MARGIN
from reenactor.face.perception.tracking import CUT_GREY_LEVELS, CUT_GRID

ROOMY_SCALE = 2.5
"""A square may grow to this many median faces to hold a face that moves about, before the clip is cut."""
MAX_GAP_S = 0.5
"""A face may be away for this long; its landmarks in between are interpolated, and the frames marked."""
MAX_FRAMES = 1500
"""A minute at 25 frames a second. Bounds memory: landmarks are held until their stretch is cut out."""
MAX_JUMP = 0.5
"""Of the face's size, from one frame to the next: further away it is another face, or another scene."""
MAX_ZOOM = 1.7
"""Between a frame's face and the median: beyond, a crop of fixed scale would show two different framings."""


@dataclass
class Segment:
    """Frames in a row that show one face, one square fits, and no scene cut divides.

    Args:
        first: number of the first frame in the video.
        pts: when each frame is shown, in the video's time base.
        end_pts: when the last one ends.
        meshes: (478, 3) in the picture's pixels each.
        seen: whether the face was found; else its mesh is interpolated.
        scores: how sure the mesh network was, of the frames seen.
    """

    first: int
    pts: list[int] = field(default_factory=list)
    end_pts: int = 0
    meshes: list[Float[np.ndarray, "478 3"]] = field(default_factory=list)
    seen: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def mesh_px(self) -> Float[np.ndarray, "t 478 3"]:
        """All meshes."""
        return np.stack(self.meshes)

    @property
    def seen_mask(self) -> Bool[np.ndarray, " t"]:
        """All of `seen`."""
        return np.array(self.seen)


class SegmentCutter:
    """Takes a video's frames one by one and gives segments as they end.

    Args:
        max_gap_pts: a face may be away for this long, in the video's time base.
    """

    def __init__(self, max_gap_pts: float) -> None:
        self._max_gap_pts = max_gap_pts
        self._segment: Segment | None = None
        self._low = self._high = np.zeros(2)
        self._sides: list[float] = []
        self._missing: list[int] = []
        self._after_last: int | None = None

    def add(
        self, number: int, pts: int, mesh: Float[np.ndarray, "478 3"] | None, score: float, *, cut: bool
    ) -> Segment | None:
        """The next frame; `mesh` is None where no face is seen, `cut` tells that a scene begins.

        Returns:
            the segment that ended with an earlier frame, if one did.
        """
        done = None
        if self._segment is not None and (cut or not self._goes_on(pts, mesh)):
            done = self.finish(pts)
        if mesh is not None:
            self._append(number, pts, mesh, score)
        return done

    def finish(self, end_pts: int) -> Segment | None:
        """What is still open; `end_pts` is when its last frame ends."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.end_pts = self._after_last if self._after_last is not None else end_pts
        return segment

    def _goes_on(self, pts: int, mesh: Float[np.ndarray, "478 3"] | None) -> bool:
        """Whether the frame can belong to the open segment."""
        segment = self._segment
        assert segment is not None
        if mesh is None:
            if self._after_last is None:
                self._after_last = pts
            self._missing.append(pts)
            return pts - segment.pts[-1] <= self._max_gap_pts
        if len(segment) + len(self._missing) >= MAX_FRAMES:
            return False
        low, high, side = _box(mesh)
        old_low, old_high, old_side = _box(segment.meshes[-1])
        jump = np.abs((low + high) - (old_low + old_high)).max() / 2 / max(side, old_side)
        if jump > MAX_JUMP * (1 + len(self._missing)):
            return False
        median = float(np.median([*self._sides, side]))
        if not 1 / MAX_ZOOM < side / median < MAX_ZOOM:
            return False
        spread = (np.maximum(high, self._high) - np.minimum(low, self._low)).max()
        return bool(spread * FACE_MARGIN <= ROOMY_SCALE * median)

    def _append(self, number: int, pts: int, mesh: Float[np.ndarray, "478 3"], score: float) -> None:
        low, high, side = _box(mesh)
        if self._segment is None:
            self._segment = Segment(number)
            self._low, self._high, self._sides = low, high, []
            self._missing = []
        segment, missing = self._segment, len(self._missing)
        for i, missing_pts in enumerate(self._missing):
            share = np.float32((i + 1) / (missing + 1))
            segment.meshes.append(segment.meshes[-1 - i] * (1 - share) + mesh * share)
            segment.pts.append(missing_pts)
            segment.seen.append(False)
        self._missing = []
        self._after_last = None
        segment.meshes.append(mesh)
        segment.pts.append(pts)
        segment.seen.append(True)
        segment.scores.append(score)
        self._low, self._high = np.minimum(low, self._low), np.maximum(high, self._high)
        self._sides.append(side)


class CutFinder:
    """Notices scene cuts by the mean difference of consecutive frames."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None

    def is_cut(self, image: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Whether a scene begins with this frame (the first frame begins none)."""
        every_y, every_x = (max(1, n // CUT_GRID) for n in image.shape[:2])
        now = image[::every_y, ::every_x].astype(np.int16)
        last, self._last = self._last, now
        return last is not None and float(np.abs(now - last).mean()) > CUT_GREY_LEVELS


def _box(mesh: Float[np.ndarray, "478 3"]) -> tuple[np.ndarray, np.ndarray, float]:
    """Left top, right bottom, longer side."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    return low, high, float((high - low).max())
