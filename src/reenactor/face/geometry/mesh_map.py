"""Piecewise-affine inverse maps: where in the photo each pixel of the result comes from."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

_SUBPIXEL_BITS = 4
LEAST_AREA = 1e-3
"""Twice the area, in square pixels, below which a triangle is not drawn."""


def signed_areas(points: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, " t"]:
    """Twice each triangle's area; positive where its corners run clockwise in the picture (y points down)."""
    a, b, c = points[triangles[:, 0], :2], points[triangles[:, 1], :2], points[triangles[:, 2], :2]
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def affine_maps(
    source: Float[np.ndarray, "n 2"], output: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "t 2 3"]:
    """For each triangle the matrix that takes (x, y, 1) in the output to the same barycentric point in the source."""
    a, b, c = (output[triangles[:, i], :2] for i in range(3))
    sa, sb, sc = (source[triangles[:, i], :2] for i in range(3))
    u, v = b - a, c - a
    area = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])[:, None]
    # Rows of the inverse of [u v]: barycentric weights of b and c per pixel of x and y.
    du, dv = sb - sa, sc - sa
    along_x = (du * v[:, 1:] - dv * u[:, 1:]) / area
    along_y = (dv * u[:, :1] - du * v[:, :1]) / area
    start = sa - along_x * a[:, :1] - along_y * a[:, 1:]
    return np.stack([along_x, along_y, start], axis=2)


def inverse_map(
    source: Float[np.ndarray, "n 2"],
    output: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, " n"],
    triangles: Int[np.ndarray, "t 3"],
    size: tuple[int, int],
) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Barycentric inverse map of a triangulated surface seen from the front.

    Triangles without area are left out; nearer ones cover farther ones (painter's order by mean depth; smaller is
    nearer), and any that faces the viewer covers those that face away (anticlockwise in the output), which only
    fill what nothing else covers.

    Args:
        source: vertices in the photo, pixels.
        output: the same vertices in the result, pixels.
        depth: of the vertices in the result.
        triangles: vertex numbers, clockwise in a frontal picture.
        size: (height, width) of the result.

    Returns:
        (h, w, 2) float32: photo x and y for each pixel of the result, and whether any triangle covers the pixel
        (the map is 0 where none does).
    """
    output = output.astype(np.float64)
    areas = signed_areas(output, triangles)
    drawn = np.abs(areas) > LEAST_AREA
    visible, areas = triangles[drawn], areas[drawn]
    visible = visible[np.lexsort((-depth[visible].mean(1), areas > 0))]
    number = np.zeros(size, np.int32)
    corners = np.round(output[visible] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for i, corner in enumerate(list(corners), start=1):
        cv2.fillConvexPoly(number, corner, (i,), lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    matrices = np.zeros((len(visible) + 1, 2, 3), np.float32)
    matrices[1:] = affine_maps(source, output, visible)
    x = np.arange(size[1], dtype=np.float32)[None, :]
    y = np.arange(size[0], dtype=np.float32)[:, None]
    field = np.empty((*size, 2), np.float32)
    index = number.astype(np.intp)
    low, high = _source_boxes(source, output, visible)
    for axis in range(2):
        along_x, along_y, start = np.ascontiguousarray(matrices[:, axis].T)
        place = along_x.take(index) * x + along_y.take(index) * y + start.take(index)
        field[..., axis] = np.clip(place, low[axis].take(index), high[axis].take(index))
    return field, number > 0


def _source_boxes(
    source: Float[np.ndarray, "n d"], output: Float[np.ndarray, "n d"], triangles: Int[np.ndarray, "t 3"]
) -> tuple[Float[np.ndarray, "2 m"], Float[np.ndarray, "2 m"]]:
    """Where each triangle's pixels may come from: its box in the photo and a pixel's worth around it.

    A drawn triangle includes pixels whose centres lie just outside; in a sliver the affine map takes those far away.
    First comes the box of pixels without a triangle, which is the point 0.
    """
    corners = source[triangles][..., :2]
    slack = float(np.ptp(source[:, 0]) / max(float(np.ptp(output[:, 0])), 1e-6))
    low, high = np.zeros((2, len(triangles) + 1), np.float32), np.zeros((2, len(triangles) + 1), np.float32)
    low[:, 1:], high[:, 1:] = corners.min(1).T - slack, corners.max(1).T + slack
    return low, high


def enlarged(field_px: Float[np.ndarray, "h w 2"], size: int) -> Float[np.ndarray, "s s 2"]:
    """A coarse inverse map for a result of `size` x `size` pixels, cut from a photo of that size.

    Offsets are interpolated, not places: these would be pulled inward along the border, by up to half a coarse pixel.
    """
    coarse = (np.arange(len(field_px), dtype=np.float32) + 0.5) * np.float32(size / len(field_px)) - np.float32(0.5)
    fine = np.arange(size, dtype=np.float32)
    offset = field_px - np.stack(np.meshgrid(coarse, coarse), axis=-1)
    larger = cv2.resize(offset, (size, size), interpolation=cv2.INTER_LINEAR)
    larger[..., 0] += fine
    larger[..., 1] += fine[:, None]
    return larger


def inverse_map_ref(
    source: Float[np.ndarray, "n 2"],
    output: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, " n"],
    triangles: Int[np.ndarray, "t 3"],
    size: tuple[int, int],
) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """`inverse_map`, pixel by pixel with barycentric coordinates and a depth buffer of whole triangles (slow)."""
    field, covered = np.zeros((*size, 2), np.float32), np.zeros(size, bool)
    nearest = np.full(size, np.inf)
    behind_all = np.ptp(depth) + 1
    for triangle, area in zip(triangles, signed_areas(output, triangles), strict=True):
        if abs(area) <= LEAST_AREA:
            continue
        a, b, c = output[triangle].astype(np.float64)
        z = depth[triangle].mean() + (behind_all if area < 0 else 0)
        low = np.maximum(np.floor(np.min([a, b, c], 0)).astype(int), 0)
        high = np.minimum(np.ceil(np.max([a, b, c], 0)).astype(int), np.array(size[::-1]) - 1)
        for y in range(low[1], high[1] + 1):
            for x in range(low[0], high[0] + 1):
                p = np.array([x, y])
                w = np.array([_cross(b - p, c - p), _cross(c - p, a - p), _cross(a - p, b - p)]) / area
                if (w >= 0).all() and z < nearest[y, x]:
                    nearest[y, x], covered[y, x] = z, True
                    field[y, x] = w @ source[triangle]
    return field, covered


def _cross(u: Float[np.ndarray, "2"], v: Float[np.ndarray, "2"]) -> float:
    # NumPy's own is ten times slower for a single pair, and its plane form is deprecated from 2.0 on.
    return float(u[0] * v[1] - u[1] * v[0])
