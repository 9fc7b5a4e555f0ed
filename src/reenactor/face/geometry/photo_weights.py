"""Which of several photos gives each place of the result."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry.mesh_flow import FLAGS

_TRUST = {"hidden": -3.0, "stretched": -3.0, "mouth": -4.0, "eyes": -4.0}
"""Logits of a photo's weight where its flow has a flag."""
_FIRST = 1.0
"""Logit in favour of the first photo, as a mean of photos that differ by a hair is blurred ..."""
_FIRST_BEYOND = 8.0
"""... and beyond the face, where other photos show another background."""


def photo_weights(
    flags: Float[Tensor, "bk 5 h w"], k: int, scores: Float[Tensor, "bk 1 h w"] | None = None
) -> Float[Tensor, "b k h w"]:
    """Softmax over the K photos of each of B frames, by how far the flow of each can be trusted.

    Args:
        flags: `MeshFlow.flags`, photos of a frame beside each other.
        k: photos.
        scores: logits to add, learned ones.
    """
    trust = torch.tensor([_TRUST.get(name, 0.0) for name in FLAGS], device=flags.device)[:, None, None]
    logits = (trust * flags).sum(1, keepdim=True)
    logits = (logits if scores is None else scores + logits).unflatten(0, (-1, k))[:, :, 0]
    beyond = flags[:, FLAGS.index("beyond")].unflatten(0, (-1, k))[:, :1]
    return torch.cat([logits[:, :1] + _FIRST + _FIRST_BEYOND * beyond, logits[:, 1:]], dim=1).softmax(dim=1)
