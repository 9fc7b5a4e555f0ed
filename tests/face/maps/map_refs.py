"""Slow twins of the maps, for tests: one face, double precision, every pixel against every segment, no shortcuts.

They share the tables of landmarks with the fast versions, and nothing else.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from reenactor.core import MESH_POINTS, MESH_TO_IBUG68
from reenactor.face.geometry import contours
from reenactor.face.maps import _curves, boundaries, raster

Points = Float[np.ndarray, "n 2"]
Size = tuple[int, int]


def landmark_raster_ref(landmarks: np.ndarray, size: Size, *, irises: bool = False) -> Float[np.ndarray, "3 h w"]:
    """`landmark_raster` of one face."""
    points = _ibug(landmarks)
    reach = max(1.0, raster.LINE_WIDTH_AT_256 * min(size) / 256) / 2 + 0.5
    picture = np.zeros((3, *size))
    for group in raster.GROUPS.values():
        for line in group.lines:
            intensity = np.clip(reach - distance_ref(points[list(line)], size, closed=group.closed), 0, 1)
            for channel, colour in enumerate(group.colour):
                picture[channel] = np.maximum(picture[channel], intensity * colour)
    if irises:
        picture = np.maximum(picture, gaze_maps_ref(landmarks, size).max(0) * np.reshape(raster.IRIS_COLOUR, (3, 1, 1)))
    return 2 * picture - 1


def boundary_maps_ref(mesh: np.ndarray, size: Size) -> Float[np.ndarray, "17 h w"]:
    """`boundary_maps` of one face."""
    points = mesh[:, :2].astype(np.float64)
    sigma = boundaries.SIGMA_AT_256 * min(size) / 256
    maps = []
    for chain in boundaries.BOUNDARIES.values():
        distance = distance_ref(catmull_rom_ref(points[list(chain)], 2), size)
        maps.append(np.where(distance < 3 * sigma, np.exp(-(distance**2) / (2 * sigma**2)), 0))
    return np.concatenate([maps, gaze_maps_ref(mesh, size)])


def gaze_maps_ref(mesh: np.ndarray, size: Size) -> Float[np.ndarray, "2 h w"]:
    """`gaze_maps` of one face."""
    points = mesh[:, :2].astype(np.float64)
    outlines = (contours.RIGHT_EYE, contours.LEFT_EYE)
    corners = [(33, 133), (362, 263)]
    width = np.mean([np.linalg.norm(points[a] - points[b]) for a, b in corners])
    scale = min(size) / 256
    margin = min(0.03 * width, max(2.0, 3 * scale) - 1)
    maps = []
    for outline, iris in zip(outlines, (contours.RIGHT_IRIS[1:], contours.LEFT_IRIS[1:]), strict=True):
        eye = points[list(outline)]
        open_px = np.where(winding_ref(eye, size) > 0.5, distance_ref(eye, size, closed=True) - margin, 0)
        maps.append(soft_fill_ref(_iris(points[list(iris)]), size) * np.clip(open_px, 0, 1))
    return np.stack(maps)


def parsing_map_ref(mesh: np.ndarray, size: Size) -> Float[np.ndarray, "9 h w"]:
    """`parsing_map` of one face."""
    points = mesh[:, :2].astype(np.float64)

    def curve(chain: tuple[int, ...], pieces: int = 1) -> np.ndarray:
        return catmull_rom_ref(points[list(chain)], pieces)

    def between(upper: tuple[int, ...], lower: tuple[int, ...], pieces: int = 1) -> np.ndarray:
        return soft_fill_ref(np.concatenate([curve(upper, pieces), curve(lower, pieces)[::-1]]), size)

    left, left_lower = _curves.IMAGE_LEFT_BROW_UPPER, _curves.IMAGE_LEFT_BROW_LOWER
    right, right_lower = _curves.IMAGE_RIGHT_BROW_UPPER, _curves.IMAGE_RIGHT_BROW_LOWER
    jaw, profile = curve(_curves.JAW, 2), curve(_curves.PROFILE, 2)
    # The jaw's 12th vertex of 23 is the chin.
    faces = (
        np.concatenate([curve(left, 2), curve(right, 2), jaw[::-1]]),
        np.concatenate([curve(left, 2), profile, curve(_curves.JAW[:12], 2)[::-1]]),
        np.concatenate([curve(right, 2), curve(_curves.JAW[11:], 2)[::-1], profile[::-1]]),
    )
    nose = np.concatenate([points[[_curves.NOSE_BRIDGE[0]]], curve(_curves.NOSE_TIP, 2)[::-1]])
    scale = min(size) / 256
    from_bridge = distance_ref(curve(_curves.NOSE_BRIDGE, 2), size)
    return np.stack(
        [
            np.max([soft_fill_ref(face, size) for face in faces], axis=0),
            np.maximum(between(left, left_lower, 2), between(right, right_lower, 2)),
            np.maximum(
                between(contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
                between(contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
            ),
            gaze_maps_ref(mesh, size).max(0),
            soft_fill_ref(nose, size),
            between(contours.OUTER_LIPS_UPPER, contours.INNER_LIPS_UPPER),
            between(contours.INNER_LIPS_LOWER, contours.OUTER_LIPS_LOWER),
            between(contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER),
            np.clip((4 * scale - from_bridge) / max(1.0, 3 * scale) + 0.5, 0, 1),
        ]
    )


def hull_mask_ref(landmarks: np.ndarray, size: Size) -> Float[np.ndarray, "h w"]:
    """`hull_mask` of one face: one pixel of softness across the nearest of the hull's half-planes' edges."""
    from scipy.spatial import ConvexHull

    points = _ibug(landmarks)
    path = points[ConvexHull(points).vertices]
    signed = np.where(np.abs(winding_ref(path, size)) > 0.5, 1, -1) * distance_ref(path, size, closed=True)
    return np.clip(signed + 0.5, 0, 1)


def soft_fill_ref(path: Points, size: Size) -> Float[np.ndarray, "h w"]:
    """Paper A's filling of one closed path: 1 inside, falling to 0 over 3 pixels (at 256) outside."""
    outside = np.clip(1 - distance_ref(path, size, closed=True) / max(1.0, 3 * min(size) / 256), 0, 1)
    return np.where(np.abs(winding_ref(path, size)) > 0.5, 1.0, outside)


def distance_ref(points: Points, size: Size, *, closed: bool = False) -> Float[np.ndarray, "h w"]:
    """Distance of every pixel to the nearest point of a line through these points."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    nearest = np.full(size, np.inf)
    ends = np.roll(points, -1, axis=0) if closed else points[1:]
    for (ax, ay), (bx, by) in zip(points, ends, strict=False):
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2, 0, 1) if length2 > 0 else 0.0
        nearest = np.minimum(nearest, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    return nearest


def winding_ref(path: Points, size: Size) -> Float[np.ndarray, "h w"]:
    """Turns of a closed path around every pixel, clockwise in the picture, by adding up angles."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    total = np.zeros(size)
    for (ax, ay), (bx, by) in zip(path, np.roll(path, -1, axis=0), strict=True):
        cross = (ax - x) * (by - y) - (ay - y) * (bx - x)
        total += np.arctan2(cross, (ax - x) * (bx - x) + (ay - y) * (by - y))
    return total / (2 * np.pi)


def catmull_rom_ref(points: Points, pieces: int) -> Float[np.ndarray, "m 2"]:
    """The curve through these points as repeated linear interpolation (Barry and Goldman 1988, uniform knots)."""
    ext = np.concatenate([[2 * points[0] - points[1]], points, [2 * points[-1] - points[-2]]])
    result = []
    for i in range(len(points) - 1):
        p = ext[i : i + 4]
        for t in 1 + np.arange(pieces) / pieces:
            a = [(k + 1 - t) * p[k] + (t - k) * p[k + 1] for k in range(3)]
            b = [((k + 2 - t) * a[k] + (t - k) * a[k + 1]) / 2 for k in range(2)]
            result.append((2 - t) * b[0] + (t - 1) * b[1])
    return np.array([*result, points[-1]])


def _iris(outline: Points) -> np.ndarray:
    angle = 2 * np.pi * np.arange(_curves.IRIS_POINTS)[:, None] / _curves.IRIS_POINTS
    return outline.mean(0) + (np.cos(angle) * (outline[0] - outline[2]) + np.sin(angle) * (outline[1] - outline[3])) / 2


def _ibug(landmarks: np.ndarray) -> Points:
    points = landmarks[list(MESH_TO_IBUG68)] if len(landmarks) == MESH_POINTS else landmarks
    return points[:, :2].astype(np.float64)
