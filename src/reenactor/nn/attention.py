"""Attention of one map over all places of several others (paper B, figure 3)."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.nn.position import positional_encoding
from reenactor.nn.residual import conv3x3


def attend(
    query: Float[Tensor, "#b n a"], key: Float[Tensor, "#b m a"], value: Float[Tensor, "#b m c"]
) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b n m"]]:
    """`softmax(Q K^T / sqrt(a)) V` and the softmax itself, which sums to 1 over m (paper B, equation 1).

    Computed in float32 at least, autocast or not.

    Args:
        query: what each of n places looks for.
        key: what each of m places offers.
        value: what each of m places gives.
    """
    kind = torch.promote_types(query.dtype, torch.float32)
    device = query.device.type
    mixed_precision = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    with torch.autocast(device, enabled=False) if mixed_precision else nullcontext():
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
        weights = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return weights @ value, weights


class ImageAttentionBlock(nn.Module):
    """The driver's map asks, the maps of all K targets answer; one softmax over all of their places together.

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
        asking = z_x.flatten(2).transpose(1, 2)
        offered = z_y.permute(0, 1, 3, 4, 2).flatten(1, 3)
        p_x = positional_encoding(z_x.shape[1], height, width, device=z_x.device).flatten(1).T.to(z_x.dtype)
        p_y = positional_encoding(channels, target_height, target_width, device=z_y.device).flatten(1).T.to(z_y.dtype)
        mixed, weights = attend(
            self.query(asking) + self.query_position(p_x),
            self.key(offered) + self.key_position(p_y).repeat(k, 1),
            self.value(offered),
        )
        # Before training all places see nearly the same mean: they differ by 1% of it, which bfloat16 hardly resolves.
        # The norm is blind to the mean of the places, so it goes first.
        mixed = (mixed - mixed.mean(dim=1, keepdim=True)).to(z_x.dtype)
        mixed = mixed.transpose(1, 2).unflatten(2, (height, width))
        attention = weights.unflatten(2, (k, target_height, target_width)).unflatten(1, (height, width))
        return self.conv(z_x + self.norm(mixed)), attention
