"""Boxes: position, size, order, overlap."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from reenactor.face.perception import FaceBox, FaceDetector

BOX = FaceBox(x=10.0, y=10.0, width=20.0, height=20.0, angle_deg=0.0, score=0.9)


@pytest.fixture(scope="module")
def detector():
    one = FaceDetector()
    yield one
    one.close()


def test_overlap_by_hand():
    assert BOX.overlap(BOX) == 1
    assert BOX.overlap(replace(BOX, x=20.0)) == pytest.approx(200 / 600)
    assert BOX.overlap(replace(BOX, x=31.0)) == 0


def test_finds_the_face(detector, photo):
    (box,) = detector.detect(photo)
    assert (box.x, box.y) == pytest.approx((222, 120), abs=12)
    assert 80 < box.width < 140
    assert box.score > 0.7


def test_a_shrunk_picture_gives_the_same_place(detector, photo):
    (box,) = detector.detect(photo)
    (large,) = detector.detect(cv2.resize(photo, (3072, 3072), interpolation=cv2.INTER_CUBIC))
    assert ((large.x + 0.5) / 6 - 0.5, (large.y + 0.5) / 6 - 0.5) == pytest.approx((box.x, box.y), abs=2)
    assert large.width / 6 == pytest.approx(box.width, rel=0.05)


def test_the_angle_is_that_of_the_eyes(detector, photo):
    M = cv2.getRotationMatrix2D((222, 130), -30, 1.0)  # OpenCV counts counter-clockwise
    (upright,), (turned,) = (detector.detect(p) for p in (photo, cv2.warpAffine(photo, M, (512, 512))))
    assert turned.angle_deg - upright.angle_deg == pytest.approx(30, abs=10)


def test_a_face_that_fills_the_picture(detector, photo):
    close = cv2.resize(photo[70:180, 172:272], (600, 660), interpolation=cv2.INTER_CUBIC)
    assert len(detector.detect(close)) == 1


def test_tiles_cover_the_picture_and_overlap():
    from reenactor.face.perception.detection import _starts

    for length, side in ((1280, 640), (720, 640), (1000, 333), (100, 320)):
        starts = list(_starts(length, side))
        assert starts[0] == 0
        assert starts[-1] + side >= length
        assert all(b - a <= side / 2 + 1 for a, b in pairwise(starts))


def test_nothing_in_an_empty_picture(detector):
    assert detector.detect(np.full((300, 400, 3), 128, dtype=np.uint8)) == []


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_pictures_are_searched_last_and_boxes_lie_where_the_face_is(detector, photo, quarters):
    turned = np.ascontiguousarray(np.rot90(photo, quarters))
    upright = detector.detect(photo)[0]
    passes = list(detector.passes(turned))
    assert len(passes) == 10
    # Turned back by as many quarters; 180 degrees are tried first.
    first = 4 + 2 * {2: 0, 3: 1, 1: 2}[quarters]
    box = passes[first][0]
    x, y = upright.x, upright.y
    for _ in range(quarters):
        x, y = y, photo.shape[1] - 1 - x
    assert np.hypot(box.x - x, box.y - y) < 5
    assert abs((box.angle_deg - upright.angle_deg + 90 * quarters + 180) % 360 - 180) < 5
