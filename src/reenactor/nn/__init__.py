"""Blocks that models share: residual, attention, AdaIN, SPADE, warping, patch discriminators. Blocks take sizes."""

from reenactor.nn.adain import AdaIN, AdaINResidualBlock
from reenactor.nn.attention import ImageAttentionBlock, attend
from reenactor.nn.basic_block import BasicBlock, conv_norm
from reenactor.nn.discriminator import PatchProjection
from reenactor.nn.patch_gan import MultiScalePatchGAN, PatchGAN, PatchScores
from reenactor.nn.position import positional_encoding
from reenactor.nn.residual import Norm, Resample, ResidualBlock, conv3x3, norm_layer
from reenactor.nn.spade import SPADE, SPADEResidualBlock
from reenactor.nn.spectral import add_spectral_norm, fold_spectral_norm
from reenactor.nn.warping import pool_flow, warp

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
