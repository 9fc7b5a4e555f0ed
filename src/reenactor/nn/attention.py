"""Attention of one map over all positions of several others (paper B, figure 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.nn.precision import outside_autocast
from reenactor.nn.residual import conv3x3


def positional_encoding(
    channels: int, height: int, width: int, *, device: torch.device | None = None
) -> Float[Tensor, "c h w"]:
    """Sinusoidal code of each position of a map, half of the channels for each axis (paper B, equation 9).

    With y = 256 i / height of row i, x = 256 j / width of column j and the wavelengths 10000^(2k / channels):
    channel 4k holds sin(y / wavelength), 4k+1 cos(y / wavelength), 4k+2 and 4k+3 the same of x. Maps of different
    sizes share these coordinates, so the same position of the picture gets (nearly) the same code.

    Args:
        channels: a multiple of 4.
        height: rows of the map.
        width: columns of the map.
        device: of the result.

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


def attend(
    query: Float[Tensor, "#b n a"], key: Float[Tensor, "#b m a"], value: Float[Tensor, "#b m c"]
) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n m"]]:
    """`softmax(Q K^T / sqrt(a)) V` and the softmax itself, which sums to 1 over m (paper B, equation 1).

    Computed in float32 at least, autocast or not.

    Args:
        query: of n positions.
        key: of m positions.
        value: of the same m positions.
    """
    kind = torch.promote_types(query.dtype, torch.float32)
    with outside_autocast(query):
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
        weights = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return weights @ value, weights


class ImageAttentionBlock(nn.Module):
    """The driver's map gives queries, the maps of all K targets keys and values; one softmax over all their positions.

    Args:
        driver_channels: c_x.
        target_channels: c_y.
        attention_channels: c_a, of queries and keys.
    """

    def __init__(self, driver_channels: int, target_channels: int, attention_channels: int) -> None:
        super().__init__()
        # The paper's projections are matrices; a bias of the keys would cancel in the softmax anyway.
        self.query = nn.Linear(driver_channels, attention_channels, bias=False)
        self.query_position = nn.Linear(driver_channels, attention_channels, bias=False)
        self.key = nn.Linear(target_channels, attention_channels, bias=False)
        self.key_position = nn.Linear(target_channels, attention_channels, bias=False)
        self.value = nn.Linear(target_channels, driver_channels, bias=False)
        self.norm = nn.InstanceNorm2d(driver_channels, affine=True)
        self.conv = conv3x3(driver_channels, driver_channels)

    def forward(
        self, z_x: Float[Tensor, "b cx hx wx"], z_y: Float[Tensor, "#b k cy hy wy"]
    ) -> tuple[Float[Tensor, "b cx hx wx"], Float[Tensor, "b hx wx k hy wy"]]:
        """`conv(z_x + norm(A))` and the attention map.

        | | shape | paper |
        |---|---|---|
        | z_x | (B, c_x, h_x, w_x) | driver feature map |
        | z_y | (B or 1, K, c_y, h_y, w_y) | target feature maps, any K, any size |
        | result | (B, c_x, h_x, w_x) | mixed feature map, figure 3, equations 1 and 2 |
        | attention | (B, h_x, w_x, K, h_y, w_y) | sums to 1 over the last three; figure 7 |
        """
        height, width = z_x.shape[-2:]
        k, channels, target_height, target_width = z_y.shape[1:]
        queries = z_x.flatten(2).transpose(1, 2)
        features = z_y.permute(0, 1, 3, 4, 2).flatten(1, 3)
        p_x = positional_encoding(z_x.shape[1], height, width, device=z_x.device).flatten(1).T.to(z_x.dtype)
        p_y = positional_encoding(channels, target_height, target_width, device=z_y.device).flatten(1).T.to(z_y.dtype)
        mixed, weights = attend(
            self.query(queries) + self.query_position(p_x),
            self.key(features) + self.key_position(p_y).repeat(k, 1),
            self.value(features),
        )
        # Before training all positions see nearly the same mean, to within 1%, which bfloat16 hardly resolves.
        # The norm is blind to the mean over positions, so it is subtracted first.
        mixed = (mixed - mixed.mean(dim=1, keepdim=True)).to(z_x.dtype)
        mixed = mixed.transpose(1, 2).unflatten(2, (height, width))
        attention = weights.unflatten(2, (k, target_height, target_width)).unflatten(1, (height, width))
        return self.conv(z_x + self.norm(mixed)), attention
