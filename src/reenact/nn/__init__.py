"""Blocks that models share: residual, attention, AdaIN, warping, patch discriminators. Blocks take sizes."""

from reenact.nn.adain import AdaIN, AdaINResidualBlock
from reenact.nn.attention import ImageAttentionBlock, attend
from reenact.nn.discriminator import PatchProjection
from reenact.nn.position import positional_encoding
from reenact.nn.residual import Norm, Resample, ResidualBlock, conv3x3, norm_layer
from reenact.nn.spectral import add_spectral_norm, fold_spectral_norm
from reenact.nn.warping import pool_flow, warp

__all__ = [
    "AdaIN",
    "AdaINResidualBlock",
    "ImageAttentionBlock",
    "Norm",
    "PatchProjection",
    "Resample",
    "ResidualBlock",
    "add_spectral_norm",
    "attend",
    "conv3x3",
    "fold_spectral_norm",
    "norm_layer",
    "pool_flow",
    "positional_encoding",
    "warp",
]
