"""Networks with less to compute: what is constant once training is over is computed once."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reenactor.nn import ImageAttentionBlock, Resample, ResidualBlock, attend, fold_spectral_norm, positional_encoding

M = TypeVar("M", bound=nn.Module)


def simplified(module: M) -> M:
    """A copy in evaluation mode: spectral and batch norms folded into weights, doublings into convolutions."""
    module = fold_spectral_norm(module).requires_grad_(False)
    fold_batch_norm(module)
    fold_doubling(module)
    return module


def fold_batch_norm(module: nn.Module) -> None:
    """Every convolution that batch normalization follows takes over its gain and bias, in place."""
    for inner in module.modules():
        if isinstance(inner, nn.Sequential):
            for i in range(len(inner) - 1):
                conv, norm = inner[i], inner[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    inner[i], inner[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def fold_doubling(module: nn.Module) -> None:
    """Every residual block that doubles the size becomes a `DoublingBlock`, in place."""
    for name, child in module.named_children():
        if isinstance(child, ResidualBlock) and child.resample is Resample.UP:
            setattr(module, name, DoublingBlock(child))
        else:
            fold_doubling(child)


class DoublingBlock(nn.Module):
    """`ResidualBlock` with `Resample.UP`: doubling and 3x3 convolution as one deconvolution, 4 taps a pixel, not 9."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.norm1, self.norm2, self.conv2, self.skip = block.norm1, block.norm2, block.conv2, block.skip
        self.conv1 = doubling_conv(block.conv1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """(B, channels_in, h, w) -> (B, channels_out, 2h, 2w)."""
        h = self.conv1(F.relu(self.norm1(x)))
        h = self.conv2(F.relu(self.norm2(h)))
        return h + F.interpolate(self.skip(x), scale_factor=2.0, mode="nearest")


def doubling_conv(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """A deconvolution that equals doubling by nearest neighbours and then `conv`, 3x3 with a padding of 1.

    Along one axis, rows 2i and 2i + 1 of the doubled map both are row i. So row 2i of the result is w0 x[i-1] +
    (w1 + w2) x[i], and row 2i + 1 is (w0 + w1) x[i] + w2 x[i+1]: the deconvolution's taps are w2, w1 + w2, w0 + w1, w0.
    """
    folded = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1, bias=conv.bias is not None)
    w = conv.weight.detach()
    for axis in (2, 3):
        w0, w1, w2 = w.unbind(axis)
        w = torch.stack([w2, w1 + w2, w0 + w1, w0], axis)
    folded.weight = nn.Parameter(w.transpose(0, 1).contiguous(), requires_grad=False)
    if conv.bias is not None:
        folded.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
    return folded


class Offer(nn.Module):
    """The half of `ImageAttentionBlock` that sees the photos alone: keys and values."""

    def __init__(self, block: ImageAttentionBlock) -> None:
        super().__init__()
        self.key, self.key_position, self.value = block.key, block.key_position, block.value

    def forward(self, maps: Float[Tensor, "k c h w"]) -> Float[Tensor, "1 k n h w"]:
        """(K, c_y, h_y, w_y) -> (1, K, c_a + c_x, h_y, w_y): each place's key, then its value."""
        _, channels, height, width = maps.shape
        places = maps.flatten(2).transpose(1, 2)
        position = positional_encoding(channels, height, width, device=maps.device).flatten(1).T
        value = self.value(places)
        # What all places have in common is subtracted after mixing anyway; it would take bf16's few digits.
        value = value - value.mean(dim=(0, 1))
        both = torch.cat([self.key(places) + self.key_position(position), value], dim=-1)
        return both.transpose(1, 2).unflatten(2, (height, width))[None]


class Ask(nn.Module):
    """The half of `ImageAttentionBlock` that a frame needs; takes an `Offer` in place of the target maps.

    Args:
        block: the whole.
        first: of the offer's channels, where those of this block begin.
    """

    def __init__(self, block: ImageAttentionBlock, first: int = 0) -> None:
        super().__init__()
        self.query, self.query_position = block.query, block.query_position
        self.norm, self.conv = block.norm, block.conv
        keys, values = block.key.out_features, block.value.out_features
        self.keys, self.values = slice(first, first + keys), slice(first + keys, first + keys + values)

    def forward(
        self, z_x: Float[Tensor, "b cx hx wx"], offer: Float[Tensor, "1 k n hy wy"]
    ) -> tuple[Float[Tensor, "b cx hx wx"], Float[Tensor, "b hx wx k hy wy"]]:
        """As `ImageAttentionBlock`."""
        height, width = z_x.shape[-2:]
        k, _, target_height, target_width = offer.shape[1:]
        places = offer.permute(0, 1, 3, 4, 2).flatten(1, 3)
        position = positional_encoding(z_x.shape[1], height, width, device=z_x.device).flatten(1).T
        query = self.query(z_x.flatten(2).transpose(1, 2)) + self.query_position(position)
        mixed, weights = attend(query, places[..., self.keys], places[..., self.values])
        mixed = (mixed - mixed.mean(dim=1, keepdim=True)).to(z_x.dtype)
        mixed = mixed.transpose(1, 2).unflatten(2, (height, width))
        attention = weights.unflatten(2, (k, target_height, target_width)).unflatten(1, (height, width))
        return self.conv(z_x + self.norm(mixed)), attention
