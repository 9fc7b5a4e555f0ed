"""What holds for every map: agrees with its slow twin, batch = loop, moves with the face, mirrors, gradients..."""

import map_refs
import numpy as np
import pytest
import torch
from scipy.ndimage import shift as ndimage_shift

from reenactor.core import MESH_TO_IBUG68
from reenactor.face import maps
from reenactor.face.geometry import mean_face

EVERY_MAP = {
    "raster": maps.landmark_raster,
    "raster of 68": lambda m, s: maps.landmark_raster(m[:, list(MESH_TO_IBUG68)], s),
    "raster with irises": lambda m, s: maps.landmark_raster(m, s, irises=True),
    "boundaries": maps.boundary_maps,
    "gaze": maps.gaze_maps,
    "parsing": maps.parsing_map,
    "hull": maps.hull_mask,
    "face": maps.face_mask,
}
TWINS = {
    "raster": map_refs.landmark_raster_ref,
    "raster of 68": lambda m, s: map_refs.landmark_raster_ref(m[list(MESH_TO_IBUG68)], s),
    "raster with irises": lambda m, s: map_refs.landmark_raster_ref(m, s, irises=True),
    "boundaries": map_refs.boundary_maps_ref,
    "gaze": map_refs.gaze_maps_ref,
    "parsing": map_refs.parsing_map_ref,
    "hull": lambda m, s: map_refs.hull_mask_ref(m, s)[None],
}
every_map = pytest.mark.parametrize("name", EVERY_MAP)


@pytest.mark.parametrize("name", TWINS)
def test_agrees_with_its_slow_twin(name, faces):
    """To 1e-9 in double precision; in single, coordinates near 128 are known to 1e-5 and edges are up to 1/px steep."""
    expected = np.stack([TWINS[name](face, (117, 131)) for face in faces.numpy()])
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        got = EVERY_MAP[name](faces.to(dtype), (117, 131))
        assert got.dtype == dtype
        np.testing.assert_allclose(got.numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("name", ["raster", "boundaries", "parsing"])
def test_agrees_with_its_slow_twin_at_256(name, faces):
    face = faces[0] * 2 + 0.5
    got = EVERY_MAP[name](face[None].float(), 256)[0]
    np.testing.assert_allclose(got.numpy(), TWINS[name](face.numpy(), (256, 256)), atol=2e-4)


@every_map
@pytest.mark.parametrize("size", [96, (64, 83), (17, 9), 1])
def test_a_batch_is_a_loop(name, size, faces):
    batch = EVERY_MAP[name](faces, size)
    assert batch.shape[-2:] == ((size, size) if isinstance(size, int) else size)
    for face, one in zip(faces, batch, strict=True):
        torch.testing.assert_close(EVERY_MAP[name](face[None], size)[0], one, atol=1e-9, rtol=0)


@every_map
def test_moves_with_the_face_by_whole_pixels(name, posed):
    mesh = torch.tensor(posed(yaw=10.3, scale=31.0, at=(40.2, 40.6)))[None]
    still = EVERY_MAP[name](mesh, 96)[0].numpy()
    moved = EVERY_MAP[name](mesh + torch.tensor([11.0, -6.0, 0.0]), 96)[0].numpy()
    expected = [ndimage_shift(plane, (-6, 11), order=0, cval=plane[0, 0]) for plane in still]
    np.testing.assert_allclose(moved, expected, atol=1e-9)


@every_map
def test_mirrors_with_the_face(name, faces):
    mesh = faces[:1]
    mirrored = mesh[:, mean_face().mirror.tolist()] * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([127.0, 0.0, 0.0])
    expected = EVERY_MAP[name](mesh, 128).flip(-1)
    if name.startswith("boundaries"):
        swap = [left.replace("left", "RIGHT").replace("right", "left").lower() for left in maps.BOUNDARY_CHANNELS]
        expected = expected[:, [maps.BOUNDARY_CHANNELS.index(other) for other in swap]]
    if name == "gaze":
        expected = expected.flip(1)
    torch.testing.assert_close(EVERY_MAP[name](mirrored, 128), expected, atol=1e-6, rtol=0)


@every_map
def test_survives_faces_out_of_the_picture(name, faces):
    mesh = faces[1:2].float()
    empty = EVERY_MAP[name](mesh + 1e4, 64)
    assert (empty == empty[:, :, :1, :1]).all()
    for strange in (mesh * 1e6, mesh * 1e30, mesh * 0 + 31.5, mesh * 0 - 1e30):
        assert torch.isfinite(EVERY_MAP[name](strange, 64)).all()


@every_map
def test_precision_comes_from_the_landmarks_alone(name, faces):
    """Half precision (as shards keep landmarks) is drawn in single; autocast changes nothing."""
    half = faces[:2].half()
    plain = EVERY_MAP[name](half, 64)
    assert plain.dtype == torch.float32
    torch.testing.assert_close(plain, EVERY_MAP[name](half.float(), 64), atol=0, rtol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(EVERY_MAP[name](half.float(), 64), plain, atol=0, rtol=0)


@every_map
def test_gradients_are_slopes(name, faces):
    """Of a smoothly weighted sum, along a random direction, against central differences. (A symmetric face would
    have pixels equally far from two lines, where there is no one slope.)"""
    generator = torch.Generator().manual_seed(3)
    mesh = faces[[0, 2, 3]].requires_grad_()
    y, x = torch.meshgrid(torch.linspace(0, 3, 128), torch.linspace(0, 5, 128), indexing="ij")
    look = (x.sin() + (2 * y).cos()).double()

    def total(m):
        return (EVERY_MAP[name](m, 128) * look).sum()

    total(mesh).backward()
    assert mesh.grad is not None
    assert torch.isfinite(mesh.grad).all()
    step = torch.randn(mesh.shape, generator=generator, dtype=torch.float64)
    step[..., 2] = 0
    with torch.no_grad():
        slope = (total(mesh + 1e-6 * step) - total(mesh - 1e-6 * step)) / 2e-6
    assert (mesh.grad * step).sum().item() == pytest.approx(slope.item(), rel=1e-3)


def test_gradients_are_finite_on_the_line_itself():
    points = torch.zeros(1, 68, 2)
    points[0, :, 0] = torch.arange(68) % 17
    points[0, :, 1] = torch.arange(68) // 17
    points.requires_grad_()
    maps.landmark_raster(points, 20).square().sum().backward()
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@every_map
def test_the_gpu_draws_the_same(name, faces):
    there = EVERY_MAP[name](faces.float().cuda(), 96)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), EVERY_MAP[name](faces.float(), 96), atol=2e-4, rtol=0)


def test_says_what_is_wrong(faces):
    with pytest.raises(ValueError, match="478 or 68"):
        maps.landmark_raster(faces[:, :100], 64)
    with pytest.raises(ValueError, match="478 or 68"):
        maps.hull_mask(faces[..., :1], 64)
    for needs_mesh in (maps.boundary_maps, maps.gaze_maps, maps.parsing_map, maps.face_mask):
        with pytest.raises(ValueError, match="needs the mesh"):
            needs_mesh(faces[:, :68], 64)
    with pytest.raises(ValueError, match="needs the mesh"):
        maps.landmark_raster(faces[:, :68], 64, irises=True)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        maps.landmark_raster(faces, (0, 5))
    with pytest.raises(ValueError, match="9 channels"):
        maps.part_weights(torch.zeros(1, 3, 4, 4))
