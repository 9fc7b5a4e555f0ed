"""LPIPS and FID with stand-in networks: other formulas for Gaussians, and sums worked out by hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from reenactor.research.metrics import fid, lpips


def pictures_of(features):
    """(N, 4) features as (N, 1, 2, 2) pictures, which `nn.Flatten` turns back."""
    return torch.from_numpy(features).view(-1, 1, 2, 2)


def spread_as(generator, count, mean, root):
    """(count, D) with exactly this mean, and `root root^T` as covariance divided by count - 1."""
    x = generator.normal(size=(count, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return mean + x @ root.T


class TestFID:
    def test_gaussians_along_the_axes(self):
        # Commuting covariances: |m|^2 + sum (s1 - s2)^2.
        rng = np.random.default_rng(0)
        a, b = np.array([1.0, 2.0, 3.0, 1.0]), np.array([2.0, 2.0, 0.5, 1.0])
        one = spread_as(rng, 40, np.zeros(4), np.diag(a))
        two = spread_as(rng, 30, np.array([3.0, 0, 4, 0]), np.diag(b))
        found = fid(pictures_of(one), pictures_of(two), nn.Flatten())
        assert found == pytest.approx(25 + ((a - b) ** 2).sum(), rel=1e-6)

    def test_is_the_matrix_square_roots(self):
        rng = np.random.default_rng(1)
        m1, m2 = rng.normal(size=(2, 4))
        r1, r2 = (np.linalg.cholesky(np.cov(rng.normal(size=(4, 12)))) for _ in range(2))
        s1, s2 = r1 @ r1.T, r2 @ r2.T
        expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
        one, two = pictures_of(spread_as(rng, 50, m1, r1)), pictures_of(spread_as(rng, 60, m2, r2))
        assert fid(one, two, nn.Flatten()) == pytest.approx(expected, rel=1e-6)
        assert fid(one, one, nn.Flatten()) == pytest.approx(0, abs=1e-6)

    def test_low_rank(self):
        # On a line and on another one at 60 degrees: (S1 S2)^(1/2) has the trace |u.v| s1 s2 (Bures' formula).
        u, v = np.array([1.0, 0, 0, 0]), np.array([0.5, math.sqrt(0.75), 0, 0])
        t = np.random.default_rng(2).normal(size=(25, 1))
        t = (t - t.mean()) / t.std(ddof=1)
        found = fid(pictures_of(2 * t * u), pictures_of(3 * t * v), nn.Flatten())
        assert found == pytest.approx(4 + 9 - 2 * 0.5 * 2 * 3, rel=1e-6)

    def test_too_few(self):
        with pytest.raises(ValueError, match="not 5 and 1"):
            fid(torch.zeros(5, 1, 2, 2), torch.zeros(1, 1, 2, 2), nn.Flatten())


class TestLPIPS:
    def test_by_hand(self):
        # One layer: the colours themselves, at two places. Unit vectors (1, 0, 0), (0, 1, 0) against (0.6, 0.8, 0).
        a = torch.tensor([[2.0, 0], [0, 5], [0, 0]]).view(1, 3, 1, 2)
        b = torch.tensor([[3.0, 3], [4, 4], [0, 0]]).view(1, 3, 1, 2)
        at_first, at_second = 0.4**2 + 0.8**2, 0.6**2 + 0.2**2
        value = lpips(a, b, lambda x: [x])
        assert value.item() == pytest.approx((at_first + at_second) / 2, abs=1e-6)
        both = lpips(a, b, lambda x: [x, 2 * x])
        assert both.item() == pytest.approx(at_first + at_second, abs=1e-6), "a layer's scale does not matter"

    def test_equal_and_disturbed_pictures(self):
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, stride=2)

        def network(x):
            x = first(x).relu()
            return [x, second(x).relu()]

        picture = torch.rand(2, 3, 16, 16) * 2 - 1
        noise = torch.randn(2, 3, 16, 16)
        assert lpips(picture, picture, network).abs().max() == 0
        distances = [lpips(picture, picture + s * noise, network).detach() for s in (0.05, 0.2, 0.8)]
        assert (distances[0] < distances[1]).all()
        assert (distances[1] < distances[2]).all()

    def test_black_features_are_no_division_by_zero(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert lpips(-torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2), lambda x: [x + 1]).item() == pytest.approx(1)
