"""The discriminators, of the face and of its parts, and the crops that they see."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.contours import INNER_LIPS, LEFT_EYE, OUTER_LIPS_UPPER, RIGHT_EYE
from reenactor.nn import PatchGAN, PatchScores

PARTS = ("mouth", "right eye", "left eye")
_CENTRES = (INNER_LIPS + OUTER_LIPS_UPPER, RIGHT_EYE, LEFT_EYE)
_SIDES = (0.85, 0.5, 0.5)
"""Sides of the crops, in inter-ocular distances."""


def part_crops(
    pictures: Float[Tensor, "b c h w"], mesh_px: Float[Tensor, "b 478 3"], size: int
) -> Float[Tensor, "b 3 c s s"]:
    """Upright crops of `PARTS`, bilinear; the eye line is level and as long in all of them. Differentiable.

    Args:
        pictures: square; any values.
        mesh_px: landmarks in their pixels.
        size: side of the crops, pixels.
    """
    side_px = pictures.shape[-1]
    eyes = mesh_px[:, 263] - mesh_px[:, 33]
    across = F.normalize(eyes[:, :2], dim=-1)
    down = torch.stack([-across[:, 1], across[:, 0]], -1)
    steps = (torch.arange(size, device=pictures.device) + 0.5) / size - 0.5
    crops = []
    for vertices, side in zip(_CENTRES, _SIDES, strict=True):
        centre = mesh_px[:, list(vertices), :2].mean(1)
        half = (side * eyes.norm(dim=-1))[:, None, None, None]
        offset = steps[:, None] * across[:, None, None] + steps[:, None, None] * down[:, None, None]
        position = centre[:, None, None] + half * offset
        grid = (position + 0.5) * (2 / side_px) - 1
        crops.append(F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode="border", align_corners=False))
    return torch.stack(crops, 1)


FACE_SIDE = 0.625
"""Side of the square around the face that is compared and judged, in sides of the crop."""


def face_crops(pictures: Float[Tensor, "b c h w"], mesh_px: Float[Tensor, "b 478 3"]) -> Float[Tensor, "b c s s"]:
    """The square around each face, at whole pixels.

    Args:
        pictures: square.
        mesh_px: landmarks in their pixels.
    """
    size = pictures.shape[-1]
    side = int(size * FACE_SIDE) // 8 * 8
    low, high = mesh_px[..., :2].amin(1), mesh_px[..., :2].amax(1)
    corners = ((low + high - side) / 2).round().long().clamp(0, size - side).tolist()
    return torch.stack([one[:, y : y + side, x : x + side] for one, (x, y) in zip(pictures, corners, strict=True)])


class PartsDiscriminator(nn.Module):
    """One patch discriminator for mouths and eyes; it also sees the driver's raster and which part it is.

    Args:
        size: side of the crops, pixels.
        width: channels of the first layer.
    """

    kinds: Tensor

    def __init__(self, size: int, width: int = 32) -> None:
        super().__init__()
        self.size = size
        self.judge = PatchGAN(3 + 3 + len(PARTS), width=width, max_width=4 * width, halvings=2 if size <= 32 else 3)
        self.register_buffer("kinds", torch.eye(len(PARTS))[:, :, None, None], persistent=False)

    def forward(
        self,
        pictures: Float[Tensor, "b 3 h w"],
        rasters: Float[Tensor, "b 3 h w"],
        mesh_px: Float[Tensor, "b 478 3"],
    ) -> PatchScores:
        """Input, output; sizes with crops of 32 pixels.

        | | shape |
        |---|---|
        | pictures, rasters | (B, 3, H, W) in [-1, 1] |
        | mesh_px | (B, 478, 3) landmarks in them |
        | scores | (3 B, 1, 6, 6), the parts of a picture one after the other; of larger crops each score sees twice as
        many pixels |
        """
        crops = part_crops(torch.cat([pictures, rasters], 1), mesh_px, self.size)
        kinds = self.kinds.expand(len(pictures), -1, -1, self.size, self.size)
        return self.judge(torch.cat([crops, kinds], 2).flatten(0, 1))


class FaceDiscriminator(nn.Module):
    """`PartsDiscriminator`, and a patch discriminator of the square around the face at half its resolution."""

    def __init__(self, size: int = 64, width: int = 32) -> None:
        super().__init__()
        self.parts = PartsDiscriminator(size, width)
        self.fold = nn.PixelUnshuffle(2)
        self.face = PatchGAN(4 * (3 + 3), width=width, max_width=4 * width, halvings=2)

    def forward(
        self, pictures: Float[Tensor, "b 3 h w"], rasters: Float[Tensor, "b 3 h w"], mesh_px: Float[Tensor, "b 478 3"]
    ) -> tuple[PatchScores, PatchScores]:
        """Scores of the parts, and of the face; arguments as for `PartsDiscriminator`."""
        face = self.fold(face_crops(torch.cat([pictures, rasters], 1), mesh_px))
        return self.parts(pictures, rasters, mesh_px), self.face(face)
