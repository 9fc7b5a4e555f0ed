"""One face through a video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from reenactor.core import FaceObservation
from reenactor.face.perception.detection import FaceDetector
from reenactor.face.perception.landmarks import FaceMesher, Region
from reenactor.face.perception.observe import as_observation, check_picture, face_side_px, find_faces

EASE = 0.3
"""Share of its way that the region goes toward the newest mesh per frame. Against following at once it takes
20% off the landmarks' jitter on a still or panned noisy picture, and nothing off a moving face's own
movement."""
EASE_GAIN = 7.0
"""How much faster it goes for a face that moved: at a tenth of the side per frame it follows at once."""
CUT_GREY_LEVELS = 25.0
"""Mean difference of two frames above which they are two scenes. Inside 70 clips it stays below 21, between
clips it is more in 99% of pairs. A wrong guess costs one run of the detector."""
CUT_GRID = 32
THOROUGH_EVERY = 30
"""While no face is seen, small ones are searched for (up to 0.2 s) only in every 30th frame."""
SAME_PERSON_FACES = 1.5
"""A face that comes back is the same person's if it is nearer than this many faces to where it was lost."""


@dataclass(frozen=True)
class TrackerMemory:
    """What a tracker knows after a frame.

    Args:
        last_seen: where the person was seen last; None before that.
        frames_without: frames since then.
    """

    last_seen: Region | None
    frames_without: int


class FaceTracker:
    """Follows one person frame by frame: 1 network run per frame, no detector while all goes well.

    Holds native networks that threads cannot share: make one per thread, and close it or use `with`.

    Args:
        face: 1 for the first face from the left at the start (and after a cut), 2 for the second...; None for
            the largest. Frames that show fewer faces count as without a face.
    """

    def __init__(self, *, face: int | None = None) -> None:
        if face is not None and face < 1:
            raise ValueError(f"faces are counted from 1, got {face}")
        self._face = face
        self._detector = FaceDetector()
        self._mesher = FaceMesher()
        self.reset()

    def reset(self) -> None:
        """Forget the person: the next frame begins another video."""
        self._region: Region | None = None
        self._last_seen: Region | None = None
        self._thumbnail: np.ndarray | None = None
        self._frames_without = 0

    @property
    def memory(self) -> TrackerMemory:
        """What must be kept to go on later with another tracker."""
        return TrackerMemory(self._last_seen, self._frames_without)

    def resume(self, memory: TrackerMemory, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Go on as if this tracker had seen all frames up to `image` itself; `memory` is another's after it."""
        self._is_cut(image)  # keeps the picture's thumbnail, to compare the next one with
        self._last_seen, self._frames_without = memory.last_seen, memory.frames_without
        self._region = memory.last_seen if memory.frames_without == 0 else None

    def track(self, image: UInt8[np.ndarray, "h w 3"]) -> FaceObservation | None:
        """The person's face in the next frame (RGB); None if unseen. `score` is the mesh's presence."""
        check_picture(image)
        cut = self._is_cut(image)
        seen = None if cut else self._follow(image)
        if seen is None:
            self._region = None
            seen = self._find(image, after_cut=cut)
        self._frames_without = 0 if seen is not None else self._frames_without + 1
        if seen is not None:
            aim = Region.of_mesh(seen.landmarks.mesh)
            self._region = aim if self._region is None else eased(self._region, aim)
            self._last_seen = self._region
        return seen

    def _follow(self, image: UInt8[np.ndarray, "h w 3"]) -> FaceObservation | None:
        if self._region is None:
            return None
        mesh, presence = self._mesher.mesh(image, self._region)
        return as_observation(mesh, presence=presence, score=presence, picture_px=(image.shape[1], image.shape[0]))

    def _find(self, image: UInt8[np.ndarray, "h w 3"], *, after_cut: bool) -> FaceObservation | None:
        thorough = self._frames_without % THOROUGH_EVERY == 0
        found = find_faces(image, self._detector, self._mesher, thorough=thorough)
        if not found:
            return None
        if self._last_seen is not None:
            nearest = min(found, key=self._faces_away)
            if self._faces_away(nearest) < (0.5 if after_cut else SAME_PERSON_FACES):
                return nearest
        if self._face is not None:
            return found[self._face - 1] if self._face <= len(found) else None
        return max(found, key=lambda one: face_side_px(one.landmarks.mesh))

    def _faces_away(self, seen: FaceObservation) -> float:
        """Distance from where the person was last, in sizes of the larger face; changed size counts too."""
        assert self._last_seen is not None
        here, last = Region.of_mesh(seen.landmarks.mesh), self._last_seen
        shift = math.hypot(here.x - last.x, here.y - last.y) / max(here.side_px, last.side_px) * 1.5
        return math.hypot(shift, math.log2(here.side_px / last.side_px))

    def _is_cut(self, image: UInt8[np.ndarray, "h w 3"]) -> bool:
        every_y, every_x = (max(1, n // CUT_GRID) for n in image.shape[:2])
        thumbnail = image[::every_y, ::every_x].astype(np.int16)
        last, self._thumbnail = self._thumbnail, thumbnail
        if last is None or last.shape != thumbnail.shape:
            return last is not None
        return float(np.abs(thumbnail - last).mean()) > CUT_GREY_LEVELS

    def close(self) -> None:
        """Free the networks."""
        self._detector.close()
        self._mesher.close()

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def eased(region: Region, aim: Region) -> Region:
    """The region part of the way to its aim: slowly for small differences, which are mostly noise."""
    turn = (aim.angle_deg - region.angle_deg + 180) % 360 - 180
    grow = math.log(aim.side_px / region.side_px)
    moved = math.hypot(aim.x - region.x, aim.y - region.y) / region.side_px
    share = min(1.0, EASE + EASE_GAIN * max(moved, abs(grow), abs(math.radians(turn))))
    return Region(
        x=region.x + share * (aim.x - region.x),
        y=region.y + share * (aim.y - region.y),
        side_px=region.side_px * math.exp(share * grow),
        angle_deg=region.angle_deg + share * turn,
    )
