"""Where a loss or a metric looks: paper A's weights by part, paper B's by the landmarks' hull, and face masks."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.maps import _curves
from reenactor.face.maps._checks import as_ibug68, as_landmarks, as_size
from reenactor.face.maps._curves import Path, smooth
from reenactor.face.maps._drawing import fill
from reenactor.face.maps.parsing import PARSING_CHANNELS

PART_WEIGHTS: dict[str, float] = {
    "face": 1.0,
    "brows": 2.0,
    "eyes": 3.0,
    "gaze": 4.0,
    "nose": 2.0,
    "upper_lip": 3.0,
    "lower_lip": 3.0,
    "teeth": 2.0,
    "nose_bridge": 1.0,
}
"""From the authors' code of paper A."""
EVERYWHERE = 0.5
HULL_WEIGHT = 3.0


def part_weights(parsing: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Paper A's weight of each pixel in the L1 loss: 0.5 plus the weights of all parts that cover it.

    Parts lie on top of each other, so an iris weighs 0.5 + 1 (face) + 3 (eyes) + 4 (gaze) = 8.5.
    """
    if parsing.shape[1] != len(PARSING_CHANNELS):
        raise ValueError(f"a parsing map has {len(PARSING_CHANNELS)} channels, got {parsing.shape[1]}")
    weights = torch.tensor([PART_WEIGHTS[name] for name in PARSING_CHANNELS], device=parsing.device)
    return (parsing * weights.to(parsing.dtype)[:, None, None]).sum(dim=1, keepdim=True) + EVERYWHERE


def hull_mask(landmarks_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 1 h w"]:
    """The convex hull of the 68 landmarks (jaw and brows; no forehead), its edge one pixel soft.

    Args:
        landmarks_px: iBUG-68 or the mesh, in pixels of the mask.
        size: of the mask: height and width, or one number for both.

    Returns:
        In [0, 1]; differentiable where the hull keeps its corners.
    """
    return _filled_hull(as_ibug68(as_landmarks(landmarks_px)), size)


def hull_weights(
    landmarks_px: Float[Tensor, "b n d"], size: int | tuple[int, int], *, inside: float = HULL_WEIGHT
) -> Float[Tensor, "b 1 h w"]:
    """Paper B's weight of each pixel in the perceptual loss: `inside` in the landmarks' convex hull, 1 elsewhere."""
    return 1 + (inside - 1) * hull_mask(landmarks_px, size)


def face_mask(
    mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int], *, grow_px: float = 0.0, soft_px: float = 1.0
) -> Float[Tensor, "b 1 h w"]:
    """The face with its forehead: the convex hull of the mesh, which holds the nose of a turned head too.

    Args:
        mesh_px: the mesh in pixels of the mask.
        size: of the mask: height and width, or one number for both.
        grow_px: how far beyond the outline the mask's edge lies (negative: inside it).
        soft_px: width of the edge; 1 is almost binary.
    """
    mesh_px = as_landmarks(mesh_px, mesh_for="a face mask")
    return _filled_hull(mesh_px, size, grow_px=grow_px, soft_px=soft_px)


def _filled_hull(
    points: Float[Tensor, "b n d"], size: int | tuple[int, int], *, grow_px: float = 0.0, soft_px: float = 1.0
) -> Float[Tensor, "b 1 h w"]:
    corners = _hull(points[..., :2])
    ring = _curves.drawing([Path(0, (smooth(range(corners.shape[1])),), closed=True)], channels=1)
    return fill(ring, corners, as_size(size), grow_px=grow_px, soft_px=soft_px)


def _hull(points: Float[Tensor, "b n 2"]) -> Float[Tensor, "b m 2"]:
    """Corners of each convex hull, the last one repeated up to the longest hull's number.

    Found on the CPU (10 microseconds a face): a search on the device would take a launch for every corner.
    """
    rings = [
        cv2.convexHull(one, returnPoints=False)[:, 0] for one in points.detach().cpu().float().contiguous().numpy()
    ]
    most = max(2, *(len(ring) for ring in rings))
    index = np.stack([np.pad(ring, (0, most - len(ring)), mode="edge") for ring in rings]).astype(np.int64)
    picked = torch.as_tensor(index, device=points.device)
    return points.gather(1, picked[..., None].expand(-1, -1, 2))
