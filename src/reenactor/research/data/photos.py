"""Photos to samples."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import FaceObservation, Landmarks, NoFaceError
from reenactor.core.landmark_codec import encode_landmarks
from reenactor.core.landmarks import IRIS_CENTRES
from reenactor.face.geometry import contours, face_crop
from reenactor.media import read_image
from reenactor.research.data.frames import encode_photo
from reenactor.research.data.items import Annotation, FaceBoxes, Item, Marks
from reenactor.research.data.parcel import PackedSample
from reenactor.research.data.samples import (
    Measures,
    Tools,
    box_px,
    check_size,
    face_px_of,
    in_box,
    meta_of,
    packed_sample,
    sharpness,
    tools,
)
from reenactor.research.data.settings import Settings
from reenactor.research.data.wflw_mesh import mesh_of_wflw

PUPIL_REACH = 0.2
"""Outer-eye distances between a marked pupil and the iris found; further apart they are of different faces."""


def photo_sample(item: Item, source: str, settings: Settings) -> PackedSample:
    """Make the sample of a photo.

    Raises:
        ReenactError: the photo cannot be read, or shows no face that can be used.
    """
    networks = tools()
    picture = read_image(item.path)
    landmarks, score, faces = _look(item, picture, source, networks)
    mesh = landmarks.mesh
    check_size(face_px_of(mesh), source)
    crop = face_crop(mesh, picture_px=(picture.shape[1], picture.shape[0]), size=settings.size)
    image = crop.cut(picture)
    mesh_px = crop.to_crop(mesh)[None]
    measures = Measures(
        faces=faces,
        score=score,
        face_share=1.0,
        sharpness=sharpness(image, mesh_px[0]),
        embedding=networks.embedder.embed(picture, landmarks),
    )
    meta = meta_of(item, source, crop, (picture.shape[1], picture.shape[0]), mesh_px, measures)
    jpeg = encode_photo(image, quality=settings.jpeg_quality, full_colour=not settings.compact)
    members = {"jpg": jpeg, "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return packed_sample(item.key, meta, members, measures)


def _look(
    item: Item, picture: UInt8[np.ndarray, "h w 3"], source: str, networks: Tools
) -> tuple[Landmarks, float, int]:
    """The face's landmarks, how sure they are (0..1), how many faces there are."""
    marked = item.annotation
    if marked is not None and marked.marks is Marks.WFLW:
        return Landmarks(mesh_of_wflw(marked.points_px)), 1.0, 1
    faces = networks.finder.observe_all(picture)
    if not faces:
        raise NoFaceError(f"{source} shows no face that can be found; use photos of well-lit, uncovered faces")
    if marked is not None:
        face = _nearest(faces, marked, source)
        return Landmarks(with_pupils(face.landmarks.mesh, marked.points_px)), face.score, len(faces)
    face = _wanted(faces, item.boxes, picture, source)
    return face.landmarks, face.score, len(faces)


def with_pupils(mesh: Float[np.ndarray, "478 3"], pupils_px: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "478 3"]:
    """The mesh with its irises, as large as they were, around these centres (image left first)."""
    mesh = mesh.copy()
    for iris, pupil in zip((contours.RIGHT_IRIS, contours.LEFT_IRIS), pupils_px, strict=True):
        mesh[list(iris), :2] += pupil - mesh[iris[0], :2]
    return mesh


def _nearest(faces: list[FaceObservation], marked: Annotation, source: str) -> FaceObservation:
    """The face that the pupils are of."""

    def apart(face: FaceObservation) -> float:
        off = face.landmarks.mesh[list(IRIS_CENTRES), :2] - marked.points_px
        return float(np.linalg.norm(off, axis=1).max()) / max(1.0, face.landmarks.interocular_px)

    face = min(faces, key=apart)
    if apart(face) > PUPIL_REACH:
        raise NoFaceError(f"{source} shows no face where its pupils are marked; check the data set's annotation")
    return face


def _wanted(
    faces: list[FaceObservation], boxes: FaceBoxes | None, picture: UInt8[np.ndarray, "h w 3"], source: str
) -> FaceObservation:
    """The largest face, or the one in the data set's box."""
    if boxes is None or len(boxes.boxes) == 0:
        return max(faces, key=lambda one: face_px_of(one.landmarks.mesh))
    low, high = box_px(boxes.boxes[0], picture)
    inside = [one for one in faces if in_box(one.landmarks.mesh, low, high)]
    if not inside:
        raise NoFaceError(f"{source} shows no face where the data set says it is; check the data set's boxes")
    middle = (low + high) / 2
    return min(inside, key=lambda one: float(np.abs(one.landmarks.mesh[:, :2].mean(axis=0) - middle).max()))
