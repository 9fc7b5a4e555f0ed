"""Where a feature lies, told by sines."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def positional_encoding(
    channels: int, height: int, width: int, *, device: torch.device | None = None
) -> Float[Tensor, "c h w"]:
    """Sinusoidal code of each place of a map, half of the channels for each axis (paper B, equation 9).

    With y = 256 i / height of row i, x = 256 j / width of column j and the wavelengths 10000^(2k / channels):
    channel 4k holds sin(y / wavelength), 4k+1 cos(y / wavelength), 4k+2 and 4k+3 the same of x. Maps of different
    sizes share these coordinates, so the same place of the picture gets (nearly) the same code.

    Args:
        channels: a multiple of 4.
        height: rows of the map.
        width: columns of the map.
        device: where to make it.

    Returns:
        Values in [-1, 1], float32.
    """
    if channels % 4:
        raise ValueError(f"positional encoding needs a multiple of 4 channels, not {channels}")
    k = torch.arange(channels // 4, dtype=torch.float32, device=device)
    wavelengths = 10000 ** (2 * k / channels)
    y = 256 / height * torch.arange(height, dtype=torch.float32, device=device) / wavelengths[:, None]
    x = 256 / width * torch.arange(width, dtype=torch.float32, device=device) / wavelengths[:, None]
    rows = torch.stack([y.sin(), y.cos()], dim=1)[..., None].expand(-1, -1, -1, width)
    columns = torch.stack([x.sin(), x.cos()], dim=1)[:, :, None].expand(-1, -1, height, -1)
    return torch.cat([rows, columns], dim=1).flatten(0, 1)
