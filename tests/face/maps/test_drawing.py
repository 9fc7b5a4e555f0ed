"""Strokes and fills against hand-computed pixels, scikit-image's polygons, and the slow twins."""

import numpy as np
import pytest
import torch
from map_refs import catmull_rom_ref, distance_ref, winding_ref
from skimage.draw import polygon2mask

from reenactor.face.maps._curves import Path, drawing, ellipse, smooth
from reenactor.face.maps._drawing import edge_distance, fill, stroke, winding


def one_line(points, *, closed=False, channel=0, channels=1):
    return drawing([Path(channel, (smooth(range(points)),), closed=closed)], channels=channels)


def tent(distance):
    return (1 - distance).clamp(0, 1)


def test_a_hand_computed_line():
    points = torch.tensor([[[1.0, 1.0], [3.0, 1.0]]])
    got = stroke(one_line(2), points, (3, 6), tent, 1.0)[0, 0]
    torch.testing.assert_close(got, torch.tensor([[0.0] * 6, [0, 1, 1, 1, 0, 0], [0] * 6]))
    got = stroke(one_line(2), points + torch.tensor([0.25, 0.5]), (3, 6), tent, 1.0)[0, 0]
    beside = 1 - np.hypot(0.25, 0.5)
    row = torch.tensor([0.0, beside, 0.5, 0.5, 1 - np.hypot(0.75, 0.5), 0]).float()
    torch.testing.assert_close(got, torch.stack([torch.zeros(6), row, row]))
    got[0, 3] = 1  # a later drawing shares nothing with this one
    assert stroke(one_line(2), points, (3, 6), tent, 1.0)[0, 0, 0, 3] == 0


def test_a_hand_computed_square():
    """Corners at pixel edges: all of its 2 x 2 pixels are inside, and each is half a pixel from the edge."""
    square = torch.tensor([[[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]]])
    shape = one_line(4, closed=True)
    expected = torch.zeros(4, 4)
    expected[1:3, 1:3] = 1
    torch.testing.assert_close(fill(shape, square, (4, 4))[0, 0], expected)
    torch.testing.assert_close(winding(shape, square, (4, 4))[0, 0], expected)
    torch.testing.assert_close(winding(shape, square.flip(1), (4, 4))[0, 0], -expected)
    # A quarter of a pixel aside, the edge covers the columns beside it by a quarter less and more.
    expected[1:3, 1:4] = torch.tensor([0.75, 1.0, 0.25])
    torch.testing.assert_close(fill(shape, square + torch.tensor([0.25, 0.0]), (4, 4))[0, 0], expected)


@pytest.mark.parametrize("seed", range(5))
def test_random_polygons_are_scikit_images_and_the_twins(seed):
    """Star-shaped, partly outside the picture, either way round."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 12))[:: 1 if seed % 2 else -1]
    radius = rng.uniform(5, 40, 12)
    outline = rng.uniform(10, 40, 2) + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    size = (47, 53)
    points, shape = torch.tensor(outline)[None], one_line(12, closed=True)
    turns, distance = winding(shape, points, size)[0, 0].numpy(), distance_ref(outline, size, closed=True)
    clear = distance > 1e-6
    theirs = polygon2mask(size, outline[:, ::-1])
    np.testing.assert_array_equal((turns != 0)[clear], theirs[clear])
    np.testing.assert_allclose(turns[clear], winding_ref(outline, size)[clear], atol=1e-6)
    near = edge_distance(shape, points, size, 3.7)[0, 0].numpy()
    np.testing.assert_allclose(near, np.minimum(distance, 3.7), atol=1e-6)
    filled = fill(shape, points, size)[0, 0].numpy()
    np.testing.assert_array_equal(filled[clear] > 0.5, theirs[clear])
    np.testing.assert_allclose(filled, np.clip(np.where(theirs, distance, -distance) + 0.5, 0, 1), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_random_lines_are_the_twins(seed):
    """Steep and flat, long and short, crossing the picture's border and far outside."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-60, 100, (9, 2))
    points[4] = points[3]
    got = edge_distance(one_line(9), torch.tensor(points)[None], (31, 44), 2.3)[0, 0].numpy()
    np.testing.assert_allclose(got, np.minimum(distance_ref(points, (31, 44)), 2.3), atol=1e-6)


def test_channels_and_pictures_do_not_mix():
    shape = drawing([Path(2, (smooth([0, 1]),)), Path(0, (smooth([2, 3]),))], channels=3)
    points = torch.tensor([[[0.0, 0], [3, 0], [0, 2], [3, 2]], [[0.0, 1], [3, 1], [-9, -9], [-5, -9]]])
    got = stroke(shape, points, (3, 4), tent, 1.0)
    assert got.sum(-1).tolist() == [[[0, 0, 4], [0, 0, 0], [4, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 4, 0]]]


@pytest.mark.parametrize("pieces", [1, 2, 5])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_smooth_is_catmull_rom(n, pieces):
    points = np.random.default_rng(n).normal(size=(n, 2))
    order = np.random.default_rng(1).permutation(n)
    curve = smooth(order.tolist(), pieces)
    np.testing.assert_allclose(curve.weight.sum(1), 1, atol=1e-12)
    got = (points[curve.control] * curve.weight[..., None]).sum(1)
    np.testing.assert_allclose(got, catmull_rom_ref(points[order], pieces), atol=1e-12)
    np.testing.assert_allclose(got[::pieces], points[order], atol=1e-12)


def test_ellipse_has_its_half_axes():
    rim = np.array([[7.0, 2], [3, 5], [-1, 2], [3, -1]])  # centre (3, 2), half axes 4 and 3
    curve = ellipse(range(4))
    x, y = ((rim[curve.control] * curve.weight[..., None]).sum(1) - [3, 2]).T
    np.testing.assert_allclose((x / 4) ** 2 + (y / 3) ** 2, 1, atol=1e-12)
