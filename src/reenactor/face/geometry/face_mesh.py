"""The picture as one triangulated sheet: the face mesh, and a ring from its outline to the crop's border.

The face lies over the ring, so a turning head hides its far cheek behind its own outline while hair and background
continue behind it. The ring's border never moves: what is pasted back meets the photo exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

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
from reenactor.face.geometry.mesh_map import enlarged, inverse_map
from reenactor.face.geometry.procrustes import fit_similarity
from reenactor.face.geometry.sampling import sample

BORDER_LEVELS = np.array([0.08, 0.18, 0.32, 0.5, 0.72, 1.0])
"""Rings between the face's outline (0) and the crop's border (1) along each ray."""
FACE_REACH = 0.35
"""Level at which the outline's own movement (jaw, brows) has faded into that of the rigid head."""
HEAD_DEPTH = 0.55
"""How far behind the outline hair and ears lie, in inter-ocular distances."""


@dataclass(frozen=True)
class FaceMesh:
    """One photo's sheet.

    Args:
        points: (478 + 252, 3) vertices in the photo's crop: the mesh, then six rings and an outer one.
        side: the crop's side in pixels.
    """

    points: Float[np.ndarray, "n 3"]
    side: int

    def moved_to(self, mesh_px: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "n 3"]:
        """The sheet's vertices when the face shall lie at `mesh_px`."""
        mesh, rings = self.points[:478], self.points[478:].reshape(-1, len(FACE_OVAL), 3)
        oval = list(FACE_OVAL)
        head = fit_similarity(mesh, mesh_px, mean_face().weights)
        rigid = head.apply(rings.reshape(-1, 3)).reshape(rings.shape) - rings
        outline = (mesh_px - mesh)[oval]
        near = np.clip(1 - BORDER_LEVELS / FACE_REACH, 0, 1)
        near = (near * near * (3 - 2 * near))[:, None, None]
        fade = 1 - BORDER_LEVELS
        fade = (fade * fade * (3 - 2 * fade))[:, None, None]
        moved = rings.copy()
        moved[:-1] += fade * (near * outline + (1 - near) * rigid[:-1])
        moved[..., 2] = rings[..., 2]
        return np.concatenate([mesh_px, moved.reshape(-1, 3)])


def face_mesh(mesh_px: Float[np.ndarray, "478 3"], side: int) -> FaceMesh:
    """Build the sheet of one photo from its landmarks."""
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
    rings = []
    for level in BORDER_LEVELS:
        depth = oval[:, 2:] + (back - oval[:, 2:]) * min(1.0, level / FACE_REACH)
        rings.append(np.concatenate([oval[:, :2] + level * (border - oval[:, :2]), depth], axis=1))
    rings.append(np.concatenate([outer, back], axis=1))
    return FaceMesh(np.concatenate([mesh_px, *rings]).astype(np.float64), side)


@cache
def face_mesh_triangles() -> Int[np.ndarray, "t 3"]:
    """All triangles of the sheet, clockwise in a frontal picture, eyes and mouth closed over."""
    n = len(FACE_OVAL)
    rows = np.concatenate([[FACE_OVAL], 478 + np.arange((len(BORDER_LEVELS) + 1) * n).reshape(-1, n)])
    inner, outer = rows[:-1], rows[1:]
    inner_next, outer_next = np.roll(inner, -1, axis=1), np.roll(outer, -1, axis=1)
    ring = np.concatenate(
        [
            np.stack([inner, outer, outer_next], -1).reshape(-1, 3),
            np.stack([inner, outer_next, inner_next], -1).reshape(-1, 3),
        ]
    )
    # Eyes and mouth are covered later by layers of their own; these keep the map whole beneath them.
    holes = [
        _strip(INNER_LIPS_UPPER, INNER_LIPS_LOWER),
        _strip(RIGHT_EYE_UPPER, RIGHT_EYE_LOWER),
        _strip(LEFT_EYE_UPPER, LEFT_EYE_LOWER),
    ]
    return np.concatenate([*holes, mean_face().triangles, ring])


def _strip(upper: tuple[int, ...], lower: tuple[int, ...]) -> Int[np.ndarray, "t 3"]:
    """Triangles between two edges that share their ends."""
    quads = zip(upper[:-1], upper[1:], lower[1:], lower[:-1], strict=True)
    corners = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d)) if len(set(t)) == 3]
    return np.array(corners)


def draw_face_mesh(
    picture: UInt8[np.ndarray, "s s 3"],
    sheet: FaceMesh,
    mesh_px: Float[np.ndarray, "478 3"],
    *,
    map_size: int = 256,
) -> UInt8[np.ndarray, "s s 3"]:
    """The photo with its face moved to other landmarks; eyes and mouth are stretched with the rest.

    Args:
        picture: the crop that the sheet was built on.
        sheet: its sheet.
        mesh_px: where the landmarks shall be, in the crop's pixels.
        map_size: side of the inverse map; a larger result uses it bilinearly enlarged (it is piecewise affine).
    """
    vertices = sheet.moved_to(mesh_px)
    size = len(picture)
    map_size = min(size, map_size)
    output = (vertices[:, :2] + 0.5) * (map_size / size) - 0.5
    field, _ = inverse_map(sheet.points[:, :2], output, vertices[:, 2], face_mesh_triangles(), (map_size, map_size))
    if map_size != size:
        field = enlarged(field, size)
    return sample(picture, field)
