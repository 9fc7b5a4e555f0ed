"""Blocks that models share: residual, attention, AdaIN, SPADE, warping, patch discriminators. Blocks take sizes."""

from reenact.nn.adain import AdaIN, AdaINResidualBlock
from reenact.nn.attention import ImageAttentionBlock, attend
from reenact.nn.basic_block import BasicBlock, conv_norm
from reenact.nn.discriminator import PatchProjection
from reenact.nn.patch_gan import MultiScalePatchGAN, PatchGAN, PatchScores
from reenact.nn.position import positional_encoding
from reenact.nn.residual import Norm, Resample, ResidualBlock, conv3x3, norm_layer
from reenact.nn.spade import SPADE, SPADEResidualBlock
from reenact.nn.spectral import add_spectral_norm, fold_spectral_norm
from reenact.nn.warping import pool_flow, warp

__all__ = [
    "SPADE",
    "AdaIN",
    "AdaINResidualBlock",
    "BasicBlock",
    "ImageAttentionBlock",
    "MultiScalePatchGAN",
    "Norm",
    "PatchGAN",
    "PatchProjection",
    "PatchScores",
    "Resample",
    "ResidualBlock",
    "SPADEResidualBlock",
    "add_spectral_norm",
    "attend",
    "conv3x3",
    "conv_norm",
    "fold_spectral_norm",
    "norm_layer",
    "pool_flow",
    "positional_encoding",
    "warp",
]
