"""LPIPS and FID with stand-in networks: other formulas for Gaussians, and sums worked out by hand."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from reenactor.research.metrics import FID, Average, fid, frechet_distance, lpips


def covariance(rng, size, rank):
    x = rng.normal(size=(size, rank))
    return x @ x.T / rank


def spread_as(generator, count, mean, root):
    """(count, D) with exactly this mean, and `root root^T` as covariance divided by count - 1."""
    x = generator.normal(size=(count, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return mean + x @ root.T


class TestFrechet:
    def test_gaussians_along_the_axes(self):
        # Commuting covariances: |m|^2 + sum (s1 - s2)^2.
        a, b = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.5])
        value = frechet_distance(np.zeros(3), np.diag(a**2), np.array([3.0, 0, 4]), np.diag(b**2))
        assert value == pytest.approx(25 + ((a - b) ** 2).sum())

    @pytest.mark.parametrize("size", [2, 10, 40])
    def test_is_the_matrix_square_roots(self, size):
        rng = np.random.default_rng(size)
        m1, m2 = rng.normal(size=(2, size))
        s1, s2 = covariance(rng, size, 3 * size), covariance(rng, size, 3 * size)
        wanted = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
        assert frechet_distance(m1, s1, m2, s2) == pytest.approx(wanted, rel=1e-6)

    def test_low_rank(self):
        # On a line and on another one at 60 degrees: (S1 S2)^(1/2) has the trace |u.v| s1 s2 (Bures' formula).
        u, v = np.array([1.0, 0, 0]), np.array([0.5, math.sqrt(0.75), 0])
        value = frechet_distance(np.zeros(3), 4 * np.outer(u, u), np.zeros(3), 9 * np.outer(v, v))
        assert value == pytest.approx(4 + 9 - 2 * 0.5 * 2 * 3)

    def test_fid_of_pictures(self):
        rng = np.random.default_rng(0)
        root1, root2 = np.linalg.cholesky(covariance(rng, 4, 9)), np.linalg.cholesky(covariance(rng, 4, 9))
        m1, m2 = rng.normal(size=(2, 4))
        a, b = (torch.from_numpy(spread_as(rng, 50, m, r)) for m, r in ((m1, root1), (m2, root2)))
        wanted = frechet_distance(m1, root1 @ root1.T, m2, root2 @ root2.T)
        pictures_a, pictures_b = (x.view(50, 1, 2, 2) for x in (a, b))
        assert fid(pictures_a, pictures_b, nn.Flatten()) == pytest.approx(wanted, rel=1e-8)
        assert fid(pictures_a, pictures_a, nn.Flatten()) == pytest.approx(0, abs=1e-6)

        here, there = FID(nn.Flatten()), FID(nn.Flatten())
        here.update(pictures_a[:20], pictures_b[:35])
        there.update(drawn=pictures_a[20:])
        there.update(truth=pictures_b[35:])
        here.merge(there.state)
        assert here.compute() == pytest.approx(wanted, rel=1e-8)

    def test_too_few(self):
        metric = FID(nn.Flatten())
        metric.update(torch.zeros(5, 1, 2, 2), torch.zeros(1, 1, 2, 2))
        with pytest.raises(ValueError, match="1 truth"):
            metric.compute()


class TestLPIPS:
    def test_by_hand(self):
        # One layer: the colours themselves, at two places. Unit vectors (1, 0, 0), (0, 1, 0) against (0.6, 0.8, 0).
        a = torch.tensor([[2.0, 0], [0, 5], [0, 0]]).view(1, 3, 1, 2)
        b = torch.tensor([[3.0, 3], [4, 4], [0, 0]]).view(1, 3, 1, 2)
        at_first, at_second = 0.4**2 + 0.8**2, 0.6**2 + 0.2**2
        value = lpips(a, b, lambda x: [x])
        assert value.item() == pytest.approx((at_first + at_second) / 2, abs=1e-6)
        weighted = lpips(a, b, lambda x: [x, 2 * x], [torch.tensor([1.0, 0, 0]), torch.tensor([0, 10.0, 0])])
        wanted = (0.4**2 + 0.6**2) / 2 + 10 * (0.8**2 + 0.2**2) / 2
        assert weighted.item() == pytest.approx(wanted, abs=1e-5)

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
        running = Average(lpips)
        running.update(picture, picture + noise, network)
        assert running.compute() == pytest.approx(lpips(picture, picture + noise, network).mean().item(), rel=1e-5)

    def test_weights_must_fit(self):
        picture = torch.zeros(1, 3, 4, 4)
        with pytest.raises(ValueError, match="1 feature maps, but there are weights for 2"):
            lpips(picture, picture, lambda x: [x], [torch.ones(3), torch.ones(3)])

    def test_black_features_are_no_division_by_zero(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert lpips(-torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2), lambda x: [x + 1]).item() == pytest.approx(1)
