"""The asset keeps its promises."""

from collections import Counter

import numpy as np
import pytest

from reenactor.core import IRIS_CENTRES, OUTER_EYE_CORNERS
from reenactor.face.geometry import mean_face

SURFACE = 468


@pytest.fixture(scope="module")
def face():
    return mean_face()


def test_is_symmetric_and_of_unit_size(face):
    np.testing.assert_array_equal(face.mirror[face.mirror], np.arange(478))
    np.testing.assert_allclose(face.points[face.mirror] * [-1, 1, 1], face.points, atol=1e-6)
    np.testing.assert_allclose(face.weights[face.mirror], face.weights, rtol=1e-4)
    right, left = face.points[list(OUTER_EYE_CORNERS)]
    assert np.linalg.norm(left - right) == pytest.approx(1, abs=1e-6)
    assert right[0] < 0 < left[0]
    assert face.mirror[IRIS_CENTRES[0]] == IRIS_CENTRES[1]


def test_faces_the_camera(face):
    nose_tip, forehead, chin, ear = (face.points[i] for i in (4, 10, 152, 127))
    assert nose_tip[2] == face.points[:, 2].min()
    assert ear[2] > nose_tip[2]
    assert forehead[1] < nose_tip[1] < chin[1]


def test_rigid_parts_weigh_most(face):
    mean = face.weights.mean()
    assert face.weights.sum() == pytest.approx(1, abs=1e-6)
    assert (face.weights[[6, 197, 195, 5, 4]] > 1.5 * mean).all()  # the nose
    moving = [13, 14, 61, 291, 152, 172, 105, 334, 159, 145, 386, 374, *range(SURFACE, 478)]
    assert (face.weights[moving] < 0.5 * mean).all()


def test_triangles_are_a_disc_with_three_holes(face):
    a, b, c = face.triangles.T
    directed = Counter(zip(np.r_[a, b, c].tolist(), np.r_[b, c, a].tolist(), strict=True))
    assert max(directed.values()) == 1  # neighbours are wound the same way
    edges = {frozenset(edge) for edge in directed}
    border = [edge for edge in directed if edge[::-1] not in directed]
    assert SURFACE - len(edges) + len(face.triangles) == 1 - 3
    assert sorted(_loops(border)) == [16, 16, 20, 36]  # eyes, mouth, outline


def test_triangles_run_clockwise_in_the_picture(face):
    a, b, c = (face.points[face.triangles[:, k], :2] for k in range(3))
    clockwise = np.cross(b - a, c - a) > 0
    assert clockwise.mean() > 0.97  # some under the nose and in the lips look away


def test_is_shared_and_cannot_be_changed(face):
    assert mean_face() is face
    with pytest.raises(ValueError, match="read-only"):
        face.points[0] = 0


def _loops(border):
    following = dict(border)
    while following:
        start, here = following.popitem()
        length = 1
        while here != start:
            here = following.pop(here)
            length += 1
        yield length
