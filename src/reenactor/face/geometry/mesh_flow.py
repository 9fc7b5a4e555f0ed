"""Dense inverse flows from photos to landmarks, batched in PyTorch, and flags where they cannot be right.

The surface is that of `face_mesh`: the mesh, and a ring to the crop's border, which never moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from reenactor.face.geometry.contours import FACE_OVAL
from reenactor.face.geometry.face_mesh import BORDER_LEVELS, FACE_REACH, HEAD_DEPTH, face_mesh, face_mesh_triangles
from reenactor.face.geometry.gaze_shift import EYE_POINTS, gaze_shift_px
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.mesh_flow_numpy import (
    ALL_STRETCHED,
    EDGE,
    EYES,
    HOLE_EDGE,
    MOUTH,
    OPENINGS,
    OPENS_MORE,
    RING,
    SHUT,
    corner_sides,
    mesh_flow_numpy,
    triangle_kinds,
)
from reenactor.face.geometry.mesh_map import LEAST_AREA, inverse_map

FLAGS = ("hidden", "stretched", "mouth", "eyes", "beyond")
"""What `MeshFlow.flags` tells, channel by channel."""
_FEW = 4
"""So many photos on a CPU are drawn one by one, by `mesh_flow_numpy`: 3 times as fast as together."""


@dataclass(frozen=True)
class MeshFlow:
    """Where in the photo each pixel of the result lies, and how far that can be trusted.

    Args:
        flow_ndc: offsets, docs/conventions.md.
        flags: in [0, 1], in the order of `FLAGS`. "hidden": the photo shows the surface from behind, or there is none.
            "stretched": the photo has too few pixels there. "mouth", "eyes": places in an opening that the photo
            does not show; what the flow finds is skin. "beyond": outside the face, where hair and background follow
            the head.
    """

    flow_ndc: Float[Tensor, "n 2 h w"]
    flags: Float[Tensor, "n 5 h w"]


@torch.no_grad()
def mesh_flow(
    photo_mesh_px: Float[Tensor, "n 478 3"], mesh_px: Float[Tensor, "n 478 3"], side: int, map_size: int
) -> MeshFlow:
    """Flows of n photos. Geometry alone: no gradients.

    Args:
        photo_mesh_px: landmarks in each photo's crop.
        mesh_px: where they shall be, in the same crop's pixels.
        side: of the crops, pixels.
        map_size: side of the flow; `F.interpolate` enlarges it, as it is piecewise affine.
    """
    # In float32 slivers lose their area; the mesh is small.
    photo_mesh, mesh = photo_mesh_px.double(), mesh_px.double()
    if photo_mesh.is_cpu and 0 < len(photo_mesh) <= _FEW and _have_extent(photo_mesh):
        drawn_each = [
            mesh_flow_numpy(a.numpy(), b.numpy(), side, map_size) for a, b in zip(photo_mesh, mesh, strict=True)
        ]
        flows, flags = zip(*drawn_each, strict=True)
        return MeshFlow(torch.from_numpy(np.stack(flows)), torch.from_numpy(np.stack(flags)))
    return _drawn_together(photo_mesh, mesh, side, map_size)


def frame_flows(
    photo_mesh_px: Float[Tensor, "#b k 478 3"],
    mesh_px: Float[Tensor, "b 478 3"],
    side: int,
    map_size: int,
    device: torch.device,
) -> MeshFlow:
    """`mesh_flow` of K photos for each of B frames: B x K of them, photos of a frame beside each other.

    Args:
        photo_mesh_px: landmarks in each photo's crop, of one person or of each frame's.
        mesh_px: where they shall be.
        side, map_size: as for `mesh_flow`.
        device: where the flows are wanted; they are computed where the landmarks are.
    """
    each = photo_mesh_px.expand(len(mesh_px), -1, -1, -1).flatten(0, 1)
    found = mesh_flow(each, mesh_px.repeat_interleave(photo_mesh_px.shape[1], dim=0), side, map_size)
    return MeshFlow(found.flow_ndc.to(device), found.flags.to(device))


def _have_extent(mesh: Float[Tensor, "n 478 3"]) -> bool:
    return bool((mesh[:, 33] != mesh[:, 263]).any(1).all())


def _drawn_together(
    photo_mesh: Float[Tensor, "n 478 3"], mesh: Float[Tensor, "n 478 3"], side: int, map_size: int
) -> MeshFlow:
    """`mesh_flow` of any number on any device."""
    photo = _sheet(photo_mesh, side)
    moved = _moved(photo, photo_mesh, mesh)
    corners = _corners(photo_mesh.device)
    scale = map_size / side
    source, output = photo[..., :2][:, corners] * scale, ((moved[..., :2] + 0.5) * scale - 0.5)[:, corners]
    area = _area(output)
    drawn = area.abs() > LEAST_AREA
    weights = _barycentric(output, torch.where(drawn, area, 1.0))
    depth = moved[..., 2][:, corners].mean(2)
    # Those that face away lie behind all that do not.
    behind = (depth.amax(1, keepdim=True) - depth.amin(1, keepdim=True) + 1) * (area < 0)
    rank = (depth + behind).argsort(1, descending=True).argsort(1)
    top = _top(output, weights, rank, drawn, map_size)
    found = top >= 0
    triangle = rank.argsort(1).gather(1, top.clamp_min(0))

    x, y = _pixels(map_size, photo.device)
    of_pixel = weights.flatten(2).gather(1, triangle[..., None].expand(-1, -1, 9)).unflatten(2, (3, 3))
    place_weights = (of_pixel[..., 0] * x[:, None] + of_pixel[..., 1] * y[:, None] + of_pixel[..., 2]).clamp(0, 1)
    place_weights = place_weights / place_weights.sum(-1, keepdim=True).clamp_min(1e-6)
    place_weights, holes = _slid(place_weights, triangle, photo_mesh, mesh)
    of_pixel = source.flatten(2).gather(1, triangle[..., None].expand(-1, -1, 6)).unflatten(2, (3, 2))
    place = torch.einsum("npc,npcd->npd", place_weights, of_pixel) + (0.5 * scale - 0.5)
    kind = _triangle_kinds(photo.device)[triangle]
    pixel = torch.stack([x, y], -1)
    for eye, points in zip(EYES, EYE_POINTS, strict=True):
        seen, wanted = (((one[:, list(points), :2] + 0.5) * scale - 0.5) for one in (photo_mesh, mesh))
        place = place + (kind == eye)[..., None] * gaze_shift_px(pixel, place, seen, wanted)
    offset = torch.where(found[..., None], place - pixel, 0.0)

    hidden = ((_area(source) <= LEAST_AREA).gather(1, triangle) | ~found).double()
    stretched = _stretched(source, weights).gather(1, triangle).nan_to_num()
    stretched = torch.where((kind == 0) | (kind == RING), stretched, 0.0)
    mouth, eyes = holes * (kind == MOUTH), holes * ((kind == EYES[0]) | (kind == EYES[1]))
    flags = torch.stack([hidden, stretched, mouth, eyes, (kind == RING).double()], 1)
    shape = (map_size, map_size)
    return MeshFlow(
        flow_ndc=(offset.transpose(1, 2) * (2 / map_size)).unflatten(2, shape).float(),
        flags=flags.unflatten(2, shape).float(),
    )


def mesh_flow_ref(
    photo_mesh_px: Float[np.ndarray, "478 3"], mesh_px: Float[np.ndarray, "478 3"], side: int, map_size: int
) -> Float[np.ndarray, "2 h w"]:
    """The flow of one photo as the classical warp draws it (`face_mesh`, `inverse_map`: NumPy and OpenCV)."""
    sheet = face_mesh(photo_mesh_px, side)
    moved = sheet.moved_to(mesh_px)
    scale = map_size / side
    output = (moved[:, :2] + 0.5) * scale - 0.5
    place, _ = inverse_map(sheet.points[:, :2], output, moved[:, 2], face_mesh_triangles(), (map_size, map_size))
    start = (np.arange(map_size) + 0.5) / scale - 0.5
    return np.moveaxis(place - np.stack(np.meshgrid(start, start), -1), -1, 0) * (2 / side)


def enlarged_flow(flow_ndc: Float[Tensor, "n 2 h w"], size: int) -> Float[Tensor, "n 2 s s"]:
    """The flow for a picture of `size` pixels a side; offsets keep their meaning."""
    if flow_ndc.shape[-1] == size:
        return flow_ndc
    return F.interpolate(flow_ndc, (size, size), mode="bilinear", align_corners=False)


def _sheet(mesh: Float[Tensor, "n 478 3"], side: int) -> Float[Tensor, "n v 3"]:
    """`face_mesh`'s vertices."""
    oval = mesh[:, list(FACE_OVAL)]
    centre = oval[..., :2].mean(1, keepdim=True)
    ray = oval[..., :2] - centre
    half = torch.where(ray > 0, side - 0.5 - centre, -0.5 - centre)
    steep = ray.abs() > 1e-6
    reach = torch.where(steep, half / torch.where(steep, ray, 1.0), torch.inf).amin(-1, keepdim=True).clamp_min(1.05)
    border = centre + ray * reach
    outer = centre + ray / ray.norm(dim=-1, keepdim=True) * (1.6 * side)
    z = oval[..., 2:]
    back = z + HEAD_DEPTH * (mesh[:, 263, :2] - mesh[:, 33, :2]).norm(dim=-1)[:, None, None]
    rings = []
    for level in BORDER_LEVELS.tolist():
        place = oval[..., :2] + level * (border - oval[..., :2])
        rings.append(torch.cat([place, z + (back - z) * min(1.0, level / FACE_REACH)], -1))
    return torch.cat([mesh, *rings, torch.cat([outer, back], -1)], 1)


def _moved(
    sheet: Float[Tensor, "n v 3"], photo_mesh: Float[Tensor, "n 478 3"], mesh: Float[Tensor, "n 478 3"]
) -> Float[Tensor, "n v 3"]:
    """`FaceMesh.moved_to`."""
    rings = sheet[:, 478:].unflatten(1, (-1, len(FACE_OVAL)))
    w = torch.as_tensor(mean_face().weights.copy(), device=sheet.device).to(sheet.dtype)
    scale, R, t = _similarity(photo_mesh, mesh, w)
    rigid = scale[:, None, None, None] * torch.einsum("nij,nrvj->nrvi", R, rings) + t[:, None, None] - rings
    outline = (mesh - photo_mesh)[:, None, list(FACE_OVAL)]
    levels = torch.as_tensor(BORDER_LEVELS, device=sheet.device)[:, None, None]
    near = _smooth((1 - levels / FACE_REACH).clamp(0, 1))
    shift = _smooth(1 - levels) * (near * outline + (1 - near) * rigid[:, :-1])
    shift = torch.cat([shift[..., :2], torch.zeros_like(shift[..., 2:])], -1)
    rings = torch.cat([rings[:, :-1] + shift, rings[:, -1:]], 1)
    return torch.cat([mesh, rings.flatten(1, 2)], 1)


def _smooth(t: Tensor) -> Tensor:
    return t * t * (3 - 2 * t)


def _step(x: Tensor, ends: tuple[float, float]) -> Tensor:
    """0 up to the first end, 1 from the second on, smooth between."""
    low, high = ends
    return _smooth(((x - low) / (high - low)).clamp(0, 1))


def _similarity(
    source: Float[Tensor, "n v 3"], target: Float[Tensor, "n v 3"], w: Float[Tensor, " v"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3 3"], Float[Tensor, "n 3"]]:
    """`fit_similarity` (Umeyama 1991): scale, rotation, translation."""
    source_mean, target_mean = w @ source, w @ target
    centred, target_centred = source - source_mean[:, None], target - target_mean[:, None]
    spread = (w @ centred.square()).sum(-1)
    U, singular, Vt = torch.linalg.svd((target_centred * w[:, None]).mT @ centred)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.linalg.det(U @ Vt).sign()
    R = (U * sign[:, None]) @ Vt
    scale = (singular * sign).sum(-1) / spread
    return scale, R, target_mean - scale[:, None] * torch.einsum("nij,nj->ni", R, source_mean)


@cache
def _corners(device: torch.device) -> Int[Tensor, "t 3"]:
    return torch.as_tensor(face_mesh_triangles(), device=device)


@cache
def _triangle_kinds(device: torch.device) -> Int[Tensor, " t"]:
    return torch.as_tensor(triangle_kinds(), device=device)


def _area(corners: Float[Tensor, "n t 3 2"]) -> Float[Tensor, "n t"]:
    """Twice the signed area; positive where the corners run clockwise in the picture."""
    (ux, uy), (vx, vy) = ((corners[:, :, i] - corners[:, :, 0]).unbind(-1) for i in (1, 2))
    return ux * vy - uy * vx


def _barycentric(corners: Float[Tensor, "n t 3 2"], area: Float[Tensor, "n t"]) -> Float[Tensor, "n t 3 3"]:
    """(corner, coefficient): each corner's weight at (x, y) is its row times (x, y, 1)."""
    after, last = corners.roll(-1, 2), corners.roll(-2, 2)
    x = after[..., 1] - last[..., 1]
    y = last[..., 0] - after[..., 0]
    one = after[..., 0] * last[..., 1] - last[..., 0] * after[..., 1]
    return torch.stack([x, y, one], -1) / area[..., None, None]


def _top(
    output: Float[Tensor, "n t 3 2"],
    weights: Float[Tensor, "n t 3 3"],
    rank: Int[Tensor, "n t"],
    drawn: Tensor,
    size: int,
) -> Int[Tensor, "n p"]:
    """The highest rank of the triangles that cover each pixel; -1 where none does.

    Each triangle is asked about the pixels of its bounding box alone.
    """
    n, count = rank.shape
    low = (output.amin(2) - EDGE).ceil().clamp(0, size).long()
    high = (output.amax(2) + EDGE).floor().clamp(-1, size - 1).long()
    extent = (high - low + 1).clamp_min(0) * drawn[..., None]
    pixels = extent.prod(-1).flatten()
    owner = torch.repeat_interleave(pixels)
    number = torch.arange(len(owner), device=owner.device) - (pixels.cumsum(0) - pixels)[owner]
    width = extent[..., 0].flatten()[owner]
    x = low[..., 0].flatten()[owner] + number % width
    y = low[..., 1].flatten()[owner] + number // width
    at = weights.flatten(0, 1)[owner]
    inside = (at[..., 0] * x[:, None] + at[..., 1] * y[:, None] + at[..., 2]).amin(-1) >= -EDGE
    place = (owner // count) * size**2 + y * size + x
    top = torch.full((n * size**2,), -1, device=owner.device)
    top.scatter_reduce_(0, place[inside], rank.flatten()[owner[inside]], "amax")
    return top.view(n, size**2)


def _pixels(size: int, device: torch.device) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    index = torch.arange(size**2, device=device)
    return (index % size).double(), (index // size).double()


def _stretched(source: Float[Tensor, "n t 3 2"], weights: Float[Tensor, "n t 3 3"]) -> Float[Tensor, "n t"]:
    """From the smaller singular value of the map result -> photo: how many pixels each of the photo's is drawn over."""
    slope = torch.einsum("ntcd,ntck->ntdk", source, weights[..., :2])
    squares = slope.square().sum((-1, -2))
    determinant = slope[..., 0, 0] * slope[..., 1, 1] - slope[..., 0, 1] * slope[..., 1, 0]
    least = ((squares - (squares.square() - 4 * determinant.square()).clamp_min(0).sqrt()) / 2).clamp_min(1e-12).sqrt()
    return (-least.log() / np.log(ALL_STRETCHED)).clamp(0, 1)


def _slid(
    weights: Float[Tensor, "n p 3"],
    triangle: Int[Tensor, "n p"],
    photo: Float[Tensor, "n 478 3"],
    wanted: Float[Tensor, "n 478 3"],
) -> tuple[Float[Tensor, "n p 3"], Float[Tensor, "n p"]]:
    """Within mouth and eyes: what lies at the same distance from the edge that it hangs on, instead of stretched.

    Args:
        weights: of the triangles' corners, for each pixel.
        triangle: for each pixel.
        photo, wanted: landmarks.

    Returns:
        The weights, changed; and how much of a hole each pixel is, 0..1: it lies further from that edge than the photo
        shows anything.
    """
    none = torch.zeros_like(weights[:, 0, 0])
    scale, new, shut = [none + 1], [none], [none]
    for fixed, moving in OPENINGS:
        before, now = opening(photo, fixed, moving), opening(wanted, fixed, moving)
        scale.append(now / before.clamp_min(1e-3))
        new.append(_step(now - before, OPENS_MORE))
        shut.append(1 - _step(before, SHUT))
    number, near, far = (part[triangle] for part in _corner_sides(weights.device))
    on_near, on_far = (weights * near).sum(-1), (weights * far).sum(-1)
    share = on_far / (on_near + on_far).clamp_min(1e-9)
    moved = share * torch.stack(scale, 1).gather(1, number)
    unseen = torch.maximum(torch.stack(shut, 1).gather(1, number), _step(moved, (1, 1 + HOLE_EDGE)))
    hole = (torch.stack(new, 1).gather(1, number) * unseen).nan_to_num()
    moved = moved.clamp(max=1)
    change = torch.where(far, (moved / share.clamp_min(1e-9))[..., None], 1.0)
    change = torch.where(near, ((1 - moved) / (1 - share).clamp_min(1e-9))[..., None], change)
    return weights * change, hole


@cache
def _corner_sides(device: torch.device) -> tuple[Int[Tensor, " t"], Tensor, Tensor]:
    """`corner_sides`, (T, 3) the last two."""
    number, near, far = (torch.as_tensor(part.T.copy(), device=device) for part in corner_sides())
    return number, near, far


def opening(mesh: Float[Tensor, "*b 478 3"], upper: tuple[int, ...], lower: tuple[int, ...]) -> Float[Tensor, "*b"]:
    """Mean distance between two edges that share their ends, in inter-ocular distances, both in space."""
    gap = (mesh[..., list(upper[1:-1]), :] - mesh[..., list(lower[1:-1]), :]).norm(dim=-1).mean(-1)
    return gap / (mesh[..., 263, :] - mesh[..., 33, :]).norm(dim=-1).clamp_min(1e-6)
