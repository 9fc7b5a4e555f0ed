"""`mesh_flow` of one photo in NumPy: the same rules, without the price of hundreds of small PyTorch calls."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int

from reenact.core import MESH_POINTS
from reenact.geometry.contours import (
    INNER_LIPS,
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    RIGHT_EYE,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
)
from reenact.geometry.face_sheet import FaceSheet, face_sheet, sheet_triangles
from reenact.geometry.mesh_map import LEAST_AREA

ALL_STRETCHED = 4.0
"""A photo's pixel drawn over this many pixels of the result, in the worse direction, counts as 1; one over one as 0."""
OPENS_MORE = 1.5
"""An opening is nothing new below this multiple of the photo's (teeth that are there can be stretched) ..."""
NEW_MOUTH, NEW_EYE = (0.02, 0.06), (0.02, 0.05)
"""... and is a hole when it exceeds that by so much, in eye distances: from not at all to fully."""
OPENINGS = (
    (INNER_LIPS_UPPER, INNER_LIPS_LOWER, NEW_MOUTH),
    (RIGHT_EYE_UPPER, RIGHT_EYE_LOWER, NEW_EYE),
    (LEFT_EYE_UPPER, LEFT_EYE_LOWER, NEW_EYE),
)
MOUTH, EYES, RING = 1, (2, 3), 4
EDGE = 1e-4
"""Barycentric coordinates may be this negative: neighbours overlap rather than leave a gap between them."""


def sheet_flow(
    photo_mesh_px: Float[np.ndarray, "478 3"], mesh_px: Float[np.ndarray, "478 3"], side: int, map_size: int
) -> tuple[Float32[np.ndarray, "2 h w"], Float32[np.ndarray, "5 h w"]]:
    """Flow and flags as `MeshFlow` has them; the photo's outer eye corners must not coincide."""
    # Rays without length and triangles without area give what is no number, and those are not drawn.
    with np.errstate(all="ignore"):
        sheet = _sheet(photo_mesh_px.astype(np.float64, copy=False).tobytes(), side)
        moved = sheet.moved_to(mesh_px)
        scale = map_size / side
        depth = moved[:, 2].take(_corners()).sum(0) / 3
        xy = ((moved[:, :2] + 0.5) * scale - 0.5).T.take(_corners(), axis=1)
        area = _area(xy)
        low, high = np.ceil(xy.min(1) - EDGE), np.floor(xy.max(1) + EDGE)
        low, high = np.maximum(low, 0), np.minimum(high, map_size - 1)
        solid = np.abs(area) > LEAST_AREA
        drawn = np.flatnonzero(solid & (low <= high).all(0))
        # Those that face away lie behind all that do not; the farthest come first.
        depth += (area < 0) * (np.ptp(depth) + 1)
        drawn = drawn.take((-depth.take(drawn)).argsort(kind="stable"))
        # What no triangle covers has the flags of the farthest of all.
        chosen = np.append(drawn, depth.argmax())
        weights = _barycentric(xy.take(chosen, 2), np.where(solid, area, 1.0).take(chosen))
        top = _top(weights[..., :-1], low.take(drawn, 1), high.take(drawn, 1), map_size)
        source = (sheet.points[:, :2] * scale).T.take(_corners().take(chosen, 1), axis=1)
        flags = _flags(source, weights, triangle_kinds().take(chosen), photo_mesh_px, mesh_px)
    return _offsets(source, weights, top, scale, map_size), flags.take(top, 1).reshape(-1, map_size, map_size)


@lru_cache(maxsize=16)
def _sheet(photo_mesh: bytes, side: int) -> FaceSheet:
    """A session's photos stay the same, frame after frame."""
    return face_sheet(np.frombuffer(photo_mesh).reshape(-1, 3), side)


@cache
def _corners() -> Int[np.ndarray, "3 t"]:
    return np.ascontiguousarray(sheet_triangles().T)


@cache
def triangle_kinds() -> Int[np.ndarray, " t"]:
    """Which belong to the openings, and which to the ring."""
    kinds = np.zeros(len(sheet_triangles()), np.int64)
    for kind, edge in ((MOUTH, INNER_LIPS), (EYES[0], RIGHT_EYE), (EYES[1], LEFT_EYE)):
        kinds[np.isin(sheet_triangles(), edge).all(1)] = kind
    kinds[(sheet_triangles() >= MESH_POINTS).any(1)] = RING
    return kinds


def _area(xy: Float[np.ndarray, "2 3 t"]) -> Float[np.ndarray, " t"]:
    """Twice the signed area; positive where the corners run clockwise in the picture."""
    (ux, uy), (vx, vy) = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    return ux * vy - uy * vx


def _barycentric(xy: Float[np.ndarray, "2 3 t"], area: Float[np.ndarray, " t"]) -> Float[np.ndarray, "3 3 t"]:
    """(coefficient, corner): each corner's weight at (x, y) is its column times (x, y, 1)."""
    after, last = xy.take((1, 2, 0), 1), xy.take((2, 0, 1), 1)
    weights = np.empty((3, *xy.shape[1:]))
    np.subtract(after[1], last[1], out=weights[0])
    np.subtract(last[0], after[0], out=weights[1])
    np.subtract(after[0] * last[1], last[0] * after[1], out=weights[2])
    weights /= area
    return weights


def _top(
    weights: Float[np.ndarray, "3 3 t"], low: Float[np.ndarray, "2 t"], high: Float[np.ndarray, "2 t"], size: int
) -> Int[np.ndarray, " p"]:
    """The last of the triangles that cover each pixel; t where none does.

    A row of pixels meets a triangle in one run, whose ends each corner's weight bounds from one side.
    """
    count = weights.shape[-1]
    rows = (high[1] - low[1]).astype(np.intp) + 1
    owner = np.arange(count).repeat(rows)
    y = np.arange(len(owner)) + (low[1] - (rows.cumsum() - rows)).take(owner)
    slope, along, start = weights.take(owner, 2)
    # No sign in a zero: a level edge bounds all of a row or nothing.
    slope = slope + 0.0
    bound = (along * y + (start + EDGE)) / -slope
    rises = slope >= 0
    first = np.fmax(np.fmax.reduce(np.where(rises, bound, -np.inf)), low[0].take(owner))
    last = np.fmin(np.fmin.reduce(np.where(rises, np.inf, bound)), high[0].take(owner))
    first, last = np.ceil(np.minimum(first, size)).astype(np.intp), np.floor(np.maximum(last, -1)).astype(np.intp)
    length = np.maximum(last - first + 1, 0)
    place = np.arange(length.sum()) + (y.astype(np.intp) * size + first - (length.cumsum() - length)).repeat(length)
    top = np.full(size * size, count)
    # Of repeated places the last one stays, the nearest.
    top[place] = owner.repeat(length)
    return top


def _flags(
    source: Float[np.ndarray, "2 3 t"],
    weights: Float[np.ndarray, "3 3 t"],
    kind: Int[np.ndarray, " t"],
    photo_mesh: Float[np.ndarray, "478 3"],
    mesh: Float[np.ndarray, "478 3"],
) -> Float32[np.ndarray, "5 t"]:
    """Each triangle's; the last one stands for none."""
    mouth, *eyes = _new_openings(photo_mesh, mesh)
    flags = np.empty((5, len(kind)), np.float32)
    flags[0] = _area(source) <= LEAST_AREA
    flags[0, -1] = 1
    flags[1] = _stretched(source, weights)
    flags[2] = (kind == MOUTH) * mouth
    flags[3] = (kind == EYES[0]) * eyes[0] + (kind == EYES[1]) * eyes[1]
    flags[4] = kind == RING
    return flags


def _stretched(source: Float[np.ndarray, "2 3 t"], weights: Float[np.ndarray, "3 3 t"]) -> Float[np.ndarray, " t"]:
    """From the smaller singular value of the map result -> photo: how many pixels each of the photo's is drawn over."""
    (xx, yx), (xy, yy) = (source * weights[0]).sum(1), (source * weights[1]).sum(1)
    squares, determinant = xx * xx + yx * yx + xy * xy + yy * yy, xx * yy - xy * yx
    least = (squares - np.sqrt(np.maximum(squares * squares - 4 * determinant * determinant, 0))) / 2
    return np.clip(np.log(np.maximum(least, 1e-12)) * (-0.5 / np.log(ALL_STRETCHED)), 0, 1)


def _new_openings(photo: Float[np.ndarray, "478 3"], wanted: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "3"]:
    """How much of a hole the mouth and the two eyes are: 0..1."""
    upper, lower, starts, counts, none, full = _opening_edges()
    meshes = np.stack([photo, wanted])
    gap = meshes.take(upper, 1) - meshes.take(lower, 1)
    gap = np.add.reduceat(np.sqrt((gap * gap).sum(-1)), starts, 1) / counts
    eyes = meshes[:, 263] - meshes[:, 33]
    before, now = gap / np.maximum(np.sqrt((eyes * eyes).sum(-1, keepdims=True)), 1e-6)
    t = np.clip((now - OPENS_MORE * before - none) / (full - none), 0, 1)
    return t * t * (3 - 2 * t)


@cache
def _opening_edges() -> tuple[np.ndarray, ...]:
    """Vertices of the upper and of the lower edges; where each opening's begin, how many there are; its limits."""
    upper, lower = (np.concatenate([opening[i][1:-1] for opening in OPENINGS]) for i in (0, 1))
    counts = np.array([len(opening[0]) - 2 for opening in OPENINGS])
    none, full = np.array([limits for *_, limits in OPENINGS]).T
    return upper, lower, counts.cumsum() - counts, counts, none, full


def _offsets(
    source: Float[np.ndarray, "2 3 t"],
    weights: Float[np.ndarray, "3 3 t"],
    top: Int[np.ndarray, " p"],
    scale: float,
    size: int,
) -> Float32[np.ndarray, "2 h w"]:
    of_pixel = np.concatenate([weights, source]).take(top, 2).reshape(5, 3, size, size)
    index = np.arange(float(size))
    at = of_pixel[0]
    at *= index
    at += of_pixel[1] * index[:, None]
    at += of_pixel[2]
    np.clip(at, 0, 1, out=at)
    at /= np.maximum(at.sum(0), 1e-6)
    offset = np.empty((2, size, size))
    for axis, own in enumerate((index, index[:, None])):
        place = of_pixel[3 + axis]
        place *= at
        np.subtract(place.sum(0), own - (0.5 * scale - 0.5), out=offset[axis])
    offset *= (top < weights.shape[-1] - 1).reshape(size, size) * (2 / size)
    return offset.astype(np.float32)
