from functools import partial

import numpy as np
import pytest

import factories
from reenactor.core import MESH_TO_IBUG68
from reenactor.face.geometry import (
    harmonic_weights,
    in_mean_pose,
    matrix_from_angles,
    mean_face,
    turned,
    with_lips_closed,
    with_outline_of,
)
from reenactor.face.geometry.contours import (
    FACE_OVAL,
    INNER_LIPS,
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE,
    LEFT_IRIS,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from reenactor.face.geometry.face_shape import _PARTS

OVAL = list(FACE_OVAL)
PARTS = [*RIGHT_EYE, *LEFT_EYE, *INNER_LIPS]


posed = partial(factories.posed, angles_deg=(8.0, -5.0, 12.0), scale=100.0, at=(120.0, 130.0))


def test_own_outline_changes_nothing():
    mesh = posed(mean_face().points)
    assert np.abs(with_outline_of(mesh, mesh) - mesh).max() < 1e-3


def test_outline_is_taken_without_size_and_pose_and_parts_stay():
    mean = mean_face().points
    wide = mean.astype(np.float64).copy()
    wide[OVAL, 0] *= 1.15
    mesh = posed(mean)
    taken = with_outline_of(mesh, posed(wide, scale=260.0, angles_deg=(-20.0, 9.0, -4.0), at=(600.0, 40.0)))
    # The wide face as it would stand in the first picture, apart from what the fit itself gives way.
    expected = posed(wide)
    assert np.abs(taken[OVAL] - expected[OVAL]).max() < 0.02 * 100
    assert np.abs(taken[PARTS] - mesh[PARTS]).max() < 1e-3
    assert np.abs(expected[OVAL] - mesh[OVAL]).max() > 0.05 * 100


def test_skin_follows_between_parts_and_outline():
    weights = harmonic_weights(FACE_OVAL, _PARTS)
    assert weights.min() > -1e-9
    assert weights.max() <= 1 + 1e-9
    # A harmonic function has no peak of its own: cheeks take part of what the outline does, parts none of it.
    total = weights.sum(1)
    assert total[OVAL] == pytest.approx(1.0)
    assert total[PARTS] == pytest.approx(0.0)
    cheek = [50, 280]
    assert ((total[cheek] > 0.05) & (total[cheek] < 0.95)).all()


def test_the_mesh_follows_the_68_landmarks():
    weights, landmarks = harmonic_weights(MESH_TO_IBUG68), list(MESH_TO_IBUG68)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-9)  # all move alike: so does every vertex
    displacement = np.random.default_rng(0).normal(size=(68, 3))
    np.testing.assert_allclose((weights @ displacement)[landmarks], displacement, atol=1e-12)
    # Irises take the mean of their eye's corners; the lower lip's landmarks do not pull the upper lip's edge.
    for iris, corners in ((RIGHT_IRIS, (36, 39)), (LEFT_IRIS, (42, 45))):
        np.testing.assert_allclose((weights @ displacement)[list(iris)], [displacement[list(corners)].mean(0)] * 5)
    lower = [landmarks.index(vertex) for vertex in (317, 14, 87, 314, 17, 84)]
    assert weights[:, lower].sum(1)[[80, 312]].max() < 0.01 < 0.9 < weights[:, lower].sum(1)[[15, 16]].min()


def test_turned_adds_to_the_pose():
    mesh = posed(mean_face().points, angles_deg=(0.0, 0.0, 0.0))
    moved = turned(mesh, np.array([10.0, 4.0, -3.0]), scale=1.1, shift_px=(5.0, -2.0))
    head, shape = in_mean_pose(moved)
    assert pytest.approx(matrix_from_angles(np.array([10.0, 4.0, -3.0])), abs=1e-5) == head.R
    assert float(head.scale) == pytest.approx(110.0, rel=1e-5)
    assert head.t[:2] == pytest.approx([125.0, 128.0], abs=1e-2)
    assert shape == pytest.approx(mean_face().points.astype(np.float64), abs=1e-5)


def test_lips_close_half_way_and_nothing_else_moves():
    mesh = posed(mean_face().points)
    closed = with_lips_closed(mesh)
    upper, lower = list(INNER_LIPS_UPPER), list(INNER_LIPS_LOWER)
    assert (closed[upper] == closed[lower]).all()
    assert closed[13] == pytest.approx((mesh[13] + mesh[14]) / 2)
    others = np.setdiff1d(np.arange(478), upper + lower)
    assert (closed[others] == mesh[others]).all()
