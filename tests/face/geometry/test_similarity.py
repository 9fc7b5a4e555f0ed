"""Similarity fits and angles against scipy, closed forms, points moved on purpose, and what the signs mean."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from reenactor.face.geometry import Similarity, angles_from_matrix, fit_similarity, matrix_from_angles

NOSE = np.array([0.0, 0.0, -1.0])
RIGHT_OF_PICTURE = np.array([1.0, 0.0, 0.0])


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


def test_signs():
    def turn(yaw=0.0, pitch=0.0, roll=0.0):
        return matrix_from_angles(np.array([yaw, pitch, roll]))

    assert (turn(yaw=20) @ NOSE)[0] > 0.3  # the nose goes to the image's right
    assert (turn(pitch=20) @ NOSE)[1] > 0.3  # and down: y points down
    assert (turn(roll=20) @ RIGHT_OF_PICTURE)[1] > 0.3  # clockwise: what was right is lower


def test_is_scipys_intrinsic_xyz():
    angles = np.random.default_rng(0).uniform([-89, -179, -179], [89, 179, 179], (50, 3))
    yaw, pitch, roll = angles.T
    theirs = Rotation.from_euler("XYZ", np.stack([pitch, -yaw, roll], axis=1), degrees=True)
    np.testing.assert_allclose(matrix_from_angles(angles), theirs.as_matrix(), atol=1e-12)


def test_there_and_back():
    angles = np.random.default_rng(1).uniform([-89, -179, -179], [89, 179, 179], (5, 10, 3))
    np.testing.assert_allclose(angles_from_matrix(matrix_from_angles(angles)), angles, atol=1e-9)


def test_a_full_profile_keeps_its_matrix():
    for yaw in (90.0, -90.0):
        R = matrix_from_angles(np.array([yaw, 30.0, -20.0]))
        angles = angles_from_matrix(R)
        assert angles[0] == yaw
        assert angles[2] == 0
        np.testing.assert_allclose(matrix_from_angles(angles), R, atol=1e-7)


def _turn_2d(angle_rad):
    return np.array([[np.cos(angle_rad), -np.sin(angle_rad)], [np.sin(angle_rad), np.cos(angle_rad)]])
