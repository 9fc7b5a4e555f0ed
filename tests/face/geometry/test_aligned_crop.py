"""Crops aligned to the mean shape (paper A), by what their pixels show."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from factories import posed, psnr
from reenactor.face.geometry import aligned_crop, mean_face
from reenactor.face.perception import FaceFinder

RIGHT, LEFT = 33, 263
"""Outer eye corners."""


@pytest.fixture(scope="module")
def finder():
    with FaceFinder() as one:
        yield one


def portrait(rng):
    """Landmarks of a head of its own shape, as photographed: looking nearly into the camera, tilted, anywhere."""
    points = mean_face().points * rng.uniform(0.95, 1.05, 3) + rng.normal(0, 0.01, (478, 3))
    angles_deg = rng.uniform(-1, 1, 3) * (12, 10, 40)
    return posed(points, angles_deg, scale=rng.uniform(60, 160), at=rng.uniform(250, 450, 2))


def eyes_seen(mesh, crop):
    """Centres of the two outer eye corners in the crop's pixels, which are marked in the picture."""
    picture = np.zeros((700, 700, 3), np.uint8)
    for channel, corner in enumerate((RIGHT, LEFT)):
        x, y = (round(float(value) * 16) for value in mesh[corner, :2])
        dot = np.zeros((700, 700), np.uint8)
        cv2.circle(dot, (x, y), 4 * 16, (255,), -1, cv2.LINE_AA, 4)
        picture[..., channel] = dot
    rows, columns = np.indices((crop.size, crop.size))
    marks = np.moveaxis(crop.cut(picture)[..., :2].astype(float), -1, 0)
    return [np.array([(columns * mark).sum(), (rows * mark).sum()]) / mark.sum() for mark in marks]


def test_eyes_are_119_of_256_pixels_apart_and_level_in_20_portraits():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mesh = portrait(rng)
        right, left = eyes_seen(mesh, aligned_crop(mesh, size=256))
        across = left - right
        assert np.linalg.norm(across) == pytest.approx(119, abs=3)
        assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 2
        np.testing.assert_allclose((right + left) / 2, [127.5, 81], atol=3)


@pytest.mark.parametrize("yaw_deg", [-55.0, 40.0, 70.0])
def test_a_turned_head_fits_in_although_its_eyes_are_near_to_each_other(yaw_deg):
    mesh = posed(mean_face().points, (yaw_deg, 0.0, 25.0), at=(300, 300))
    crop = aligned_crop(mesh, size=256)
    inside = crop.to_crop(mesh)
    assert np.ptp(inside[:, 1]) == pytest.approx(256, abs=2)
    assert np.linalg.norm(inside[LEFT, :2] - inside[RIGHT, :2]) < 112


@pytest.mark.parametrize("tilt_deg", [-35, 20])
def test_a_tilted_photo_gives_the_upright_crop(finder, tilt_deg):
    photo = astronaut()
    tilted = np.asarray(Image.fromarray(photo).rotate(tilt_deg, Image.Resampling.BICUBIC, center=(210, 120)))
    upright, found = (finder.observe(one).landmarks.mesh for one in (photo, tilted))
    crop = aligned_crop(found, size=256)
    # Pillow turns counterclockwise.
    assert crop.angle_deg - aligned_crop(upright, size=256).angle_deg == pytest.approx(-tilt_deg, abs=2)
    cut, own = crop.cut(tilted), aligned_crop(upright, size=256).cut(photo)
    middle = (slice(50, 206),) * 2
    assert psnr(cut[middle], own[middle]) > 24
    across = np.diff(finder.observe(cut).landmarks.mesh[[RIGHT, LEFT], :2], axis=0)[0]
    assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 2
    assert np.linalg.norm(across) == pytest.approx(119, abs=4)


def test_at_the_pictures_own_resolution():
    crop = aligned_crop(posed(mean_face().points, (0.0, 0.0, 10.0), scale=100))
    # 100 pixels between the eyes: 215 for the side, 224 as a multiple of 32.
    assert (crop.side, crop.size) == (224, 224)
    assert crop.angle_deg == pytest.approx(10, abs=0.1)
