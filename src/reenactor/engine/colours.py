"""Drawn frames in no more colours than the photo has: a grey photo stays grey, a drawing keeps its own."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Int16, UInt8
from scipy.spatial import KDTree

_TONED = 3.5
"""Of 200 portraits none has colours so near to one tone per brightness (8-bit Lab, 95 % of the face). Sepia saved as
JPEG mostly has; grey has 0."""
_SHADES = 64
"""Of each primary colour in the table."""


class OwnColours:
    """Moves each colour that is drawn to the nearest one of a photo that has few: grey, of one tone, or drawn.

    Args:
        picture: the photo's face crop, RGB.
        mesh_px: (478, 3) the face in it.
        drawing: it is a drawing.
    """

    def __init__(
        self, picture: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"], *, drawing: bool = False
    ) -> None:
        self._moves: np.ndarray | None = None
        face = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillConvexPoly(face, cv2.convexHull(mesh_px[:, :2].astype(np.float32)).astype(np.int32), (1,))
        if drawing or _is_toned(picture[face > 0]):
            self._moves = _moves_to(picture.reshape(-1, 3))

    def apply(self, drawn: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The picture in the photo's colours; itself if the photo has many."""
        if self._moves is None:
            return drawn
        red, green, blue = np.moveaxis(drawn // (256 // _SHADES), -1, 0)
        return np.clip(drawn + self._moves[red, green, blue], 0, 255).astype(np.uint8)


def _is_toned(pixels: UInt8[np.ndarray, "n 3"]) -> bool:
    """Whether pixels of one brightness have one colour."""
    lab = cv2.cvtColor(pixels[None], cv2.COLOR_RGB2LAB)[0].astype(np.float32)
    away = np.zeros(len(lab), np.float32)
    shades = lab[:, 0].astype(int) // 8
    for shade in np.unique(shades):
        same = shades == shade
        away[same] = np.abs(lab[same, 1:] - np.median(lab[same, 1:], axis=0)).max(axis=1)
    return bool(len(lab) and np.quantile(away, 0.95) < _TONED)


def _moves_to(pixels: UInt8[np.ndarray, "n 3"]) -> Int16[np.ndarray, "64 64 64 3"]:
    """From each colour, by its red, green and blue, to the nearest one of these pixels."""
    step = 256 // _SHADES
    own = np.unique(pixels // step, axis=0) * np.float32(step) + (step - 1) / 2
    shades = np.arange(_SHADES) * step + (step - 1) / 2
    colours = np.stack(np.meshgrid(shades, shades, shades, indexing="ij"), axis=-1)
    nearest = own[KDTree(own).query(colours)[1]]
    return (nearest - colours).astype(np.int16)
