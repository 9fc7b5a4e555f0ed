"""Contours against the mesh itself: its boundary loops, its edges, its mirror."""

from itertools import pairwise

import numpy as np
import pytest

from reenactor.face.geometry import contours, mean_face
from reenactor.face.geometry.face_mesh import signed_areas

CLOSED = ["FACE_OVAL", "INNER_LIPS", "RIGHT_EYE", "LEFT_EYE"]
MIRRORED = [
    ("OUTER_LIPS_UPPER", "OUTER_LIPS_UPPER"),
    ("INNER_LIPS_UPPER", "INNER_LIPS_UPPER"),
    ("INNER_LIPS_LOWER", "INNER_LIPS_LOWER"),
    ("RIGHT_EYE_UPPER", "LEFT_EYE_UPPER"),
    ("RIGHT_EYE_LOWER", "LEFT_EYE_LOWER"),
]


def boundary_loops():
    """The mesh's boundary: edges that belong to one triangle only, walked until they close."""
    edges = {(int(t[i]), int(t[i - 2])) for t in mean_face().triangles for i in range(3)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while following:
        vertex, after = following.popitem()
        loop = [vertex]
        while after != vertex:
            loop.append(after)
            after = following.pop(after)
        loops.append(loop)
    return loops


def from_smallest(loop):
    start = loop.index(min(loop))
    return [*loop[start:], *loop[:start]]


def test_boundary_is_the_four_closed_contours():
    assert sorted(len(loop) for loop in boundary_loops()) == sorted(len(getattr(contours, name)) for name in CLOSED)


@pytest.mark.parametrize("name", CLOSED)
def test_contour_is_a_boundary_loop(name):
    contour = from_smallest(list(getattr(contours, name)))
    backwards = from_smallest(contour[::-1])
    loops = [from_smallest(loop) for loop in boundary_loops()]
    assert contour in loops or backwards in loops


@pytest.mark.parametrize("name", CLOSED)
def test_closed_contour_is_clockwise_from_the_image_left(name):
    contour, points = list(getattr(contours, name)), mean_face().points
    x, y = points[contour, 0], points[contour, 1]
    assert (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0
    # Its first point is the leftmost, to 3% of its width.
    assert x[0] < x.min() + 0.03 * np.ptp(x)
    assert y[1] < y[-1]


@pytest.mark.parametrize(
    ("closed", "upper", "lower"),
    [
        ("INNER_LIPS", "INNER_LIPS_UPPER", "INNER_LIPS_LOWER"),
        ("RIGHT_EYE", "RIGHT_EYE_UPPER", "RIGHT_EYE_LOWER"),
        ("LEFT_EYE", "LEFT_EYE_UPPER", "LEFT_EYE_LOWER"),
    ],
)
def test_halves_share_their_ends_and_make_the_whole(closed, upper, lower):
    whole, top, bottom = (getattr(contours, name) for name in (closed, upper, lower))
    assert (top[0], top[-1]) == (bottom[0], bottom[-1])
    assert set(top) | set(bottom) == set(whole)
    assert len(whole) == len(set(whole)) == len(top) + len(bottom) - 2
    # Points that face each other stand at about the same position along the opening.
    points, width = mean_face().points, np.ptp(mean_face().points[list(whole), 0])
    assert np.abs(points[list(top), 0] - points[list(bottom), 0]).max() < 0.1 * width
    assert (points[list(top[1:-1]), 1] < points[list(bottom[1:-1]), 1]).all()


def test_outer_lip_runs_along_edges_of_the_mesh():
    edges = {frozenset((int(t[i]), int(t[i - 1]))) for t in mean_face().triangles for i in range(3)}
    lip = contours.OUTER_LIPS_UPPER
    assert all(frozenset(pair) in edges for pair in pairwise(lip))
    # Above the inner edge.
    points = mean_face().points
    assert (points[list(lip[1:-1]), 1] < points[list(contours.INNER_LIPS_UPPER[1:-1]), 1]).all()


@pytest.mark.parametrize(("one", "other"), MIRRORED)
def test_mirrored_contour_is_the_other_sides(one, other):
    mirror = mean_face().mirror
    assert [int(mirror[v]) for v in getattr(contours, one)] == list(getattr(contours, other))[::-1]


@pytest.mark.parametrize(("iris", "eye"), [("RIGHT_IRIS", "RIGHT_EYE"), ("LEFT_IRIS", "LEFT_EYE")])
def test_iris_is_a_centre_and_a_rim_within_the_eye(iris, eye):
    centre, *rim = mean_face().points[list(getattr(contours, iris)), :2]
    outline = mean_face().points[list(getattr(contours, eye)), :2]
    distance = np.linalg.norm(np.array(rim) - centre, axis=1)
    assert np.ptp(distance) < 0.2 * distance.mean()
    np.testing.assert_allclose(np.mean(rim, axis=0), centre, atol=0.05 * distance.mean())
    assert (outline.min(0) < centre).all()
    assert (centre < outline.max(0)).all()


def test_triangles_face_the_viewer():
    mean = mean_face()
    assert (signed_areas(mean.points[:, :2], mean.triangles) > 0).mean() > 0.97
