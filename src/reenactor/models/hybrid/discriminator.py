"""The discriminator, and the crops of the face and of its parts that it sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.contours import INNER_LIPS, LEFT_EYE, OUTER_LIPS_UPPER, RIGHT_EYE

_SLOPE = 0.2
_COARSE = 30
"""Layers with fewer channels are large; they are judged at half their resolution."""

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


class FeatureDiscriminator(nn.Module):
    """Judges pictures by a frozen network's features, each layer with a small network of its own.

    Features that know pictures tell drawn from true ones after a hundred steps, where convolutions on pixels need
    thousands (projected GANs, Sauer et al. 2021; without their random mixing of layers).

    Args:
        channels: of each layer.
        width: channels within.
    """

    def __init__(self, channels: Sequence[int], width: int = 64) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(count, width, 1),
                nn.LeakyReLU(_SLOPE),
                nn.Conv2d(width, width, 3, stride=2 if count < _COARSE else 1, padding=1),
                nn.LeakyReLU(_SLOPE),
                nn.Conv2d(width, 1, 3, padding=1),
            )
            for count in channels
        )

    def forward(
        self, features: Sequence[Float[Tensor, "_ _ _ _"]], truth: Sequence[Float[Tensor, "_ _ _ _"]]
    ) -> list[Float[Tensor, "_ 1 _ _"]]:
        """Scores, one at each position of each layer; the larger the more real.

        Args:
            features: of the pictures that are judged, (B, C, H, W) each.
            truth: of true pictures; each channel counts in units of its root mean square there.
        """
        scores = []
        for judge, one, true in zip(self.judges, features, truth, strict=True):
            unit = true.float().square().mean((0, 2, 3), keepdim=True).sqrt()
            scores.append(judge(one / (unit + unit.mean() / 4)))
        return scores
