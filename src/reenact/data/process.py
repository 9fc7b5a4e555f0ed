"""One item -> its samples: find the face, cut it out steadily, measure it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from reenact import __version__
from reenact.core import FaceObservation, Landmarks, NoFaceError, ReenactError
from reenact.data.frames import ClipEncoder, encode_photo
from reenact.data.items import FaceBoxes, Item, Kind
from reenact.data.landmark_codec import encode_landmarks
from reenact.data.parcel import PackedSample, Parcel
from reenact.data.segments import MAX_GAP_S, CutFinder, Segment, SegmentCutter, steady_crop
from reenact.geometry import Crop
from reenact.media import VideoFrame, VideoReader, read_image
from reenact.perception import FaceBox, FaceFinder, FaceMesher, FaceTracker, Region, head_angles
from reenact.perception.identity import SAME_PERSON_DISTANCE, IdentityEmbedder
from reenact.perception.observe import as_observation

MIN_FACE_PX = 32
"""Longer side of the mesh's box in the source; below, landmarks and pixels are guesswork."""
MIN_SEGMENT_S = 0.5
SPREAD_FRAMES = 5
"""Frames of a clip that are looked at for identity, sharpness and the number of faces."""
MAX_BOX_GAP_S = 1.0
"""Between two boxes of a data set the face is taken to have moved straight, if they are no further apart."""


@dataclass(frozen=True)
class Settings:
    """How samples are made. All of it decides what the bytes are.

    Args:
        size: side of the crops, pixels; a multiple of 32.
        compact: fewer frames a second, more compression: for packs that travel.
    """

    size: int = 256
    compact: bool = False

    def __post_init__(self) -> None:
        if not 64 <= self.size <= 1024 or self.size % 32:
            raise ReenactError(f"the size of the crops must be a multiple of 32 from 64 to 1024, not {self.size}")

    @property
    def max_fps(self) -> float | None:
        """Clips with more frames a second are thinned out to at most this."""
        return 12.5 if self.compact else None

    @property
    def crf(self) -> float:
        """Of x264: 42 dB between source and crop at 18, 40 dB at 23 (256 px, the project's data pack)."""
        return 23 if self.compact else 18

    @property
    def jpeg_quality(self) -> int:
        """Of photos."""
        return 88 if self.compact else 93

    @property
    def steps_per_px(self) -> int:
        """Of landmarks: half a step is 0.031 or 0.045 pixels."""
        return 11 if self.compact else 16

    def facts(self) -> dict[str, Any]:
        """For the manifest, and to tell one pack from another."""
        derived = {name: getattr(self, name) for name in ("max_fps", "crf", "jpeg_quality", "steps_per_px")}
        return asdict(self) | derived | {"software": __version__}


Work = Callable[[Item, Path, Settings], Parcel]
"""What a worker does with an item: `process_item`, or a stand-in for tests. The path is the data set's root."""


def fingerprint(item: Item, settings: Settings) -> str:
    """Changes whenever the item's samples may change."""
    try:
        status = item.path.stat()
        file = [status.st_size, status.st_mtime_ns]
    except OSError:
        file = []
    boxes = item.boxes and hashlib.sha256(item.boxes.boxes.tobytes() + item.boxes.frames.tobytes()).hexdigest()
    facts = [item.key, item.kind, item.identity, item.split, item.start_s, item.end_s, item.about, boxes, file]
    return hashlib.sha256(json.dumps([facts, settings.facts()], sort_keys=True).encode()).hexdigest()[:32]


def source_name(item: Item, root: Path) -> str:
    """The item's file as packs and reports name it: below the data set's root."""
    try:
        return item.path.relative_to(root if root.is_dir() else root.parent).as_posix()
    except ValueError:
        return item.path.name


def process_item(item: Item, root: Path, settings: Settings) -> Parcel:
    """Make an item's samples; whatever is wrong with it becomes the reason why there are none."""
    source = source_name(item, root)
    parcel = Parcel(item.key, source, fingerprint(item, settings))
    try:
        if item.kind is Kind.PHOTO:
            return replace(parcel, samples=[_photo(item, source, settings)])
        samples, lost_s = _clip(item, source, settings)
        return replace(parcel, samples=samples, lost_s=round(lost_s, 3))
    except ReenactError as error:
        return replace(parcel, skipped=str(error).replace(str(item.path), source))
    except MemoryError:
        return replace(parcel, skipped=f"{source} needs more memory than there is; use fewer workers")
    except Exception as error:  # a data set of 100,000 files holds one for every fault of every library
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return replace(parcel, skipped=f"{source} cannot be processed ({text}); check the file")


class _Tools:
    """The networks; loading takes seconds, so a process keeps them."""

    def __init__(self) -> None:
        self.finder = FaceFinder()
        self.tracker = FaceTracker()
        self.mesher = FaceMesher()
        self.embedder = IdentityEmbedder()


@cache
def _tools() -> _Tools:
    return _Tools()


# ------------------------------------------------------------------ photos


def _photo(item: Item, source: str, settings: Settings) -> PackedSample:
    tools = _tools()
    picture = read_image(item.path)
    faces = tools.finder.observe_all(picture)
    if not faces:
        raise NoFaceError(f"{source} shows no face that can be found; use photos of well-lit, uncovered faces")
    face = _wanted(faces, item.boxes, picture, source)
    mesh = face.landmarks.mesh
    _check_size(_face_px(mesh), source)
    crop = steady_crop(mesh[None], (picture.shape[1], picture.shape[0]), settings.size)
    image = crop.cut(picture)
    mesh_px = crop.to_crop(mesh)[None]
    measures = _Measures(
        faces=len(faces),
        score=face.score,
        face_share=1.0,
        sharpness=sharpness(image, mesh_px[0]),
        embedding=tools.embedder.embed(picture, face.landmarks),
    )
    meta = _meta(item, source, crop, (picture.shape[1], picture.shape[0]), mesh_px, measures)
    jpeg = encode_photo(image, quality=settings.jpeg_quality, full_colour=not settings.compact)
    members = {"jpg": jpeg, "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return _sample(item.key, meta, members, measures)


def _wanted(
    faces: list[FaceObservation], boxes: FaceBoxes | None, picture: UInt8[np.ndarray, "h w 3"], source: str
) -> FaceObservation:
    """The largest face, or the one in the data set's box."""
    if boxes is None or len(boxes.boxes) == 0:
        return max(faces, key=lambda one: _face_px(one.landmarks.mesh))
    low, high = _box_px(boxes.boxes[0], picture)
    inside = [one for one in faces if _in_box(one.landmarks.mesh, low, high)]
    if not inside:
        raise NoFaceError(f"{source} shows no face where the data set says it is; check the data set's boxes")
    middle = (low + high) / 2
    return min(inside, key=lambda one: float(np.abs(one.landmarks.mesh[:, :2].mean(axis=0) - middle).max()))


# ------------------------------------------------------------------- clips


def _clip(item: Item, source: str, settings: Settings) -> tuple[list[PackedSample], float]:
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
            face_px = float(np.median([_face_px(mesh) for mesh in segment.meshes]))
            faces_px.append(face_px)
            if seconds < MIN_SEGMENT_S or face_px < MIN_FACE_PX:
                continue
            key = f"{item.key}-{len(samples):02d}"
            samples.append(_cut_out(item, key, source, segment, reader, pictures, settings))
            shown += seconds
        if not samples:
            if not faces_px:
                raise NoFaceError(f"{source} shows no face that can be found; use clips of well-lit, uncovered faces")
            _check_size(max(faces_px), source)
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
    tools = _tools()
    if boxes is None:
        tools.tracker.reset()
        return lambda frame: tools.tracker.track(frame.image)
    last: FaceObservation | None = None

    def follow(frame: VideoFrame) -> FaceObservation | None:
        nonlocal last
        box = box_at(boxes, float(frame.pts * time_base))
        if box is None:
            last = None
            return None
        low, high = _box_px(box, frame.image)
        looks = [] if last is None else [Region.of_mesh(last.landmarks.mesh)]
        middle, size = (low + high) / 2, high - low
        looks.append(Region.of_box(FaceBox(*middle, *size, angle_deg=0.0, score=1.0)))
        for look in looks:
            mesh, presence = tools.mesher.mesh(frame.image, look)
            last = as_observation(
                mesh, presence=presence, score=presence, picture_px=(frame.image.shape[1], frame.image.shape[0])
            )
            if last is not None and _in_box(mesh, low, high):
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
    tools = _tools()
    mesh = segment.mesh_px
    crop = steady_crop(mesh[segment.seen_mask], reader.size, settings.size)
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
            embeddings.append(tools.embedder.embed(frame.image, Landmarks(mesh[i])))
            faces.append(len(tools.finder.observe_all(frame.image, thorough=False)))
        if i == len(segment) - 1:
            break
    measures = _Measures(
        faces=max([1, *faces]),
        score=float(np.mean(segment.scores)),
        face_share=float(segment.seen_mask.mean()),
        sharpness=float(np.median(sharp)),
        embedding=np.mean(embeddings, axis=0, dtype=np.float64).astype(np.float32),
    )
    meta = _meta(item, source, crop, reader.size, mesh_px, measures) | {
        "time_base": str(reader.time_base),
        "pts": pts,
        "end_pts": end_pts,
        "start_s": round(float(segment.pts[0] * reader.time_base), 6),
        "unseen": [place for place, i in enumerate(kept) if not segment.seen[i]],
    }
    members = {"mp4": encoder.close(end_pts), "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return _sample(key, meta, members, measures)


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
    return PackedSample(sample.row | {"identity": identity}, {**sample.members, "json": _json(meta)})


# ---------------------------------------------------------------- measures


@dataclass(frozen=True)
class _Measures:
    faces: int
    score: float
    face_share: float
    sharpness: float
    embedding: Float32[np.ndarray, "128"]


def sharpness(image: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"]) -> float:
    """Variance of the Laplacian over the variance of the brightness, inside the face: contrast cancels out."""
    inside = np.zeros(image.shape[:2], np.uint8)
    hull = cv2.convexHull(np.round(mesh_px[:, :2]).astype(np.int32))
    cv2.fillConvexPoly(inside, hull, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    values = cv2.Laplacian(grey, cv2.CV_32F)[inside > 0]
    spread = float(grey[inside > 0].var()) if len(values) else 0.0
    return float(values.var()) / spread if spread > 1 else 0.0


def _meta(
    item: Item,
    source: str,
    crop: Crop,
    picture_px: tuple[int, int],
    mesh_px: Float[np.ndarray, "t 478 3"],
    measures: _Measures,
) -> dict[str, Any]:
    """What KEY.json tells; clips add times."""
    poses = head_angles(mesh_px).reshape(-1, 3)
    rows, columns = crop.inside(*picture_px)
    real = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)
    boxes = np.ptp(mesh_px[..., :2], axis=1).max(axis=1)
    return {
        "item": item.key,
        "kind": item.kind.value,
        "identity": item.identity,
        "split": item.split.value,
        "source": source,
        "about": item.about,
        "frames": len(mesh_px),
        "size": crop.size,
        "crop": {"left": crop.left, "top": crop.top, "side": crop.side},
        "picture_px": list(picture_px),
        "face_px": round(float(np.median(boxes)) / crop.scale, 1),
        "padding": round(1 - real / crop.side**2, 4),
        "sharpness": round(measures.sharpness, 4),
        "faces": measures.faces,
        "face_share": round(measures.face_share, 4),
        "score": round(measures.score, 4),
        "pose_deg": np.round(poses.astype(np.float64), 1).tolist(),
    }


def _sample(key: str, meta: dict[str, Any], members: dict[str, bytes], measures: _Measures) -> PackedSample:
    """Members in the order they have in the tar file, and the index row."""
    meta = {"key": key} | meta
    poses = np.array(meta["pose_deg"])
    seconds = float(meta["end_pts"] * Fraction(meta["time_base"])) if "pts" in meta else 0.0
    same = ("key", "item", "kind", "identity", "split", "source", "frames", "face_px", "padding", "sharpness")
    row = {name: meta[name] for name in (*same, "faces", "face_share", "score")}
    row |= {
        "licence": meta["about"].get("licence", ""),
        "origin": meta["about"].get("source", ""),
        "fps": round(meta["frames"] / seconds, 4) if seconds else 0.0,
        "duration_s": round(seconds, 6),
    }
    for axis, angles in zip(("yaw", "pitch", "roll"), poses.T, strict=True):
        row |= {f"{axis}_{name}": round(float(f(angles)), 2) for name, f in _STATISTICS.items()}
    row["embedding"] = [float(x) for x in measures.embedding]
    return PackedSample(row, {**members, "json": _json(meta)})


_STATISTICS = {"mean": np.mean, "min": np.min, "max": np.max}


def _json(meta: dict[str, Any]) -> bytes:
    return json.dumps(meta, ensure_ascii=False, separators=(",", ":")).encode()


def _check_size(face_px: float, source: str) -> None:
    if face_px < MIN_FACE_PX:
        raise NoFaceError(f"the face in {source} is only {face_px:.0f} pixels large; use one of {MIN_FACE_PX} or more")


def _face_px(mesh: Float[np.ndarray, "478 3"]) -> float:
    return float(np.ptp(mesh[:, :2], axis=0).max())


def _box_px(
    box: Float[np.ndarray, "4"], picture: UInt8[np.ndarray, "h w 3"]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Fractions of the picture -> left top and right bottom in pixels."""
    size = np.array([picture.shape[1], picture.shape[0]])
    return box[:2] * size - 0.5, (box[:2] + box[2:]) * size - 0.5


def _in_box(mesh: Float[np.ndarray, "478 3"], low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the face's middle lies in the box, a quarter larger: boxes of data sets are rough."""
    room = (high - low) / 8
    middle = mesh[:, :2].mean(axis=0)
    return bool((middle > low - room).all() and (middle < high + room).all())
