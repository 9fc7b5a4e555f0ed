"""The result back into the photo it was cut from."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.face.geometry import Crop, resize

_FEATHER = 0.06
"""Width of the seam over the crop's side."""


class Compositor:
    """Pastes crops into a photo through a mask that fades out toward the crop's border.

    Args:
        photo: (H, W, 3) the whole picture.
        crop: where its pieces belong.
    """

    def __init__(self, photo: UInt8[np.ndarray, "h w 3"], crop: Crop) -> None:
        self._photo = photo
        self._crop = crop
        h, w = photo.shape[:2]
        self._rows, self._columns = crop.inside(w, h)
        self._mask = self._cut(_seam_mask(crop.side))[..., None]
        # Blending is only needed along the seam; the rest of the crop is copied.
        solid = np.flatnonzero((self._mask[..., 0] == 1).any(1)), np.flatnonzero((self._mask[..., 0] == 1).any(0))
        self._solid = tuple(slice(int(i[0]), int(i[-1]) + 1) if len(i) else slice(0, 0) for i in solid)

    def paste(self, piece: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of the photo with `piece` (the crop's size) in its place."""
        inner = self._cut(resize(piece, self._crop.side))
        picture = self._photo.copy()
        under = picture[self._rows, self._columns]
        rows, columns = self._solid
        height, width = under.shape[:2]
        for strip in (
            (slice(0, rows.start), slice(0, width)),
            (slice(rows.stop, height), slice(0, width)),
            (rows, slice(0, columns.start)),
            (rows, slice(columns.stop, width)),
        ):
            below = under[strip].astype(np.float32)
            under[strip] = np.rint(below + self._mask[strip] * (inner[strip] - below)).astype(np.uint8)
        under[rows, columns] = inner[rows, columns]
        return picture

    def _cut(self, square: np.ndarray) -> np.ndarray:
        """The part of a picture of the whole square that lies inside the photo."""
        rows = slice(self._rows.start - self._crop.top, self._rows.stop - self._crop.top)
        columns = slice(self._columns.start - self._crop.left, self._columns.stop - self._crop.left)
        return square[rows, columns]


def _seam_mask(side: int) -> Float[np.ndarray, "s s"]:
    """1 inside, falling smoothly to 0 at the border."""
    position = np.arange(side, dtype=np.float32) + 0.5
    t = np.clip(np.minimum(position, side - position) / (_FEATHER * side), 0, 1)
    edge = t * t * (3 - 2 * t)
    return np.minimum.outer(edge, edge)


def side_by_side(pictures: list[UInt8[np.ndarray, "h w 3"]], side: int) -> UInt8[np.ndarray, "s n 3"]:
    """Pictures in a row, each fitted into a square of `side` pixels with dark bars."""
    squares = []
    for picture in pictures:
        h, w = picture.shape[:2]
        scale = side / max(h, w)
        size = (max(1, round(w * scale)), max(1, round(h * scale)))
        shrinking = scale < 1
        fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
        square = np.full((side, side, 3), 18, np.uint8)
        top, left = (side - size[1]) // 2, (side - size[0]) // 2
        square[top : top + size[1], left : left + size[0]] = fitted
        squares.append(square)
    return np.concatenate(squares, axis=1)


def draw_landmarks(
    mesh_px: Float[np.ndarray, "478 3"], picture_size: tuple[int, int], side: int
) -> UInt8[np.ndarray, "s s 3"]:
    """The points of a driver that has no pixels, as a picture."""
    width, height = picture_size
    scale = side / max(width, height)
    offset = (side - np.array([width, height]) * scale) / 2
    canvas = np.full((side, side, 3), 18, np.uint8)
    for x, y in (mesh_px[:, :2] + 0.5) * scale + offset:
        cv2.circle(canvas, (round(float(x) * 16), round(float(y) * 16)), 14, (120, 200, 255), -1, cv2.LINE_AA, 4)
    return canvas
