"""Clips to samples: a clip is cut into segments that one steady square can show, and each becomes a sample."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Float32

from reenactor.core import FaceObservation, Landmarks, NoFaceError
from reenactor.core.landmark_codec import encode_landmarks
from reenactor.face.geometry import FACE_MARGIN, face_crop
from reenactor.face.perception import FaceBox, Region
from reenactor.face.perception.identity import SAME_PERSON_DISTANCE
from reenactor.face.perception.observe import as_observation, face_side_px
from reenactor.face.perception.photo_check import sharpness
from reenactor.face.perception.tracking import CutDetector
from reenactor.media import FrameFilesReader, FrameReader, VideoFrame, open_reader
from reenactor.research.data.frames import ClipEncoder
from reenactor.research.data.items import FaceBoxes, Item, PackedSample
from reenactor.research.data.landmark_files import read_landmarks, with_landmarks
from reenactor.research.data.samples import (
    MIN_FACE_PX,
    Measurements,
    Settings,
    box_corners_px,
    check_face_size,
    in_box,
    json_bytes,
    metadata,
    networks,
    packed_sample,
)

MIN_SEGMENT_S = 0.5
MEASURED_FRAMES = 5
"""Frames of a segment in which identity, sharpness and the number of faces are measured."""
MAX_BOX_GAP_S = 1.0
"""Between two boxes of a data set no further apart than this, the face is assumed to move straight."""
MAX_CROP_SCALE = 2.5
"""The square may grow to this many median faces to hold a face that moves, before the clip is cut."""
MAX_GAP_S = 0.5
"""Longest time without the face inside a segment; its landmarks are interpolated and the frames marked."""
MAX_FRAMES = 1500
"""Frames of a segment, a minute at 25 frames a second: landmarks stay in memory until the segment is cut out."""
MAX_JUMP = 0.5
"""In face sizes from one frame to the next; further away it is another face, or another scene."""
MAX_ZOOM = 1.7
"""Ratio of a frame's face to the median face; beyond it, a crop of fixed scale would show two different framings."""


@dataclass
class Segment:
    """Consecutive frames without a scene cut that show one face and fit into one square.

    Args:
        first: number of the first frame in the video.
        pts: presentation time of each frame, in the video's time base.
        end_pts: when the last frame ends.
        meshes: (478, 3) each, pixels of the video.
        seen: whether the face was found in each frame; if not, its mesh is interpolated.
        scores: confidence of the mesh network in the frames seen, 0 to 1.
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
        """All meshes as one array."""
        return np.stack(self.meshes)

    @property
    def seen_mask(self) -> Bool[np.ndarray, " t"]:
        """`seen` as an array."""
        return np.array(self.seen)


class SegmentCutter:
    """Takes the frames of a video one by one and returns segments as they end.

    Args:
        max_gap_pts: longest time without the face inside a segment, in the video's time base.
    """

    def __init__(self, max_gap_pts: float) -> None:
        self._max_gap_pts = max_gap_pts
        self._segment: Segment | None = None
        self._low = self._high = np.zeros(2)
        self._sides: list[float] = []
        self._missing: list[int] = []
        self._lost_at: int | None = None

    def add(
        self, number: int, pts: int, mesh: Float[np.ndarray, "478 3"] | None, score: float, *, cut: bool
    ) -> Segment | None:
        """Add the next frame.

        Args:
            number: of the frame in the video.
            pts: its time.
            mesh: the face's mesh, None if no face is seen.
            score: confidence of the mesh.
            cut: whether a scene begins with this frame.

        Returns:
            the segment that ended before this frame, if one did.
        """
        ended = None
        if self._segment is not None and (cut or not self._fits(pts, mesh)):
            ended = self.finish(pts)
        if mesh is not None:
            self._append(number, pts, mesh, score)
        return ended

    def finish(self, end_pts: int) -> Segment | None:
        """End the open segment, if there is one; `end_pts` is when its last frame ends."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.end_pts = self._lost_at if self._lost_at is not None else end_pts
        return segment

    def _fits(self, pts: int, mesh: Float[np.ndarray, "478 3"] | None) -> bool:
        """Whether the frame can belong to the open segment."""
        segment = self._segment
        assert segment is not None
        if mesh is None:
            if self._lost_at is None:
                self._lost_at = pts
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
        extent = (np.maximum(high, self._high) - np.minimum(low, self._low)).max()
        return bool(extent * FACE_MARGIN <= MAX_CROP_SCALE * median)

    def _append(self, number: int, pts: int, mesh: Float[np.ndarray, "478 3"], score: float) -> None:
        low, high, side = _box(mesh)
        if self._segment is None:
            self._segment = Segment(number)
            self._low, self._high, self._sides = low, high, []
            self._missing = []
        segment, missing = self._segment, len(self._missing)
        for i, missing_pts in enumerate(self._missing):
            weight = np.float32((i + 1) / (missing + 1))
            segment.meshes.append(segment.meshes[-1 - i] * (1 - weight) + mesh * weight)
            segment.pts.append(missing_pts)
            segment.seen.append(False)
        self._missing = []
        self._lost_at = None
        segment.meshes.append(mesh)
        segment.pts.append(pts)
        segment.seen.append(True)
        segment.scores.append(score)
        self._low, self._high = np.minimum(low, self._low), np.maximum(high, self._high)
        self._sides.append(side)


def _box(mesh: Float[np.ndarray, "478 3"]) -> tuple[np.ndarray, np.ndarray, float]:
    """Left top and right bottom of the mesh, and its longer side."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    return low, high, float((high - low).max())


def clip_samples(item: Item, source: str, settings: Settings) -> tuple[list[PackedSample], float]:
    """Make the samples of a clip.

    Returns:
        the samples, and the seconds of the clip that none of them shows.

    Raises:
        ReenactError: the clip cannot be read, or shows no face that can be used.
    """
    samples: list[PackedSample] = []
    faces_px: list[float] = []
    shown = Fraction(0)
    # The first reader finds the face, the second follows and cuts it out, so no frame is kept in memory.
    with _open(item, precise=False) as scout, _open(item, precise=True) as reader:
        frames = _frames_of(item, reader)
        scan = _Scan(item, scout)
        for segment in _with_given_landmarks(scan.segments(), source, settings):
            seconds = (segment.end_pts - segment.pts[0]) * scout.time_base
            face_px = float(np.median([face_side_px(mesh) for mesh in segment.meshes]))
            faces_px.append(face_px)
            if seconds < MIN_SEGMENT_S or face_px < MIN_FACE_PX:
                continue
            key = f"{item.key}-{len(samples):02d}"
            samples.append(_cut_out(item, key, source, segment, reader, frames, settings))
            shown += seconds
        if not samples:
            if not faces_px:
                raise NoFaceError(f"{source} shows no face that can be found; use clips of well-lit, uncovered faces")
            check_face_size(max(faces_px), source)
            raise NoFaceError(f"{source} shows no face for {MIN_SEGMENT_S} s without a break; use steadier clips")
        whole = scan.seconds
    return _split_identities(samples), max(0.0, float(whole - shown))


def _with_given_landmarks(segments: Iterator[Segment], source: str, settings: Settings) -> Iterator[Segment]:
    """The segments with the landmarks of `settings.landmarks`, if there are any; frames without are not seen."""
    if settings.landmarks is None:
        yield from segments
        return
    points = read_landmarks(settings.landmarks, source)
    for segment in segments:
        for i, mesh in enumerate(segment.meshes):
            given = with_landmarks(mesh, points, segment.first + i, source)
            segment.meshes[i] = mesh if given is None else given
            segment.seen[i] = segment.seen[i] and given is not None
        if any(segment.seen):
            yield segment


def _open(item: Item, *, precise: bool) -> FrameReader:
    if item.frames is None:
        return open_reader(item.path, precise=precise)
    return FrameFilesReader([item.path / name for name in item.frames.names], item.frames.numbers, item.frames.fps)


class _Scan:
    """Follows one person's face through the item's part of a video; `seconds` is set after the last segment."""

    def __init__(self, item: Item, reader: FrameReader) -> None:
        self._item = item
        self._reader = reader
        self.seconds = Fraction(0)

    def segments(self) -> Iterator[Segment]:
        time_base = self._reader.time_base
        find_face = _face_follower(self._item.boxes, time_base)
        cutter, cuts = SegmentCutter(MAX_GAP_S / float(time_base)), CutDetector()
        first, pts = None, 0
        for number, frame in _frames_of(self._item, self._reader):
            # Of frames a second apart, without a cut between them, 8 % differ as much as across one.
            apart_s, pts = (frame.pts - pts) * time_base, frame.pts
            first = pts if first is None else first
            face = find_face(frame)
            mesh, score = (None, 0.0) if face is None else (face.landmarks.mesh, face.score)
            ended = cutter.add(number, pts, mesh, score, cut=cuts.is_cut(frame.image) and apart_s <= MAX_GAP_S)
            if ended is not None:
                yield ended
        if first is None:
            return
        end = self._end(pts)
        self.seconds = (end - first) * time_base
        last = cutter.finish(end)
        if last is not None:
            yield last

    def _end(self, last_pts: int) -> int:
        """When the last frame ends: as the file says, or one frame later if the part ends before the file."""
        reader = self._reader
        nominal = last_pts + max(1, round(1 / reader.average_rate / reader.time_base))
        return reader.end_pts if reader.end_pts is not None and reader.end_pts > last_pts else nominal


def _frames_of(item: Item, reader: FrameReader) -> Iterator[tuple[int, VideoFrame]]:
    """The numbered frames that begin within [start_s, end_s) of the item."""
    start_s, end_s = item.start_s or 0.0, math.inf if item.end_s is None else item.end_s
    time_base = float(reader.time_base)
    # Skipped frames are decoded but not converted. The margin of half a minute is for uneven frame times.
    first = max(0, int((start_s - 30) * float(reader.average_rate)))
    frames = reader.frames(first)
    for number, frame in enumerate(frames, start=first):
        time_s = frame.pts * time_base
        if time_s >= end_s - 1e-9:
            frames.close()  # pyright: ignore[reportAttributeAccessIssue]
            return
        if time_s >= start_s - 1e-9:
            yield number, frame


def _face_follower(boxes: FaceBoxes | None, time_base: Fraction) -> Callable[[VideoFrame], FaceObservation | None]:
    """A function that finds the person in each next frame: with the tracker, or in the data set's boxes."""
    nets = networks()
    if boxes is None:
        nets.tracker.reset()
        return lambda frame: nets.tracker.track(frame.image)
    last: FaceObservation | None = None

    def follow(frame: VideoFrame) -> FaceObservation | None:
        nonlocal last
        box = box_at(boxes, float(frame.pts * time_base))
        if box is None:
            last = None
            return None
        low, high = box_corners_px(box, frame.image)
        regions = [] if last is None else [Region.of_mesh(last.landmarks.mesh)]
        middle, size = (low + high) / 2, high - low
        regions.append(Region.of_box(FaceBox(*middle, *size, angle_deg=0.0, score=1.0)))
        for region in regions:
            mesh, presence = nets.mesher.mesh(frame.image, region)
            last = as_observation(
                mesh, presence=presence, score=presence, picture_px=(frame.image.shape[1], frame.image.shape[0])
            )
            if last is not None and in_box(mesh, low, high):
                return last
        last = None
        return None

    return follow


def box_at(boxes: FaceBoxes, time_s: float) -> Float[np.ndarray, "4"] | None:
    """The data set's box at a time, interpolated between two boxes; None if there is no box near."""
    position = time_s * boxes.fps
    after = int(np.searchsorted(boxes.frames, position))
    if after == 0 or after == len(boxes.frames):
        nearest = min(after, len(boxes.frames) - 1)
        return boxes.boxes[nearest] if len(boxes.frames) and abs(boxes.frames[nearest] - position) <= 1 else None
    before = after - 1
    gap = boxes.frames[after] - boxes.frames[before]
    if gap > max(1.0, MAX_BOX_GAP_S * boxes.fps):
        near = before if position - boxes.frames[before] < boxes.frames[after] - position else after
        return boxes.boxes[near] if abs(boxes.frames[near] - position) <= 1 else None
    weight = (position - boxes.frames[before]) / gap
    return boxes.boxes[before] * (1 - weight) + boxes.boxes[after] * weight


def _cut_out(
    item: Item,
    key: str,
    source: str,
    segment: Segment,
    reader: FrameReader,
    frames: Iterator[tuple[int, VideoFrame]],
    settings: Settings,
) -> PackedSample:
    """Cut a segment's square out of the frames, which are read up to the segment's end."""
    nets = networks()
    mesh = segment.mesh_px
    crop = face_crop(mesh[segment.seen_mask], picture_px=reader.size, size=settings.size)
    kept = thinned(segment.pts, reader.time_base, settings.max_fps)
    mesh_px = crop.to_crop(mesh[kept])
    pts = [segment.pts[i] - segment.pts[0] for i in kept]
    end_pts = segment.end_pts - segment.pts[0]
    encoder = ClipEncoder(
        settings.size,
        time_base=reader.time_base,
        rate_hint=(Fraction(len(pts)) / (end_pts * reader.time_base)).limit_denominator(100_000),
        crf=settings.crf,
        preset="medium",
    )
    seen_kept = [i for i in kept if segment.seen[i]]
    measured_frames = {seen_kept[round(x)] for x in np.linspace(0, len(seen_kept) - 1, MEASURED_FRAMES)}
    number_of = {i: number for number, i in enumerate(kept)}
    sharp, embeddings, faces = [], [], []
    for frame_number, frame in frames:
        i = frame_number - segment.first
        if i in number_of:
            image = crop.cut(frame.image)
            encoder.write(image, pts[number_of[i]])
        if i in measured_frames:
            sharp.append(sharpness(image, mesh_px[number_of[i]]))
            embeddings.append(nets.embedder.embed(frame.image, Landmarks(mesh[i])))
            faces.append(len(nets.tracker.observe_all(frame.image, thorough=False)))
        if i == len(segment) - 1:
            break
    measured = Measurements(
        faces=max([1, *faces]),
        score=float(np.mean(segment.scores)),
        face_share=float(segment.seen_mask.mean()),
        sharpness=float(np.median(sharp)),
        embedding=np.mean(embeddings, axis=0, dtype=np.float64).astype(np.float32),
    )
    meta = metadata(item, source, crop, reader.size, mesh_px, measured) | {
        "time_base": str(reader.time_base),
        "pts": pts,
        "end_pts": end_pts,
        "start_s": round(float(segment.pts[0] * reader.time_base), 6),
        "unseen": [number for number, i in enumerate(kept) if not segment.seen[i]],
    }
    members = {"mp4": encoder.close(end_pts), "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return packed_sample(key, meta, members, measured)


def thinned(pts: list[int], time_base: Fraction, max_fps: float | None) -> list[int]:
    """Numbers of the frames to keep so that they are at least 1 / `max_fps` apart (to 1 %)."""
    if max_fps is None:
        return list(range(len(pts)))
    apart = 0.99 / max_fps / float(time_base)
    kept = [0]
    for i, time in enumerate(pts):
        if time - pts[kept[-1]] >= apart:
            kept.append(i)
    return kept


def _split_identities(samples: list[PackedSample]) -> list[PackedSample]:
    """Give segments that show another person than the longest segment an identity of their own (`NAME~2`)."""
    people: list[Float32[np.ndarray, "128"]] = []
    names: dict[int, str] = {}
    for i in sorted(range(len(samples)), key=lambda i: -samples[i].row["frames"]):
        embedding = np.array(samples[i].row["embedding"], np.float32)
        known = [n for n, one in enumerate(people) if np.linalg.norm(one - embedding) < SAME_PERSON_DISTANCE]
        person = known[0] if known else len(people)
        if not known:
            people.append(embedding)
        if person > 0:
            names[i] = f"{samples[i].row['identity']}~{person + 1}"
    return [_renamed(sample, names[i]) if i in names else sample for i, sample in enumerate(samples)]


def _renamed(sample: PackedSample, identity: str) -> PackedSample:
    meta = json.loads(sample.members["json"]) | {"identity": identity}
    return PackedSample(sample.row | {"identity": identity}, {**sample.members, "json": json_bytes(meta)})
