"""How far eyes are open, read from their pixels; and landmarks whose lids close as far.

MediaPipe's mesh leaves a quarter to a half of the opening of an eye that is closed. A small network looks at each eye,
upright and at the mesh network's own resolution, and where it sees closed lids the mesh's upper lid is brought down.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from reenactor.face.geometry.contours import OPENINGS
from reenactor.nn.checkpoint import shipped_network

LIDS = "lids"
"""Kind of its checkpoint, and name of the shipped weights."""
CROP_PX = (24, 40)
"""Height and width of an eye's crop."""
_CROP_LENGTHS = 1.6
"""Width of a crop, in lengths of the eye."""
_EYES = ((33, 133), (263, 362))
"""Outer and inner corner of the right and the left eye."""
_SHUT, _OPEN = 0.3, 0.65
"""Readings at which the mesh's lids are closed, and from which they stay as they are."""
_LOWER_LID = 0.25
"""Of the way that the lids close, the lower one's part."""


class LidNetwork(nn.Module):
    """How far eyes are open: 0 closed, 1 as open as that person's eyes mostly are."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Flatten(),
            nn.Linear(4 * width * (CROP_PX[0] // 8) * (CROP_PX[1] // 8), 1),
        )

    def forward(self, crops: Float[Tensor, "n 1 24 40"]) -> Float[Tensor, " n"]:
        """Crops as `eye_crops` makes them -> logits of the opening."""
        return self.layers(crops)[:, 0]


def eye_crops(
    pictures: Float[Tensor, "b 3 h w"], mesh_px: Float[Tensor, "b 478 3"], jitter: Float[Tensor, "b 2 4"] | None = None
) -> Float[Tensor, "b2 1 24 40"]:
    """Upright grey crops of the right and the left eye (mirrored) of each picture, of mean 0 and deviation 1.

    Args:
        pictures: any values; faces about 128 pixels tall.
        mesh_px: landmarks in their pixels.
        jitter: shift along and across the eye (in its lengths), turn (radians) and logarithm of the size, added.
    """
    outer, inner = (mesh_px[:, [eye[i] for eye in _EYES]] for i in (0, 1))
    axis = inner[..., :2] - outer[..., :2]
    # In space, as the eye of a turned head is as high as ever.
    length = (inner - outer).norm(dim=-1)
    along = F.normalize(axis, dim=-1)
    down = torch.stack([-along[..., 1], along[..., 0]], -1)
    down = down * mesh_px.new_tensor([1.0, -1.0])[:, None]
    centre = (outer + inner)[..., :2] / 2
    if jitter is not None:
        centre = centre + length[..., None] * (jitter[..., :1] * along + jitter[..., 1:2] * down)
        c, s = jitter[..., 2:3].cos(), jitter[..., 2:3].sin()
        along, down = c * along + s * down, c * down - s * along
        length = length * jitter[..., 3].exp()
    height, width = CROP_PX
    step = (length * _CROP_LENGTHS / width)[..., None, None, None]
    x = torch.arange(width, device=pictures.device) - (width - 1) / 2
    y = torch.arange(height, device=pictures.device) - (height - 1) / 2
    at = x[:, None] * along[:, :, None, None] + y[:, None, None] * down[:, :, None, None]
    at = centre[:, :, None, None] + step * at
    size = pictures.new_tensor([pictures.shape[-1], pictures.shape[-2]])
    grid = ((at + 0.5) * (2 / size) - 1).flatten(0, 1).to(pictures.dtype)
    grey = pictures.mean(1, keepdim=True).repeat_interleave(2, dim=0)
    crops = F.grid_sample(grey, grid, padding_mode="border", align_corners=False)
    centred = crops - crops.mean((2, 3), keepdim=True)
    return centred / (centred.square().mean((2, 3), keepdim=True).sqrt() + 0.02)


@cache
def lid_network() -> LidNetwork:
    """The network with its shipped weights."""
    return shipped_network(LIDS, LidNetwork)


@torch.inference_mode()
def eye_openness(picture: UInt8[np.ndarray, "h w 3"], mesh_px: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "2"]:
    """How far the right and the left eye are open, 0 (closed) to 1 (as that person's mostly are).

    Args:
        picture: RGB; the face about 128 pixels tall, as the mesh network's patch shows it.
        mesh_px: its landmarks.
    """
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    crops = eye_crops(image, torch.from_numpy(mesh_px.astype(np.float32))[None])
    return lid_network()(crops).sigmoid().numpy()


def with_lids(mesh: Float[np.ndarray, "478 3"], openness: Float[np.ndarray, "2"]) -> Float[np.ndarray, "478 3"]:
    """The mesh with lids closed where the eyes are; eyes that are clearly open stay as they are.

    Args:
        mesh: landmarks, pixels.
        openness: of the right and the left eye, from `eye_openness`.
    """
    t = np.clip((openness - _SHUT) / (_OPEN - _SHUT), 0, 1)
    moved = mesh.copy()
    for (lower, upper), kept in zip(OPENINGS[1:], t * t * (3 - 2 * t), strict=True):
        gap = mesh[list(upper)] - mesh[list(lower)]
        moved[list(lower)] += np.float32(_LOWER_LID * (1 - kept)) * gap
        moved[list(upper)] -= np.float32((1 - _LOWER_LID) * (1 - kept)) * gap
    return moved
