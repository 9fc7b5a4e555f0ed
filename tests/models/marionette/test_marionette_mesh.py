"""MarioNETte's mesh prior: features move as the landmarks say, and without it nothing is different."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from reenactor.core import DriverFrame, MapKind, TargetSet
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow, photo_weights
from reenactor.models import METHODS
from reenactor.models.marionette import MarioNETte, MarioNETteConfig, MarioNETteGenerator
from reenactor.models.marionette.blocks import MeshAlignment, MeshWarp, mesh_flows, mesh_warps
from reenactor.models.sizes import model_size

SIZE = 64


def tiny(**changes):
    sizes = {"resolution": SIZE, "levels": 2, "base_width": 4, "max_width": 12, "discriminator_blocks": 2}
    return MarioNETteConfig(**(sizes | {"mesh_prior": True} | changes))


def made(**changes):
    torch.manual_seed(0)
    return MarioNETteGenerator(tiny(**changes)).double().eval()


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def face(x_px=0.0, y_px=0.0):
    """The mean face, 40 pixels wide, somewhere."""
    mesh = torch.from_numpy(mean_face().points * 24 + np.array([SIZE / 2, SIZE / 2, 0]))
    return mesh.float() + torch.tensor([x_px, y_px, 0])


def people(k, batch=1, seed=0):
    """K photos, their rasters and meshes."""
    meshes = torch.stack([face(i, -i) for i in range(k)]).expand(batch, k, 478, 3)
    return noise(batch, k, 3, SIZE, SIZE, seed=seed), noise(batch, k, 3, SIZE, SIZE, seed=seed + 1), meshes


def frames(count):
    return noise(count, 3, SIZE, SIZE, seed=9), torch.stack([face(3 * i, 2) for i in range(count)])


@torch.no_grad()
def drawn(network, frame, person):
    return network.decode(network.encode(*person), *frame)


@torch.no_grad()
def test_an_untrained_networks_features_move_with_the_mesh():
    # No correction, so that what is seen is the mesh's flow: 8 pixels to the right, and 4 up.
    network = made(flow_scale=1e-9)
    photo, raster, mesh = people(1)
    aligned = []
    hooks = [a.register_forward_hook(lambda _m, _i, output: aligned.append(output)) for a in network.decoder.align]
    code = network.encode(photo, raster, mesh)
    network.decode(code, frames(1)[0], face(8, -4)[None])
    for hook in hooks:
        hook.remove()
    assert [a.shape[-1] for a in aligned] == [16, 32, 64]
    for s_j, both in zip(reversed(code.s), aligned, strict=True):
        size = s_j.shape[-1]
        scale = size // 16
        moved = both[:, -s_j.shape[2] :]
        # Cheeks and nose, away from mouth and eyes.
        now = moved[0, :, 8 * scale : 9 * scale, 8 * scale : 11 * scale]
        torch.testing.assert_close(now, s_j[0, 0, :, 9 * scale : 10 * scale, 6 * scale : 9 * scale], atol=1e-5, rtol=0)
        assert (now - s_j[0, 0, :, 8 * scale : 9 * scale, 8 * scale : 11 * scale]).abs().max() > 1e-2


def test_a_frame_where_the_photo_is_needs_no_flow():
    mesh = face()[None]
    flow = mesh_flows(mesh[None], mesh, SIZE, torch.device("cpu"))
    assert flow.flow_ndc.shape == (1, 2, SIZE // 2, SIZE // 2)
    assert flow.flow_ndc.abs().max() < 1e-4
    assert flow.flags[:, [FLAGS.index("mouth"), FLAGS.index("eyes")]].max() == 0


# Where the flow cannot be right.


def flagged(k, **where):
    """Flags of K photos, 4 x 4: name -> the photo that has it everywhere."""
    flags = torch.zeros(k, len(FLAGS), 4, 4, dtype=torch.float64)
    for name, photo in where.items():
        flags[photo, FLAGS.index(name)] = 1
    return flags


@pytest.mark.parametrize("flag", ["occluded", "stretched", "mouth", "eyes"])
def test_photos_that_show_it_are_preferred(flag):
    def of_first(flags):
        weights = photo_weights(flags, 2)
        torch.testing.assert_close(weights.sum(1), torch.ones(1, 4, 4, dtype=torch.float64))
        return weights[0, 0, 0, 0].item()

    assert of_first(flagged(2)) == pytest.approx(1 / (1 + np.exp(-1)))
    assert of_first(flagged(2, **{flag: 0})) < 0.13
    assert of_first(flagged(2, **{flag: 1})) > 0.98
    assert of_first(flagged(2, beyond=0, **{flag: 0})) > 0.98


@torch.no_grad()
def test_weights_are_of_each_frames_own_photos():
    # Frame 0's first photo is occluded, frame 1's second.
    flags = torch.cat([flagged(2, occluded=0), flagged(2, occluded=1)])
    mesh = MeshFlow(torch.zeros(4, 2, 4, 4, dtype=torch.float64), flags)
    for one in mesh_warps((noise(1, 2, 3, 8, 8), noise(1, 2, 3, 2, 2)), mesh):
        assert one.s.shape[:2] == one.weights.shape[:2] == (2, 2)
        torch.testing.assert_close(one.weights[:, :, 0, 0], photo_weights(flags, 2)[:, :, 0, 0])


@torch.no_grad()
def test_openings_are_cut_out_and_marked():
    torch.manual_seed(0)
    align = MeshAlignment(3, 0.1).double()
    u, s = noise(1, 3, 4, 4), noise(1, 1, 3, 4, 4, seed=1)
    align.flow.weight.zero_()
    align.flow.bias.zero_()

    def moved(flags):
        flow = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
        result = align(u, MeshWarp(s, flow, flags, torch.ones(1, 1, 4, 4, dtype=torch.float64)))
        torch.testing.assert_close(result[:, :3], u)
        return result[0, 3:]

    for i, name in enumerate(FLAGS):
        kept = 0 if name in ("mouth", "eyes") else s[0, 0]
        torch.testing.assert_close(moved(flagged(1, **{name: 0})), kept + align.mark.weight[:, i].expand(3, 4, 4))
    torch.testing.assert_close(moved(flagged(1)), s[0, 0])


# As without the prior: encoded once, in batches, trained, counted.


def test_encoding_once_and_batches():
    network, (rasters, meshes), person = made(), frames(3), people(2)
    each = torch.cat([drawn(network, (r[None], m[None]), person) for r, m in zip(rasters, meshes, strict=True)])
    # Few faces are drawn by OpenCV, many together: at triangles' edges they differ by rounding.
    torch.testing.assert_close(drawn(network, (rasters, meshes), person), each, atol=1e-3, rtol=0)
    assert (each[0] - each[1]).abs().max() > 1e-2
    three = people(2, batch=3)
    loop = [drawn(network, (rasters[b : b + 1], meshes[b : b + 1]), [p[b : b + 1] for p in three]) for b in range(3)]
    torch.testing.assert_close(drawn(network, (rasters, meshes), three), torch.cat(loop), atol=1e-3, rtol=0)


@pytest.mark.parametrize("blender", ["attention", "adain"])
def test_gradients_reach_every_parameter(blender):
    network = made(blender=blender).train()
    rasters, meshes = frames(2)
    photos, rasters_y, mesh_y = people(2, batch=2)
    network(rasters, photos, rasters_y, meshes, mesh_y).square().sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7}
    # As keys it cancels in the softmax, as values it is subtracted after the attention.
    assert without == ({"target_encoder.down.2.conv2.bias"} if blender == "attention" else set())


def test_the_contract():
    torch.manual_seed(0)
    model = MarioNETte(tiny()).eval()
    photos, rasters, meshes = (part[0].float() for part in people(2))
    raster, mesh = frames(1)
    kind = MapKind.LANDMARK_RASTER
    with torch.inference_mode():
        code = model.encode_target(TargetSet(photos, meshes.numpy(), {kind: rasters}))
        image = model.synthesize(code, DriverFrame(mesh.numpy(), {kind: raster.float()}))
        expected = model.generator(raster.float(), photos[None], rasters[None], mesh, meshes[None])
        attention = model.generator.attention_maps(code, raster.float())
    assert torch.equal(image, expected)
    torch.testing.assert_close(attention.sum(dim=(-3, -2, -1)), torch.ones(1, 3, 16, 16))


def test_lite_costs_little_more():
    with_prior, without = (
        model_size(METHODS["marionette"].model, MarioNETteConfig.lite().model_copy(update={"mesh_prior": prior}))
        for prior in (True, False)
    )
    assert with_prior.parameters < without.parameters
    assert with_prior.encode_flop < without.encode_flop
    assert with_prior.frame_flop < 1.15 * without.frame_flop


def test_what_it_needs():
    network, (raster, _), (photo, raster_y, mesh_y) = made(), frames(1), people(1)
    with pytest.raises(ValueError, match="landmarks"):
        network.encode(photo, raster_y)
    with pytest.raises(ValueError, match="square"):
        network.encode(photo[..., :32], raster_y[..., :32], mesh_y)
    with pytest.raises(ValueError, match="landmarks"):
        network.decode(network.encode(photo, raster_y, mesh_y), raster)
    with pytest.raises(ValidationError, match="needs alignment"):
        tiny(alignment=False)


@torch.no_grad()
def test_without_the_prior_nothing_is_different():
    network, (raster, mesh), (photos, rasters, mesh_y) = made(mesh_prior=False), frames(1), people(2)
    image = network(raster, photos, rasters)
    assert torch.equal(network(raster, photos, rasters, mesh, mesh_y), image)
    names = {name for name, _ in network.named_parameters()}
    assert not any(".mark." in name or name.startswith("decoder.up.2") for name in names)
    assert any(name.startswith("target_encoder.flow") for name in names)
    # Stored before there was a prior.
    assert [image.mean().item(), image.std().item()] == pytest.approx([0.18240568065505, 0.46751124456512], abs=1e-7)
