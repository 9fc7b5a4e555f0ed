"""Blocks that models share: residual, attention, AdaIN, SPADE, warping, patch discriminators. Blocks take sizes."""

from reenactor.nn.attention import ImageAttentionBlock, attend, positional_encoding
from reenactor.nn.discriminator import MultiScalePatchGAN, PatchGAN, PatchProjection, PatchScores
from reenactor.nn.modulation import SPADE, AdaIN, AdaINResidualBlock, SPADEResidualBlock
from reenactor.nn.residual import BasicBlock, Norm, Resample, ResidualBlock, conv3x3, conv_norm, norm_layer
from reenactor.nn.spectral import add_spectral_norm, fold_spectral_norm
from reenactor.nn.warping import pool_flow, resized, unwarped, warp, warp_cubic

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
    "resized",
    "unwarped",
    "warp",
    "warp_cubic",
]
