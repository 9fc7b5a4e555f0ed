"""Whole pictures: none, one, two, tiny, turned faces."""

import threading

import cv2
import numpy as np
import pytest

from reenactor.core import NoFaceError
from reenactor.face.perception import FaceFinder, FaceTracker
from reenactor.face.perception.observe import check_picture


@pytest.fixture(scope="module")
def pair(head):
    """A small face at the left, a large one at the right; and where their noses are."""
    canvas = np.full((300, 520, 3), 120, dtype=np.uint8)
    canvas[60:188, 20:148] = cv2.resize(head, (128, 128), interpolation=cv2.INTER_AREA)
    canvas[20:276, 240:496] = head
    return canvas


def test_the_largest_of_two(finder, pair):
    left, right = finder.observe_all(pair)
    assert left.landmarks.mesh[:, 0].mean() < 150 < 240 < right.landmarks.mesh[:, 0].mean()
    assert finder.observe(pair).landmarks.mesh[4, 0] > 240
    assert finder.observe(pair, face=1).landmarks.mesh[4, 0] < 150
    assert finder.observe(pair, face=2).landmarks.mesh[4, 0] > 240
    assert right.landmarks.interocular_px / left.landmarks.interocular_px == pytest.approx(2, rel=0.1)


def test_says_how_many_there_are(finder, pair):
    with pytest.raises(NoFaceError, match=r"face 3 .* me\.jpg shows 2: choose from 1 to 2"):
        finder.observe(pair, face=3, name="me.jpg")
    with pytest.raises(NoFaceError, match="choose from 1 to 2"):
        finder.observe(pair, face=0)


def test_names_the_picture_without_a_face(finder):
    with pytest.raises(NoFaceError, match=r"no face found in wall\.png"):
        finder.observe(np.full((256, 256, 3), 200, dtype=np.uint8), name="wall.png")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert finder.observe_all(noise) == []


@pytest.mark.parametrize("face_px", [60, 30, 16])
def test_a_small_face_in_a_large_picture(finder, head, face_px):
    """Down to an eightieth of the picture; MediaPipe's own face mesh gives up at an eighth."""
    scale = face_px / 105
    small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((720, 1280, 3), 90, dtype=np.uint8)
    canvas[300 : 300 + len(small), 700 : 700 + len(small)] = small
    nose = finder.observe(canvas).landmarks.mesh[4, :2]
    expected = (finder.observe(head).landmarks.mesh[4, :2] + 0.5) * len(small) / 256 - 0.5 + [700, 300]
    assert np.linalg.norm(nose - expected) < 0.06 * face_px


def test_a_quick_look_leaves_small_faces_out(finder):
    assert finder.observe_all(np.full((720, 1280, 3), 90, dtype=np.uint8), thorough=False) == []


def test_a_face_cut_by_the_border(finder, head):
    whole = finder.observe(head).landmarks.mesh
    half = finder.observe(np.ascontiguousarray(head[:, 100:])).landmarks.mesh
    visible = whole[:, 0] > 110
    assert np.linalg.norm((half[:, :2] + [100, 0] - whole[:, :2])[visible], axis=1).mean() < 4


def test_refuses_what_is_no_picture(head):
    for wrong in (head.astype(np.float32), head[..., 0], np.zeros((0, 5, 3), dtype=np.uint8)):
        with pytest.raises(ValueError, match="uint8 RGB"):
            check_picture(wrong)


def test_one_finder_per_thread(finder, head):
    expected = finder.observe(head).landmarks.mesh
    found = []

    def work():
        with FaceFinder() as mine:
            found.extend(mine.observe(head).landmarks.mesh for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for mesh in found:
        np.testing.assert_array_equal(mesh, expected)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_upside_down_or_on_its_side(finder, photo, quarters):
    upright, size = finder.observe(photo).landmarks.mesh[:, :2], np.array(photo.shape[1::-1])
    found = finder.observe(np.ascontiguousarray(np.rot90(photo, quarters)))
    wanted = upright
    for _ in range(quarters):
        wanted = np.stack([wanted[:, 1], size[0] - 1 - wanted[:, 0]], 1)
    assert np.abs(found.landmarks.mesh[:, :2] - wanted).mean() < 3
    assert abs((found.pose.roll_deg - 90 * -quarters + 180) % 360 - 180) < 12


def test_a_driver_upside_down_stays_so(photo):
    turned = np.ascontiguousarray(photo[::-1, ::-1])
    with FaceTracker() as tracker:
        rolls = [tracker.track(np.roll(turned, 2 * i, 1)).pose.roll_deg for i in range(5)]
    assert min(abs(roll) for roll in rolls) > 150
