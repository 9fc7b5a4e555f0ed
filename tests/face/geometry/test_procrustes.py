"""Similarity fits against scipy, a closed form, and points moved on purpose."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from reenactor.face.geometry import Similarity, fit_similarity, generalized_procrustes


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("d", [2, 3])
def test_recovers_a_known_similarity(rng, d):
    points = rng.normal(size=(30, d))
    R = Rotation.random(random_state=1).as_matrix() if d == 3 else _turn_2d(2.5)
    known = Similarity(scale=np.array(3.5), R=R, t=rng.normal(size=d))
    fit = fit_similarity(points, known.apply(points), rng.uniform(0.1, 1, 30))
    assert fit.scale == pytest.approx(3.5, abs=1e-12)
    np.testing.assert_allclose(fit.R, R, atol=1e-12)
    np.testing.assert_allclose(fit.t, known.t, atol=1e-12)
    np.testing.assert_allclose(fit.inverse().apply(fit.apply(points)), points, atol=1e-12)


def test_rotation_of_a_noisy_fit_is_scipys(rng):
    source, weights = rng.normal(size=(40, 3)), rng.uniform(0, 2, 40)
    target = source @ Rotation.random(random_state=2).as_matrix().T + rng.normal(scale=0.3, size=(40, 3))
    w = weights / weights.sum()
    theirs, _ = Rotation.align_vectors(target - w @ target, source - w @ source, weights=weights)
    ours = fit_similarity(source, target, weights)
    np.testing.assert_allclose(ours.R, theirs.as_matrix(), atol=1e-8)


def test_weighted_fit_in_the_plane_is_complex_regression(rng):
    source, target, w = rng.normal(size=(25, 2)), rng.normal(size=(25, 2)), rng.uniform(0, 1, 25)
    x, y = source @ [1, 1j], target @ [1, 1j]
    x, y = x - (w @ x) / w.sum(), y - (w @ y) / w.sum()
    a = (w @ (x.conj() * y)) / (w @ abs(x) ** 2)
    fit = fit_similarity(source, target, w)
    assert fit.scale == pytest.approx(abs(a), rel=1e-10)
    np.testing.assert_allclose(fit.R[:, 0], [a.real / abs(a), a.imag / abs(a)], atol=1e-10)


def test_never_reflects(rng):
    source = rng.normal(size=(20, 3))
    fit = fit_similarity(source, source * [-1, 1, 1])
    assert np.linalg.det(fit.R) == pytest.approx(1)
    assert fit.scale > 0


def test_a_point_without_weight_does_not_pull(rng):
    source = rng.normal(size=(10, 3))
    target = 2 * source + 1
    target[0] += 100
    fit = fit_similarity(source, target, np.r_[0.0, np.ones(9)])
    assert fit.scale == pytest.approx(2)
    np.testing.assert_allclose(fit.t, 1, atol=1e-12)


def test_a_batch_is_a_loop(rng):
    source, target, w = rng.normal(size=(12, 3)), rng.normal(size=(4, 2, 12, 3)), rng.uniform(0, 1, 12)
    batch = fit_similarity(source, target, w)
    assert batch.scale.shape == (4, 2)
    for i in np.ndindex(4, 2):
        one = fit_similarity(source, target[i], w)
        np.testing.assert_allclose(batch.apply(source)[i], one.apply(source), atol=1e-12)
        np.testing.assert_allclose(batch.inverse().apply(target)[i], one.inverse().apply(target[i]), atol=1e-9)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="coincide"):
        fit_similarity(np.ones((5, 3)), np.eye(5, 3))
    with pytest.raises(ValueError, match="weights"):
        fit_similarity(np.eye(3), np.eye(3), np.array([1.0, -1.0, 1.0]))


def test_generalized_procrustes_finds_the_common_shape(rng):
    shape = rng.normal(size=(50, 3))
    R = Rotation.random(200, random_state=3).as_matrix()
    noisy = shape + rng.normal(scale=0.05, size=(200, 50, 3))
    moved = rng.uniform(0.5, 2, 200)[:, None, None] * noisy @ np.swapaxes(R, 1, 2) + rng.normal(size=(200, 1, 3))
    mean, aligned = generalized_procrustes(moved)
    np.testing.assert_allclose(mean.mean(axis=0), 0, atol=1e-12)
    assert (mean**2).sum(axis=1).mean() == pytest.approx(1)
    fit = fit_similarity(mean, shape)
    # 200 shapes average the noise of 0.05 down to 0.0035.
    assert np.sqrt(((fit.apply(mean) - shape) ** 2).mean()) < 0.005
    assert np.sqrt(((fit.scale * (aligned - mean)) ** 2).mean()) == pytest.approx(0.05, rel=0.1)


def _turn_2d(angle_rad):
    return np.array([[np.cos(angle_rad), -np.sin(angle_rad)], [np.sin(angle_rad), np.cos(angle_rad)]])
