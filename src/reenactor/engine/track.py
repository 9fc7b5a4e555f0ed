"""A driver as landmarks over time, of any length: in memory, or in a folder that is filled frame by frame."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise, repeat
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from reenactor.core import MESH_POINTS, FaceObservation, Motion, NoFaceError, check_face_number
from reenactor.core.files import write_atomically
from reenactor.core.landmark_codec import dequantize, quantize, steps_per_px
from reenactor.engine.job_folder import SEAL_BYTES, Seals
from reenactor.engine.portrait import Photo, Picture, pixels_of
from reenactor.engine.prefetch import prefetch
from reenactor.face.perception import FaceFinder, FaceTracker, MeshSmoother, Missing, Region, TrackerMemory
from reenactor.face.perception.identity import EMBEDDING_SIZE
from reenactor.face.perception.observe import chosen_face, several_faces
from reenactor.face.retarget import DriverRest, usual_face
from reenactor.media import FrameReader, is_still, open_reader
from reenactor.media.motion_file import is_motion, read_motion

_CHUNK = 256
_REST_SAMPLE = 600
"""Frames from which the driver at rest is estimated."""
_SHOT_SAMPLE, _LONG_SHOT_S, _LONG_SHOT_FRAMES = 100, 1.0, 10
"""Frames from which a shot's most neutral one is chosen; seconds, and frames with a face, that it needs for that."""
_RECORD = np.dtype(
    [
        ("pts", "<i8"),
        ("missing", "u1"),
        ("alternatives", "u1"),
        ("pose_deg", "<f4", 3),
        ("mesh", "<i2", (MESH_POINTS, 3)),
        # What the tracker knows after the frame: where the person was seen last (NaN before that), how long ago, and
        # whether there was a cut since; what the person looks like (NaN before that), and for how many frames.
        ("last_seen", "<f8", 4),
        ("frames_without", "<i4"),
        ("cut", "?"),
        ("identity", "<f2", EMBEDDING_SIZE),
        ("frames_with", "<i4"),
        ("seal", "u1", SEAL_BYTES),
    ]
)


@dataclass(frozen=True)
class Gap:
    """A stretch of a driver without a whole face.

    Args:
        start_s, end_s: seconds.
        reason: why; of several reasons the one that says most.
    """

    start_s: float
    end_s: float
    reason: Missing

    def text(self) -> str:
        """What is missing, when, and what was done about it."""
        left = self.reason is Missing.CUT_OFF
        what = "the driver's face leaves the picture" if left else "no face in the driver"
        return f"{what} at {self.start_s:.2f}-{self.end_s:.2f} s: the last pose was held"


@dataclass(frozen=True)
class Track:
    """Like `Motion`, but the meshes are read in pieces.

    Args:
        pts, seen, pose_deg, end_pts, time_base, picture_size: as in `Motion`.
        read: (first, last) -> (last - first, 478, 3) meshes in pixels.
        shots: numbers of the frames that begin a shot: 0, and the first of each later one that shows the face.
        missing: (T,) `Missing`, why frames show no whole face; None if that is not known.
        alternatives: how many faces there were to follow where the person was found first; 1 if it was clear.
    """

    pts: Int[np.ndarray, " t"]
    seen: Bool[np.ndarray, " t"]
    pose_deg: Float[np.ndarray, "t 3"]
    end_pts: int
    time_base: Fraction
    picture_size: tuple[int, int]
    read: Callable[[int, int], Float[np.ndarray, "n 478 3"]]
    shots: tuple[int, ...] = (0,)
    missing: UInt8[np.ndarray, " t"] | None = None
    alternatives: int = 1

    def __len__(self) -> int:
        return len(self.pts)

    @classmethod
    def of_motion(cls, motion: Motion) -> Track:
        """A motion that is in memory."""
        return cls(
            motion.pts,
            motion.seen,
            motion.pose_deg,
            motion.end_pts,
            motion.time_base,
            motion.picture_size,
            lambda first, last: motion.mesh_px[first:last],
        )

    @classmethod
    def still(cls, seen: FaceObservation, picture_size: tuple[int, int]) -> Track:
        """A single picture, lasting one second."""
        pose = np.array([[seen.pose.yaw_deg, seen.pose.pitch_deg, seen.pose.roll_deg]], np.float32)
        motion = Motion(
            seen.landmarks.mesh[None], np.ones(1, bool), np.zeros(1, np.int64), 1, Fraction(1), pose, picture_size
        )
        return cls.of_motion(motion)

    def to_motion(self, about: dict[str, str] | None = None) -> Motion:
        """The whole track in memory."""
        return Motion(
            self.read(0, len(self)),
            self.seen,
            self.pts,
            self.end_pts,
            self.time_base,
            self.pose_deg,
            self.picture_size,
            about or {},
        )

    @property
    def rate(self) -> Fraction:
        """Mean frames per second."""
        return len(self) / (self.end_pts * self.time_base)

    def gaps(self) -> list[Gap]:
        """Stretches without a whole face."""
        edges = np.flatnonzero(np.diff(np.concatenate([[True], self.seen, [True]]).astype(np.int8))).reshape(-1, 2)
        bounds_s = np.append(self.pts, self.end_pts) * float(self.time_base)
        reasons = np.full(len(self), Missing.NOT_FOUND) if self.missing is None else self.missing
        return [Gap(float(bounds_s[a]), float(bounds_s[b]), Missing(reasons[a:b].max())) for a, b in edges.tolist()]

    def steady_before(self, frame: int, ease_s: float) -> int:
        """The last frame up to `frame` whose last frame without a face is at least `ease_s` seconds ago; 0 if none."""
        times_s = self.pts[: frame + 1] * float(self.time_base)
        gap_s = np.maximum.accumulate(np.where(self.seen[: frame + 1], -np.inf, times_s))
        steady = np.flatnonzero(times_s - gap_s >= ease_s)
        return int(steady[-1]) if len(steady) else 0

    def sample(
        self, most: int, first: int = 0, last: int | None = None
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 478 3"]]:
        """At most `most` frames with a face, evenly spread, from `first` to before `last`: their numbers and meshes."""
        frames = first + np.flatnonzero(self.seen[first:last])
        frames = frames[:: max(1, -(-len(frames) // most))]
        return frames, np.concatenate([self.read(int(i), int(i) + 1) for i in frames])

    def meshes(self, start: int = 0, smooth: MeshSmoother | None = None) -> Iterator[Float[np.ndarray, "478 3"]]:
        """The meshes one by one from frame `start` on; a filter sees those before as well.

        Filtered or not, the last mesh is held while there is no face; a filter is reset after that, and where a shot
        begins.
        """
        out = None
        for first in range(start - start % _CHUNK if smooth is None else 0, len(self), _CHUNK):
            for i, mesh in enumerate(self.read(first, min(first + _CHUNK, len(self))), start=first):
                if smooth is None:
                    out = mesh
                elif self.seen[i]:
                    if i in self.shots:
                        smooth.reset()
                    out = smooth(mesh, float(self.pts[i] * self.time_base))
                else:
                    smooth.reset()
                    out = mesh if out is None else out
                if i >= start:
                    yield out


def _note(memory: TrackerMemory, record: np.ndarray) -> None:
    region = memory.last_seen
    record["last_seen"] = np.nan if region is None else (region.x, region.y, region.side_px, region.angle_deg)
    record["frames_without"], record["cut"] = memory.frames_without, memory.cut
    record["identity"] = np.nan if memory.identity is None else memory.identity
    record["frames_with"] = memory.frames_with


def _recall(record: np.ndarray) -> TrackerMemory:
    never = np.isnan(record["last_seen"]).any()
    region = None if never else Region(*record["last_seen"].tolist())
    identity = None if np.isnan(record["identity"]).any() else record["identity"].copy()
    return TrackerMemory(
        region, int(record["frames_without"]), bool(record["cut"]), identity, int(record["frames_with"])
    )


class TrackFolder:
    """Landmarks of a video in a folder; an interrupted extraction continues where it stopped.

    Args:
        folder: made if missing; holds `track.bin` and, once complete, `track.json`.
        video: path of the driver.
        face: which face to follow, from the left; None for the largest.
        seals: of the job that it belongs to; frames without a seal of the job are extracted again.

    Attributes:
        done: number of frames that are there.
    """

    def __init__(self, folder: Path, video: Path, *, face: int | None = None, seals: Seals | None = None) -> None:
        self._records, self._facts = folder / "track.bin", folder / "track.json"
        self._video, self._face, self._seals = video, face, seals or Seals()
        folder.mkdir(parents=True, exist_ok=True)
        self.done = self._sealed()

    def fill(self, on_frame: Callable[[int, int | None], None] = lambda done, total: None) -> Track:
        """Extract what is missing and return the track.

        Args:
            on_frame: called after each frame with the number done and the number expected (None: unknown).

        Raises:
            NoFaceError: if no frame shows a face.
            MediaError: if the video cannot be read.
            ReenactError: if the face's number is less than 1.
        """
        check_face_number(self._face)
        if not self._complete():
            self._facts.unlink(missing_ok=True)
            with open_reader(self._video, precise=False) as reader:
                steps = steps_per_px(reader.size)
                self._append(reader, steps, on_frame)
                facts = {
                    "end_pts": reader.end_pts,
                    "time_base": str(reader.time_base),
                    "picture_size": reader.size,
                    "steps_per_px": steps,
                    "truncated": reader.truncated,
                    "frames": self.done,
                }
            write_atomically(self._facts, json.dumps(facts))
            self._seals.seal(self._facts)
        return self._track()

    def _sealed(self) -> int:
        """Number of whole records at the beginning that bear their seals; what follows does not count."""
        if not self._records.exists():
            return 0
        with self._records.open("rb") as file:
            done = 0
            while (record := file.read(_RECORD.itemsize)) == self._with_seal(self._seals.of, done, record):
                done += 1
        return done

    @staticmethod
    def _with_seal(seal: Callable[[str, bytes], bytes], number: int, record: bytes) -> bytes:
        facts = record[: _RECORD.itemsize - SEAL_BYTES]
        return facts + seal(f"frame {number}", facts)

    @property
    def truncated(self) -> bool:
        """Whether the video ended in damaged data."""
        return bool(json.loads(self._facts.read_text())["truncated"])

    def _complete(self) -> bool:
        """Whether all frames are there."""
        return self._seals.holds(self._facts) and json.loads(self._facts.read_text())["frames"] == self.done

    def _append(self, reader: FrameReader, steps: int, on_frame: Callable[[int, int | None], None]) -> None:
        done = self.done
        record = np.zeros((), _RECORD)
        with (
            self._records.open("r+b" if done else "w+b") as file,
            FaceTracker(face=self._face) as tracker,
            prefetch(reader.frames(start=max(0, done - 1))) as frames,
        ):
            # The file may end in the middle of a record; the last whole one says how to continue.
            file.truncate(done * _RECORD.itemsize)
            if done:
                file.seek((done - 1) * _RECORD.itemsize)
                record = np.frombuffer(file.read(_RECORD.itemsize), _RECORD).reshape(()).copy()
                last = next(frames, None)
                if last is not None:
                    tracker.resume(_recall(record), last.image)
            for frame in frames:
                face = tracker.track(frame.image)
                record["pts"], record["missing"] = frame.pts, tracker.missing
                record["alternatives"] = min(tracker.alternatives, 255)
                if face is not None:
                    pose = face.pose
                    record["pose_deg"] = pose.yaw_deg, pose.pitch_deg, pose.roll_deg
                    record["mesh"] = quantize(face.landmarks.mesh, steps)
                _note(tracker.memory, record)
                file.write(self._with_seal(self._seals.make, self.done, record.tobytes()))
                self.done += 1
                on_frame(self.done, reader.frame_count)

    def _track(self) -> Track:
        facts = json.loads(self._facts.read_text())
        missing, cuts, pts, pose = [], [], [], []
        for first in range(0, facts["frames"], _CHUNK):
            records = self._read_records(first, first + _CHUNK)
            missing.append(records["missing"].copy())
            cuts.append(records["cut"].copy())
            pts.append(records["pts"].copy())
            pose.append(records["pose_deg"].copy())
        reasons = np.concatenate(missing)
        flags = reasons == Missing.NOT_MISSING
        if not flags.any():
            which = "no face" if self._face is None else f"no face number {self._face} from the left"
            raise NoFaceError(
                f"{which} found in any of the {len(flags)} frames of {self._video}; "
                "use a driver whose face is well lit, sharp and not covered"
            )
        # Before the first face nothing is known; the first one seen stands there too.
        lead = int(np.argmax(flags))
        steps = facts["steps_per_px"]

        def read(first: int, last: int) -> Float[np.ndarray, "n 478 3"]:
            meshes = self._read_records(first, last)["mesh"].copy()
            if first < lead:
                meshes[: lead - first] = self._read_records(lead, lead + 1)["mesh"]
            return dequantize(meshes, steps)

        poses = np.concatenate(pose)
        poses[:lead] = poses[lead]
        return Track(
            np.concatenate(pts),
            flags,
            poses,
            facts["end_pts"],
            Fraction(facts["time_base"]),
            (facts["picture_size"][0], facts["picture_size"][1]),
            read,
            (0, *np.flatnonzero(np.concatenate(cuts) & flags).tolist()),
            reasons,
            int(self._read_records(lead, lead + 1)["alternatives"][0]),
        )

    def _read_records(self, first: int, last: int) -> np.ndarray:
        count = max(0, last - first)
        return np.fromfile(self._records, _RECORD, count=count, offset=first * _RECORD.itemsize)


def track_of_file(
    driver: Path,
    folder: Path,
    *,
    face: int | None = None,
    on_frame: Callable[[int, int | None], None] = lambda done, total: None,
) -> Track:
    """The landmarks of a driver video, photo or motion file.

    Args:
        driver: the file.
        folder: where those of a video are kept.
        face: which face to follow, from the left; None for the largest.
        on_frame: as in `TrackFolder.fill`.

    Raises:
        MediaError: if the file cannot be read.
        NoFaceError: if it shows no face.
    """
    if is_motion(driver):
        return track_of_motion(driver)
    if is_still(driver):
        return track_of_photo(driver, face=face)
    return TrackFolder(folder, driver, face=face).fill(on_frame)


def track_of_motion(path: Path) -> Track:
    """A driver that is a motion file.

    Raises:
        NoFaceError: if no frame of it shows a face.
    """
    motion = read_motion(path)
    if not motion.seen.any():
        raise NoFaceError(f"no face in any of the {len(motion)} frames of {path}; extract it from a part with one")
    return Track.of_motion(motion)


def track_of_photo(photo: Photo, *, face: int | None = None) -> Track:
    """A driver that is a single photo.

    Raises:
        MediaError: if it cannot be read.
        NoFaceError: if it shows no face (or fewer than `face`).
    """
    name = str(photo) if isinstance(photo, (str, os.PathLike)) else "the driver's picture"
    picture = pixels_of(photo, name)
    with FaceFinder() as finder:
        found = finder.observe_all(picture)
    track = Track.still(chosen_face(found, face, name), (picture.shape[1], picture.shape[0]))
    return replace(track, alternatives=len(found) if several_faces(found) else 1)


def driver_pictures(track: Track, driver: Path | Picture, start: int = 0) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The picture that each mesh of `Track.meshes` was found in, from frame `start` on; held while there is no face.

    Args:
        track: of the driver.
        driver: its video or photo.
        start: first frame.
    """
    if not isinstance(driver, Path) or is_still(driver):
        yield from repeat(pixels_of(driver, "the driver's picture"), len(track) - start)
        return
    shown = np.maximum.accumulate(np.where(track.seen, np.arange(len(track)), int(np.argmax(track.seen))))
    with open_reader(driver) as reader:
        number = int(shown[start])
        frames = reader.frames(number)
        picture = next(frames).image
        for wanted in shown[start:]:
            while number < wanted:
                picture, number = next(frames).image, number + 1
            yield picture


def track_rest(track: Track) -> DriverRest:
    """What the driver of a track is like at rest.

    Raises:
        NoFaceError: if no frame shows a face.
    """
    if not track.seen.any():
        raise NoFaceError(f"none of the driver's {len(track)} frames shows a face; use another driver, or another part")
    if len(track) == 1:
        return DriverRest.of_photo(track.read(0, 1)[0])
    return DriverRest.of_clip(track.sample(_REST_SAMPLE)[1])


def shot_heads(track: Track, rest: DriverRest) -> dict[int, Float[np.ndarray, "478 3"]]:
    """For the first frame of each shot, the driver's face (478, 3) from which head movement counts there, pixels.

    That is the shot's most neutral frame, or the driver at rest in a short shot, which does not tell how the head
    usually turns; put where the face usually is there, in its size.

    Args:
        track: of the driver.
        rest: at rest; head movement counts from there if there is but one shot.
    """
    if len(track.shots) == 1:
        return {0: rest.mesh_px}
    heads = {}
    for first, last in pairwise((*track.shots, len(track))):
        meshes = track.sample(_SHOT_SAMPLE, first, last)[1]
        heads[first] = usual_face(meshes, None if _long_enough(track, first, last) else rest.mesh_px)
    return heads


def _long_enough(track: Track, first: int, last: int) -> bool:
    ends = np.append(track.pts, track.end_pts)
    duration_s = (ends[last] - ends[first]) * track.time_base
    return bool(duration_s >= _LONG_SHOT_S and track.seen[first:last].sum() >= _LONG_SHOT_FRAMES)
