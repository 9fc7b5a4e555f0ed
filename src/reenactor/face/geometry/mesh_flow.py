"""Dense inverse flows from photos to landmarks, and flags where they cannot be right.

The surface is that of `face_mesh`: the face, and a border to the edge of the crop, which never moves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from reenactor.core import MESH_POINTS
from reenactor.face.geometry.contours import FACE_OVAL, OPENINGS
from reenactor.face.geometry.face_mesh import (
    BORDER_LEVELS,
    FACE_REACH,
    HEAD_DEPTH,
    LEAST_AREA,
    face_mesh_triangles,
    smoothstep,
)
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.mesh_flow_numpy import (
    ALL_STRETCHED,
    EDGE,
    inside_boxes,
    mesh_flow_detail,
    mesh_flow_numpy,
    opening_boxes,
)
from reenactor.face.geometry.openings import (
    BORDER,
    EYE_POINTS,
    EYES,
    HOLE_EDGE,
    MOUTH,
    OPENS_MORE,
    SHUT,
    corner_sides,
    gaze_shift_px,
    opening,
    triangle_kinds,
)

FLAGS = ("occluded", "stretched", "mouth", "eyes", "beyond")
"""Channels of `MeshFlow.flags`."""
_TRUST = {"occluded": -3.0, "stretched": -3.0, "mouth": -4.0, "eyes": -4.0}
"""Logits of a photo's weight where its flow has a flag."""
_FIRST, _FIRST_BEYOND = 1.0, 8.0
"""Logits in favour of the first photo: everywhere, as a mean of photos that differ by a hair is blurred; and beyond the
face, where other photos show another background."""


@dataclass(frozen=True)
class MeshFlow:
    """Where in the photo each pixel of the result lies, and how far that can be trusted.

    Args:
        flow_ndc: (N, 2, h, w) offsets in normalized device coordinates (docs/conventions.md).
        flags: (N, 5, h, w) in [0, 1], in the order of `FLAGS`. "occluded": the photo shows the surface from behind, or
            there is none. "stretched": the photo has too few pixels there. "mouth", "eyes": parts of an opening that
            the photo does not show; the flow finds skin there. "beyond": outside the face, where hair and background
            follow the head.
        detail_ndc: (N, 2, f, f) what the flow has around mouth and eyes that close beyond itself, enlarged; None if not
            asked for. Where lips or lids meet, the flow jumps, and between two values of a smaller map lies all that
            the photo shows between them; the detail keeps it out.
    """

    flow_ndc: Float[Tensor, "n 2 h w"]
    flags: Float[Tensor, "n 5 h w"]
    detail_ndc: Float[Tensor, "n 2 f f"] | None = None


@torch.no_grad()
def mesh_flow(
    photo_mesh_px: Float[Tensor, "n 478 3"],
    mesh_px: Float[Tensor, "n 478 3"],
    side: int,
    map_size: int,
    fine_size: int | None = None,
) -> MeshFlow:
    """Flows of N photos, without gradients.

    Args:
        photo_mesh_px: (N, 478, 3) landmarks in each photo's crop.
        mesh_px: (N, 478, 3) target landmarks, in the same crop's pixels.
        side: of the crops, pixels.
        map_size: side of the flow; as it is piecewise affine, it can be enlarged.
        fine_size: side of its detail around mouth and eyes that close; None for none.
    """
    # In float32 slivers lose their area; the mesh is small.
    photo_mesh, mesh = photo_mesh_px.double(), mesh_px.double()
    eyes_apart = (photo_mesh[:, 33] != photo_mesh[:, 263]).any(1)
    # On a CPU one by one is 3 times as fast as together.
    if photo_mesh.is_cpu and len(photo_mesh) > 0 and bool(eyes_apart.all()):
        pairs = list(zip(photo_mesh.numpy(), mesh.numpy(), strict=True))
        flows, flags = zip(*(mesh_flow_numpy(*pair, side, map_size) for pair in pairs), strict=True)
        detail = None
        if fine_size is not None:
            fine = [mesh_flow_detail(*pair, side, map_size, fine_size) for pair in pairs]
            detail = torch.from_numpy(np.stack(fine))
        return MeshFlow(torch.from_numpy(np.stack(flows)), torch.from_numpy(np.stack(flags)), detail)
    found = _mesh_flow_batched(photo_mesh, mesh, side, map_size)
    if fine_size is None:
        return found
    meshes = zip(photo_mesh.cpu().numpy(), mesh.cpu().numpy(), strict=True)
    inside = np.stack([inside_boxes(opening_boxes(*pair, side, fine_size), fine_size) for pair in meshes])
    coarse = _enlarged(found.flow_ndc, fine_size)
    exact = _mesh_flow_batched(photo_mesh, mesh, side, fine_size).flow_ndc if inside.any() else coarse
    return replace(found, detail_ndc=(exact - coarse) * torch.from_numpy(inside).to(exact.device)[:, None])


def frame_flows(
    photo_mesh_px: Float[Tensor, "#b k 478 3"],
    mesh_px: Float[Tensor, "b 478 3"],
    side: int,
    map_size: int,
    device: torch.device,
    fine_size: int | None = None,
) -> MeshFlow:
    """`mesh_flow` of K photos for each of B frames.

    Args:
        photo_mesh_px: (B or 1, K, 478, 3) landmarks in each photo's crop; 1 if all frames show one person.
        mesh_px: (B, 478, 3) target landmarks.
        side, map_size: as for `mesh_flow`.
        device: of the result; flows are computed where the landmarks are.
        fine_size: as for `mesh_flow`.

    Returns:
        B * K flows; the K photos of a frame come one after another.
    """
    each = photo_mesh_px.expand(len(mesh_px), -1, -1, -1).flatten(0, 1)
    found = mesh_flow(each, mesh_px.repeat_interleave(photo_mesh_px.shape[1], dim=0), side, map_size, fine_size)
    detail = None if found.detail_ndc is None else found.detail_ndc.to(device)
    return MeshFlow(found.flow_ndc.to(device), found.flags.to(device), detail)


def _enlarged(flow_ndc: Float[Tensor, "n 2 h w"], size: int) -> Float[Tensor, "n 2 s s"]:
    if flow_ndc.shape[-1] == size:
        return flow_ndc
    return F.interpolate(flow_ndc, (size, size), mode="bilinear", align_corners=False)


def photo_weights(
    flags: Float[Tensor, "bk 5 h w"], k: int, scores: Float[Tensor, "bk 1 h w"] | None = None
) -> Float[Tensor, "b k h w"]:
    """Weight of each of K photos at each pixel of B frames: a softmax by how far its flow can be trusted.

    Args:
        flags: (B * K, 5, h, w) `MeshFlow.flags`, the photos of a frame one after another.
        k: number of photos.
        scores: (B * K, 1, h, w) learned logits to add.
    """
    trust = torch.tensor([_TRUST.get(name, 0.0) for name in FLAGS], device=flags.device)[:, None, None]
    logits = (trust * flags).sum(1, keepdim=True)
    logits = (logits if scores is None else scores + logits).unflatten(0, (-1, k))[:, :, 0]
    beyond = flags[:, FLAGS.index("beyond")].unflatten(0, (-1, k))[:, :1]
    return torch.cat([logits[:, :1] + _FIRST + _FIRST_BEYOND * beyond, logits[:, 1:]], dim=1).softmax(dim=1)


@torch.no_grad()
def stretching_flow(
    photo_mesh_px: Float[Tensor, "n 478 3"], mesh_px: Float[Tensor, "n 478 3"], side: int
) -> Float[Tensor, "n 2 s s"]:
    """The flows of N photos along which `draw_face_mesh` samples: eyes and mouth are stretched with the rest.

    Args:
        photo_mesh_px, mesh_px, side: as for `mesh_flow`.
    """
    return _mesh_flow_batched(photo_mesh_px.double(), mesh_px.double(), side, side, stretching=True).flow_ndc


def _mesh_flow_batched(
    photo_mesh: Float[Tensor, "n 478 3"],
    mesh: Float[Tensor, "n 478 3"],
    side: int,
    map_size: int,
    *,
    stretching: bool = False,
) -> MeshFlow:
    """`mesh_flow` of any number on any device."""
    photo = _surface(photo_mesh, side)
    moved = _moved(photo, photo_mesh, mesh)
    corners, kinds, *sides = _tables(photo.device)
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

    index = torch.arange(map_size**2, device=photo.device)
    x, y = (index % map_size).double(), (index // map_size).double()
    of_pixel = weights.flatten(2).gather(1, triangle[..., None].expand(-1, -1, 9)).unflatten(2, (3, 3))
    corner_weights = (of_pixel[..., 0] * x[:, None] + of_pixel[..., 1] * y[:, None] + of_pixel[..., 2]).clamp(0, 1)
    corner_weights = corner_weights / corner_weights.sum(-1, keepdim=True).clamp_min(1e-6)
    slid, holes = _slide(corner_weights, [side[triangle] for side in sides], photo_mesh, mesh)
    corner_weights = corner_weights if stretching else slid
    of_pixel = source.flatten(2).gather(1, triangle[..., None].expand(-1, -1, 6)).unflatten(2, (3, 2))
    position = torch.einsum("npc,npcd->npd", corner_weights, of_pixel) + (0.5 * scale - 0.5)
    kind = kinds[triangle]
    pixel = torch.stack([x, y], -1)
    for eye, points in zip(EYES, EYE_POINTS, strict=True) if not stretching else ():
        photo_eye, target_eye = (((one[:, list(points), :2] + 0.5) * scale - 0.5) for one in (photo_mesh, mesh))
        position = position + (kind == eye)[..., None] * gaze_shift_px(pixel, position, photo_eye, target_eye)
    offset = torch.where(found[..., None], position - pixel, 0.0)

    occluded = ((_area(source) <= LEAST_AREA).gather(1, triangle) | ~found).double()
    stretched = _stretched(source, weights).gather(1, triangle).nan_to_num()
    stretched = torch.where((kind == 0) | (kind == BORDER), stretched, 0.0)
    mouth, eyes = holes * (kind == MOUTH), holes * ((kind == EYES[0]) | (kind == EYES[1]))
    flags = torch.stack([occluded, stretched, mouth, eyes, (kind == BORDER).double()], 1)
    shape = (map_size, map_size)
    return MeshFlow(
        flow_ndc=(offset.transpose(1, 2) * (2 / map_size)).unflatten(2, shape).float(),
        flags=flags.unflatten(2, shape).float(),
    )


def _surface(mesh: Float[Tensor, "n 478 3"], side: int) -> Float[Tensor, "n v 3"]:
    """Vertices of `face_mesh`."""
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
    vertices = [mesh]
    for level in BORDER_LEVELS.tolist():
        position = oval[..., :2] + level * (border - oval[..., :2])
        vertices.append(torch.cat([position, z + (back - z) * min(1.0, level / FACE_REACH)], -1))
    return torch.cat([*vertices, torch.cat([outer, back], -1)], 1)


def _moved(
    surface: Float[Tensor, "n v 3"], photo_mesh: Float[Tensor, "n 478 3"], mesh: Float[Tensor, "n 478 3"]
) -> Float[Tensor, "n v 3"]:
    """`FaceMesh.moved_to`."""
    border = surface[:, MESH_POINTS:].unflatten(1, (-1, len(FACE_OVAL)))
    w = torch.as_tensor(mean_face().weights.copy(), device=surface.device).to(surface.dtype)
    scale, R, t = _similarity(photo_mesh, mesh, w)
    rigid = scale[:, None, None, None] * torch.einsum("nij,nrvj->nrvi", R, border) + t[:, None, None] - border
    outline = (mesh - photo_mesh)[:, None, list(FACE_OVAL)]
    levels = torch.as_tensor(BORDER_LEVELS, device=surface.device)[:, None, None]
    near = smoothstep(1 - levels / FACE_REACH, (0, 1))
    shift = smoothstep(1 - levels, (0, 1)) * (near * outline + (1 - near) * rigid[:, :-1])
    shift = torch.cat([shift[..., :2], torch.zeros_like(shift[..., 2:])], -1)
    border = torch.cat([border[:, :-1] + shift, border[:, -1:]], 1)
    return torch.cat([mesh, border.flatten(1, 2)], 1)


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
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """On a device: `face_mesh_triangles`, `triangle_kinds`, and the three of `corner_sides` with triangles first."""
    tables = (face_mesh_triangles(), triangle_kinds(), *(part.T.copy() for part in corner_sides()))
    corners, kinds, number, fixed, moving = (torch.as_tensor(table, device=device) for table in tables)
    return corners, kinds, number, fixed, moving


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

    Each triangle is compared with the pixels of its bounding box only.
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
    position = (owner // count) * size**2 + y * size + x
    top = torch.full((n * size**2,), -1, device=owner.device)
    top.scatter_reduce_(0, position[inside], rank.flatten()[owner[inside]], "amax")
    return top.view(n, size**2)


def _stretched(source: Float[Tensor, "n t 3 2"], weights: Float[Tensor, "n t 3 3"]) -> Float[Tensor, "n t"]:
    """How far the photo is stretched, 0..1, from the smaller singular value of the map from result to photo."""
    slope = torch.einsum("ntcd,ntck->ntdk", source, weights[..., :2])
    squares = slope.square().sum((-1, -2))
    determinant = slope[..., 0, 0] * slope[..., 1, 1] - slope[..., 0, 1] * slope[..., 1, 0]
    least = ((squares - (squares.square() - 4 * determinant.square()).clamp_min(0).sqrt()) / 2).clamp_min(1e-12).sqrt()
    return (-least.log() / np.log(ALL_STRETCHED)).clamp(0, 1)


def _slide(
    weights: Float[Tensor, "n p 3"],
    sides: list[Tensor],
    photo: Float[Tensor, "n 478 3"],
    target: Float[Tensor, "n 478 3"],
) -> tuple[Float[Tensor, "n p 3"], Float[Tensor, "n p"]]:
    """Within mouth and eyes, keep the distance from the fixed edge of the opening (`OPENINGS`) instead of stretching.

    Args:
        weights: of the triangles' corners, for each pixel.
        sides: `corner_sides` of each pixel's triangle.
        photo, target: landmarks.

    Returns:
        The changed weights; and how much of a hole each pixel is, 0..1: it lies further from the fixed edge than
        anything that the photo shows.
    """
    none = torch.zeros_like(weights[:, 0, 0])
    scale, new, shut = [none + 1], [none], [none]
    for fixed, moving in OPENINGS:
        before, now = opening(photo, fixed, moving), opening(target, fixed, moving)
        scale.append(now / before.clamp_min(1e-3))
        new.append(smoothstep(now - before, OPENS_MORE))
        shut.append(1 - smoothstep(before, SHUT))
    number, on_fixed_edge, on_moving_edge = sides
    on_fixed, on_moving = (weights * on_fixed_edge).sum(-1), (weights * on_moving_edge).sum(-1)
    fraction = on_moving / (on_fixed + on_moving).clamp_min(1e-9)
    moved = fraction * torch.stack(scale, 1).gather(1, number)
    unseen = torch.maximum(torch.stack(shut, 1).gather(1, number), smoothstep(moved, (1, 1 + HOLE_EDGE)))
    hole = (torch.stack(new, 1).gather(1, number) * unseen).nan_to_num()
    moved = moved.clamp(max=1)
    change = torch.where(on_moving_edge, (moved / fraction.clamp_min(1e-9))[..., None], 1.0)
    change = torch.where(on_fixed_edge, ((1 - moved) / (1 - fraction).clamp_min(1e-9))[..., None], change)
    return weights * change, hole
