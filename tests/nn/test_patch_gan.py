"""Patch discriminators: sizes, the patches that scores see, and the pyramid."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reenactor.nn import MultiScalePatchGAN, PatchGAN


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(network, *args, **kwargs):
    torch.manual_seed(0)
    return network(*args, **kwargs).double()


def sizes(found):
    return [tuple(f.shape[1:]) for f in (*found.features, found.scores)]


def test_sizes_at_256_128_and_64():
    with torch.device("meta"):
        whole, half, quarter = MultiScalePatchGAN(3)(torch.empty(2, 3, 256, 256))
    assert sizes(whole) == [(64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 31, 31), (1, 30, 30)]
    assert sizes(half) == [(64, 64, 64), (128, 32, 32), (256, 31, 31), (1, 30, 30)]
    assert sizes(quarter) == [(64, 32, 32), (128, 16, 16), (256, 15, 15), (1, 14, 14)]


@pytest.mark.parametrize(("halvings", "patch"), [(3, 70), (2, 34), (1, 16)])
def test_a_score_sees_its_patch(halvings, patch):
    network = made(PatchGAN, 1, width=2, halvings=halvings)
    for layer in network.layers:
        # Instance normalization sees the whole map.
        layer[1] = nn.Identity()
    image = noise(1, 1, 160, 160).requires_grad_()
    scores = network(image).scores
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    seen = image.grad[0, 0].abs() > 0
    assert seen.any(0).sum() == seen.any(1).sum() == patch


@torch.no_grad()
def test_each_scale_judges_the_shrunk_picture():
    network = made(MultiScalePatchGAN, 3, width=4, max_width=8, halvings=(2, 2, 1))
    image = noise(2, 3, 64, 64)
    half = sum(image[..., i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
    quarter = sum(half[..., i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
    judged = network(image)
    assert len(judged) == 3
    for scale, picture, found in zip(network.scales, (image, half, quarter), judged, strict=True):
        torch.testing.assert_close(found.scores, scale(picture).scores)
    assert len({id(p) for p in network.parameters()}) == sum(len(list(s.parameters())) for s in network.scales)


@torch.no_grad()
def test_layers_in_order():
    network = made(PatchGAN, 3, width=4, halvings=2)
    image = noise(2, 3, 32, 32)
    found = network(image)
    first = F.conv2d(image, network.layers[0][0].weight, network.layers[0][0].bias, stride=2, padding=1)
    torch.testing.assert_close(found.features[0], torch.where(first > 0, first, 0.2 * first))
    last = F.conv2d(found.features[-1], network.score.weight, network.score.bias, padding=1)
    # No sigmoid: least-squares and hinge losses want plain numbers.
    torch.testing.assert_close(found.scores, last)
    for feature in found.features[1:]:
        before = torch.where(feature > 0, feature, feature / 0.2)
        torch.testing.assert_close(before.mean((2, 3)), torch.zeros(*before.shape[:2], dtype=torch.float64))
        torch.testing.assert_close(
            before.var((2, 3), correction=0), torch.ones_like(before.mean((2, 3))), atol=1e-2, rtol=0
        )
    assert found.features[0].mean((2, 3)).abs().max() > 1e-2


def test_gradients_reach_every_parameter():
    network = made(MultiScalePatchGAN, 3, width=4)
    sum(found.scores.square().sum() for found in network(noise(2, 3, 64, 64))).backward()
    assert all(p.grad.abs().max() > 1e-7 for p in network.parameters())
