"""Face crops: squares of a picture, resampled to what models see."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

FACE_CROP_SCALE = 2.0
"""Side of a face crop over the larger side of the mesh's bounding box: hair, neck and some background fit in."""

_TIGHT_SCALE = 1.5
"""The same in pictures that are cut close around the face."""
FACE_MARGIN = 1.06
"""Least side of a crop over the box of all positions of a moving face."""


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
        """Picture coordinates (..., 2 or 3) to crop coordinates; a third coordinate (depth) is only scaled.

        >>> Crop(left=10, top=0, side=20, size=40).to_crop(np.array([9.5, -0.5, 3.0]))
        array([-0.5, -0.5,  6. ])
        """
        corner, half = self._corner_and_half_px(points_px)
        return ((points_px - corner + half) * self.scale - half).astype(points_px.dtype)

    def to_picture(self, points_px: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Inverse of `to_crop`."""
        corner, half = self._corner_and_half_px(points_px)
        return ((points_px + half) / self.scale - half + corner).astype(points_px.dtype)

    def _corner_and_half_px(self, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corner, and half a pixel: pixel centres lie so far inside the edges that `left` and `top` name."""
        corner, half = np.zeros((2, points_px.shape[-1]))
        corner[:2], half[:2] = (self.left, self.top), 0.5
        return corner, half

    def cut(self, picture: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "s s *c"]:
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


def face_crop(
    mesh_px: Float[np.ndarray, "*t n 3"],
    *,
    size: int | None = None,
    scale: float = FACE_CROP_SCALE,
    picture_px: tuple[int, int] | None = None,
) -> Crop:
    """The square around a face, or around all positions of a moving face.

    Its side is `scale` times the face (the median of the longer sides of the landmarks' boxes), or more if the face
    moves. If the picture is too small for that, the square is as large as the picture, but at least 1.5 faces; only
    then does it extend beyond the picture.

    Args:
        mesh_px: ([T,] 478, 3) landmarks in picture pixels, of one picture or of many.
        size: side of the crop in pixels; None keeps the picture's own resolution (rounded to a multiple of 32).
        scale: side of the square over the face.
        picture_px: width and height; None for an unlimited picture.
    """
    meshes = mesh_px.reshape(-1, *mesh_px.shape[-2:])
    lows, highs = meshes[..., :2].min(axis=1), meshes[..., :2].max(axis=1)
    face = float(np.median((highs - lows).max(axis=1)))
    low, high = lows.min(axis=0) + 0.5, highs.max(axis=0) + 0.5  # from pixel centres to edges
    spread = float((high - low).max()) * FACE_MARGIN
    side = max(scale * face, spread)
    if picture_px is not None and side > min(picture_px):
        side = min(side, max(min(picture_px), _TIGHT_SCALE * face, spread))
    side_px = max(32, round(side / 32) * 32) if size is None else max(8, round(side))
    # The mesh ends at the hairline: moving up by 5% of the side centres head and hair...
    corner = (low + high) / 2 - side_px / 2 - np.array([0.0, 0.05 * side])
    if picture_px is not None:
        # ...as far as the chin stays in.
        corner = np.clip(corner, np.minimum(high - side_px, low), np.maximum(high - side_px, low))
        room = np.array(picture_px) - side_px
        corner = np.clip(np.round(corner), np.minimum(room, 0), np.maximum(room, 0))
    left, top = np.round(corner).astype(int)
    return Crop(int(left), int(top), side_px, size or side_px)


def resize(image: UInt8[np.ndarray, "h w *c"], size: int) -> UInt8[np.ndarray, "s s *c"]:
    """Square resampling: area averaging down (no aliasing), bicubic up."""
    if image.shape[0] == size and image.shape[1] == size:
        return np.ascontiguousarray(image)
    shrinking = image.shape[0] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
