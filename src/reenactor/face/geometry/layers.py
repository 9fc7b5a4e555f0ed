"""Drawing eyes and mouths: regions, soft masks, distances, blending."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Region:
    """A rectangle of the picture: columns x0..x1 and rows y0..y1, ends excluded."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index a picture with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def origin(self) -> Float[np.ndarray, "2"]:
        """Pixel coordinates of the rectangle's first pixel."""
        return np.array([self.x0, self.y0], np.float64)

    @property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def grid(self) -> Float[np.ndarray, "h w 2"]:
        """The picture coordinates of each of its pixels."""
        x, y = np.meshgrid(np.arange(self.x0, self.x1), np.arange(self.y0, self.y1))
        return np.stack([x, y], axis=-1).astype(np.float32)


def region_around(points: Float[np.ndarray, "n 2"], margin: float, side: int) -> Region | None:
    """The rectangle around points with a margin, cut to a picture of `side` pixels; None if nothing is left."""
    low = np.clip(np.floor(points.min(0) - margin), 0, side).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin) + 1, 0, side).astype(int)
    if (high - low < 1).any():
        return None
    return Region(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def soft_polygon(polygon: Float[np.ndarray, "n 2"], region: Region) -> Float[np.ndarray, "h w"]:
    """Antialiased coverage 0..1 of a polygon, in the pixels of a region."""
    mask = np.zeros(region.size, np.uint8)
    corners = np.round((polygon - region.origin) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [corners], (255,), lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return mask.astype(np.float32) / 255


def depth_inside(mask: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance in pixels of each pixel inside a mask to its edge; 0 outside."""
    return cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)


def smoothstep(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((np.asarray(x, np.float32) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def fill_outside(image: Float[np.ndarray, "h w 3"], known: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Continue the known pixels smoothly over the rest (pull-push: average down, fill from coarse to fine).

    Args:
        image: any range.
        known: 0..1, weight of each pixel.
    """
    return _pull_push(image * known[..., None], known)


def _pull_push(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mean = colour / np.maximum(weight, 1e-6)[..., None]
    if min(weight.shape) < 2 or weight.min() >= 1:
        total = max(float(weight.sum()), 1e-6)
        average = colour.sum((0, 1)) / total
        return np.where(weight[..., None] > 1e-6, mean, average).astype(np.float32)
    size = (weight.shape[1], weight.shape[0])
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    coarse = _pull_push(
        cv2.resize(colour, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], 3),
        cv2.resize(weight, half, interpolation=cv2.INTER_AREA),
    )
    below = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0], 3)
    trust = np.clip(weight, 0, 1)[..., None]
    return (trust * mean + (1 - trust) * below).astype(np.float32)


def blend(picture: UInt8[np.ndarray, "h w 3"], region: Region, layer: np.ndarray, alpha: np.ndarray) -> None:
    """Blend `layer` (0..255) over a region of the picture with weights `alpha`, in place."""
    under = picture[region.slices].astype(np.float32)
    under += alpha[..., None] * (layer - under)
    picture[region.slices] = np.clip(np.rint(under), 0, 255).astype(np.uint8)
