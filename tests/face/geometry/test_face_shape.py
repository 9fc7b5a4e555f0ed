from functools import partial

import numpy as np
import pytest

import factories
from reenactor.face.geometry import (
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
    RIGHT_EYE,
)
from reenactor.face.geometry.face_shape import _follow_outline

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
    weights = _follow_outline()
    assert weights.min() > -1e-9
    assert weights.max() <= 1 + 1e-9
    # A harmonic function has no peak of its own: cheeks take part of what the outline does, parts none of it.
    total = weights.sum(1)
    assert total[OVAL] == pytest.approx(1.0)
    assert total[PARTS] == pytest.approx(0.0)
    cheek = [50, 280]
    assert ((total[cheek] > 0.05) & (total[cheek] < 0.95)).all()


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
