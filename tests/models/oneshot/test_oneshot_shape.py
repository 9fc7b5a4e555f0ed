"""Paper A's shape encoder: its points are what the maps are drawn through, and it can learn them from pixels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reenactor.core import IRIS_CENTRES
from reenactor.engine.shipped import demo_photo
from reenactor.face.geometry import matrix_from_angles
from reenactor.face.geometry.crop import face_crop
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.maps import BOUNDARY_CHANNELS, boundaries, boundary_maps, parsing, parsing_map
from reenactor.face.perception import FaceFinder
from reenactor.models.oneshot import CURVE_POINTS, Shape, ShapeEncoder, ShapeEncoderConfig
from reenactor.models.oneshot.shape_encoder import HEATMAPS, shape_features, soft_argmax
from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint

SIZE = 128


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def faces(count, seed=0):
    """The mean face in different poses and places, (count, 478, 3) pixels."""
    rng, mean = np.random.default_rng(seed), mean_face().points
    mean = mean / np.ptp(mean[:, 0])
    turned = [mean @ matrix_from_angles(rng.uniform(-20, 20, 3)).T for _ in range(count)]
    centre = SIZE / 2 + rng.uniform(-8, 8, (count, 1, 3))
    return torch.from_numpy((np.stack(turned) * rng.uniform(60, 80, (count, 1, 1)) + centre).astype(np.float32))


def test_points_are_those_that_the_maps_are_drawn_through():
    drawings = parsing._regions(), parsing._bridge(), boundaries._lines(), boundaries.eyes_and_irises()
    read = {int(vertex) for drawing in drawings for vertex in np.unique(drawing.control)}
    assert set(CURVE_POINTS) == read | set(IRIS_CENTRES)
    assert len(CURVE_POINTS) == len(set(CURVE_POINTS)) == 154
    assert len(BOUNDARY_CHANNELS) == HEATMAPS


def test_true_points_give_the_true_maps():
    mesh = faces(2)
    shape = Shape(torch.zeros(2, HEATMAPS, 64, 64), mesh[:, list(CURVE_POINTS), :2])
    assert torch.equal(parsing_map(shape.mesh_px, SIZE), parsing_map(mesh, SIZE))
    assert torch.equal(boundary_maps(shape.mesh_px, SIZE), boundary_maps(mesh, SIZE))
    assert parsing_map(mesh, SIZE).amax((0, 2, 3)).min() == 1


def test_sizes_and_features():
    with torch.device("meta"):
        network = ShapeEncoder(ShapeEncoderConfig())
        found, features = network(torch.empty(2, 3, 128, 128)), network.features(torch.empty(2, 3, 128, 128))
        assert network(torch.empty(1, 3, 256, 256)).heatmaps.shape == (1, 17, 128, 128)
    assert found.heatmaps.shape == (2, 17, 64, 64)
    assert found.points_px.shape == (2, 154, 2)
    assert found.mesh_px.shape == (2, 478, 2)
    assert [tuple(f.shape[1:]) for f in features] == [(16, 64, 64), (32, 32, 32), (64, 16, 16), (96, 8, 8)]


def test_soft_argmax_by_hand():
    logits = torch.full((1, 2, 3, 5), -1e4)
    logits[0, 0, 1, 3] = 0
    # Two places, 3 to 1.
    logits[0, 1, 0, 0], logits[0, 1, 2, 4] = torch.log(torch.tensor([3.0, 1.0]))
    found = soft_argmax(logits, pixels=4)
    # The centre of a map's place i covers pixels 4 i to 4 i + 3.
    torch.testing.assert_close(found, torch.tensor([[[13.5, 5.5], [5.5, 3.5]]]))
    torch.testing.assert_close(soft_argmax(logits.bfloat16(), pixels=4), found, atol=0.02, rtol=0)


@torch.no_grad()
def test_batch_equals_loop():
    torch.manual_seed(0)
    network, images = ShapeEncoder(ShapeEncoderConfig(width=8)).double().eval(), noise(3, 3, 64, 64).double()
    found = network(images)
    loop = [network(image[None]) for image in images]
    torch.testing.assert_close(found.points_px, torch.cat([one.points_px for one in loop]))
    torch.testing.assert_close(found.heat_logits, torch.cat([one.heat_logits for one in loop]))


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    network = ShapeEncoder(ShapeEncoderConfig(width=8)).double()
    found = network(noise(2, 3, 64, 64).double())
    (found.points_px.square().sum() + found.heatmaps.square().sum()).backward()
    assert all(p.grad.abs().max() > 1e-8 for p in network.parameters())


def test_points_are_read_off_the_heatmaps_too():
    torch.manual_seed(0)
    network = ShapeEncoder(ShapeEncoderConfig(width=8)).eval()
    before = network(noise(1, 3, 64, 64)).points_px
    with torch.no_grad():
        network.heat.weight.mul_(-1)
    assert (network(noise(1, 3, 64, 64)).points_px - before).abs().max() > 1e-4


def test_learns_where_points_and_boundaries_are():
    """Eight faces drawn as their boundaries, over and over."""
    torch.manual_seed(0)
    network, size = ShapeEncoder(ShapeEncoderConfig()), SIZE // 2
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    mesh = faces(8) / 2 - 0.25
    lines, heat = boundary_maps(mesh, size), boundary_maps(mesh / 2 - 0.25, size // 2)
    images = torch.stack([lines[:, part].amax(1) for part in (slice(5), slice(5, 9), slice(9, 17))], dim=1) * 2 - 1
    points = mesh[:, list(CURVE_POINTS), :2]
    for _ in range(50):
        found = network(images)
        error = (found.points_px - points).norm(dim=2).mean()
        optimizer.zero_grad()
        (error / 2 + F.binary_cross_entropy_with_logits(found.heat_logits, heat)).backward()
        optimizer.step()
    spread = (points - points.mean(0)).norm(dim=2).mean()
    assert error < 0.3 * spread
    inked = heat > 0.5
    assert found.heatmaps[inked].mean() > 3 * found.heatmaps[~inked].mean()


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="32"):
        ShapeEncoder(ShapeEncoderConfig(width=8))(noise(1, 3, 100, 100))


def test_the_shipped_encoder_agrees_with_the_landmarks():
    """On a photo that it has not seen: points within 3% of the eye distance, and nearly the same parsing map."""
    picture = demo_photo()
    with FaceFinder() as finder:
        mesh = finder.observe(picture).landmarks.mesh
    crop = face_crop(mesh, size=SIZE, picture_px=(picture.shape[1], picture.shape[0]))
    image = torch.from_numpy(crop.cut(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    wanted = torch.from_numpy(crop.to_crop(mesh)).float()[None]
    folder = shipped_checkpoint("shape-encoder")
    assert folder is not None
    network = shape_features(read_checkpoint(folder)).network
    with torch.no_grad():
        found = network(image).mesh_px
    off = (found - wanted[..., :2])[:, list(CURVE_POINTS)].norm(dim=2).mean()
    assert off < 0.03 * (wanted[0, 263, :2] - wanted[0, 33, :2]).norm()
    assert (parsing_map(found, SIZE) - parsing_map(wanted, SIZE)).abs().mean() < 0.004
