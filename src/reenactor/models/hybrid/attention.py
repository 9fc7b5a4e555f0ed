"""Which places of the photos a drawing is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.models.hybrid.blocks import resized
from reenactor.models.hybrid.model import HybridCode, HybridGenerator
from reenactor.nn import warp


@dataclass(frozen=True)
class PhotoUse:
    """What a drawing takes from each place of each photo; pixels of `HybridConfig.places` a side, and a quarter of it.

    Args:
        taken: share of the drawing that was moved here from each place; the sum over all is `Drawing.mask`'s mean, the
            rest of the picture is painted.
        looked: attention that each place gets, mean of the drawing's places; sums to 1 over all photos. None for a
            network without.
    """

    taken: Float[Tensor, "b k h2 w2"]
    looked: Float[Tensor, "b k h8 w8"] | None


def photo_use(
    generator: HybridGenerator,
    code: HybridCode,
    raster_x: Float[Tensor, "b 3 _ _"],
    mesh_x: Float[Tensor, "b 478 3"],
) -> PhotoUse:
    """Of the drawing that `HybridGenerator.decode` makes of the same arguments; no gradients."""
    seen: list[Tensor] = []
    block = generator.trunk.attention
    hook = None if block is None else block.register_forward_hook(lambda _, given, result: seen.append(result[1]))
    try:
        mesh = generator.place(code, mesh_x, raster_x.device)
        with torch.no_grad():
            drawing = generator.draw(code, raster_x, mesh)
    finally:
        if hook is not None:
            hook.remove()
    k, size = drawing.weights.shape[1:3]
    flow = mesh.flow_ndc + drawing.flow_ndc.repeat_interleave(k, dim=0)
    kept = drawing.weights * resized(drawing.mask, size) / size**2
    taken = _given(flow, kept.flatten(0, 1)[:, None])[:, 0].unflatten(0, (-1, k))
    return PhotoUse(taken, seen[0].mean(dim=(1, 2)) if seen else None)


def _given(flow_ndc: Float[Tensor, "n 2 h w"], amounts: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """What each place gives if each place p takes `amounts(p)` from p + flow(p): the transpose of `warp`."""
    # A caller's inference mode would not let the gradient be asked for; its tensors must be copied out of it.
    with torch.inference_mode(mode=False), torch.enable_grad():
        places = torch.zeros(amounts.shape, dtype=amounts.dtype, device=amounts.device, requires_grad=True)
        return torch.autograd.grad(warp(places, flow_ndc.clone()), places, amounts.clone())[0]
