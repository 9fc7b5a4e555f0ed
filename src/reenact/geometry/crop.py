"""Face crops: the similarity between a photo and the square that models see."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

FACE_CROP_SCALE = 2.0
"""Side of a face crop over the larger side of the mesh's bounding box: hair, neck and some background fit in."""


@dataclass(frozen=True)
class Crop:
    """A square of a picture, resampled to `size` x `size` pixels.

    Args:
        left, top: picture coordinates of the square's corner, in whole pixels (its edge, not a pixel centre).
        side: the square's side in picture pixels.
        size: the crop's side in crop pixels. With `size == side` cutting copies pixels and resamples nothing.
    """

    left: int
    top: int
    side: int
    size: int

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return self.size / self.side

    def to_crop(self, points_px: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Picture coordinates -> crop coordinates; a third coordinate (depth) is scaled alike."""
        return self._offset(points_px, shift_before=True)

    def to_picture(self, points_px: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Crop coordinates -> picture coordinates."""
        return self._offset(points_px, shift_before=False)

    def _offset(self, points_px: np.ndarray, *, shift_before: bool) -> np.ndarray:
        corner = np.zeros(points_px.shape[-1])
        corner[:2] = self.left, self.top
        # Pixel centres sit half a pixel inside the edges that `left`, `top` and the crop's own border name.
        half = np.zeros(points_px.shape[-1])
        half[:2] = 0.5
        if shift_before:
            moved = (points_px - corner + half) * self.scale - half
        else:
            moved = (points_px + half) / self.scale - half + corner
        return moved.astype(points_px.dtype)

    def cut(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The crop's pixels; beyond the picture its edge is repeated."""
        h, w = picture.shape[:2]
        inside = self.inside(w, h)
        before_y, before_x = max(0, -self.top), max(0, -self.left)
        after_y, after_x = max(0, self.top + self.side - h), max(0, self.left + self.side - w)
        piece = picture[inside]
        if before_x or before_y or after_x or after_y:
            piece = cv2.copyMakeBorder(piece, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)
        return resize(piece, self.size)

    def inside(self, width: int, height: int) -> tuple[slice, slice]:
        """The rows and columns of the picture that the square covers."""
        return (
            slice(max(0, self.top), min(height, self.top + self.side)),
            slice(max(0, self.left), min(width, self.left + self.side)),
        )


def face_crop(mesh_px: Float[np.ndarray, "n 3"], *, size: int | None = None, scale: float = FACE_CROP_SCALE) -> Crop:
    """The square around a face.

    Args:
        mesh_px: landmarks in picture pixels.
        size: side of the crop in pixels; None keeps the picture's own resolution (rounded up to a multiple of 32).
        scale: side over the larger side of the landmarks' bounding box.
    """
    low, high = mesh_px[:, :2].min(0), mesh_px[:, :2].max(0)
    side = float((high - low).max()) * scale
    # The mesh ends at the hairline: moving up by 5% of the side centres head and hair.
    centre = (low + high) / 2 + 0.5 - np.array([0.0, 0.05 * side])
    side_px = max(32, round(side / 32) * 32) if size is None else max(8, round(side))
    left, top = np.round(centre - side_px / 2).astype(int)
    return Crop(int(left), int(top), side_px, size or side_px)


def resize(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Square resampling: area averaging down (no aliasing), bicubic up."""
    if image.shape[0] == size and image.shape[1] == size:
        return np.ascontiguousarray(image)
    shrinking = image.shape[0] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
