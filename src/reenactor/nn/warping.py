"""Moving feature maps along flows, and resizing them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def warp(features: Float[Tensor, "b c h w"], flow_ndc: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Bilinear sampling, the warping function T of paper B (its equation 8); positions outside repeat the border.

    The result at position p is the features' value at p + flow(p). Positions are computed in float32 at least: bfloat16
    knows only every half pixel of a map of 256.

    Args:
        features: any values.
        flow_ndc: offsets in x and y; docs/conventions.md. A flow of 2 / w moves by one column.
    """
    kind = torch.promote_types(features.dtype, torch.float32)
    moved = F.grid_sample(
        features.to(kind), _places(flow_ndc, kind), mode="bilinear", padding_mode="border", align_corners=False
    )
    return moved.to(features.dtype)


def warp_cubic(pictures: Float[Tensor, "b c h w"], flow_ndc: Float[Tensor, "b 2 hf wf"]) -> Float[Tensor, "b c hf wf"]:
    """Bicubic sampling at the flow's resolution; sharper than `warp`, may overshoot. The border repeats."""
    kind = torch.promote_types(pictures.dtype, torch.float32)
    places = _places(flow_ndc, kind)
    return F.grid_sample(pictures.to(kind), places, mode="bicubic", padding_mode="border", align_corners=False)


def _places(flow_ndc: Float[Tensor, "b 2 h w"], kind: torch.dtype) -> Float[Tensor, "b h w 2"]:
    """p + flow(p), in normalized device coordinates."""
    height, width = flow_ndc.shape[-2:]
    x = (2 * torch.arange(width, dtype=kind, device=flow_ndc.device) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=kind, device=flow_ndc.device) + 1) / height - 1
    # Runtimes fold p into a constant.
    own = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    # On a CPU, `grid_sample`'s gradient at a position that is NaN crashes the process.
    return (own + flow_ndc).permute(0, 2, 3, 1).nan_to_num()


def unwarped(flow_ndc: Float[Tensor, "n 2 h w"], amounts: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """The transpose of `warp`: the sum of `amounts(p)` over all positions p that sample a position, p + flow(p)."""
    # A caller's inference mode would not let the gradient be asked for; its tensors must be copied out of it.
    with torch.inference_mode(mode=False), torch.enable_grad():
        given = torch.zeros(amounts.shape, dtype=amounts.dtype, device=amounts.device, requires_grad=True)
        return torch.autograd.grad(warp(given, flow_ndc.clone()), given, amounts.clone())[0]


def pool_flow(flow_ndc: Float[Tensor, "b 2 h w"], size: tuple[int, int]) -> Float[Tensor, "b 2 hs ws"]:
    """The flow averaged down to a smaller map; normalized offsets keep their meaning.

    Args:
        flow_ndc: the flow of the largest map.
        size: height and width of the result; they divide the flow's.
    """
    height, width = flow_ndc.shape[-2:]
    if height % size[0] or width % size[1]:
        raise ValueError(f"a flow of {height} x {width} does not pool evenly to {size[0]} x {size[1]}")
    return F.avg_pool2d(flow_ndc, (height // size[0], width // size[1]))


def resized(maps: Float[Tensor, "b c h w"], size: int, *, antialias: bool | None = None) -> Float[Tensor, "b c s s"]:
    """Bilinearly to `size` pixels a side; as they are if they have it.

    Args:
        maps: any values, square if `antialias` is None.
        size: of the result.
        antialias: average over all pixels that one covers; None for only where maps shrink.
    """
    if maps.shape[-2:] == (size, size):
        return maps
    averaged = maps.shape[-1] > size if antialias is None else antialias
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False, antialias=averaged)
