from dataclasses import replace

import cv2
import numpy as np
import pytest

from reenactor.engine.composite import Compositor, draw_landmarks, side_by_side
from reenactor.face.geometry import Crop


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "crop", [Crop(20, 10, 64, 64), Crop(-30, -20, 96, 96), Crop(100, 80, 96, 96), Crop(-40, -60, 256, 256)]
)
def test_the_crop_itself_pasted_back_changes_nothing(photo, crop):
    np.testing.assert_array_equal(Compositor(photo, crop).paste(crop.cut(photo)), photo)


@pytest.mark.parametrize("size", [64, 96, 160])
@pytest.mark.parametrize("crop", [Crop(20, 10, 80, 0, 30.0), Crop(-25, 20, 96, 0, -50.0), Crop(60, -30, 120, 0, 170.0)])
def test_a_turned_crop_pasted_back_changes_nothing_but_by_interpolation(photo, crop, size):
    smooth = cv2.GaussianBlur(photo, (0, 0), 4)
    crop = replace(crop, size=size)
    result = Compositor(smooth, crop).paste(crop.cut(smooth))
    assert np.abs(result.astype(int) - smooth).max() <= 2
    # Other pixels are laid over the square alone, whose corners are where they are by hand.
    turn, middle = np.deg2rad(crop.angle_deg), np.array([crop.left, crop.top]) + (crop.side - 1) / 2
    y, x = np.mgrid[:120, :160]
    along = (x - middle[0]) * np.cos(turn) + (y - middle[1]) * np.sin(turn)
    down = (y - middle[1]) * np.cos(turn) - (x - middle[0]) * np.sin(turn)
    reach = np.maximum(np.abs(along), np.abs(down)) / crop.side
    changed = (Compositor(smooth, crop).paste(255 - crop.cut(smooth)) != smooth).any(2)
    assert not changed[reach > 0.5 + 1 / crop.side].any()
    assert (Compositor(smooth, crop).paste(np.full((size, size, 3), 7, np.uint8))[reach < 0.43] == 7).all()
    assert changed[reach < 0.43].mean() > 0.9


def test_paste_against_a_slow_twin(photo):
    crop = Crop(20, 10, 96, 96)
    piece = np.full((96, 96, 3), 200, np.uint8)
    result = Compositor(photo, crop).paste(piece)
    wanted = photo.astype(float)
    for y in range(96):
        for x in range(96):
            shares = []
            for position in (x + 0.5, y + 0.5):
                t = min(1.0, min(position, 96 - position) / (0.06 * 96))
                shares.append(t * t * (3 - 2 * t))
            share = min(shares)
            wanted[10 + y, 20 + x] += share * (200 - wanted[10 + y, 20 + x])
    assert np.abs(result - wanted).max() <= 0.51
    assert (result[40:70, 50:80] == 200).all()


def test_crop_outside_of_the_photo(photo):
    crop = Crop(500, 500, 64, 64)
    np.testing.assert_array_equal(Compositor(photo, crop).paste(np.zeros((64, 64, 3), np.uint8)), photo)


def test_side_by_side_keeps_proportions():
    wide = np.full((10, 40, 3), 255, np.uint8)
    row = side_by_side([wide, np.full((40, 40, 3), 99, np.uint8)], 32)
    assert row.shape == (32, 64, 3)
    assert (row[12:20, :32] == 255).all()
    assert (row[:12, :32] == 18).all()
    assert (row[:, 32:] == 99).all()


def test_landmarks_are_drawn_where_they_are():
    mesh = np.zeros((478, 3), np.float32)
    mesh[:, :2] = (49.5, 24.5)
    drawn = draw_landmarks(mesh, (100, 50), 64)
    ys, xs = np.nonzero(drawn.max(2) > 100)
    assert abs(xs.mean() - 31.5) < 1
    assert abs(ys.mean() - 31.5) < 1
