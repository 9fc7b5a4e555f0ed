"""SPADE against loops and closed forms."""

import math

import pytest
import torch
from torch import nn

from reenactor.nn import SPADE, SPADEResidualBlock


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def spade():
    torch.manual_seed(0)
    return SPADE(2, 3).double()


def normalized(x):
    mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=0, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


@torch.no_grad()
def test_equals_a_loop(spade):
    x, spatial_map = noise(2, 2, 3, 4), noise(2, 3, 3, 4, seed=1)
    found = spade(x, spatial_map)
    weight, bias = spade.affine.weight, spade.affine.bias

    def convolved(b, channel, i, j):
        total = float(bias[channel])
        for m in range(3):
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    if 0 <= i + di < 3 and 0 <= j + dj < 4:
                        total += float(weight[channel, m, di + 1, dj + 1] * spatial_map[b, m, i + di, j + dj])
        return total

    for b in range(2):
        for c in range(2):
            values = x[b, c].flatten().tolist()
            mean = sum(values) / 12
            deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / 12 + 1e-5)
            for i in range(3):
                for j in range(4):
                    gamma, beta = convolved(b, c, i, j), convolved(b, 2 + c, i, j)
                    expected = gamma * (float(x[b, c, i, j]) - mean) / deviation + beta
                    assert float(found[b, c, i, j]) == pytest.approx(expected, abs=1e-12)


@torch.no_grad()
def test_a_constant_map_gives_a_plain_affine_norm(spade):
    x, levels = noise(2, 2, 6, 7), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    inside = spade(x, levels[:, None, None].expand(2, 3, 6, 7))[..., 1:-1, 1:-1]
    gain, bias = (torch.einsum("omij,m->o", spade.affine.weight, levels) + spade.affine.bias).chunk(2)
    plain = nn.InstanceNorm2d(2, affine=True).double()
    plain.weight.copy_(gain)
    plain.bias.copy_(bias)
    torch.testing.assert_close(inside, plain(x)[..., 1:-1, 1:-1])


@torch.no_grad()
def test_the_gain_is_gamma_and_not_one_more(spade):
    x, spatial_map = noise(1, 2, 4, 4), noise(1, 3, 4, 4, seed=1)
    spade.affine.weight.zero_()
    spade.affine.bias.zero_()
    assert torch.equal(spade(x, spatial_map), torch.zeros_like(x))
    spade.affine.bias[1] = 1
    torch.testing.assert_close(spade(x, spatial_map)[:, 1], normalized(x)[:, 1])


@torch.no_grad()
def test_a_fresh_one_keeps_what_an_empty_map_covers(spade):
    x = noise(2, 2, 4, 4)
    torch.testing.assert_close(spade(x, torch.zeros(2, 3, 4, 4, dtype=torch.float64)), normalized(x))


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3])
def test_residual_block_step_by_step(kernel):
    torch.manual_seed(0)
    block = SPADEResidualBlock(4, 3, kernel=kernel).double()
    x, spatial_map = noise(2, 4, 5, 6), noise(2, 3, 5, 6, seed=1)

    def conv(layer, h):
        # Convolution as a matrix product over the unfolded neighbourhoods.
        columns = nn.functional.unfold(h, kernel, padding=kernel // 2)
        result = (layer.weight.flatten(1) @ columns).unflatten(2, (5, 6))
        return result if layer.bias is None else result + layer.bias[:, None, None]

    h = conv(block.conv1, block.spade1(x, spatial_map).clamp_min(0))
    h = conv(block.conv2, block.spade2(h, spatial_map).clamp_min(0))
    expected = h + conv(block.skip, block.spade_skip(x, spatial_map).clamp_min(0))
    torch.testing.assert_close(block(x, spatial_map), expected)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    block = SPADEResidualBlock(4, 3).double()
    block(noise(2, 4, 5, 6), noise(2, 3, 5, 6, seed=1)).square().sum().backward()
    assert all(p.grad.abs().max() > 1e-6 for p in block.parameters())
