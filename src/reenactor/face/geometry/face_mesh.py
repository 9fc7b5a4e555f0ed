"""The photo as one triangulated surface, its inverse maps, and sampling.

The surface is the face mesh and a border: rings of vertices from the face's outline to the edge of the crop. The face
lies over the border, so a turning head covers its far cheek while hair and background continue behind it. The edge of
the crop never moves, so what is composited back meets the photo exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from reenactor.core import MESH_POINTS
from reenactor.face.geometry.contours import (
    FACE_OVAL,
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
)
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.similarity import fit_similarity

BORDER_LEVELS = np.array([0.08, 0.18, 0.32, 0.5, 0.72, 1.0])
"""Position of each ring of border vertices along its ray from the face's outline (0) to the edge of the crop (1)."""
FACE_REACH = 0.35
"""Level at which the outline's own movement (jaw, brows) has faded into that of the rigid head."""
HEAD_DEPTH = 0.55
"""How far behind the outline hair and ears lie, in inter-ocular distances."""
LEAST_AREA = 1e-3
"""Twice the area, in square pixels, below which a triangle is not drawn."""
_SUBPIXEL_BITS = 4

_Values = TypeVar("_Values", np.ndarray, Tensor)


@dataclass(frozen=True)
class FaceMesh:
    """The surface of one photo.

    Args:
        points: (478 + 252, 3) vertices in pixels of the photo's crop: the mesh, six rings of the border, and one ring
            beyond the edge.
        side: the crop's side in pixels.
    """

    points: Float[np.ndarray, "n 3"]
    side: int

    def moved_to(self, mesh_px: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "n 3"]:
        """All vertices once the face has moved to the landmarks `mesh_px`, in pixels of the same crop."""
        mesh, border = self.points[:MESH_POINTS], self.points[MESH_POINTS:].reshape(-1, len(FACE_OVAL), 3)
        head = fit_similarity(mesh, mesh_px, mean_face().weights)
        rigid = head.apply(border.reshape(-1, 3)).reshape(border.shape) - border
        outline = (mesh_px - mesh)[list(FACE_OVAL)]
        near = smoothstep(1 - BORDER_LEVELS / FACE_REACH, (0, 1))[:, None, None]
        fade = smoothstep(1 - BORDER_LEVELS, (0, 1))[:, None, None]
        moved = border.copy()
        moved[:-1] += fade * (near * outline + (1 - near) * rigid[:-1])
        moved[..., 2] = border[..., 2]
        return np.concatenate([mesh_px, moved.reshape(-1, 3)])


def smoothstep(x: _Values, ends: tuple[float, float]) -> _Values:
    """0 up to the first end, 1 from the second on, and a smooth cubic between; of an array or a tensor."""
    low, high = ends
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)  # pyright: ignore[reportReturnType]


def face_mesh(mesh_px: Float[np.ndarray, "478 3"], side: int) -> FaceMesh:
    """The surface of one photo.

    Args:
        mesh_px: its landmarks, pixels of the crop.
        side: of the crop, pixels.
    """
    oval = mesh_px[list(FACE_OVAL)].astype(np.float64)
    centre = oval[:, :2].mean(0)
    ray = oval[:, :2] - centre
    half = np.where(ray > 0, side - 0.5 - centre, -0.5 - centre)
    reach = np.min(np.where(np.abs(ray) > 1e-6, half / np.where(np.abs(ray) > 1e-6, ray, 1.0), np.inf), axis=1)
    border = centre + ray * np.maximum(reach, 1.05)[:, None]
    unit = ray / np.linalg.norm(ray, axis=1, keepdims=True)
    # Beyond the square: the straight lines between neighbouring border points cut off its corners.
    outer = centre + unit * 1.6 * side
    back = oval[:, 2:] + HEAD_DEPTH * np.linalg.norm(mesh_px[263, :2] - mesh_px[33, :2])
    vertices = [mesh_px]
    for level in BORDER_LEVELS:
        depth = oval[:, 2:] + (back - oval[:, 2:]) * min(1.0, level / FACE_REACH)
        vertices.append(np.concatenate([oval[:, :2] + level * (border - oval[:, :2]), depth], axis=1))
    vertices.append(np.concatenate([outer, back], axis=1))
    return FaceMesh(np.concatenate(vertices).astype(np.float64), side)


@cache
def face_mesh_triangles() -> Int[np.ndarray, "t 3"]:
    """Vertex numbers of all triangles, clockwise in a frontal picture; eyes and mouth are covered."""
    n = len(FACE_OVAL)
    rows = np.concatenate([[FACE_OVAL], MESH_POINTS + np.arange((len(BORDER_LEVELS) + 1) * n).reshape(-1, n)])
    inner, outer = rows[:-1], rows[1:]
    inner_next, outer_next = np.roll(inner, -1, axis=1), np.roll(outer, -1, axis=1)
    halves = (inner, outer, outer_next), (inner, outer_next, inner_next)
    border = [np.stack(corners, -1).reshape(-1, 3) for corners in halves]
    # Eyes and mouth are covered later by layers of their own; these triangles keep the map whole beneath.
    holes = [
        _strip(INNER_LIPS_UPPER, INNER_LIPS_LOWER),
        _strip(RIGHT_EYE_UPPER, RIGHT_EYE_LOWER),
        _strip(LEFT_EYE_UPPER, LEFT_EYE_LOWER),
    ]
    return np.concatenate([*holes, mean_face().triangles, *border])


def _strip(upper: tuple[int, ...], lower: tuple[int, ...]) -> Int[np.ndarray, "t 3"]:
    """Triangles between two edges that share their ends."""
    quads = zip(upper[:-1], upper[1:], lower[1:], lower[:-1], strict=True)
    corners = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d)) if len(set(t)) == 3]
    return np.array(corners)


def draw_face_mesh(
    picture: UInt8[np.ndarray, "s s 3"],
    surface: FaceMesh,
    mesh_px: Float[np.ndarray, "478 3"],
    *,
    map_size: int = 256,
) -> UInt8[np.ndarray, "s s 3"]:
    """The photo with its face moved to other landmarks; eyes and mouth are stretched with the rest.

    Args:
        picture: the crop that the surface was built for.
        surface: its surface.
        mesh_px: the target landmarks, in the crop's pixels.
        map_size: side of the inverse map; for a larger picture it is upsampled bilinearly (it is piecewise affine).
    """
    vertices = surface.moved_to(mesh_px)
    size = len(picture)
    map_size = min(size, map_size)
    output = (vertices[:, :2] + 0.5) * (map_size / size) - 0.5
    shape = (map_size, map_size)
    source_px, _ = inverse_map(surface.points[:, :2], output, vertices[:, 2], face_mesh_triangles(), shape)
    if map_size != size:
        source_px = upsample_map(source_px, size)
    return sample(picture, source_px)


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
        position = along_x.take(index) * x + along_y.take(index) * y + start.take(index)
        field[..., axis] = np.clip(position, low[axis].take(index), high[axis].take(index))
    return field, number > 0


def _source_boxes(
    source: Float[np.ndarray, "n d"], output: Float[np.ndarray, "n d"], triangles: Int[np.ndarray, "t 3"]
) -> tuple[Float[np.ndarray, "2 m"], Float[np.ndarray, "2 m"]]:
    """Lowest and highest source positions allowed for each triangle: its box in the photo, a pixel larger.

    A drawn triangle includes pixels whose centres lie just outside; in a sliver the affine map takes those far away.
    The first entry belongs to pixels without a triangle and is the point 0.
    """
    corners = source[triangles][..., :2]
    slack = float(np.ptp(source[:, 0]) / max(float(np.ptp(output[:, 0])), 1e-6))
    low, high = np.zeros((2, len(triangles) + 1), np.float32), np.zeros((2, len(triangles) + 1), np.float32)
    low[:, 1:], high[:, 1:] = corners.min(1).T - slack, corners.max(1).T + slack
    return low, high


def upsample_map(source_px: Float[np.ndarray, "h w 2"], size: int) -> Float[np.ndarray, "s s 2"]:
    """A coarse inverse map, upsampled for a result and a photo of `size` x `size` pixels.

    Offsets are interpolated, because positions would be pulled inward along the edge, by up to half a coarse pixel.
    """
    coarse = (np.arange(len(source_px), dtype=np.float32) + 0.5) * np.float32(size / len(source_px)) - np.float32(0.5)
    fine = np.arange(size, dtype=np.float32)
    offset = source_px - np.stack(np.meshgrid(coarse, coarse), axis=-1)
    larger = cv2.resize(offset, (size, size), interpolation=cv2.INTER_LINEAR)
    larger[..., 0] += fine
    larger[..., 1] += fine[:, None]
    return larger


def sample(image: np.ndarray, position_px: Float[np.ndarray, "h w 2"], *, cubic: bool = True) -> np.ndarray:
    """Values of an image at fractional pixel coordinates.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32. Colours beyond the edge repeat it; a single channel is 0 there.
        position_px: x and y for each pixel of the result, float32.
        cubic: bicubic (sharper, may overshoot) or bilinear.

    Returns:
        (h, w) or (h, w, C), the image's type.
    """
    interpolation = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    outside = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    return cv2.remap(image, position_px[..., 0], position_px[..., 1], interpolation, borderMode=outside)
