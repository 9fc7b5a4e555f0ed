"""The classical mouth, which fills what no photo shows between the lips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry.mouth import MouthInside, best_inside, mouth_inside, mouth_layer
from reenactor.models.contract import to_uint8


@dataclass(frozen=True)
class Mouth:
    """A person's mouth, from the photo that shows most of it.

    Args:
        inside: what lies between the lips.
        lips_meet: opening at which the first photo's lips touch.
    """

    inside: MouthInside
    lips_meet: float


def mouth_of(photos: Float[Tensor, "k 3 s s"], mesh_px: Float[Tensor, "k 478 3"]) -> Mouth:
    """The mouth of one person; photos in [-1, 1], and their landmarks."""
    insides: list[MouthInside] = []
    for photo, mesh in zip(photos, mesh_px, strict=True):
        insides.append(mouth_inside(to_uint8(photo), mesh.cpu().numpy()))
        if insides[0].shows:
            break
    return Mouth(insides[best_inside(insides)], insides[0].lips_meet)


def mouth_fill(
    mouths: Sequence[Mouth],
    mesh_px: Float[Tensor, "b 478 3"],
    side: int,
    size: int,
    around: Float[Tensor, "#b 3 1 1"],
    colour: Float[Tensor, "#b 1 1 1"],
) -> Float[Tensor, "b 3 n n"]:
    """What lies between the lips of each frame, RGB in [-1, 1].

    Args:
        mouths: one for each frame, or one for all; as `around` and `colour`.
        mesh_px: the frames' landmarks.
        side: of the pictures that they lie in, pixels.
        size: of the result.
        around: the colour of all that lies elsewhere.
        colour: 1 for mouths in colour, 0 for grey ones.
    """
    filled = around.repeat(len(mesh_px) // len(around), 1, size, size)
    scaled = mesh_px.detach().cpu().double() * (size / side)
    scaled[..., :2] += (size / side - 1) / 2
    for i, mesh in enumerate(scaled.numpy()):
        person = i if len(mouths) > 1 else 0
        found = mouth_layer(mouths[person].inside, mesh, size, lips_meet=mouths[person].lips_meet)
        if found is not None:
            region, layer, covers = found
            inside = torch.from_numpy(np.moveaxis(layer / 127.5 - 1, -1, 0)).to(around)
            grey = inside.mean(0)
            here = filled[i][:, region.slices[0], region.slices[1]]
            here += torch.from_numpy(covers).to(around) * (grey + colour[person] * (inside - grey) - here)
    return filled
