"""Piecewise-affine inverse maps: where in the photo each pixel of the result comes from."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

_SUBPIXEL_BITS = 4


def signed_areas(points: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "t 3"]) -> Float[np.ndarray, " t"]:
    """Twice each triangle's area; positive where its corners run clockwise in the picture (y points down)."""
    a, b, c = points[triangles[:, 0], :2], points[triangles[:, 1], :2], points[triangles[:, 2], :2]
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def affine_maps(
    source: Float[np.ndarray, "n 2"], output: Float[np.ndarray, "n 2"], triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "t 2 3"]:
    """For each triangle the matrix that takes (x, y, 1) in the output to the same barycentric point in the source."""
    out_tri = np.concatenate([output[triangles], np.ones((len(triangles), 3, 1))], axis=2)
    return np.swapaxes(np.linalg.solve(out_tri, source[triangles]), 1, 2)


def inverse_map(
    source: Float[np.ndarray, "n 2"],
    output: Float[np.ndarray, "n 2"],
    depth: Float[np.ndarray, " n"],
    triangles: Int[np.ndarray, "t 3"],
    size: tuple[int, int],
) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Barycentric inverse map of a triangulated surface seen from the front.

    Triangles that face away (anticlockwise in the output) or have no area are left out; nearer ones cover farther
    ones (painter's order by mean depth; smaller is nearer).

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
    visible = triangles[signed_areas(output, triangles) > 1e-3]
    visible = visible[np.argsort(-depth[visible].mean(1), kind="stable")]
    number = np.zeros(size, np.int32)
    corners = np.round(output[visible] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    for i, corner in enumerate(corners, start=1):
        cv2.fillConvexPoly(number, corner, i, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    matrices = np.zeros((len(visible) + 1, 2, 3), np.float32)
    matrices[1:] = affine_maps(source, output, visible)
    x = np.arange(size[1], dtype=np.float32)[None, :]
    y = np.arange(size[0], dtype=np.float32)[:, None]
    field = np.empty((*size, 2), np.float32)
    for axis in range(2):
        row = np.ascontiguousarray(matrices[:, axis].T)
        field[..., axis] = row[0].take(number) * x + row[1].take(number) * y + row[2].take(number)
    return field, number > 0


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
    for triangle, area in zip(triangles, signed_areas(output, triangles), strict=True):
        if area <= 1e-3:
            continue
        a, b, c = output[triangle].astype(np.float64)
        z = depth[triangle].mean()
        low = np.maximum(np.floor(np.min([a, b, c], 0)).astype(int), 0)
        high = np.minimum(np.ceil(np.max([a, b, c], 0)).astype(int), np.array(size[::-1]) - 1)
        for y in range(low[1], high[1] + 1):
            for x in range(low[0], high[0] + 1):
                p = np.array([x, y])
                w = np.array([np.cross(b - p, c - p), np.cross(c - p, a - p), np.cross(a - p, b - p)]) / area
                if (w >= 0).all() and z < nearest[y, x]:
                    nearest[y, x], covered[y, x] = z, True
                    field[y, x] = w @ source[triangle]
    return field, covered
