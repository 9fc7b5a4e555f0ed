"""Contour resampling (paper A): the truth has another's outline, and otherwise the photo's own face."""

import cv2
import numpy as np
import pytest

from reenactor.face.geometry import in_mean_pose, mean_face, turned
from reenactor.face.geometry.contours import FACE_OVAL, LEFT_EYE, OUTER_LIPS_UPPER, RIGHT_EYE
from reenactor.research.data.pairs import contour_pair

SIZE = 256
JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
NOSE = (168, 6, 197, 195, 5, 4, 1, 2)
PARTS = (*RIGHT_EYE, *LEFT_EYE, *OUTER_LIPS_UPPER, *NOSE)


def face(yaw=0.0, pitch=0.0, roll=0.0, *, wide=1.0, long=1.0):
    points = mean_face().points * np.array([wide, long, 1.0])
    middle = np.array([(SIZE - 1) / 2, 120.0, 0.0])
    return turned((points * 75 + middle).astype(np.float32), np.array([yaw, pitch, roll]))


def dotted(mesh_px, vertices):
    """A grey picture with a dark dot on each of some vertices."""
    picture = np.full((SIZE, SIZE, 3), 200, np.float32)
    for x, y in mesh_px[list(vertices), :2]:
        dot = np.zeros((SIZE, SIZE), np.float32)
        cv2.circle(dot, (round(x * 16), round(y * 16)), 40, 1.0, -1, cv2.LINE_AA, 4)
        picture *= 1 - 0.9 * dot[..., None]
    return picture.round().astype(np.uint8)


def found_near(picture, near_px, reach=5):
    """Centre of the darkness around a point."""
    x, y = np.round(near_px).astype(int)
    dark = 200.0 - picture[y - reach : y + reach + 1, x - reach : x + reach + 1, 0].clip(max=200)
    grid = np.arange(-reach, reach + 1)
    return np.array([x + (dark.sum(0) @ grid) / dark.sum(), y + (dark.sum(1) @ grid) / dark.sum()])


@pytest.mark.parametrize("angles_deg", [(0.0, 0.0, 0.0), (18.0, -8.0, 6.0)])
def test_own_outline_changes_nothing(angles_deg):
    mesh = face(*angles_deg)
    photo = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), np.uint8), (5, 5), 0)
    pair = contour_pair("a", photo, mesh, mesh)
    np.testing.assert_allclose(pair.driver_mesh, mesh, atol=1e-3)
    off = np.abs(pair.truth.astype(int) - photo)
    assert off.max() <= 1
    assert (pair.targets[0] == photo).all()


@pytest.mark.parametrize(("angles_deg", "wide", "long"), [((0.0, 0.0, 0.0), 1.15, 1.0), ((12.0, 5.0, -4.0), 0.9, 1.08)])
def test_parts_stay_and_the_jaw_is_the_others(angles_deg, wide, long):
    # The same person but for the outline: in the mean pose the outlines can be laid on each other.
    mesh = face(*angles_deg)
    head, shape = in_mean_pose(mesh)
    other = shape.copy()
    other[list(FACE_OVAL)] *= np.array([wide, long, 1.0])
    lender = turned(head.apply(other).astype(np.float32), np.array([-10.0, 4.0, 3.0]), scale=1.3, shift_px=(9, -5))
    tops = (13, 37, 267, 33, 263, 4)
    photo = dotted(mesh, tops)
    pair = contour_pair("a", photo, mesh, lender)
    assert np.linalg.norm(pair.driver_mesh[list(PARTS), :2] - mesh[list(PARTS), :2], axis=1).max() < 1
    # In the pixels too.
    for vertex in tops:
        assert np.linalg.norm(found_near(pair.truth, mesh[vertex, :2]) - found_near(photo, mesh[vertex, :2])) < 1
    expected = head.apply(other)[list(JAW), :2]
    moved = np.linalg.norm(expected - mesh[list(JAW), :2], axis=1)
    assert moved.max() > 5
    off = np.linalg.norm(pair.driver_mesh[list(JAW), :2] - expected, axis=1)
    assert off.max() < 0.2 * moved.max()


def test_the_truths_jaw_is_where_its_landmarks_are():
    mesh, narrow = face(), face(wide=0.88)
    photo = dotted(mesh, JAW[6:15:2])
    pair = contour_pair("a", photo, mesh, narrow)
    for vertex in JAW[6:15:2]:
        assert np.linalg.norm(found_near(pair.truth, pair.driver_mesh[vertex, :2]) - pair.driver_mesh[vertex, :2]) < 1


def test_the_mask_is_the_inside_of_the_new_outline():
    mesh, wide = face(), face(wide=1.2)
    pair = contour_pair("a", np.zeros((SIZE, SIZE, 3), np.uint8), mesh, wide)
    outline = pair.driver_mesh[list(FACE_OVAL), :2]
    x, y = outline.astype(np.float64).T
    area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert (pair.mask > 0).sum() == pytest.approx(area, rel=0.03)
    assert set(np.unique(pair.mask)) == {0, 255}
