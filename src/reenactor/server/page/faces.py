"""Which faces the photos show, and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import NoFaceError, ReenactError
from reenactor.engine import MAX_TARGETS
from reenactor.face.geometry import face_crop
from reenactor.face.perception import FaceFinder
from reenactor.media import read_image

_SHOWN_PX = 900
_CROP_PX = 128
_CHOSEN, _OTHER = (37, 99, 235), (120, 120, 130)


@dataclass(frozen=True)
class SeenPhoto:
    """A photo, shrunk for the page.

    Args:
        name: of its file.
        picture: RGB.
        meshes: (478, 3) of each face, from left to right, in the pixels of `picture`.
    """

    name: str
    picture: UInt8[np.ndarray, "h w 3"]
    meshes: tuple[Float[np.ndarray, "478 3"], ...]

    def largest(self) -> int:
        """Number of the face that is taken if none is chosen."""
        sides = [np.ptp(mesh[:, :2], axis=0).max() for mesh in self.meshes]
        return int(np.argmax(sides)) + 1

    def face_at(self, x: float, y: float) -> int:
        """Number of the face next to a place."""
        middles = np.array([mesh[:, :2].mean(axis=0) for mesh in self.meshes])
        return int(np.argmin(np.linalg.norm(middles - (x, y), axis=1))) + 1

    def with_boxes(self, face: int | None) -> UInt8[np.ndarray, "h w 3"]:
        """The picture with a numbered box around each face."""
        picture = self.picture.copy()
        chosen = face or self.largest()
        width = max(2, max(picture.shape) // 300)
        for number, mesh in enumerate(self.meshes, start=1):
            low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
            left, top, right, bottom = (round(float(v)) for v in (*low, *high))
            colour = _CHOSEN if number == chosen else _OTHER
            cv2.rectangle(picture, (left, top), (right, bottom), colour, width, cv2.LINE_AA)
            if len(self.meshes) > 1:
                _label(picture, str(number), (left, top), colour, width)
        return picture

    def crop(self, face: int | None, side_px: int = _CROP_PX) -> UInt8[np.ndarray, "s s 3"]:
        """What moves."""
        number = min(face or self.largest(), len(self.meshes))
        size = (self.picture.shape[1], self.picture.shape[0])
        return face_crop(self.meshes[number - 1], size=side_px, picture_px=size).cut(self.picture)


class Looker:
    """Finds faces, in one thread that keeps the networks."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="faces")
        self._finder: FaceFinder | None = None

    def look(self, photos: Sequence[str | Path]) -> list[SeenPhoto]:
        """The faces of each photo.

        Raises:
            ReenactError: too many photos, one cannot be read, or one shows no face.
        """
        if not 1 <= len(photos) <= MAX_TARGETS:
            raise ReenactError(f"{len(photos)} photos were given; give one to {MAX_TARGETS}, all of one person")
        return self._thread.submit(lambda: [self._look(Path(photo)) for photo in photos]).result()

    def _look(self, photo: Path) -> SeenPhoto:
        self._finder = self._finder or FaceFinder()
        picture = read_image(photo)
        meshes = [one.landmarks.mesh for one in self._finder.observe_all(picture)]
        if not meshes:
            raise NoFaceError(f"no face found in {photo.name}: use one where a face is well lit, sharp and not covered")
        shrink = min(1.0, _SHOWN_PX / max(picture.shape[:2]))
        if shrink < 1:
            size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return SeenPhoto(photo.name, picture, tuple(mesh * np.float32(shrink) for mesh in meshes))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(cancel_futures=True)


def _label(picture: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int], width: int) -> None:
    size = 0.35 * width
    (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, width)
    x, y = max(corner[0], 0), max(corner[1], h + 2 * width)
    cv2.rectangle(picture, (x, y - h - 2 * width), (x + w + 2 * width, y), colour, cv2.FILLED)
    cv2.putText(picture, text, (x + width, y - width), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), width)
