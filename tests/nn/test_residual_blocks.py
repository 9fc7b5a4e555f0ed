"""BigGAN's and ResNet's blocks against their textbook order of operations; AdaIN against its formula."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reenactor.nn import AdaIN, AdaINResidualBlock, BasicBlock, Norm, Resample, ResidualBlock


def random(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def randomized(module):
    torch.manual_seed(1)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def instance_norm_ref(x, gain=1.0, bias=0.0):
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * gain + bias


def block_ref(block, x, *, normed):
    """As figure 15 of BigGAN draws it: the skip's 1x1 convolution runs at the larger size."""

    def norm(layer, h):
        return instance_norm_ref(h, layer.weight[:, None, None], layer.bias[:, None, None]) if normed else h

    h, skip = F.relu(norm(block.norm1, x)), x
    if block.resample is Resample.UP:
        h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        skip = skip.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    h = block.conv2(F.relu(norm(block.norm2, block.conv1(h))))
    skip = block.skip(skip)
    if block.resample is Resample.DOWN:
        h, skip = (m.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5)) for m in (h, skip))
    return h + skip


@torch.no_grad()
@pytest.mark.parametrize("channels", [(6, 6), (4, 10)])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("resample", list(Resample))
def test_equals_the_textbook(resample, norm, channels):
    block = randomized(ResidualBlock(*channels, resample=resample, norm=norm))
    x = random(2, channels[0], 4, 6)
    size = {Resample.DOWN: (2, 3), Resample.SAME: (4, 6), Resample.UP: (8, 12)}[resample]
    result = block(x)
    assert result.shape == (2, channels[1], *size)
    torch.testing.assert_close(result, block_ref(block, x, normed=norm is Norm.INSTANCE))


@pytest.mark.parametrize(("wide", "inner"), [(True, 10), (False, 4)])
def test_wide_or_narrow_inside(wide, inner):
    down = ResidualBlock(4, 10, resample=Resample.DOWN, norm=Norm.NONE, wide=wide)
    assert down.conv1.out_channels == down.conv2.in_channels == inner
    up = ResidualBlock(4, 10, resample=Resample.UP, norm=Norm.NONE, wide=wide)
    assert up.conv1.out_channels == 10


def test_norm_none_has_no_norm_layer():
    block = ResidualBlock(4, 4, resample=Resample.DOWN, norm=Norm.NONE)
    assert not any(isinstance(m, nn.InstanceNorm2d) for m in block.modules())
    assert block.conv1.bias is not None


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("resample", list(Resample))
def test_gradients_reach_every_parameter(resample, norm):
    block = randomized(ResidualBlock(4, 8, resample=resample, norm=norm))
    block(random(2, 4, 8, 8)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in block.parameters())


@torch.no_grad()
def test_input_is_left_alone():
    x = random(1, 4, 4, 4)
    before = x.clone()
    randomized(ResidualBlock(4, 8, resample=Resample.DOWN, norm=Norm.NONE))(x)
    assert torch.equal(x, before)


@torch.no_grad()
def test_adain_sets_mean_and_deviation():
    adain = randomized(AdaIN(3, 5))
    x, style = random(2, 3, 8, 8), random(2, 5)
    result = adain(x, style)
    gain, bias = adain.affine(style).chunk(2, dim=1)
    torch.testing.assert_close(result.mean((2, 3)), bias)
    torch.testing.assert_close(result.std((2, 3), unbiased=False), (1 + gain).abs(), rtol=1e-4, atol=0)


@torch.no_grad()
def test_adain_block_equals_its_formula():
    block = randomized(AdaINResidualBlock(4, 3))
    x, style = random(2, 4, 5, 5), random(2, 3)

    def adain_ref(layer, h):
        gain, bias = layer.affine(style)[..., None, None].chunk(2, dim=1)
        return instance_norm_ref(h, 1 + gain, bias)

    expected = x + block.conv2(F.relu(adain_ref(block.adain2, block.conv1(F.relu(adain_ref(block.adain1, x))))))
    torch.testing.assert_close(block(x, style), expected)


def test_adain_gradients_reach_every_parameter():
    block = randomized(AdaINResidualBlock(4, 3))
    block(random(2, 4, 5, 5), random(2, 3)).square().sum().backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in block.parameters())


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def normed(conv_and_norm, x, stride, padding):
    conv, norm = conv_and_norm
    h = F.conv2d(x, conv.weight, stride=stride, padding=padding)
    mean, variance = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), correction=0, keepdim=True)
    gain, bias = (p[:, None, None] for p in (norm.weight, norm.bias))
    return gain * (h - mean) / (variance + 1e-5).sqrt() + bias


@torch.no_grad()
@pytest.mark.parametrize(("channels_out", "stride"), [(4, 1), (6, 1), (4, 2)])
def test_step_by_step(channels_out, stride):
    torch.manual_seed(0)
    block = BasicBlock(4, channels_out, stride=stride).double()
    for norm in (block.conv1[1], block.conv2[1]):
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = noise(2, 4, 6, 8)
    h = normed(block.conv2, normed(block.conv1, x, stride, 1).clamp_min(0), 1, 1)
    skip = x if (channels_out, stride) == (4, 1) else normed(block.skip, x, stride, 0)
    found = block(x)
    assert found.shape == (2, channels_out, 6 // stride, 8 // stride)
    torch.testing.assert_close(found, (h + skip).clamp_min(0))
