"""Looks are told apart by what shows; a cover takes what differs, and nothing blurred."""

import numpy as np
import pytest

from factories import posed
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import OPENINGS
from reenactor.face.geometry.looks import HEAD, covering, crop_looks, looks


def opened(number, by):
    """The mean face with the moving edge of an opening `by` outer-eye distances further down or up."""
    points = mean_face().points.copy()
    fixed, moving = OPENINGS[number]
    down = np.sign((points[list(moving[1:-1])] - points[list(fixed[1:-1])]).mean(0)[1])
    points[list(moving[1:-1]), 1] += by * down
    return points


@pytest.mark.parametrize(("angles", "which"), [((10, 0, 0), 0), ((0, 10, 0), 1)])
def test_ten_degrees_are_one(angles, which):
    change = looks(posed(mean_face().points, angles)) - looks(posed(mean_face().points))
    np.testing.assert_allclose(change, np.eye(5)[which], atol=1e-5)


def test_place_size_and_roll_do_not_count():
    moved = looks(posed(mean_face().points, (0, 0, 25), scale=40, at=(50, 200)))
    np.testing.assert_allclose(moved, looks(posed(mean_face().points)), atol=1e-5)


def test_mouths_and_lids_count_for_themselves():
    at_rest, wide, winking = (looks(posed(one)) for one in (mean_face().points, opened(0, 0.1), opened(1, 0.02)))
    assert (wide - at_rest)[2] == pytest.approx(2, abs=0.3)
    assert abs(wide - at_rest)[[0, 1, 4]].max() < 0.2
    assert (winking - at_rest)[4] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("angles", "scale", "at", "which"),
    [
        ((10, 0, 0), 40, (64, 64), 0),
        ((0, 10, 0), 40, (64, 64), 1),
        ((0, 0, 10), 40, (64, 64), 2),
        ((0, 0, 0), 40, (76.8, 64), 3),
        ((0, 0, 0), 40, (64, 51.2), 4),
        ((0, 0, 0), 40 * np.exp(0.1), (64, 64), 5),
    ],
)
def test_units_of_a_head_in_a_crop(angles, scale, at, which):
    centred = mean_face().points - mean_face().points.mean(0)
    before = crop_looks(posed(centred, scale=40, at=(64, 64)), 128)
    after = crop_looks(posed(centred, angles, scale=scale, at=at), 128)
    np.testing.assert_allclose(np.abs(after - before), np.eye(9)[which], atol=1e-5)


def test_expressions_count_beside_the_head():
    at_rest, wide = (posed(one, scale=40, at=(64, 64)) for one in (mean_face().points, opened(0, 0.1)))
    change = crop_looks(wide, 128) - crop_looks(at_rest, 128)
    np.testing.assert_allclose(change[HEAD:], (looks(wide) - looks(at_rest))[2:], atol=1e-6)
    assert np.abs(change[:HEAD]).max() < 0.3


class TestCovering:
    @pytest.fixture
    def seen(self):
        return np.outer([0, 0.3, 3, -1, 2.8, 1], np.eye(5)[0])

    def test_the_farthest_first_and_nothing_that_is_there_already(self, seen):
        assert covering(seen, 10, 0) == [0, 2, 3, 5]
        assert covering(seen, 2, 0) == [0, 2]
        assert covering(seen, 1, 4) == [4]

    def test_blurred_ones_are_left_out(self, seen):
        assert covering(seen, 10, 0, worth=np.array([1, 1, 0, 1, 0.5, 1])) == [0, 4, 3, 5]
        assert covering(seen, 10, 0, worth=np.zeros(6)) == [0]
