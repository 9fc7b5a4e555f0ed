"""`mesh_flow` of one photo in NumPy: the same rules without the overhead of hundreds of small PyTorch calls."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int

from reenactor.face.geometry.contours import OPENINGS
from reenactor.face.geometry.face_mesh import LEAST_AREA, FaceMesh, face_mesh, face_mesh_triangles, smoothstep
from reenactor.face.geometry.openings import (
    BORDER,
    EYE_POINTS,
    EYES,
    HOLE_EDGE,
    OPENS_MORE,
    SHUT,
    corner_sides,
    gaze_shift_px,
    triangle_kinds,
)

ALL_STRETCHED = 4.0
"""Pixels of the result per pixel of the photo, in the worse direction, that count as fully stretched; 1 counts as 0."""
_CLOSES = 0.01
"""How much less than in the photo, in inter-ocular distances, an opening is that closes."""
_AROUND = 0.15
"""Margin of the boxes around mouth and eyes, in their lengths."""
EDGE = 1e-4
"""Barycentric coordinates may be this negative: neighbours overlap rather than leave a gap between them."""


def mesh_flow_numpy(
    photo_mesh_px: Float[np.ndarray, "478 3"], mesh_px: Float[np.ndarray, "478 3"], side: int, map_size: int
) -> tuple[Float32[np.ndarray, "2 h w"], Float32[np.ndarray, "5 h w"]]:
    """Flow (2, h, w) and flags (5, h, w) as in `MeshFlow`, read-only.

    The last few results are kept, because a model with several photos and the background need the same ones per frame.

    Args:
        photo_mesh_px: (478, 3) landmarks in the photo's crop; the outer eye corners must not coincide.
        mesh_px, side, map_size: as for `mesh_flow`.
    """
    return _flow(*_as_bytes(photo_mesh_px, mesh_px), side, map_size)


def mesh_flow_detail(
    photo_mesh_px: Float[np.ndarray, "478 3"],
    mesh_px: Float[np.ndarray, "478 3"],
    side: int,
    map_size: int,
    fine_size: int,
) -> Float32[np.ndarray, "2 f f"]:
    """What the flow has, in boxes around mouth and eyes that close, beyond itself at `map_size` enlarged; 0 elsewhere.

    Arguments are those of `mesh_flow`, with its `fine` size.
    """
    return _detail(*_as_bytes(photo_mesh_px, mesh_px), side, map_size, fine_size)


def _as_bytes(*meshes: Float[np.ndarray, "478 3"]) -> list[bytes]:
    return [mesh.astype(np.float64).tobytes() for mesh in meshes]


@lru_cache(maxsize=8)
def _flow(
    photo_mesh: bytes, mesh: bytes, side: int, map_size: int
) -> tuple[Float32[np.ndarray, "2 h w"], Float32[np.ndarray, "5 h w"]]:
    offsets, flags = _at_pixels(photo_mesh, mesh, side, map_size, np.arange(map_size**2))
    offsets, flags = (array.reshape(-1, map_size, map_size) for array in (offsets, flags))
    for array in (offsets, flags):
        array.setflags(write=False)
    return offsets, flags


@lru_cache(maxsize=8)
def _detail(photo_mesh: bytes, mesh: bytes, side: int, map_size: int, fine_size: int) -> Float32[np.ndarray, "2 f f"]:
    photo_mesh_px, mesh_px = (np.frombuffer(one).reshape(-1, 3) for one in (photo_mesh, mesh))
    boxes = opening_boxes(photo_mesh_px, mesh_px, side, fine_size)
    detail = np.zeros((2, fine_size, fine_size), np.float32)
    if boxes.size:
        pixels = np.flatnonzero(inside_boxes(boxes, fine_size))
        exact, _ = _at_pixels(photo_mesh, mesh, side, fine_size, pixels, boxes)
        coarse = torch.from_numpy(_flow(photo_mesh, mesh, side, map_size)[0].copy())[None]
        coarse = F.interpolate(coarse, (fine_size, fine_size), mode="bilinear", align_corners=False)[0].numpy()
        detail.reshape(2, -1)[:, pixels] = exact - coarse.reshape(2, -1)[:, pixels]
    detail.setflags(write=False)
    return detail


def opening_boxes(
    photo_mesh_px: Float[np.ndarray, "478 3"], mesh_px: Float[np.ndarray, "478 3"], side: int, size: int
) -> Int[np.ndarray, "2 2 n"]:
    """Boxes, in a map of `size`, around mouth and eyes that close: first and beyond the last, x and y, of each."""
    before, now = _how_open(np.stack([photo_mesh_px, mesh_px]))
    closing = [edges for edges, less in zip(OPENINGS, before - now, strict=True) if less > _CLOSES]
    if not closing:
        return np.zeros((2, 2, 0), int)
    points = [(mesh_px[[*edges[0], *edges[1]], :2] + 0.5) * (size / side) - 0.5 for edges in closing]
    low, high = (np.stack([f(one, axis=0) for one in points], 1) for f in (np.min, np.max))
    margin = _AROUND * (high - low).max(0)
    return np.clip(np.stack([low - margin, high + margin]), 0, size).round().astype(int)


def inside_boxes(boxes: Int[np.ndarray, "2 2 n"], size: int) -> Bool[np.ndarray, "s s"]:
    """The pixels of a map that lie in one of the boxes."""
    inside = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in boxes.reshape(4, -1).T:
        inside[y0:y1, x0:x1] = True
    return inside


def _at_pixels(
    photo_mesh: bytes,
    mesh: bytes,
    side: int,
    map_size: int,
    pixels: Int[np.ndarray, " p"],
    boxes: Int[np.ndarray, "2 2 n"] | None = None,
) -> tuple[Float32[np.ndarray, "2 p"], Float32[np.ndarray, "5 p"]]:
    """Flow and flags of some pixels of the map, by their numbers; all of them lie in the boxes, if there are any."""
    photo_mesh_px, mesh_px = (np.frombuffer(one).reshape(-1, 3) for one in (photo_mesh, mesh))
    y, x = np.divmod(pixels, map_size)
    # Rays without length and triangles without area give NaN; those are not drawn.
    with np.errstate(all="ignore"):
        photo, moved = _surface(photo_mesh, side), _moved(photo_mesh, mesh, side)
        scale = map_size / side
        depth = moved[:, 2].take(_corners()).sum(0) / 3
        xy = ((moved[:, :2] + 0.5) * scale - 0.5).T.take(_corners(), axis=1)
        area = _area(xy)
        low, high = np.ceil(xy.min(1) - EDGE), np.floor(xy.max(1) + EDGE)
        low, high = np.maximum(low, 0), np.minimum(high, map_size - 1)
        solid = np.abs(area) > LEAST_AREA
        seen = solid & (low <= high).all(0)
        if boxes is not None:
            first, beyond = boxes[..., None]
            seen &= ((low[:, None] < beyond) & (high[:, None] >= first)).all(0).any(0)
        drawn = np.flatnonzero(seen)
        # Triangles that face away lie behind all others; the farthest come first.
        depth += (area < 0) * (np.ptp(depth) + 1)
        drawn = drawn.take((-depth.take(drawn)).argsort(kind="stable"))
        # Pixels that no triangle covers get the flags of the last entry.
        chosen = np.append(drawn, depth.argmax())
        weights = _barycentric(xy.take(chosen, 2), np.where(solid, area, 1.0).take(chosen))
        top = _top(weights[..., :-1], low.take(drawn, 1), high.take(drawn, 1), map_size).take(pixels)
        source = (photo.points[:, :2] * scale).T.take(_corners().take(chosen, 1), axis=1)
        flags = _flags(source, weights, triangle_kinds().take(chosen)).take(top, 1)
        of_pixel = np.concatenate([weights, source]).take(top, 2)
        at = _at(of_pixel[:3], x, y)
        covered = top < len(drawn)
        triangle = np.where(covered, chosen.take(top), -1)
        _slide(at, flags, triangle, photo_mesh_px, mesh_px)
    offsets = _offsets(of_pixel[3:], at, covered, scale, np.stack([x, y]), map_size)
    _turn_eyes(offsets, triangle, np.stack([x, y]), photo_mesh_px, mesh_px, side, map_size)
    return offsets, flags


@lru_cache(maxsize=16)
def _surface(photo_mesh: bytes, side: int) -> FaceMesh:
    """Kept, because a session's photos stay the same from frame to frame."""
    return face_mesh(np.frombuffer(photo_mesh).reshape(-1, 3), side)


@lru_cache(maxsize=8)
def _moved(photo_mesh: bytes, mesh: bytes, side: int) -> Float[np.ndarray, "v 3"]:
    """The photo's surface at the landmarks of a frame."""
    return _surface(photo_mesh, side).moved_to(np.frombuffer(mesh).reshape(-1, 3))


@cache
def _corners() -> Int[np.ndarray, "3 t"]:
    return np.ascontiguousarray(face_mesh_triangles().T)


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

    A triangle covers one run of pixels per row; each corner's weight bounds one end of it.
    """
    count = weights.shape[-1]
    rows = (high[1] - low[1]).astype(np.intp) + 1
    owner = np.arange(count).repeat(rows)
    y = np.arange(len(owner)) + (low[1] - (rows.cumsum() - rows)).take(owner)
    slope, along, start = weights.take(owner, 2)
    # Adding 0 removes the sign of a zero: a level edge bounds all of a row or nothing.
    slope = slope + 0.0
    bound = (along * y + (start + EDGE)) / -slope
    rises = slope >= 0
    first = np.fmax(np.fmax.reduce(np.where(rises, bound, -np.inf)), low[0].take(owner))
    last = np.fmin(np.fmin.reduce(np.where(rises, np.inf, bound)), high[0].take(owner))
    first, last = np.ceil(np.minimum(first, size)).astype(np.intp), np.floor(np.maximum(last, -1)).astype(np.intp)
    length = np.maximum(last - first + 1, 0)
    position = np.arange(length.sum()) + (y.astype(np.intp) * size + first - (length.cumsum() - length)).repeat(length)
    top = np.full(size * size, count)
    # Of repeated pixels the last one stays, the nearest.
    top[position] = owner.repeat(length)
    return top


def _flags(
    source: Float[np.ndarray, "2 3 t"], weights: Float[np.ndarray, "3 3 t"], kind: Int[np.ndarray, " t"]
) -> Float32[np.ndarray, "5 t"]:
    """Flags of each triangle, without holes yet; the last entry stands for no triangle."""
    flags = np.zeros((5, len(kind)), np.float32)
    flags[0] = _area(source) <= LEAST_AREA
    flags[0, -1] = 1
    flags[1] = _stretched(source, weights) * ((kind == 0) | (kind == BORDER))
    flags[4] = kind == BORDER
    return flags


def _stretched(source: Float[np.ndarray, "2 3 t"], weights: Float[np.ndarray, "3 3 t"]) -> Float[np.ndarray, " t"]:
    """How far the photo is stretched, 0..1, from the smaller singular value of the map from result to photo."""
    (xx, yx), (xy, yy) = (source * weights[0]).sum(1), (source * weights[1]).sum(1)
    squares, determinant = xx * xx + yx * yx + xy * xy + yy * yy, xx * yy - xy * yx
    least = (squares - np.sqrt(np.maximum(squares * squares - 4 * determinant * determinant, 0))) / 2
    return np.clip(np.log(np.maximum(least, 1e-12)) * (-0.5 / np.log(ALL_STRETCHED)), 0, 1)


def _at(
    weights: Float[np.ndarray, "3 3 p"], x: Int[np.ndarray, " p"], y: Int[np.ndarray, " p"]
) -> Float[np.ndarray, "3 p"]:
    """Each pixel's weights of its triangle's corners; they sum to 1."""
    at = weights[0] * x
    at += weights[1] * y
    at += weights[2]
    np.clip(at, 0, 1, out=at)
    at /= np.maximum(at.sum(0), 1e-6)
    return at


def _slide(
    at: Float[np.ndarray, "3 p"],
    flags: Float32[np.ndarray, "5 p"],
    triangle: Int[np.ndarray, " p"],
    photo: Float[np.ndarray, "478 3"],
    target: Float[np.ndarray, "478 3"],
) -> None:
    """Within mouth and eyes, keep the distance from the fixed edge, and set the holes' flags; both in place.

    Args:
        at: weights of the corners.
        flags: of the pixels.
        triangle: number of the triangle that each pixel shows; -1 for none.
        photo, target: landmarks.
    """
    number, on_fixed_edge, on_moving_edge = corner_sides()
    inside = np.flatnonzero(number.take(triangle) * (triangle >= 0))
    which, triangle = number.take(triangle.take(inside)), triangle.take(inside)
    before, now = _how_open(np.stack([photo, target]))
    on_fixed_edge, on_moving_edge = on_fixed_edge.take(triangle, 1), on_moving_edge.take(triangle, 1)
    weights = at.take(inside, 1)
    on_fixed, on_moving = (weights * on_fixed_edge).sum(0), (weights * on_moving_edge).sum(0)
    fraction = on_moving / np.maximum(on_fixed + on_moving, 1e-9)
    moved = fraction * (now / np.maximum(before, 1e-3)).take(which - 1)
    unseen = np.maximum((1 - smoothstep(before, SHUT)).take(which - 1), smoothstep(moved, (1, 1 + HOLE_EDGE)))
    flags[np.where(which == 1, 2, 3), inside] = smoothstep(now - before, OPENS_MORE).take(which - 1) * unseen
    moved = np.minimum(moved, 1)
    change = np.where(on_moving_edge, moved / np.maximum(fraction, 1e-9), 1)
    change = np.where(on_fixed_edge, (1 - moved) / np.maximum(1 - fraction, 1e-9), change)
    at[:, inside] = weights * change


def _how_open(meshes: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 3"]:
    """Mean distance between the two edges of each opening, in inter-ocular distances."""
    fixed, moving, starts, counts = _opening_edges()
    gap = meshes.take(fixed, 1) - meshes.take(moving, 1)
    gap = np.add.reduceat(np.sqrt((gap * gap).sum(-1)), starts, 1) / counts
    eyes = meshes[:, 263] - meshes[:, 33]
    return gap / np.maximum(np.sqrt((eyes * eyes).sum(-1, keepdims=True)), 1e-6)


@cache
def _opening_edges() -> tuple[np.ndarray, ...]:
    """Vertices of all fixed and of all moving edges; where those of each opening begin, and how many there are."""
    fixed, moving = (np.concatenate([opening[i][1:-1] for opening in OPENINGS]) for i in (0, 1))
    counts = np.array([len(opening[0]) - 2 for opening in OPENINGS])
    return fixed, moving, counts.cumsum() - counts, counts


def _turn_eyes(
    offsets: Float32[np.ndarray, "2 p"],
    triangle: Int[np.ndarray, " p"],
    at: Int[np.ndarray, "2 p"],
    photo: Float[np.ndarray, "478 3"],
    target: Float[np.ndarray, "478 3"],
    side: int,
    size: int,
) -> None:
    """`gaze_shift_px`, in place.

    Args:
        offsets: the flow.
        triangle, photo, target: as for `_slide`.
        at: x and y of the pixels in the map.
        side: of the crops, pixels.
        size: of the map.
    """
    kind = triangle_kinds().take(triangle) * (triangle >= 0)
    for eye, points in zip(EYES, EYE_POINTS, strict=True):
        chosen = np.flatnonzero(kind == eye)
        pixels = (at[:, chosen].T + 0.5) * (side / size) - 0.5
        positions = pixels + offsets[:, chosen].T * (side / 2)
        parts = (pixels, positions, photo[list(points), :2], target[list(points), :2])
        shift = gaze_shift_px(*(torch.from_numpy(part.astype(np.float64)) for part in parts))
        offsets[:, chosen] += shift.numpy().T * (2 / side)


def _offsets(
    source: Float[np.ndarray, "2 3 p"],
    at: Float[np.ndarray, "3 p"],
    covered: np.ndarray,
    scale: float,
    pixels: Int[np.ndarray, "2 p"],
    size: int,
) -> Float32[np.ndarray, "2 p"]:
    offset = np.empty(pixels.shape)
    for axis, own in enumerate(pixels):
        np.subtract((source[axis] * at).sum(0), own - (0.5 * scale - 0.5), out=offset[axis])
    offset *= covered * (2 / size)
    return offset.astype(np.float32)
