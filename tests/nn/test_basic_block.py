"""Basic blocks of ResNet, step by step."""

import pytest
import torch
import torch.nn.functional as F

from reenactor.nn import BasicBlock


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
