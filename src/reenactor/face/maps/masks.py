"""Masks of the face: the convex hulls of its 68 landmarks and of the whole mesh."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.maps import _curves
from reenactor.face.maps._drawing import as_ibug68, as_landmarks, as_size, fill


def hull_mask(landmarks_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 1 h w"]:
    """Convex hull of the 68 landmarks (jaw and brows; no forehead), its edge one pixel soft.

    Paper B's perceptual loss gives it 3 times the weight of the rest.

    Args:
        landmarks_px: (B, 68 or 478, 2 or 3) iBUG-68 or the mesh, in pixels of the mask.
        size: of the mask: height and width, or one number for both.

    Returns:
        In [0, 1]; differentiable where the hull keeps its corners.

    Raises:
        ValueError: wrong shape or size.
    """
    return _filled_hull(as_ibug68(as_landmarks(landmarks_px)), as_size(size))


def face_mask(mesh_px: Float[Tensor, "b n d"], size: int | tuple[int, int]) -> Float[Tensor, "b 1 h w"]:
    """The face with its forehead: convex hull of the mesh, which holds the nose of a turned head too.

    Args:
        mesh_px: (B, 478, 2 or 3) the mesh in pixels of the mask.
        size: of the mask: height and width, or one number for both.

    Returns:
        In [0, 1], its edge one pixel soft.

    Raises:
        ValueError: wrong shape or size.
    """
    return _filled_hull(as_landmarks(mesh_px, mesh_for="a face mask"), as_size(size))


def _filled_hull(points: Float[Tensor, "b n d"], size: tuple[int, int]) -> Float[Tensor, "b 1 h w"]:
    corners = _hull(points[..., :2])
    outline = _curves.Path(0, (_curves.smooth(range(corners.shape[1])),), closed=True)
    return fill(_curves.drawing([outline], channels=1), corners, size)


def _hull(points: Float[Tensor, "b n 2"]) -> Float[Tensor, "b m 2"]:
    """Corners of each convex hull, the last one repeated up to the longest hull's number.

    Found on the CPU (10 microseconds a face): a search on the device would take a launch for every corner.
    """
    hulls = [
        cv2.convexHull(one, returnPoints=False)[:, 0] for one in points.detach().cpu().float().contiguous().numpy()
    ]
    most = max(2, *(len(hull) for hull in hulls))
    index = np.stack([np.pad(hull, (0, most - len(hull)), mode="edge") for hull in hulls]).astype(np.int64)
    picked = torch.as_tensor(index, device=points.device)
    return points.gather(1, picked[..., None].expand(-1, -1, 2))
