"""Crops: the point mapping, and that pixels land where it says."""

import cv2
import numpy as np
import pytest

from reenactor.face.geometry import FACE_CROP_SCALE, Crop, face_crop, mean_face, resize

CROPS = [
    Crop(0, 0, 64, 64),
    Crop(10, 20, 64, 128),
    Crop(10, 20, 96, 32),
    Crop(-13, 7, 50, 256),
    Crop(31, -40, 219, 96),
    Crop(10, 20, 96, 128, 33.0),
    Crop(-9, 20, 97, 64, -120.0),
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def ramps(height, width):
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("d", [2, 3])
def test_mappings_are_inverse(crop, d, rng):
    points = rng.uniform(-50, 300, (20, d))
    np.testing.assert_allclose(crop.to_picture(crop.to_crop(points)), points, atol=1e-9)
    np.testing.assert_allclose(crop.to_crop(crop.to_picture(points)), points, atol=1e-9)


def test_mapping_by_hand():
    # 100 picture pixels become 50: picture pixels 10 and 11 share crop pixel 0, whose centre lies between theirs.
    crop = Crop(left=10, top=20, side=100, size=50)
    np.testing.assert_allclose(crop.to_crop(np.array([[10.5, 20.5, 8.0]])), [[0, 0, 4]])
    # The square's edges, half a pixel outside the outermost centres, stay edges.
    np.testing.assert_allclose(crop.to_crop(np.array([[9.5, 19.5], [109.5, 119.5]])), [[-0.5, -0.5], [49.5, 49.5]])


def test_mapping_keeps_the_type_of_numbers():
    assert Crop(1, 2, 30, 60).to_crop(np.zeros((4, 3), np.float32)).dtype == np.float32


@pytest.mark.parametrize(("side", "size"), [(60, 240), (60, 100), (64, 64), (120, 60), (180, 60), (160, 96)])
def test_pixels_land_where_points_do(side, size):
    # A ramp's value *is* the position it comes from, under any symmetric resampling (rounding: half a grey level).
    crop = Crop(20, 30, side, size)
    cut = crop.cut(ramps(255, 255))
    inner = np.arange(4, size - 4)
    grid = np.stack(np.meshgrid(inner, inner), axis=-1).astype(np.float64)
    positions = crop.to_picture(grid)
    np.testing.assert_allclose(cut[4:-4, 4:-4, :2], positions, atol=0.51)


@pytest.mark.parametrize("angle_deg", [-75.0, -8.0, 3.5, 45.0])
@pytest.mark.parametrize(("side", "size"), [(100, 100), (100, 240), (130, 60), (101, 96)])
def test_pixels_of_a_turned_crop_land_where_points_do(side, size, angle_deg):
    picture = ramps(255, 255)
    crop = Crop(70, 80, side, size, angle_deg)
    inner = np.arange(4, size - 4)
    middle, angle = np.array([70, 80]) + (side - 1) / 2, np.deg2rad(angle_deg)
    x, y = np.moveaxis((np.stack(np.meshgrid(inner, inner), axis=-1) + 0.5) * side / size - side / 2, -1, 0)
    # Clockwise: what is right of the middle of the crop is below that of the picture after a quarter turn.
    turned = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=-1)
    wrong = crop.cut(picture)[4:-4, 4:-4, :2] - (middle + turned)
    # Grey levels are rounded once, or twice where it shrinks.
    assert np.abs(wrong).max() < (0.6 if size >= side else 1.1)
    np.testing.assert_allclose(wrong.mean((0, 1)), 0, atol=0.03)


def test_beyond_the_picture_a_turned_crop_repeats_its_edge_or_shows_nothing():
    picture = np.full((60, 80, 3), 200, np.uint8)
    crop = Crop(-20, -20, 64, 64, 45.0)
    assert (crop.cut(picture) == 200).all()
    bordered = crop.cut(picture, border=cv2.BORDER_CONSTANT)
    # The corner at the top of the diamond lies above the picture, that at the bottom in it.
    assert bordered[0, 0].max() == 0
    assert bordered[63, 63].min() == 200
    assert Crop(-20, -20, 64, 64).cut(picture, border=cv2.BORDER_CONSTANT)[:20].max() == 0


@pytest.mark.parametrize(
    ("side", "size", "reach", "within"),
    [(32, 256, 0, 0.02), (48, 144, 0, 0.02), (128, 64, 3, 0.05), (150, 50, 4, 0.05)],
)
def test_marked_pixel_lands_where_its_point_does(side, size, reach, within):
    # Enlarging, one pixel; shrinking, a square of them, whose rim the crop's larger pixels share with the dark.
    x, y = 41, 37
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[y - reach : y + reach + 1, x - reach : x + reach + 1] = 200
    crop = Crop(30, 25, side, size)
    mark = crop.cut(picture)[..., 0].astype(np.float64)
    row, column = np.indices(mark.shape)
    centroid = np.array([(column * mark).sum(), (row * mark).sum()]) / mark.sum()
    np.testing.assert_allclose(centroid, crop.to_crop(np.array([float(x), float(y)])), atol=within)


def test_full_size_copies_pixels(rng):
    picture = rng.integers(0, 256, (90, 110, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Crop(11, 7, 64, 64).cut(picture), picture[7:71, 11:75])


@pytest.mark.parametrize(("left", "top"), [(-9, 5), (30, -12), (70, 60), (-5, -5), (-10, 35)])
def test_beyond_the_picture_its_edge_is_repeated(left, top, rng):
    picture = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
    padded = np.pad(picture, ((80, 80), (80, 80), (0, 0)), mode="edge")
    expected = padded[80 + top : 80 + top + 64, 80 + left : 80 + left + 64]
    np.testing.assert_array_equal(Crop(left, top, 64, 64).cut(picture), expected)


def test_larger_than_the_picture(rng):
    picture = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crop = Crop(-20, -30, 96, 96)
    cut = crop.cut(picture)
    np.testing.assert_array_equal(cut[30:70, 20:70], picture)
    np.testing.assert_array_equal(cut[0, 0], picture[0, 0])
    np.testing.assert_array_equal(cut[-1, -1], picture[-1, -1])
    assert crop.inside(50, 40) == (slice(0, 40), slice(0, 50))


@pytest.mark.parametrize("height", [40, 73, 105.3, 300])
def test_face_crop_at_the_photos_own_resolution(height):
    mesh = face(height, at=(200, 180))
    crop = face_crop(mesh)
    assert crop.size == crop.side
    assert crop.size % 32 == 0
    # Rounding to a multiple of 32 changes the side by at most 16.
    assert abs(crop.side - FACE_CROP_SCALE * box_side(mesh)) <= 16


@pytest.mark.parametrize("size", [64, 256, 512])
def test_face_crop_of_a_given_size(size):
    mesh = face(90, at=(200, 180))
    crop = face_crop(mesh, size=size)
    assert crop.size == size
    assert crop.side == round(FACE_CROP_SCALE * box_side(mesh))
    # In the crop: the face centred across, 5% of the side below the middle, half the side tall.
    low, high = bounds(crop.to_crop(mesh))
    middle = (low + high + 1) / 2 / size
    np.testing.assert_allclose(middle, [0.5, 0.55], atol=0.5 / crop.side + 1e-6)
    assert box_side(crop.to_crop(mesh)) / size == pytest.approx(0.5, abs=0.5 / crop.side)


def test_face_crop_follows_the_face():
    near, far = face_crop(face(90, at=(100, 100)), size=256), face_crop(face(90, at=(137, 81)), size=256)
    # Corners are whole pixels.
    np.testing.assert_allclose([far.left - near.left, far.top - near.top], [37, -19], atol=1)
    assert far.side == near.side


def test_face_crop_of_a_tiny_face_is_usable():
    assert face_crop(face(3, at=(10, 10))).side == 32


def test_resize_averages_down():
    picture = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    mean = picture.reshape(4, 3, 4, 3, 3).mean((1, 3))
    np.testing.assert_allclose(resize(picture, 4), mean, atol=0.51)


def face(height, at):
    """The mean face, `height` pixels tall."""
    points = mean_face().points
    return (points * height / np.ptp(points[:, 1]) + np.array([*at, 0.0])).astype(np.float32)


def bounds(mesh):
    return mesh[:, :2].min(0), mesh[:, :2].max(0)


def box_side(mesh):
    low, high = bounds(mesh)
    return float((high - low).max())
