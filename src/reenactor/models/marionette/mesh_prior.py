"""The mesh prior (ours, not the paper's): features begin where the landmarks say, and the network corrects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow, frame_flows, photo_weights
from reenactor.nn import warp

_OPENINGS = [FLAGS.index("mouth"), FLAGS.index("eyes")]
_CORRECTION = 0.1
"""Of the config's `flow_scale`. The mesh's flow is right to a pixel or two, and a fresh network's are random."""


def place(
    mesh_y: Float[Tensor, "#b k 478 3"], mesh_x: Float[Tensor, "b 478 3"], side: int, device: torch.device
) -> MeshFlow:
    """`frame_flows` at half of the photos' size."""
    return frame_flows(mesh_y, mesh_x, side, side // 2, device)


@dataclass(frozen=True)
class Placed:
    """A feature map of each of K photos, and how each of B frames moves it.

    Args:
        s: S_j, not moved yet.
        flow_ndc, flags: `MeshFlow`'s.
        weights: of the photos; they sum to 1.
    """

    s: Float[Tensor, "b k c h w"]
    flow_ndc: Float[Tensor, "bk 2 h w"]
    flags: Float[Tensor, "bk 5 h w"]
    weights: Float[Tensor, "b k h w"]


def placed(s: tuple[Float[Tensor, "#b k _ _ _"], ...], mesh: MeshFlow) -> tuple[Placed, ...]:
    """Each feature map with the flow of its size."""
    k = s[0].shape[1]
    batch = mesh.flags.shape[0] // k
    weights = photo_weights(mesh.flags, k)
    cues = torch.cat([mesh.flow_ndc, mesh.flags, weights.flatten(0, 1)[:, None]], dim=1)
    levels = []
    for s_j in s:
        flow_ndc, flags, weights = _sized(cues, s_j.shape[-1]).split([2, len(FLAGS), 1], dim=1)
        weights = weights[:, 0].unflatten(0, (-1, k))
        levels.append(Placed(s_j.expand(batch, *s_j.shape[1:]), flow_ndc, flags, weights))
    return tuple(levels)


def _sized(maps: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c s s"]:
    """Averages where it shrinks, bilinear where it grows."""
    if maps.shape[-1] > size:
        return F.avg_pool2d(maps, maps.shape[-1] // size)
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


class MeshAlignment(nn.Module):
    """`WarpAlignment` whose flow is the mesh's and a learned one, and which marks where the mesh's is wrong."""

    def __init__(self, channels: int, flow_scale: float) -> None:
        super().__init__()
        self.flow = nn.Conv2d(channels, 2, 1)
        self.mark = nn.Conv2d(len(FLAGS), channels, 1, bias=False)
        self.flow_scale = _CORRECTION * flow_scale

    def forward(self, u: Float[Tensor, "b c h w"], photos: Placed) -> Float[Tensor, "b c2 h w"]:
        """`concat(u, sum_k w_k (T(S_j; mesh flow + f_u) + mark))`; what would fill mouth or eyes with skin is cut out.

        | | shape |
        |---|---|
        | u | (B, c, h, w), output of the decoder's block before |
        | photos | S_j of K photos, c channels |
        | result | (B, 2 c, h, w) |
        """
        k = photos.s.shape[1]
        learned = (self.flow_scale * self.flow(u)).repeat_interleave(k, dim=0)
        moved = warp(photos.s.flatten(0, 1), photos.flow_ndc + learned)
        unseen = photos.flags[:, _OPENINGS].amax(1, keepdim=True)
        marked = ((1 - unseen) * moved + self.mark(photos.flags.to(u.dtype))).unflatten(0, (-1, k))
        return torch.cat([u, (marked * photos.weights[:, :, None]).sum(1).to(u.dtype)], dim=1)
