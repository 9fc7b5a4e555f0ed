"""The raster's groups and colours, as paper B names them."""

import numpy as np
import pytest
import torch

from reenactor.core import MESH_TO_IBUG68
from reenactor.face import maps
from reenactor.face.maps import raster as raster_module

RED, GREEN, BLUE, YELLOW, CYAN = (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1), (-1, 1, 1)
PAPER = {  # iBUG-68: 300-W's numbers less one; the paper's eight groups and colours in its order
    "left eye": (RED, range(42, 48)),
    "right eye": (RED, range(36, 42)),
    "contour": (GREEN, range(0, 17)),
    "nose": (BLUE, range(27, 36)),
    "left brow": (YELLOW, range(22, 27)),
    "right brow": (YELLOW, range(17, 22)),
    "inner mouth": (CYAN, range(60, 68)),
    "outer mouth": (CYAN, range(48, 60)),
}


@pytest.fixture(scope="module")
def points(posed):
    """(68, 2): the mean face, every landmark at a pixel's centre."""
    return torch.tensor(posed(scale=215.0, at=(256.0, 250.0))[list(MESH_TO_IBUG68), :2]).round().float()


@pytest.mark.parametrize("group", PAPER)
def test_every_landmark_has_its_groups_colour(points, group):
    raster = maps.landmark_raster(points[None], 512)[0]
    colour, numbers = PAPER[group]
    for x, y in points[list(numbers)].long().tolist():
        assert raster[:, y, x].tolist() == list(colour), (x, y)


def middle(points, a, b):
    """The pixel half-way between two landmarks."""
    x, y = ((points[a] + points[b]) / 2).long().tolist()
    return y, x


def test_eyes_and_mouths_are_closed_and_the_rest_is_open(points):
    raster = maps.landmark_raster(points[None], 512)[0]
    for first, last, channel in ((36, 41, 0), (42, 47, 0), (48, 59, 1), (60, 67, 1)):
        assert raster[channel][middle(points, first, last)] > 0.3
    for first, last, channel in (
        (0, 16, 1),
        (17, 21, 1),
        (22, 26, 1),
        (21, 22, 1),
        (16, 17, 1),
        (30, 31, 2),
        (35, 36, 0),
    ):
        assert raster[channel][middle(points, first, last)] == -1


def test_black_where_nothing_is_and_in_range(points):
    raster = maps.landmark_raster(points[None], 512)
    assert raster.min() == -1
    assert raster.max() == 1
    assert (raster[:, :, :20] == -1).all()
    assert (raster > -1).any(dim=1).float().mean() < 0.04


@pytest.mark.parametrize(("size", "width"), [(128, 1.0), (256, 1.5), (512, 3.0), ((600, 512), 3.0)])
def test_lines_keep_their_share_of_the_picture(size, width):
    """What a level line leaves in a column adds up to its width."""
    height = size if isinstance(size, int) else size[0]
    points = torch.full((1, 68, 2), -100.0, dtype=torch.float64)
    points[0, :17, 0] = torch.linspace(20, 100, 17)
    points[0, :17, 1] = height / 2 + 0.3
    column = maps.landmark_raster(points, size)[0, :, :, 60]
    assert ((column + 1) / 2).sum(-1).tolist() == pytest.approx([0, width, 0])


def test_depth_is_dropped(faces):
    flat = faces.clone()
    flat[..., 2] = 7.0
    torch.testing.assert_close(maps.landmark_raster(flat, 64), maps.landmark_raster(faces, 64), atol=0, rtol=0)
    torch.testing.assert_close(maps.landmark_raster(flat[..., :2], 64), maps.landmark_raster(faces, 64), atol=0, rtol=0)


def test_irises_are_magenta_and_off_by_default(posed):
    mesh = torch.tensor(posed(scale=215.0, at=(256.0, 250.0)))
    plain = maps.landmark_raster(mesh[None], 512)[0]
    drawn = maps.landmark_raster(mesh[None], 512, irises=True)[0]
    for x, y in mesh[[468, 473], :2].round().long().tolist():
        assert plain[:, y, x].tolist() == [-1, -1, -1]
        np.testing.assert_allclose(drawn[:, y, x], [1, -1, 1])
    assert (plain[1] == drawn[1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [64, 256, (70, 101)])
def test_drawn_one_by_one_is_drawn_together(size, dtype, posed, monkeypatch):
    # Of all sizes, turned, and partly or wholly outside of the picture.
    rng = np.random.default_rng(0)
    smaller = size if isinstance(size, int) else min(size)
    meshes = [
        posed(*rng.normal(0, 25, 3), scale=smaller * rng.uniform(0.1, 0.7), at=rng.normal(0.5, 0.3, 2) * smaller)
        for _ in range(20)
    ]
    meshes[0] = meshes[0] + 3 * smaller
    mesh = torch.tensor(np.stack(meshes)).to(dtype)
    one_by_one = torch.cat([maps.landmark_raster(one[None], size, irises=True) for one in mesh])
    monkeypatch.setattr(raster_module, "_one_by_one", lambda _: False)
    together = maps.landmark_raster(mesh, size, irises=True)
    assert one_by_one.dtype == dtype
    assert (together[1:] > -1).any((1, 2, 3)).float().mean() > 0.8
    torch.testing.assert_close(one_by_one, together, atol=1e-5 if dtype is torch.float32 else 1e-9, rtol=0)


def test_one_face_keeps_its_gradient(faces):
    mesh = faces[:1].clone().requires_grad_()
    raster = maps.landmark_raster(mesh, 64, irises=True)
    assert raster.requires_grad
    with torch.no_grad():
        assert not maps.landmark_raster(mesh, 64).requires_grad


def test_a_face_that_lies_nowhere_is_black():
    for far in (float("nan"), 1e30):
        drawn = maps.landmark_raster(torch.full((1, 478, 3), far), 32, irises=True)
        assert not (drawn > -1).any()
