"""Face crops: squares of a picture, resampled to what models see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, cos, floor, radians, sin

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from reenactor.core import OUTER_EYE_CORNERS
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.similarity import fit_similarity

FACE_CROP_SCALE = 2.0
"""Side of a face crop over the larger side of the mesh's bounding box: hair, neck and some background fit in."""

_TIGHT_SCALE = 1.5
"""The same in pictures that are cut close around the face."""
FACE_MARGIN = 1.06
"""Least side of a crop over the box of all positions of a moving face."""
_EYE_CORNERS = [33, 133, 362, 263]
ALIGNED_EYES = 119 / 256
"""Distance of the outer eye corners over the side of a crop that is aligned to the mean shape (paper A: 114 to 123 of
256 pixels in its authors' sample landmarks)."""
_ALIGNED_EYE_LEVEL = 81 / 256
"""Height of the eyes in it, from its top (79 to 84 of 256 in the same samples)."""


@dataclass(frozen=True)
class Crop:
    """A square of a picture, resampled to `size` x `size` pixels.

    Args:
        left, top: picture coordinates of the square's corner, in whole pixels (its edge, not a pixel centre), before
            it is turned.
        side: the square's side in picture pixels.
        size: the crop's side in crop pixels. With `size == side` cutting copies pixels and resamples nothing, unless
            the square is turned.
        angle_deg: by which the square is turned clockwise about its middle: the roll of a head that is upright in the
            crop.
    """

    left: int
    top: int
    side: int
    size: int
    angle_deg: float = 0.0

    @property
    def scale(self) -> float:
        """Crop pixels per picture pixel."""
        return self.size / self.side

    @property
    def upright(self) -> Crop:
        """The same square, not turned."""
        return replace(self, angle_deg=0.0)

    def to_crop(self, points_px: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Picture coordinates (..., 2 or 3) to crop coordinates; a third coordinate (depth) is only scaled.

        In a crop turned by a quarter, what is left of the middle in the picture lies below it.

        >>> Crop(left=10, top=0, side=20, size=40).to_crop(np.array([9.5, -0.5, 3.0]))
        array([-0.5, -0.5,  6. ])
        >>> Crop(left=0, top=0, side=20, size=20, angle_deg=90.0).to_crop(np.array([4.5, 9.5])).round(6)
        array([ 9.5, 14.5])
        """
        corner, half = self._corner_and_half_px(points_px)
        upright = self._turned(points_px, -self.angle_deg)
        return ((upright - corner + half) * self.scale - half).astype(points_px.dtype)

    def to_picture(self, points_px: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """Inverse of `to_crop`."""
        corner, half = self._corner_and_half_px(points_px)
        upright = (points_px + half) / self.scale - half + corner
        return self._turned(upright, self.angle_deg).astype(points_px.dtype)

    def _turned(self, points_px: Float[np.ndarray, "*n d"], angle_deg: float) -> Float[np.ndarray, "*n d"]:
        """Points of the picture turned clockwise about the square's middle."""
        if not angle_deg:
            return points_px
        c, s = cos(radians(angle_deg)), sin(radians(angle_deg))
        middle = np.array([self.left, self.top]) + (self.side - 1) / 2
        flat = (points_px[..., :2] - middle) @ np.array([[c, s], [-s, c]]) + middle
        return np.concatenate([flat, points_px[..., 2:]], axis=-1)

    def _corner_and_half_px(self, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The corner, and half a pixel: pixel centres lie so far inside the edges that `left` and `top` name."""
        corner, half = np.zeros((2, points_px.shape[-1]))
        corner[:2], half[:2] = (self.left, self.top), 0.5
        return corner, half

    def cut(
        self, picture: UInt8[np.ndarray, "h w *c"], *, border: int = cv2.BORDER_REPLICATE
    ) -> UInt8[np.ndarray, "s s *c"]:
        """The crop's pixels; beyond the picture its edge is repeated, or what OpenCV's `border` says."""
        if self.angle_deg:
            # Enlarging, one resampling; shrinking, another that averages.
            large = replace(self, size=max(self.side, self.size))
            return resize(_warped(picture, large.to_picture, (large.size, large.size), border), self.size)
        h, w = picture.shape[:2]
        inside = self.inside(w, h)
        before_y, before_x = max(0, -self.top), max(0, -self.left)
        after_y, after_x = max(0, self.top + self.side - h), max(0, self.left + self.side - w)
        piece = picture[inside]
        if before_x or before_y or after_x or after_y:
            piece = cv2.copyMakeBorder(piece, before_y, after_y, before_x, after_x, border)
        return resize(piece, self.size)

    def inside(self, width: int, height: int) -> tuple[slice, slice]:
        """The rows and columns of the picture that the square lies in; an upright one covers them."""
        angle = radians(self.angle_deg)
        reach = (abs(cos(angle)) + abs(sin(angle)) - 1) * self.side / 2
        return (
            slice(max(0, floor(self.top - reach)), min(height, ceil(self.top + self.side + reach))),
            slice(max(0, floor(self.left - reach)), min(width, ceil(self.left + self.side + reach))),
        )

    def put_back(
        self, piece: Shaped[np.ndarray, "s s *c"], width: int, height: int, *, border: int = cv2.BORDER_REPLICATE
    ) -> Shaped[np.ndarray, "_h _w *c"]:
        """The inverse of `cut`: a piece, of any size, as it lies in a picture of this width and height.

        Args:
            piece: (s, s) or (s, s, c), what the square shows.
            width, height: of the picture.
            border: what a turned square shows beyond its edge, as OpenCV says.

        Returns:
            the rows and columns that `inside` returns.
        """
        rows, columns = self.inside(width, height)
        if not self.angle_deg:
            rows, columns = (
                slice(part.start - edge, part.stop - edge) for part, edge in ((rows, self.top), (columns, self.left))
            )
            return resize(piece, self.side)[rows, columns]
        piece = resize(piece, min(len(piece), self.side))
        origin, shown = np.array([columns.start, rows.start]), replace(self, size=len(piece))
        size = columns.stop - columns.start, rows.stop - rows.start
        return _warped(piece, lambda points: shown.to_crop(points + origin), size, border)


def _warped(
    picture: Shaped[np.ndarray, "h w *c"],
    position: Callable[[np.ndarray], np.ndarray],
    size: tuple[int, int],
    border: int,
) -> Shaped[np.ndarray, "_h _w *c"]:
    """A picture of this width and height that shows at each of its points the given position of another (affine)."""
    corner, right, below = position(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    matrix = np.column_stack([right - corner, below - corner, corner])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=border))


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


def aligned_crop(mesh_px: Float[np.ndarray, "478 3"], *, size: int | None = None) -> Crop:
    """The square in which a face lies as the mean shape does (paper A): upright, its eyes 119 of 256 pixels apart.

    The similarity is fitted to the eye corners. With nose and mouth in the fit the distance of the eyes would vary by
    3.7 pixels instead of 0.7, as faces are of different lengths (standard deviations, 71 frontal portraits). A turned
    head's eyes are nearer to each other: its crop is larger than they say if the face would not fit in.

    Args:
        mesh_px: landmarks in picture pixels.
        size: side of the crop in pixels; None keeps the picture's own resolution (rounded to a multiple of 32).
    """
    shape = mean_face().points[:, :2]
    fit = fit_similarity(shape[_EYE_CORNERS], mesh_px[_EYE_CORNERS, :2])
    eyes = shape[list(OUTER_EYE_CORNERS)].mean(axis=0)
    height = np.ptp(mesh_px[:, :2] @ fit.R[:, 1])
    side = max(float(fit.scale) / ALIGNED_EYES, float(height))
    side_px = max(32, round(side / 32) * 32) if size is None else max(8, round(side))
    middle = fit.apply(eyes[None])[0] + fit.R[:, 1] * (0.5 - _ALIGNED_EYE_LEVEL) * side
    left, top = np.round(middle + 0.5 - side_px / 2).astype(int)
    return Crop(int(left), int(top), side_px, size or side_px, float(np.rad2deg(np.arctan2(fit.R[1, 0], fit.R[0, 0]))))


def resize(image: Shaped[np.ndarray, "h w *c"], size: int) -> Shaped[np.ndarray, "s s *c"]:
    """Square resampling: area averaging down (no aliasing), bicubic up."""
    if image.shape[0] == size and image.shape[1] == size:
        return np.ascontiguousarray(image)
    shrinking = image.shape[0] > size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
