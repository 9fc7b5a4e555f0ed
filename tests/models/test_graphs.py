"""Each simplification against the plain module that it stands for."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reenactor.models.graphs import UpsamplingBlock, simplified, upsampling_conv
from reenactor.models.marionette.graphs import DriverAttention, TargetAttention
from reenactor.models.oneshot import ShapeEncoder, ShapeEncoderConfig
from reenactor.nn import ImageAttentionBlock, Norm, Resample, ResidualBlock, add_spectral_norm, conv_norm

CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
def test_upsampling_and_convolution_in_one(bias):
    conv, x = nn.Conv2d(3, 5, 3, padding=1, bias=bias), noise(2, 3, 6, 7)
    expected = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(upsampling_conv(conv)(x), expected, **CLOSE)


@pytest.mark.parametrize("norm", list(Norm))
def test_upsampling_block(norm):
    block, x = ResidualBlock(4, 6, resample=Resample.UP, norm=norm).eval(), noise(2, 4, 5, 8)
    torch.testing.assert_close(UpsamplingBlock(block)(x), block(x), **CLOSE)


def test_norms_fold_and_the_original_stays():
    network = nn.Sequential(conv_norm(3, 4), nn.ReLU(), add_spectral_norm(nn.Conv2d(4, 4, 1)))
    norm = network[0][1]
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x, folded = noise(2, 3, 6, 6), simplified(network.eval())
    torch.testing.assert_close(folded(x), network(x), **CLOSE)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    assert not hasattr(folded[2], "parametrizations")
    assert isinstance(network[0][1], nn.BatchNorm2d)


@pytest.mark.parametrize("k", [1, 3])
def test_attention_in_two_halves(k):
    blocks = [ImageAttentionBlock(8, 12, 4).eval() for _ in range(2)]
    z_x, z_y = noise(2, 8, 4, 6), noise(1, k, 12, 3, 5, seed=1)
    target = torch.cat([TargetAttention(block)(z_y[0]) for block in blocks], dim=2)
    first = 0
    for block in blocks:
        half = DriverAttention(block, first)
        first = half.values.stop
        for ours, expected in zip(half(z_x, target), block(z_x, z_y), strict=True):
            torch.testing.assert_close(ours, expected, **CLOSE)


def test_shape_encoder():
    encoder = ShapeEncoder(ShapeEncoderConfig(resolution=64, width=8))
    encoder(noise(4, 3, 64, 64))  # gives the norms something to fold
    x, folded = noise(1, 3, 64, 64, seed=1), simplified(encoder.eval())
    torch.testing.assert_close(folded(x).points_px, encoder(x).points_px, atol=1e-3, rtol=0)


def test_group_norms_are_the_same():
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 12)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 100 + torch.randn(2, 12, 7, 5)
    lighter = simplified(nn.Sequential(norm))
    assert not isinstance(lighter[0], nn.GroupNorm)
    torch.testing.assert_close(lighter(x), F.group_norm(x, 4, norm.weight, norm.bias), atol=1e-4, rtol=1e-4)
