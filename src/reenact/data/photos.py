"""Photos to samples."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from reenact.core import FaceObservation, NoFaceError
from reenact.data.frames import encode_photo
from reenact.data.items import FaceBoxes, Item
from reenact.data.landmark_codec import encode_landmarks
from reenact.data.parcel import PackedSample
from reenact.data.samples import (
    Measures,
    box_px,
    check_size,
    face_px_of,
    in_box,
    meta_of,
    packed_sample,
    sharpness,
    tools,
)
from reenact.data.settings import Settings
from reenact.geometry import face_crop
from reenact.media import read_image


def photo_sample(item: Item, source: str, settings: Settings) -> PackedSample:
    """Make the sample of a photo.

    Raises:
        ReenactError: the photo cannot be read, or shows no face that can be used.
    """
    networks = tools()
    picture = read_image(item.path)
    faces = networks.finder.observe_all(picture)
    if not faces:
        raise NoFaceError(f"{source} shows no face that can be found; use photos of well-lit, uncovered faces")
    face = _wanted(faces, item.boxes, picture, source)
    mesh = face.landmarks.mesh
    check_size(face_px_of(mesh), source)
    crop = face_crop(mesh, picture_px=(picture.shape[1], picture.shape[0]), size=settings.size)
    image = crop.cut(picture)
    mesh_px = crop.to_crop(mesh)[None]
    measures = Measures(
        faces=len(faces),
        score=face.score,
        face_share=1.0,
        sharpness=sharpness(image, mesh_px[0]),
        embedding=networks.embedder.embed(picture, face.landmarks),
    )
    meta = meta_of(item, source, crop, (picture.shape[1], picture.shape[0]), mesh_px, measures)
    jpeg = encode_photo(image, quality=settings.jpeg_quality, full_colour=not settings.compact)
    members = {"jpg": jpeg, "landmarks": encode_landmarks(mesh_px, settings.steps_per_px)}
    return packed_sample(item.key, meta, members, measures)


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
