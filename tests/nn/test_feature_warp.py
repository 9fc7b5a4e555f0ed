"""Warping against scipy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from reenactor.nn import pool_flow, unwarped, warp, warp_cubic


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (64, 32)])
def test_no_flow_changes_nothing(size):
    features = random(2, 3, *size)
    torch.testing.assert_close(warp(features, torch.zeros(2, 2, *size, dtype=torch.float64)), features)


@pytest.mark.parametrize("strength", [0.1, 1.0, 4.0])
def test_equals_scipy(strength):
    height, width = 6, 10
    features, flow = random(2, 3, height, width), strength * random(2, 2, height, width, seed=1)
    got = warp(features, flow).numpy()
    rows, columns = np.mgrid[:height, :width]
    for b in range(2):
        at = rows + flow[b, 1].numpy() * height / 2, columns + flow[b, 0].numpy() * width / 2
        for c in range(3):
            expected = map_coordinates(features[b, c].numpy(), at, order=1, mode="nearest")
            np.testing.assert_allclose(got[b, c], expected, atol=1e-12)


def test_two_columns_of_eight():
    features = random(1, 1, 4, 8)
    flow = torch.zeros(1, 2, 4, 8, dtype=torch.float64)
    flow[:, 0] = 2 * 2 / 8
    torch.testing.assert_close(warp(features, flow)[..., :6], features[..., 2:])
    torch.testing.assert_close(warp_cubic(features, flow)[..., :6], features[..., 2:])


def test_smooth_pictures_are_sampled_alike():
    soft = F.avg_pool2d(random(1, 3, 36, 36), 21, 1)
    flow = torch.zeros(1, 2, 16, 16, dtype=torch.float64)
    flow[:, 0] = 0.6 * 2 / 16
    torch.testing.assert_close(warp_cubic(soft, flow), warp(soft, flow), atol=1e-2, rtol=0)


def given_slowly(flow, amounts):
    """Each position takes its amount from the four pixels around the one that the flow names."""
    size = len(amounts)
    out = np.zeros((size, size))
    for row, column in np.ndindex(size, size):
        x, y = np.clip((column, row) + flow[:, row, column] * size / 2, 0, size - 1)
        left, top = min(int(x), size - 2), min(int(y), size - 2)
        for i, j in np.ndindex(2, 2):
            out[top + i, left + j] += amounts[row, column] * (1 - abs(y - top - i)) * (1 - abs(x - left - j))
    return out


def test_what_is_sampled_is_given_back():
    flow, amounts = random(2, 2, 9, 9), random(2, 1, 9, 9, seed=1)
    with torch.inference_mode():
        found = unwarped(flow, amounts)
    for i in range(2):
        slow = given_slowly(flow[i].numpy(), amounts[i, 0].numpy())
        np.testing.assert_allclose(found[i, 0].numpy(), slow, atol=1e-12)


def test_places_are_exact_in_bfloat16():
    # Half a pixel off in the worst places, if the grid were bfloat16 too.
    features = random(1, 1, 4, 256).bfloat16()
    moved = warp(features, torch.zeros(1, 2, 4, 256, dtype=torch.bfloat16))
    assert moved.dtype == torch.bfloat16
    torch.testing.assert_close(moved, features)


def test_gradcheck():
    features, flow = random(1, 2, 4, 5).requires_grad_(), (0.3 * random(1, 2, 4, 5, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (features, flow))


def test_pooling_averages_offsets():
    flow = random(1, 2, 4, 8)
    pooled = pool_flow(flow, (2, 2))
    assert pooled.shape == (1, 2, 2, 2)
    torch.testing.assert_close(pooled[0, 1, 1, 0], flow[0, 1, 2:, :4].mean())
    torch.testing.assert_close(pool_flow(flow, (4, 8)), flow)


def test_uneven_pooling_is_refused():
    with pytest.raises(ValueError, match="evenly"):
        pool_flow(random(1, 2, 8, 8), (3, 4))


def test_a_flow_of_nan_does_not_crash():
    features = torch.rand(1, 1, 8, 8, requires_grad=True)
    warp(features, torch.full((1, 2, 8, 8), torch.nan)).sum().backward()
    assert torch.isfinite(features.grad).all()
