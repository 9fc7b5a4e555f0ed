"""One face through a video: tracking, and smoothing by the One-Euro filter.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012, algorithm 1, with real time stamps instead of a fixed rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Float16, UInt8

from reenactor.core import MESH_POINTS, FaceObservation
from reenactor.face.geometry import fit_head
from reenactor.face.perception.identity import SAME_PERSON_DISTANCE, IdentityEmbedder, identity_distance
from reenactor.face.perception.landmarks import Region
from reenactor.face.perception.observe import (
    FaceNetworks,
    as_observation,
    check_picture,
    cut_off,
    face_side_px,
    several_faces,
)

Scalars: TypeAlias = "float | np.ndarray"

EASE = 0.3
"""Fraction of its way that the region moves toward the newest mesh per frame. Compared with following at once it takes
20% off the landmarks' jitter on a still or panned noisy picture, and nothing off a moving face's own movement."""
EASE_GAIN = 7.0
"""How much faster it moves for a face that moved: at a tenth of the side per frame it follows at once."""
CUT_GREY_LEVELS = 25.0
"""Mean difference of two frames above which they are two scenes. Inside 70 clips it stays below 21, between
clips it is more in 99% of pairs. A wrong guess costs one run of the detector."""
CUT_GRID = 32
SAME_FRAMING = 0.15
"""A face that is no farther than this from where it was before a cut, as `_faces_away` counts, was not filmed anew: the
shot goes on, after a flash of light or a jump in time."""
THOROUGH_EVERY = 30
"""While no face is seen, small ones are searched for (up to 0.2 s) only in every 30th frame."""
SAME_PERSON_FACES, _SOON = 1.5, 12
"""A lone face that comes back within so many frames, without a cut, is the same person's if it is nearer than this
many faces to where it was lost, as it may be blurred; others must look like the person."""
JUMP_FACES = 0.3
"""A face that is followed and is farther than this from where it was a frame ago may be another's. In 7,902 frames
of 53 clips the largest step is 0.17."""
SAME_DRIVER_DISTANCE = 0.65
"""Largest identity distance of the person from what it looked like before. In 120 clips no frame of 2,318 is farther
than 0.59 from its clip's first, however the head turns (to 52 degrees), and none of 180 with a covered mouth is farther
than this. 0.25 % of 1,589 pairs with another clip of the person are (2.2 % at 0.6), and 3.6 % of 74,187 pairs of two
people are nearer."""
_SIZE_CUTOFF_HZ, _SIZE_BETA = 0.5, 5.0
"""A face that grows by its own size in a second (beta is per logarithm) is followed at 5 Hz, one at rest at 0.5."""
_LOOKED_AT = (1, 4, 16, 64)
_LOOK_EVERY, _LOOK_WEIGHT = 256, 0.3
"""Frames of the person in which its identity is read (a reading takes as long as two frames), then every how many; and
how much a reading counts against those before."""


class Missing(IntEnum):
    """Why a frame shows no whole face of the person."""

    NOT_MISSING = 0
    NOT_FOUND = 1
    CUT_OFF = 2
    """Too much of it lies beyond the picture's border (`observe.cut_off`)."""


@dataclass(frozen=True)
class TrackerMemory:
    """State of a tracker after a frame, from which another tracker can continue (`FaceTracker.resume`).

    Args:
        last_seen: region where the person was seen last; None before that.
        frames_without: frames since then; more if another's face was taken for the person's.
        cut: `FaceTracker.cut`.
        identity: (128,) what the person looks like; None before it was seen.
        frames_with: in how many frames it was seen since that was known.
    """

    last_seen: Region | None
    frames_without: int
    cut: bool
    identity: Float16[np.ndarray, "128"] | None
    frames_with: int


class CutDetector:
    """Finds scene cuts by the mean difference of consecutive frames."""

    def __init__(self) -> None:
        self._thumbnail: np.ndarray | None = None

    def is_cut(self, image: UInt8[np.ndarray, "h w 3"]) -> bool:
        """Whether a scene begins with this frame (RGB). The first frame of all is no cut, a new size is one."""
        every_y, every_x = (max(1, n // CUT_GRID) for n in image.shape[:2])
        thumbnail = image[::every_y, ::every_x].astype(np.int16)
        last, self._thumbnail = self._thumbnail, thumbnail
        if last is None or last.shape != thumbnail.shape:
            return last is not None
        return float(np.abs(thumbnail - last).mean()) > CUT_GREY_LEVELS


class FaceTracker(FaceNetworks):
    """Follows one person frame by frame: one network run per frame, and the detector only when the face is lost.

    A face that is found again, or jumps, is the person's if it looks like the person; if none does, it is not seen. Nor
    is half a face at the picture's border, which the network completes by a guess.

    Args:
        face: 1 for the first face from the left at the start, 2 for the second...; None for the largest. Frames
            that show fewer faces count as without a face until the person is known.

    Attributes:
        cut: since the person was seen last there was a cut; if it is seen now, it is filmed anew.
        missing: why the last frame shows no whole face, if it shows none.
        alternatives: how many faces the last search found among which the person may be meant; 1 if it is clear.

    Raises:
        ValueError: `face` is less than 1.
    """

    def __init__(self, *, face: int | None = None) -> None:
        if face is not None and face < 1:
            raise ValueError(f"faces are counted from 1, got {face}")
        super().__init__()
        self._face = face
        self.reset()

    def reset(self) -> None:
        """Forget the person: the next frame begins another video."""
        self._region: Region | None = None
        self._last_seen: Region | None = None
        self._cuts = CutDetector()
        self._frames_without = 0
        self.cut = False
        self.missing = Missing.NOT_MISSING
        self.alternatives = 1
        self.forget_identity()

    def forget_identity(self) -> None:
        """Whoever is seen next may be another person."""
        self._identity: np.ndarray | None = None
        self._frames_with = 0

    @property
    def memory(self) -> TrackerMemory:
        """State to continue from later with another tracker."""
        return TrackerMemory(self._last_seen, self._frames_without, self.cut, self._identity, self._frames_with)

    def resume(self, memory: TrackerMemory, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Continue from another tracker's state after the frame `image`, as if this one had seen all frames so far."""
        self._cuts.is_cut(image)  # keeps the thumbnail, to compare the next frame with
        self._last_seen, self._frames_without, self.cut = memory.last_seen, memory.frames_without, memory.cut
        self._identity, self._frames_with = memory.identity, memory.frames_with
        self._region = memory.last_seen if memory.frames_without == 0 else None

    def track(self, image: UInt8[np.ndarray, "h w 3"]) -> FaceObservation | None:
        """The person's face in the next frame; None if it is not seen. Its `score` is the mesh network's confidence.

        Args:
            image: (H, W, 3) RGB.

        Raises:
            ValueError: not an (H, W, 3) uint8 picture.
        """
        check_picture(image)
        cut = self._cuts.is_cut(image)
        seen = None if cut else self._follow(image)
        if seen is None:
            self._region = None
            seen = self._find(image, after_cut=cut)
        self.missing = Missing.NOT_FOUND if seen is None else Missing.NOT_MISSING
        if seen is not None and cut_off(seen.landmarks.mesh, (image.shape[1], image.shape[0])):
            self.missing = Missing.CUT_OFF
            seen = self._region = None
        self.cut = self._last_seen is not None and (cut or (self.cut and self._frames_without > 0))
        if seen is not None:
            self.cut = self.cut and self._faces_away(seen) > SAME_FRAMING
        self._frames_without = 0 if seen is not None else self._frames_without + 1
        if seen is not None:
            aim = Region.of_mesh(seen.landmarks.mesh)
            self._region = aim if self._region is None else eased(self._region, aim)
            self._last_seen = self._region
            self._look_at(image, seen)
        return seen

    def _look_at(self, image: UInt8[np.ndarray, "h w 3"], seen: FaceObservation) -> None:
        """Learn what the person looks like, now and then."""
        self._frames_with += 1
        if self._frames_with not in _LOOKED_AT and self._frames_with % _LOOK_EVERY:
            return
        found = _embedder().embed(image, seen.landmarks)
        if self._identity is None:
            self._identity = found.astype(np.float16)
        elif identity_distance(found, self._identity) < SAME_PERSON_DISTANCE:
            self._identity = (self._identity + _LOOK_WEIGHT * (found - self._identity)).astype(np.float16)

    def _follow(self, image: UInt8[np.ndarray, "h w 3"]) -> FaceObservation | None:
        if self._region is None:
            return None
        mesh, presence = self._mesher.mesh(image, self._region)
        seen = as_observation(mesh, presence=presence, score=presence, picture_px=(image.shape[1], image.shape[0]))
        if seen is not None and self._faces_away(seen) > JUMP_FACES and not self._alike(image, [seen]):
            self._frames_without = _SOON
            return None
        return seen

    def _find(self, image: UInt8[np.ndarray, "h w 3"], *, after_cut: bool) -> FaceObservation | None:
        thorough = self._frames_without % THOROUGH_EVERY == 0
        found = self.observe_all(image, thorough=thorough)
        if not found:
            return None
        self.alternatives = len(found) if several_faces(found) else 1
        if self._identity is not None:
            cut = after_cut or self.cut
            lone = len(found) == 1 and self._faces_away(found[0]) < SAME_PERSON_FACES
            if lone and not cut and self._frames_without < _SOON:
                return found[0]
            alike = self._alike(image, found)
            return next(iter(alike if cut else sorted(alike, key=self._faces_away)), None)
        if self._face is not None:
            return found[self._face - 1] if self._face <= len(found) else None
        return max(found, key=lambda one: face_side_px(one.landmarks.mesh))

    def _alike(self, image: UInt8[np.ndarray, "h w 3"], faces: list[FaceObservation]) -> list[FaceObservation]:
        """The faces that look like the person, the likest first."""
        if self._identity is None:
            return faces
        looks = _embedder().embed_batch([image] * len(faces), [face.landmarks for face in faces])
        distances = identity_distance(looks, self._identity.astype(np.float32))
        return [faces[i] for i in np.argsort(distances) if distances[i] < SAME_DRIVER_DISTANCE]

    def _faces_away(self, seen: FaceObservation) -> float:
        """Distance from where the person was seen last, in sizes of the larger face; a changed size counts too."""
        assert self._last_seen is not None
        here, last = Region.of_mesh(seen.landmarks.mesh), self._last_seen
        shift = math.hypot(here.x - last.x, here.y - last.y) / max(here.side_px, last.side_px) * 1.5
        return math.hypot(shift, math.log2(here.side_px / last.side_px))


@cache
def _embedder() -> IdentityEmbedder:
    return IdentityEmbedder()


def eased(region: Region, aim: Region) -> Region:
    """The region moved part of the way to its aim: slowly for small differences, which are mostly noise."""
    turn = (aim.angle_deg - region.angle_deg + 180) % 360 - 180
    growth = math.log(aim.side_px / region.side_px)
    moved = math.hypot(aim.x - region.x, aim.y - region.y) / region.side_px
    fraction = min(1.0, EASE + EASE_GAIN * max(moved, abs(growth), abs(math.radians(turn))))
    return Region(
        x=region.x + fraction * (aim.x - region.x),
        y=region.y + fraction * (aim.y - region.y),
        side_px=region.side_px * math.exp(fraction * growth),
        angle_deg=region.angle_deg + fraction * turn,
    )


class OneEuroFilter:
    """Smooth when slow, prompt when fast; filters every entry of an array on its own.

    Args:
        min_cutoff_hz: cutoff at rest; lower is smoother.
        beta: how much the cutoff rises per unit of speed (Hz per unit per second); higher lags less.
        speed_cutoff_hz: cutoff for the speed itself.
    """

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.0, *, speed_cutoff_hz: float = 1.0) -> None:
        if min_cutoff_hz <= 0 or speed_cutoff_hz <= 0 or beta < 0:
            raise ValueError("the filter's cutoffs must be positive and beta not negative")
        self._min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._speed_cutoff_hz = speed_cutoff_hz
        self.reset()

    def reset(self) -> None:
        """Forget all values: the next one passes unchanged."""
        self._time_s: float | None = None
        self._value = np.zeros(())
        self._speed = np.zeros(())

    def __call__(self, value: Float[np.ndarray, "*shape"], time_s: float) -> Float[np.ndarray, "*shape"]:
        """The smoothed value, float64.

        Raises:
            ValueError: times (seconds) do not increase.
        """
        value = np.asarray(value, dtype=np.float64)
        if self._time_s is None:
            self._time_s, self._value, self._speed = time_s, value, np.zeros_like(value)
            return value.copy()
        step_s = time_s - self._time_s
        if step_s <= 0:
            raise ValueError(f"time must increase: {time_s} s came after {self._time_s} s")
        speed = (value - self._value) / step_s
        self._speed = self._speed + _fraction(self._speed_cutoff_hz, step_s) * (speed - self._speed)
        cutoff_hz = self._min_cutoff_hz + self._beta * np.abs(self._speed)
        self._value = self._value + _fraction(cutoff_hz, step_s) * (value - self._value)
        self._time_s = time_s
        return self._value.copy()


class MeshSmoother:
    """One-Euro for landmarks; speeds are in face sizes per second, so that one setting fits every resolution.

    The face's size, which seldom changes fast and whose jitter moves the whole head, is steadied more.

    Args:
        min_cutoff_hz, beta: see `OneEuroFilter`.
    """

    def __init__(self, min_cutoff_hz: float = 4.0, beta: float = 20.0) -> None:
        self._filter = OneEuroFilter(min_cutoff_hz, beta, speed_cutoff_hz=4.0)
        self._size_filter = OneEuroFilter(_SIZE_CUTOFF_HZ, _SIZE_BETA)
        self._unit_px = 0.0

    def reset(self) -> None:
        """Call after a gap or a cut."""
        self._filter.reset()
        self._size_filter.reset()
        self._unit_px = 0.0

    def __call__(self, mesh: Float[np.ndarray, "478 3"], time_s: float) -> Float[np.ndarray, "478 3"]:
        """The smoothed mesh (float32), pixels in and out."""
        if mesh.shape != (MESH_POINTS, 3):
            raise ValueError(f"a mesh has shape ({MESH_POINTS}, 3), got {mesh.shape}")
        if self._unit_px == 0.0:  # fixed for the run: a unit that changed would move the filter's memory
            self._unit_px = max(float(np.ptp(mesh[:, :2], axis=0).max()), 1.0)
        smooth = self._filter(mesh / self._unit_px, time_s)
        size = np.log(fit_head(smooth).scale)[None]
        middle = smooth.mean(axis=0)
        smooth = middle + np.exp(self._size_filter(size, time_s) - size) * (smooth - middle)
        return (smooth * self._unit_px).astype(np.float32)


def _fraction(cutoff_hz: Scalars, step_s: float) -> Scalars:
    """Fraction of the way that a low-pass moves to a new value: 1 / (1 + tau / step) with tau = 1 / (2 pi cutoff)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * step_s))
