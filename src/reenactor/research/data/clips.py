"""Clips to samples: one steady crop for each stretch that shows one face."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float32

from reenactor.core import FaceObservation, Landmarks, NoFaceError
from reenactor.core.landmark_codec import encode_landmarks
from reenactor.face.geometry import face_crop
from reenactor.face.perception import FaceBox, Region
from reenactor.face.perception.identity import SAME_PERSON_DISTANCE
from reenactor.face.perception.observe import as_observation
from reenactor.media import VideoFrame, VideoReader
from reenactor.research.data.frames import ClipEncoder
from reenactor.research.data.items import FaceBoxes, Item
from reenactor.research.data.parcel import PackedSample
from reenactor.research.data.samples import (
    MIN_FACE_PX,
    Measures,
    box_px,
    check_size,
    face_px_of,
    in_box,
    json_bytes,
    meta_of,
    packed_sample,
    sharpness,
    tools,
)
from reenactor.research.data.segments import MAX_GAP_S, CutFinder, Segment, SegmentCutter
from reenactor.research.data.settings import Settings

MIN_SEGMENT_S = 0.5
SPREAD_FRAMES = 5
"""Frames of a clip that are looked at for identity, sharpness and the number of faces."""
MAX_BOX_GAP_S = 1.0
"""Between two boxes of a data set the face is taken to have moved straight, if they are no further apart."""


def clip_samples(item: Item, source: str, settings: Settings) -> tuple[list[PackedSample], float]:
    """The samples of a clip, and how many seconds none of them shows."""
    samples: list[PackedSample] = []
    faces_px: list[float] = []
    shown = Fraction(0)
    # Two readers walk through the file, one finds the face, the other follows to cut it out: no frame is kept.
    with VideoReader(item.path, precise=False) as scout, VideoReader(item.path) as reader:
        pictures = _part(reader, item)
        scanned = _Scan(scout, item)
        for segment in scanned.segments():
            seconds = (segment.end_pts - segment.pts[0]) * scout.time_base
            face_px = float(np.median([face_px_of(mesh) for mesh in segment.meshes]))
            faces_px.append(face_px)
            if seconds < MIN_SEGMENT_S or face_px < MIN_FACE_PX:
                continue
            key = f"{item.key}-{len(samples):02d}"
            samples.append(_cut_out(item, key, source, segment, reader, pictures, settings))
            shown += seconds
        if not samples:
            if not faces_px:
                raise NoFaceError(f"{source} shows no face that can be found; use clips of well-lit, uncovered faces")
            check_size(max(faces_px), source)
            raise NoFaceError(f"{source} shows no face for {MIN_SEGMENT_S} s without a break; use steadier clips")
        whole = scanned.seconds
    return _tell_people_apart(samples), max(0.0, float(whole - shown))


class _Scan:
    """Finds one person's face through the wanted part of a video."""

    def __init__(self, reader: VideoReader, item: Item) -> None:
        self._reader = reader
        self._item = item
        self.seconds = Fraction(0)

    def segments(self) -> Iterator[Segment]:
        """As they end; `seconds` is complete afterwards."""
        time_base = self._reader.time_base
        follow = _follower(self._item.boxes, time_base)
        cutter, cuts = SegmentCutter(MAX_GAP_S / float(time_base)), CutFinder()
        first, number, pts = None, -1, 0
        for number, frame in _part(self._reader, self._item):
            pts = frame.pts
            first = pts if first is None else first
            seen = follow(frame)
            mesh, score = (None, 0.0) if seen is None else (seen.landmarks.mesh, seen.score)
            ended = cutter.add(number, pts, mesh, score, cut=cuts.is_cut(frame.image))
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
        """When the last frame ends: as the file says, or after one frame's time where the part was cut off."""
        reader = self._reader
        nominal = last_pts + max(1, round(1 / reader.average_rate / reader.time_base))
        return reader.end_pts if reader.end_pts is not None and reader.end_pts > last_pts else nominal


def _part(reader: VideoReader, item: Item) -> Iterator[tuple[int, VideoFrame]]:
    """The numbered frames that begin within [start_s, end_s) of the item."""
    start_s, end_s = item.start_s or 0.0, math.inf if item.end_s is None else item.end_s
    time_base = float(reader.time_base)
    # Skipped frames are decoded but not converted; times may be uneven, so half a minute is left to look at.
    first = max(0, int((start_s - 30) * float(reader.average_rate)))
    frames = reader.frames(first)
    for number, frame in enumerate(frames, start=first):
        time_s = frame.pts * time_base
        if time_s >= end_s - 1e-9:
            frames.close()  # pyright: ignore[reportAttributeAccessIssue]
            return
        if time_s >= start_s - 1e-9:
            yield number, frame


def _follower(boxes: FaceBoxes | None, time_base: Fraction) -> Callable[[VideoFrame], FaceObservation | None]:
    """Frame -> the person's face: the tracker's, or the one in the data set's boxes."""
    networks = tools()
    if boxes is None:
        networks.tracker.reset()
        return lambda frame: networks.tracker.track(frame.image)
    last: FaceObservation | None = None

    def follow(frame: VideoFrame) -> FaceObservation | None:
        nonlocal last
        box = box_at(boxes, float(frame.pts * time_base))
        if box is None:
            last = None
            return None
        low, high = box_px(box, frame.image)
        looks = [] if last is None else [Region.of_mesh(last.landmarks.mesh)]
        middle, size = (low + high) / 2, high - low
        looks.append(Region.of_box(FaceBox(*middle, *size, angle_deg=0.0, score=1.0)))
        for look in looks:
            mesh, presence = networks.mesher.mesh(frame.image, look)
            last = as_observation(
                mesh, presence=presence, score=presence, picture_px=(frame.image.shape[1], frame.image.shape[0])
            )
            if last is not None and in_box(mesh, low, high):
                return last
        last = None
        return None

    return follow


def box_at(boxes: FaceBoxes, time_s: float) -> Float[np.ndarray, "4"] | None:
    """The data set's box at a time: between two boxes moved straight, None where there is none near."""
    place = time_s * boxes.fps
    after = int(np.searchsorted(boxes.frames, place))
    if after == 0 or after == len(boxes.frames):
        nearest = min(after, len(boxes.frames) - 1)
        return boxes.boxes[nearest] if len(boxes.frames) and abs(boxes.frames[nearest] - place) <= 1 else None
    before = after - 1
    gap = boxes.frames[after] - boxes.frames[before]
    if gap > max(1.0, MAX_BOX_GAP_S * boxes.fps):
        near = before if place - boxes.frames[before] < boxes.frames[after] - place else after
        return boxes.boxes[near] if abs(boxes.frames[near] - place) <= 1 else None
    share = (place - boxes.frames[before]) / gap
    return boxes.boxes[before] * (1 - share) + boxes.boxes[after] * share


def _cut_out(
    item: Item,
    key: str,
    source: str,
    segment: Segment,
    reader: VideoReader,
    pictures: Iterator[tuple[int, VideoFrame]],
    settings: Settings,
) -> PackedSample:
    networks = tools()
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
    spread = {seen_kept[round(x)] for x in np.linspace(0, len(seen_kept) - 1, SPREAD_FRAMES)}
    places = {i: place for place, i in enumerate(kept)}
    sharp, embeddings, faces = [], [], []
    for number, frame in pictures:
        i = number - segment.first
        if i in places:
            image = crop.cut(frame.image)
            encoder.write(image, pts[places[i]])
        if i in spread:
            sharp.append(sharpness(image, mesh_px[places[i]]))
            embeddings.append(networks.embedder.embed(frame.image, Landmarks(mesh[i])))
            faces.append(len(networks.finder.observe_all(frame.image, thorough=False)))
        if i == len(segment) - 1:
            break
    measures = Measures(
        faces=max([1, *faces]),
        score=float(np.mean(segment.scores)),
        face_share=float(segment.seen_mask.mean()),
        sharpness=float(np.median(sharp)),
        embedding=np.mean(embeddings, axis=0, dtype=np.float64).astype(np.float32),
    )
    meta = meta_of(item, source, crop, reader.size, mesh_px, measures) | {
        "time_base": str(reader.time_base),
        "pts": pts,
        "end_pts": end_pts,
        "start_s": round(float(segment.pts[0] * reader.time_base), 6),
        "unseen": [place for place, i in enumerate(kept) if not segment.seen[i]],
    }
    members = {"mp4": encoder.close(end_pts), "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return packed_sample(key, meta, members, measures)


def thinned(pts: list[int], time_base: Fraction, max_fps: float | None) -> list[int]:
    """Places of the frames to keep so that none follows sooner than 1 / `max_fps` (to 1%)."""
    if max_fps is None:
        return list(range(len(pts)))
    apart = 0.99 / max_fps / float(time_base)
    kept = [0]
    for i, time in enumerate(pts):
        if time - pts[kept[-1]] >= apart:
            kept.append(i)
    return kept


def _tell_people_apart(samples: list[PackedSample]) -> list[PackedSample]:
    """Mark segments that show somebody else than the longest one does: a cut may lead to another person."""
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
