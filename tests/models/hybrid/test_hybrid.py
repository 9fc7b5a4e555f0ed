"""The hybrid: what it draws before it has learned anything, what each part does, photos of any size and number."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry import draw_face_mesh, face_mesh, mean_face
from reenactor.face.geometry.mesh_flow import FLAGS, mesh_flow
from reenactor.face.maps import draw_maps
from reenactor.models.contract import Needs
from reenactor.models.hybrid import Hybrid, HybridConfig, HybridGenerator
from reenactor.models.hybrid.blocks import PhotoEncoder, Trunk, WarpEncoder
from reenactor.models.sizes import model_size
from reenactor.nn import resized, warp, warp_cubic

SIZE = 64
RASTER = MapKind.IRIS_RASTER
ABLATIONS = [{}, {"mesh_prior": False}, {"fusion": False}]


def config(**changes):
    return HybridConfig(**({"resolution": SIZE, "base_width": 8} | changes))


def made(seed=0, **changes):
    torch.manual_seed(seed)
    return HybridGenerator(config(**changes)).eval()


def stirred(generator):
    """As if it had learned something: heads that are not zero."""
    generator = copy.deepcopy(generator)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in generator.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=source))
    return generator


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def faces(count, size=SIZE, *, seed=0, lips=0.0):
    """Meshes in crops: the mean face, a little elsewhere each time."""
    points = torch.tensor(mean_face().points.copy()).float()
    below = points[:, 1] > points[[13, 14], 1].mean()
    points[:, 1] += lips * below * (1.3 - points[:, 0].abs() / 0.4).clamp(0, 1)
    shift = 0.04 * noise(count, 1, 3, seed=seed)
    return (points + shift) * (0.3 * size) + torch.tensor([size / 2, size / 2, 0.0])


def smooth(count, size=SIZE, *, seed=0):
    """Pictures in [-1, 1] that do not change from pixel to pixel."""
    return F.interpolate(noise(count, 3, 8, 8, seed=seed), (size, size), mode="bicubic").clamp(-1, 1)


def inputs(batch=2, k=1, size=SIZE, *, seed=0, lips=0.0, photo_lips=0.0):
    """Arguments of the generator: the driver's raster and mesh, photos, their rasters and meshes."""
    mesh_x = faces(batch, size, seed=seed, lips=lips)
    mesh_y = faces(batch * k, size, seed=seed + 1, lips=photo_lips)
    rasters = draw_maps((RASTER,), mesh_y, size)[RASTER].unflatten(0, (batch, k))
    photos = smooth(batch * k, size, seed=seed + 2).unflatten(0, (batch, k))
    return draw_maps((RASTER,), mesh_x, size)[RASTER], mesh_x, photos, rasters, mesh_y.unflatten(0, (batch, k))


# Before it has learned anything.


@torch.no_grad()
def test_soft_paint_has_detail_only_where_holes_are():
    sharp = stirred(made())
    soft = stirred(made(soft_paint=True))
    given = inputs(lips=0.6)
    before, after = sharp(*given), soft(*given)
    for name in ("warped", "mask", "holes", "flow_ndc"):
        assert torch.equal(getattr(after, name), getattr(before, name))
    cells = F.interpolate(F.avg_pool2d(before.paint, 2), (SIZE, SIZE), mode="bilinear", align_corners=False)
    away = (F.max_pool2d(before.holes, 15, 1, 7) == 0).expand_as(cells)
    inside = (before.holes > 0.999).expand_as(cells)
    assert 0.2 < away.float().mean() < 1
    assert inside.any()
    torch.testing.assert_close(after.paint[away], cells[away], atol=1e-5, rtol=0)
    torch.testing.assert_close(after.paint[inside], before.paint[inside], atol=1e-5, rtol=0)
    assert (before.paint - cells)[away].abs().mean() > 0.01


@pytest.mark.parametrize("changes", ABLATIONS)
@torch.no_grad()
def test_begins_with_the_warp(changes):
    given = inputs()
    drawing = made(**changes)(*given)
    photos = given[2][:, 0]
    if changes.get("mesh_prior", True):
        found = mesh_flow(given[4][:, 0], given[1], SIZE, SIZE // 2, 2 * SIZE)
        photos = warp_cubic(photos, found.enlarged(SIZE))
    torch.testing.assert_close(drawing.image, photos, atol=1e-5, rtol=0)
    torch.testing.assert_close(drawing.mesh_warped, photos, atol=1e-6, rtol=0)
    # In between, so that both sides learn.
    assert torch.equal(drawing.mask, torch.full_like(drawing.mask, 0.5 if changes.get("fusion", True) else 0.0))


def test_begins_with_what_the_classical_warp_draws():
    photo = F.interpolate(noise(1, 3, 12, 12), (128, 128), mode="bicubic").clamp(-1, 1)
    pixels = photo[0].add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    mesh_y, mesh_x = faces(1, 128), faces(1, 128, seed=3, lips=0.03)
    expected = draw_face_mesh(pixels, face_mesh(mesh_y[0].double().numpy(), 128), mesh_x[0].double().numpy())
    rasters = [draw_maps((RASTER,), mesh, 128)[RASTER] for mesh in (mesh_x, mesh_y)]
    with torch.no_grad():
        drawn = made(resolution=128)(rasters[0], mesh_x, photo[None], rasters[1][None], mesh_y[None]).image[0]
    off = (drawn.permute(1, 2, 0).add(1) * 127.5 - torch.tensor(expected)).abs().amax(-1)
    # The flow is half as fine, and edges of triangles fall elsewhere.
    assert off.mean() < 1.0
    assert (off < 6).float().mean() > 0.99


@torch.no_grad()
def test_a_mouth_that_the_photo_does_not_show_is_never_kept():
    given = inputs(1, size=128, lips=0.3, photo_lips=-0.08)
    for generator in (made(resolution=128), stirred(made(resolution=128))):
        drawing = generator(*given)
        inside = drawing.holes > 0.99
        assert inside.sum() > 20
        assert (drawing.mask[inside] < 0.01).all()
        # What was there is not seen, neither in the result nor by the network.
        x, y = given[4][0, 0, [13, 14], :2].mean(0).round().long()
        other = given[2].clone()
        other[..., y - 2 : y + 3, x - 2 : x + 3] += 0.5
        inner = -F.max_pool2d(-inside.float(), 5, 1, 2) > 0
        if generator.trunk.heads.out[-1].weight.abs().max() == 0:
            changed = (generator(given[0], given[1], other, *given[3:]).image - drawing.image).abs()
            assert (changed[inner.expand_as(changed)] < 1e-5).all()
            assert changed.max() > 0.05
            dark = drawing.image[inner.expand_as(drawing.image)].view(3, -1).mean(1)
            torch.testing.assert_close(dark, generator.dark.flatten(), atol=1e-3, rtol=0)


@torch.no_grad()
def test_a_mouth_that_the_photo_shows_is_no_hole():
    given = list(inputs(1, lips=0.2))
    given[4] = faces(1, seed=1, lips=0.2)[None]
    assert made()(*given).holes.max() == 0


# It learns.


@pytest.mark.parametrize("changes", ABLATIONS)
def test_gradients_reach_all(changes):
    generator = stirred(made(**changes)).train()
    given = inputs(2, 2, lips=0.2)
    drawing = generator(*given)
    (drawing.image.square().mean() + drawing.logit.square().mean()).backward()
    without = {name for name, p in generator.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    # A photo's score is blind to what is added to all photos' scores.
    assert without <= {"warp_encoder.score.bias"}


def test_heads_learn_from_the_first_step():
    generator = made().train()
    generator(*inputs(2, 2, lips=0.2)).image.square().mean().backward()
    # Channels: the flow, then painting and mask as they come out of the shuffle.
    assert (generator.trunk.heads.out[-1].weight.grad[: 2 + 12].abs().amax((1, 2, 3)) > 0).all()
    assert generator.trunk.flow8[-1].weight.grad.abs().max() > 0
    assert generator.warp_encoder.score.weight.grad.abs().max() > 0


def test_the_mask_learns_by_its_logit_alone():
    generator = stirred(made()).train()
    drawing = generator(*inputs(2, lips=0.2))
    assert (drawing.paint - drawing.warped).abs().max() > 0.01
    drawing.image.square().mean().backward(retain_graph=True)
    of_mask = generator.trunk.heads.out[-1].weight.grad[2 + 12 :]
    assert (of_mask == 0).all()
    drawing.logit.mean().backward()
    assert (of_mask != 0).any()


# Photos.


@torch.no_grad()
def test_large_photos_keep_their_own_pixels():
    # A checkerboard of single pixels, which the network's resolution cannot hold.
    size = 4 * SIZE
    given = list(inputs(1, 1, size))
    given[1] = given[4][:, 0]
    board = (torch.arange(size)[:, None] + torch.arange(size)) % 2 * 1.6 - 0.8
    given[2] = board.expand(1, 1, 3, -1, -1)
    drawing = made()(*given)
    assert drawing.image.shape == (1, 3, size, size)
    torch.testing.assert_close(drawing.warped, given[2][:, 0], atol=2e-2, rtol=0)
    # The painting is grey; the mask begins at one half.
    assert drawing.paint.abs().max() < 0.1
    torch.testing.assert_close(drawing.image, 0.5 * drawing.warped + 0.5 * drawing.paint)


@torch.no_grad()
def test_a_result_at_twice_the_size_is_the_same_picture():
    generator, small = stirred(made()), inputs(1, lips=0.2)
    photos = F.interpolate(small[2][:, 0], scale_factor=2.0, mode="bicubic", align_corners=False)[:, None]
    places = [(mesh + 0.5) * 2 - 0.5 for mesh in (small[1], small[4])]
    large = generator(small[0], places[0], photos, small[3], places[1])
    # What an unlearned network paints has single pixels, which enlarging softens.
    difference = resized(large.image, SIZE // 8) - resized(generator(*small).image, SIZE // 8)
    assert difference.abs().max() < 0.05


@torch.no_grad()
def test_each_photo_twice_is_each_photo_once():
    generator, given = stirred(made()), inputs(2, 1, lips=0.2)
    twice = [torch.cat([x, x], 1) for x in given[2:]]
    one, two = generator(*given), generator(given[0], given[1], *twice)
    torch.testing.assert_close(one.image, two.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(two.weights.sum(1), torch.ones(2, SIZE // 2, SIZE // 2))


@torch.no_grad()
def test_the_photo_that_shows_the_mouth_gives_it():
    given = list(inputs(1, 2, lips=0.2))
    given[4] = torch.stack([faces(1, seed=1)[0], faces(1, seed=1, lips=0.2)[0]])[None]
    drawing = made()(*given)
    x, y = (given[1][0, [13, 14], :2].mean(0) / 2).round().long()
    assert drawing.weights[0, 1, y, x] > 0.9
    assert drawing.weights[0, 0, 0].min() > 0.99  # hair and background: the first photo's
    assert drawing.holes.max() < 0.3


@torch.no_grad()
def test_one_person_many_frames():
    generator = stirred(made())
    raster, mesh, *photos = inputs(3, 2, lips=0.1)
    code = generator.encode(*(x[:1] for x in photos))
    together = generator.decode(code, raster, mesh).image
    apart = [generator.decode(code, raster[i : i + 1], mesh[i : i + 1]).image for i in range(3)]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="give one each"):
        generator.decode(generator.encode(*(x[:2] for x in photos)), raster, mesh)


# Ablations and sizes.


def test_switches_change_what_they_say():
    assert HybridConfig(mesh_prior=False).reach_ndc > HybridConfig().reach_ndc
    given = inputs(1, lips=0.2)
    with torch.no_grad():
        drawings = [stirred(made(**changes))(*given) for changes in ABLATIONS]
    for a, b in itertools.combinations(drawings, 2):
        assert (a.image - b.image).abs().mean() > 1e-3
    assert drawings[1].holes.max() == 0
    assert drawings[2].mask.max() == 0
    torch.testing.assert_close(drawings[2].image, drawings[2].paint)


def test_small_enough_for_a_cpu():
    size = model_size(Hybrid, HybridConfig())
    assert size.resolution == 128
    assert size.parameters < 1.6e6
    assert size.encode_flop + size.frame_flop < 1.5e9


@pytest.mark.parametrize("wrong", [{"resolution": 100}, {"resolution": 32}, {"base_width": 12}, {"blender": "adain"}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=r"multiple|greater|Extra"):
        config(**wrong)


def test_shapes_of_the_parts_as_documented():
    standard = HybridConfig()
    photos = PhotoEncoder(standard)(noise(2, 3, 128, 128), noise(2, 3, 128, 128))
    assert photos.shape == (2, 64, 32, 32)
    features, score = WarpEncoder(standard)(
        noise(2, 3, 128, 128), noise(2, 3, 128, 128), noise(2, 3, 64, 64), noise(2, len(FLAGS), 64, 64)
    )
    assert (features.shape, score.shape) == ((2, 32, 64, 64), (2, 1, 64, 64))
    flow, difference, logit = Trunk(standard)(
        features, noise(2, 1, 2, 64, 64), torch.ones(2, 1, 64, 64), photos[:, None]
    )
    assert (flow.shape, difference.shape, logit.shape) == ((2, 2, 64, 64), (2, 3, 128, 128), (2, 1, 128, 128))
    assert max(x.abs().max() for x in (score, flow, difference, logit)) == 0


# Blocks.


def test_cubic_warp_of_a_whole_shift():
    picture = noise(1, 3, 16, 16)
    flow = torch.zeros(1, 2, 16, 16)
    flow[:, 0] = 2 * 2 / 16
    torch.testing.assert_close(warp_cubic(picture, flow)[..., :-2], picture[..., 2:], atol=1e-5, rtol=0)
    # On what is smooth, it is what bilinear sampling gives.
    soft = F.avg_pool2d(noise(1, 3, 36, 36), 21, 1)
    torch.testing.assert_close(warp_cubic(soft, 0.3 * flow), warp(soft, 0.3 * flow), atol=1e-2, rtol=0)


# The contract.


def as_target_set(photos, meshes, **maps):
    size = photos.shape[-1]
    return TargetSet(photos, meshes.numpy(), maps or draw_maps((RASTER,), meshes, size))


@torch.no_grad()
def test_behind_the_contract():
    torch.manual_seed(0)
    model = Hybrid(config()).eval()
    assert isinstance(model.needs, Needs)
    assert model.needs.any_resolution
    assert model.needs.maps == (RASTER,)
    raster, mesh, photos, rasters, meshes = inputs(1, 2, 96, lips=0.1)
    code = model.encode_target(as_target_set(photos[0], meshes[0]))
    drawn = model.synthesize(code, DriverFrame(mesh.numpy(), {RASTER: raster}))
    assert drawn.shape == (1, 3, 96, 96)
    torch.testing.assert_close(drawn, model.generator(raster, mesh, photos, rasters, meshes).image.clamp(-1, 1))
    with pytest.raises(TypeError, match="HybridCode"):
        model.synthesize(TargetCode(), DriverFrame(mesh.numpy(), {RASTER: raster}))
    with pytest.raises(ValueError, match="irises"):
        model.synthesize(code, DriverFrame(mesh.numpy()))
    with pytest.raises(ValueError, match="32"):
        model.encode_target(as_target_set(photos[0, :, :, :90, :90], meshes[0]))


@torch.no_grad()
def test_overshoot_is_cut_off():
    model = Hybrid(config()).eval()
    model.generator.trunk.heads.out[-1].bias[2:14] = 5
    raster, mesh, photos, _, meshes = inputs(1, 1)
    code = model.encode_target(as_target_set(photos[0], meshes[0]))
    drawn = model.synthesize(code, DriverFrame(mesh.numpy(), {RASTER: raster}))
    assert drawn.max() == 1
    assert np.isfinite(drawn.numpy()).all()


# Which positions of the photos a drawing is made of.


def used(generator, k=1, **changes):
    raster_x, mesh_x, photos, rasters_y, mesh_y = inputs(2, k, lips=0.2, **changes)
    with torch.inference_mode():
        code = generator.encode(photos, rasters_y, mesh_y)
        return generator.decode(code, raster_x, mesh_x), generator.taken(code, raster_x, mesh_x), (code, mesh_x)


def given_slowly(flow, amounts):
    """Each place takes its amount from the four places around the one that the flow names."""
    size = len(amounts)
    out = np.zeros((size, size))
    for row, column in np.ndindex(size, size):
        x, y = np.clip((column, row) + flow[:, row, column] * size / 2, 0, size - 1)
        left, top = min(int(x), size - 2), min(int(y), size - 2)
        for i, j in np.ndindex(2, 2):
            out[top + i, left + j] += amounts[row, column] * (1 - abs(y - top - i)) * (1 - abs(x - left - j))
    return out


@pytest.mark.parametrize("k", [1, 3])
def test_what_is_taken_is_what_the_flow_finds_there(k):
    generator = stirred(made())
    drawing, taken, (code, mesh_x) = used(generator, k)
    mesh = generator.mesh_flows(code, mesh_x, torch.device("cpu")).flow_ndc.unflatten(0, (2, k))
    size = taken.shape[-1]
    assert taken.shape == (2, k, size, size)
    mask = torch.nn.functional.avg_pool2d(drawing.mask, drawing.mask.shape[-1] // size)[:, 0]
    for frame, photo in np.ndindex(2, k):
        flow = (mesh[frame, photo] + drawing.flow_ndc[frame]).double().numpy()
        kept = (drawing.weights[frame, photo] * mask[frame]).double().numpy() / size**2
        # The mask is averaged down with a wider filter.
        off = np.abs(given_slowly(flow, kept) - taken[frame, photo].numpy())
        assert off.mean() < 0.02 / size**2
    torch.testing.assert_close(taken.sum((1, 2, 3)), drawing.mask.mean((1, 2, 3)), atol=2e-3, rtol=0)


def test_the_first_of_two_equal_photos_gives_most():
    raster_x, mesh_x, photos, rasters_y, mesh_y = inputs(1, 1)
    twice = [part.expand(-1, 2, *part.shape[2:]) for part in (photos, rasters_y, mesh_y)]
    generator = made()
    with torch.no_grad():
        taken = generator.taken(generator.encode(*twice), raster_x, mesh_x)
    first, second = taken.sum((0, 2, 3))
    assert first > 2.7 * second > 0  # e^1, and e^9 beyond the face


def test_nothing_is_taken_without_fusion():
    _, taken, _ = used(made(fusion=False), 2)
    assert taken.sum() == 0


def test_the_network_is_left_as_it_was():
    generator = HybridGenerator(config()).eval()
    first, again = used(generator)[0], used(generator)[0]
    assert all(p.grad is None for p in generator.parameters())
    assert torch.equal(first.image, again.image)
