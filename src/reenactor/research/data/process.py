"""Processes one item: reads it, finds the face and makes the samples, or says why there are none."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import FaceObservation, Landmarks, NoFaceError, ReenactError
from reenactor.core.landmark_codec import encode_landmarks
from reenactor.core.landmarks import IRIS_CENTRES
from reenactor.face.geometry import contours, face_crop
from reenactor.face.perception.observe import face_side_px
from reenactor.face.perception.photo_check import sharpness
from reenactor.media import read_image
from reenactor.research.data.clips import clip_samples
from reenactor.research.data.datasets.wflw import mesh_of_wflw
from reenactor.research.data.frames import encode_photo
from reenactor.research.data.items import Annotation, AnnotationKind, FaceBoxes, Item, Kind, PackedSample, ProcessedItem
from reenactor.research.data.landmark_files import read_landmarks, with_landmarks
from reenactor.research.data.samples import (
    Measurements,
    Settings,
    box_corners_px,
    check_face_size,
    in_box,
    metadata,
    networks,
    packed_sample,
)

MAX_PUPIL_OFFSET = 0.2
"""Largest distance between a pupil set by hand and the iris found, in outer-eye distances: else it is another face."""


def fingerprint(item: Item, settings: Settings) -> str:
    """A hash of all that the item's samples depend on: its facts, its file's size and time, the settings."""
    file = _state_of(item.path) if item.frames is None else []
    boxes = item.boxes and hashlib.sha256(item.boxes.boxes.tobytes() + item.boxes.frames.tobytes()).hexdigest()
    facts = [item.key, item.kind, item.identity, item.split, item.start_s, item.end_s, item.about, boxes, file]
    if item.annotation is not None:
        facts += [item.annotation.kind, hashlib.sha256(item.annotation.points_px.tobytes()).hexdigest()]
    if item.frames is not None:
        files = [[name, *_state_of(item.path / name)] for name in item.frames.names]
        facts += [files, item.frames.numbers, item.frames.fps]
    return hashlib.sha256(json.dumps([facts, settings.facts()], sort_keys=True).encode()).hexdigest()[:32]


def _state_of(file: Path) -> list[int]:
    """Size and time of a file; nothing if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def source_name(item: Item, root: Path) -> str:
    """The item's file relative to the data set's root, with forward slashes."""
    try:
        return item.path.relative_to(root if root.is_dir() else root.parent).as_posix()
    except ValueError:
        return item.path.name


def process_item(item: Item, root: Path, settings: Settings) -> ProcessedItem:
    """Make the samples of an item. Any error becomes the reason why there are none.

    Args:
        item: the clip or photo.
        root: root of the data set.
        settings: how to make samples.
    """
    source = source_name(item, root)
    processed = ProcessedItem(item.key, source, fingerprint(item, settings))
    try:
        if item.kind is Kind.PHOTO:
            return replace(processed, samples=[photo_sample(item, source, settings)])
        samples, lost_s = clip_samples(item, source, settings)
        return replace(processed, samples=samples, lost_s=round(lost_s, 3))
    except ReenactError as error:
        return replace(processed, skipped=str(error).replace(str(item.path), source))
    except MemoryError:
        return replace(processed, skipped=f"{source} needs more memory than there is; use fewer workers")
    except Exception as error:  # a data set of 100,000 files holds one for every fault of every library
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return replace(processed, skipped=f"{source} cannot be processed ({text}); check the file")


def photo_sample(item: Item, source: str, settings: Settings) -> PackedSample:
    """Make the sample of a photo.

    Raises:
        ReenactError: the photo cannot be read, or shows no face that can be used.
    """
    picture = read_image(item.path)
    landmarks, score, faces = _find_face(item, picture, source)
    if settings.landmarks is not None:
        given = with_landmarks(landmarks.mesh, read_landmarks(settings.landmarks, source), 0, source)
        if given is None:
            raise NoFaceError(f"the landmarks of {source} are of another face than the one found; check them")
        landmarks = Landmarks(given)
    mesh = landmarks.mesh
    check_face_size(face_side_px(mesh), source)
    picture_px = (picture.shape[1], picture.shape[0])
    crop = face_crop(mesh, picture_px=picture_px, size=settings.size)
    image = crop.cut(picture)
    mesh_px = crop.to_crop(mesh)[None]
    measured = Measurements(
        faces=faces,
        score=score,
        face_share=1.0,
        sharpness=sharpness(image, mesh_px[0]),
        embedding=networks().embedder.embed(picture, landmarks),
    )
    meta = metadata(item, source, crop, picture_px, mesh_px, measured)
    jpeg = encode_photo(image, quality=settings.jpeg_quality, full_colour=not settings.compact)
    members = {"jpg": jpeg, "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return packed_sample(item.key, meta, members, measured)


def _find_face(item: Item, picture: UInt8[np.ndarray, "h w 3"], source: str) -> tuple[Landmarks, float, int]:
    """Landmarks of the item's face, their confidence (0 to 1), and the number of faces in the picture."""
    annotation = item.annotation
    if annotation is not None and annotation.kind is AnnotationKind.WFLW:
        return Landmarks(mesh_of_wflw(annotation.points_px)), 1.0, 1
    faces = networks().tracker.observe_all(picture)
    if not faces:
        raise NoFaceError(f"{source} shows no face that can be found; use photos of well-lit, uncovered faces")
    if annotation is not None:
        face = _face_with_pupils(faces, annotation, source)
        return Landmarks(move_irises(face.landmarks.mesh, annotation.points_px)), face.score, len(faces)
    face = _face_in_box(faces, item.boxes, picture, source)
    return face.landmarks, face.score, len(faces)


def move_irises(mesh: Float[np.ndarray, "478 3"], pupils_px: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "478 3"]:
    """The mesh with its irises, of unchanged size, moved to these centres (image left first)."""
    mesh = mesh.copy()
    for iris, pupil in zip((contours.RIGHT_IRIS, contours.LEFT_IRIS), pupils_px, strict=True):
        mesh[list(iris), :2] += pupil - mesh[iris[0], :2]
    return mesh


def _face_with_pupils(faces: list[FaceObservation], annotation: Annotation, source: str) -> FaceObservation:
    def distance(face: FaceObservation) -> float:
        offsets = face.landmarks.mesh[list(IRIS_CENTRES), :2] - annotation.points_px
        return float(np.linalg.norm(offsets, axis=1).max()) / max(1.0, face.landmarks.interocular_px)

    face = min(faces, key=distance)
    if distance(face) > MAX_PUPIL_OFFSET:
        raise NoFaceError(f"{source} shows no face where its pupils are marked; check the data set's annotation")
    return face


def _face_in_box(
    faces: list[FaceObservation], boxes: FaceBoxes | None, picture: UInt8[np.ndarray, "h w 3"], source: str
) -> FaceObservation:
    """The face in the data set's box; the largest face if there is no box."""
    if boxes is None or len(boxes.boxes) == 0:
        return max(faces, key=lambda one: face_side_px(one.landmarks.mesh))
    low, high = box_corners_px(boxes.boxes[0], picture)
    inside = [one for one in faces if in_box(one.landmarks.mesh, low, high)]
    if not inside:
        raise NoFaceError(f"{source} shows no face where the data set says it is; check the data set's boxes")
    middle = (low + high) / 2
    return min(inside, key=lambda one: float(np.abs(one.landmarks.mesh[:, :2].mean(axis=0) - middle).max()))
