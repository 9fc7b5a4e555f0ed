"""MarioNETte's networks: sizes as the paper gives them, and what its structure implies."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parametrize

from reenactor.core import MESH_POINTS, DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.maps import draw_maps
from reenactor.models.marionette import (
    MarioNETte,
    MarioNETteConfig,
    MarioNETteDiscriminator,
    MarioNETteGenerator,
)
from reenactor.models.marionette.blocks import Decoder, DriverEncoder, TargetEncoder, WarpAlignment
from reenactor.models.sizes import model_size
from reenactor.nn import fold_spectral_norm

SIZE = 64
ABLATIONS = [("adain", False), ("attention", False), ("adain", True), ("attention", True)]
"""The rows of the paper's Table 4."""
WEIGHTED = nn.Conv2d, nn.Linear, nn.Embedding


def tiny(blender="attention", alignment=True, **changes):
    # Three widths that differ, so that mixed-up channels do not fit.
    sizes = {"resolution": SIZE, "levels": 2, "base_width": 4, "max_width": 12, "discriminator_blocks": 2} | changes
    return MarioNETteConfig(blender=blender, alignment=alignment, **sizes)


def made(network, *args, seed=0):
    torch.manual_seed(seed)
    return network(*args).double().eval()


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def pictures(k, *, batch=1, seed=0):
    """K photos and their rasters."""
    return noise(batch, k, 3, SIZE, SIZE, seed=seed), noise(batch, k, 3, SIZE, SIZE, seed=seed + 1)


def driver(batch=1, seed=9):
    return noise(batch, 3, SIZE, SIZE, seed=seed)


@pytest.fixture(scope="module")
def generator():
    return made(MarioNETteGenerator, tiny())


# The paper's sizes, on the meta device: shapes without memory.


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return MarioNETteGenerator(MarioNETteConfig.paper()), MarioNETteDiscriminator(MarioNETteConfig.paper(), 1000)


def sizes_of(outputs):
    return [tuple(o.shape[1:]) for o in outputs]


def outputs_of(modules, run):
    """What each module returns while `run` runs."""
    seen = []
    hooks = [m.register_forward_hook(lambda _module, _input, output: seen.append(output)) for m in modules]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def test_paper_shapes_at_each_stage(paper):
    generator, discriminator = paper
    with torch.device("meta"):
        targets, raster_x = torch.empty(1, 3, 3, 256, 256), torch.empty(2, 3, 256, 256)
        found = generator.target_encoder(targets[0], targets[0])
        code = generator.encode(targets, targets)
        z_x = generator.driver_encoder(raster_x)
        z_xy, attention = generator.blender(z_x, code.z_y)
        aligned, up = (
            sizes_of(outputs_of(modules, lambda: generator.decode(code, raster_x)))
            for modules in (generator.decoder.align, generator.decoder.up)
        )
        judged = discriminator(raster_x, raster_x, torch.zeros(2, dtype=torch.long))
    assert all(p.is_meta for network in paper for p in network.parameters())
    assert sizes_of([z_x, z_xy]) == [(512, 16, 16)] * 2
    assert found.z_y.shape == (3, 512, 8, 8)
    assert found.flow_ndc.shape == (3, 2, 128, 128)
    pyramid = [(128, 128, 128), (256, 64, 64), (512, 32, 32), (512, 16, 16)]
    assert sizes_of(found.s_hat) == sizes_of(code.s_hat) == pyramid
    assert code.z_y.shape == (1, 3, 512, 8, 8)
    assert [tuple(a.shape) for a in attention] == [(2, 16, 16, 3, 8, 8)] * 3
    assert aligned == [(1024, 16, 16), (1024, 32, 32), (512, 64, 64), (256, 128, 128)]
    assert up == [(512, 32, 32), (256, 64, 64), (128, 128, 128), (64, 256, 256)]
    assert judged.scores.shape == (2, 1, 8, 8)
    assert sizes_of(judged.features) == [*pyramid, (512, 8, 8)]


def test_paper_parameter_counts(paper):
    """Summed by hand from the paper's list of parts."""

    def conv(channels_in, channels_out, size=3, bias=True):
        return channels_in * channels_out * size**2 + channels_out * bias

    def block(channels_in, channels_out, norm):
        gains = 2 * channels_in + 2 * channels_out if norm else 0
        inside = conv(channels_in, channels_out, bias=not norm) + conv(channels_out, channels_out)
        return gains + inside + conv(channels_in, channels_out, 1, bias=False)

    widths = [64, 128, 256, 512, 512, 512]
    steps = list(itertools.pairwise(widths))
    down = sum(block(a, b, norm=False) for a, b in steps)
    flow_up = [(512, 512), (1024, 512), (1024, 256), (512, 128)]
    up = [(1024, 512), (1024, 256), (512, 128), (256, 64)]
    expected = {
        "driver_encoder": conv(3, 64) + sum(block(a, b, norm=True) for a, b in steps[:4]),
        "target_encoder": conv(6, 64) + down + sum(block(a, b, norm=False) for a, b in flow_up) + conv(256, 2),
        "blender": 3 * (5 * 512 * 512 + 2 * 512 + conv(512, 512)),
        "decoder": sum(block(a, b, norm=True) for a, b in up)
        + sum(conv(c, 2, 1) for c in (512, 512, 256, 128))
        + 2 * 64
        + conv(64, 3),
    }
    generator, discriminator = paper
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in generator.named_children()}
    assert counted == expected
    assert sum(counted.values()) == pytest.approx(64.0e6, rel=2e-3)
    head = conv(512, 1, 1) + 1000 * 512
    assert sum(p.numel() for p in discriminator.parameters()) == conv(6, 64) + down + head


def test_narrow_blocks_are_an_option():
    with torch.device("meta"):
        config = MarioNETteConfig(wide=False)
        encoder = DriverEncoder(config)
    assert [b.conv1.out_channels for b in encoder.down] == [64, 128, 256, 512]
    assert MarioNETteConfig().wide


def test_lite_is_small():
    config = MarioNETteConfig.lite()
    with torch.device("meta"):
        generator, picture = MarioNETteGenerator(config), torch.empty(1, 3, 128, 128)
        assert generator.target_encoder(picture, picture).z_y.shape[-2:] == (8, 8)
    size = model_size(MarioNETte, config)
    assert size.resolution == 128
    assert size.parameters == sum(p.numel() for p in generator.parameters()) < 2e6
    assert size.frame_flop < 2.5e9
    assert [MarioNETteConfig.lite(blender=b, alignment=a).mesh_prior for b, a in ABLATIONS] == [
        False,
        False,
        True,
        True,
    ]


# Normalization.


@pytest.mark.parametrize(("blender", "alignment"), ABLATIONS)
def test_spectral_norm_on_every_layer_and_nothing_else(blender, alignment):
    config = tiny(blender, alignment)
    for network in (MarioNETteGenerator(config), MarioNETteDiscriminator(config, 5)):
        layers = [m for m in network.modules() if isinstance(m, WEIGHTED)]
        normalized = [m for m in network.modules() if parametrize.is_parametrized(m)]
        assert layers == normalized
        held = {id(p) for layer in layers for p in layer.parameters()}
        gains = {id(p) for m in network.modules() if isinstance(m, nn.InstanceNorm2d) for p in m.parameters()}
        assert {id(p) for p in network.parameters()} == held | gains


def test_count_of_spectrally_normalized_layers(paper):
    counts = [sum(parametrize.is_parametrized(m) for m in network.modules()) for network in paper]
    # Stems 2, driver 4 x 3, target 9 x 3 + flow, blender 3 x 6, decoder 4 x (3 + flow) + last.
    assert counts[0] == 2 + 12 + 28 + 18 + 16 + 1
    # Stem, 5 x 3, score and embedding.
    assert counts[1] == 1 + 15 + 2


def test_singular_values_after_some_steps():
    network = made(MarioNETteGenerator, tiny()).train()
    with torch.no_grad():
        for _ in range(20):
            network(driver(), *pictures(1))
    for name, layer in network.named_modules():
        if parametrize.is_parametrized(layer):
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item()
            assert largest == pytest.approx(1, abs=0.05), name


def test_norm_layers_only_where_the_paper_has_them(paper):
    generator, discriminator = paper

    def norms(module):
        return sum(
            isinstance(m, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm) for m in module.modules()
        )

    assert norms(generator.target_encoder) == norms(discriminator) == 0
    assert norms(generator.driver_encoder) == 4 * 2
    assert norms(generator.blender) == 3
    assert norms(generator.decoder) == 4 * 2 + 1
    assert not any(isinstance(m, nn.BatchNorm2d) for m in generator.modules())


@torch.no_grad()
def test_folded_network_draws_the_same(generator):
    inputs = driver(), *pictures(2)
    folded = fold_spectral_norm(generator)
    torch.testing.assert_close(folded(*inputs), generator(*inputs))
    plain = made(lambda config: MarioNETteGenerator(config, spectral=False), tiny(), seed=1)
    assert not any(parametrize.is_parametrized(m) for m in plain.modules())
    plain.load_state_dict(folded.state_dict())
    assert torch.equal(plain(*inputs), folded(*inputs))


# How targets and frames come together.


@torch.no_grad()
@pytest.mark.parametrize(("blender", "alignment"), ABLATIONS)
@pytest.mark.parametrize("k", [1, 8])
def test_any_number_of_targets(blender, alignment, k):
    network = made(MarioNETteGenerator, tiny(blender, alignment))
    image = network(driver(), *pictures(k))
    assert image.shape == (1, 3, SIZE, SIZE)
    assert torch.isfinite(image).all()
    assert image.abs().max() <= 1
    # Other photos give another picture, and so does another pose.
    assert (network(driver(), *pictures(k, seed=5)) - image).abs().max() > 1e-3
    assert (network(driver(seed=7), *pictures(k)) - image).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("blender", "alignment"), ABLATIONS)
def test_order_and_repetition_of_targets_do_not_matter(blender, alignment):
    network = made(MarioNETteGenerator, tiny(blender, alignment))
    photos, rasters = pictures(3)
    image, order = network(driver(), photos, rasters), torch.tensor([2, 0, 1])
    torch.testing.assert_close(network(driver(), photos[:, order], rasters[:, order]), image)
    twice = torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(network(driver(), photos[:, twice], rasters[:, twice]), image)


@torch.no_grad()
@pytest.mark.parametrize(("blender", "alignment"), ABLATIONS)
def test_encoding_once_equals_encoding_for_every_frame(blender, alignment):
    network = made(MarioNETteGenerator, tiny(blender, alignment))
    frames, targets = driver(3), pictures(2)
    code = network.encode(*targets)
    each = torch.cat([network(frame[None], *targets) for frame in frames])
    loop = torch.cat([network.decode(code, frame[None]) for frame in frames])
    assert torch.equal(loop, each)
    torch.testing.assert_close(network.decode(code, frames), each)


@torch.no_grad()
def test_batch_of_people_equals_loop(generator):
    frames, (photos, rasters) = driver(3), pictures(2, batch=3)
    loop = [generator(frames[b : b + 1], photos[b : b + 1], rasters[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(generator(frames, photos, rasters), torch.cat(loop))


def test_frames_and_people_must_match(generator):
    code = generator.encode(*pictures(1, batch=2))
    with pytest.raises(ValueError, match="3 driver frames"):
        generator.decode(code, driver(3))


@pytest.mark.parametrize(("height", "width"), [(60, 64), (64, 48), (33, 33)])
def test_odd_sizes_are_refused(generator, height, width):
    odd = noise(1, 3, height, width)
    with pytest.raises(ValueError, match="32"):
        generator.encode(odd[None], odd[None])
    with pytest.raises(ValueError, match="32"):
        generator.decode(generator.encode(*pictures(1)), odd)


@torch.no_grad()
def test_pictures_need_not_be_square(generator):
    wide = noise(1, 3, 32, 96)
    assert generator(wide, wide[None], wide[None]).shape == wide.shape


def test_code_cannot_be_changed(generator):
    code = generator.encode(*pictures(1))
    assert isinstance(code, TargetCode)
    with pytest.raises(dataclasses.FrozenInstanceError):
        code.z_y = None


# Gradients.


def dead_biases(blender, alignment):
    """A bias from which only instance norms and 1x1 skips lead to the picture cancels. The flows see all others."""
    dead = {"decoder.up.1.conv2"}
    if not alignment:
        dead |= {"decoder.up.0.conv2"}
        if blender == "attention":
            # Of the values, all places get the same: subtracted after the attention. As keys it cancels in the softmax.
            dead |= {"blender.blocks.2.conv", "target_encoder.down.2.conv2"}
        else:
            dead |= {"driver_encoder.stem", "driver_encoder.down.0.conv2", "driver_encoder.down.1.conv2"}
            dead |= {f"blender.blocks.{i}.conv2" for i in range(3)}
    return {f"{name}.bias" for name in dead}


@pytest.mark.parametrize(("blender", "alignment"), ABLATIONS)
def test_gradients_reach_every_parameter(blender, alignment):
    network = made(MarioNETteGenerator, tiny(blender, alignment)).train()
    network(driver(2), *pictures(3, batch=2)).square().sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7}
    assert without == dead_biases(blender, alignment)


def test_gradients_reach_every_parameter_of_the_discriminator():
    network = made(MarioNETteDiscriminator, tiny(), 3).train()
    network(driver(3), driver(3, seed=1), torch.arange(3)).scores.square().sum().backward()
    assert all(p.grad.abs().max() > 1e-7 for p in network.parameters())


# Alignment.


@torch.no_grad()
def test_a_constant_flow_moves_every_scale_alike():
    # Without spectral normalization, so that the flow's weights can be zero: 0.25 is 4 columns of 32 and 2 of 16.
    encoder = made(TargetEncoder, tiny())
    encoder.flow.weight.zero_()
    encoder.flow.bias.copy_(torch.tensor([math.atanh(0.25), 0.0]))
    photo, raster = driver(), driver(seed=1)
    s = outputs_of(encoder.down, lambda: encoder(photo, raster))
    found = encoder(photo, raster)
    assert torch.equal(found.z_y, s[2])
    assert len(found.s_hat) == 2
    for s_hat, s_j, columns in zip(found.s_hat, s, (4, 2), strict=False):
        torch.testing.assert_close(s_hat[..., :-columns], s_j[..., columns:])
        assert (s_hat[..., :-columns] - s_j[..., :-columns]).abs().max() > 1e-3


@torch.no_grad()
def test_warp_alignment_lays_moved_features_beside_u():
    align = made(WarpAlignment, 4, 1.0)
    u, s_hat = noise(2, 4, 8, 8), noise(2, 4, 8, 8, seed=1)
    align.flow.weight.zero_()
    align.flow.bias.zero_()
    torch.testing.assert_close(align(u, s_hat), torch.cat([u, s_hat], dim=1))
    align.flow.bias.copy_(torch.tensor([0.0, 2 / 8]))
    tenth = made(WarpAlignment, 4, 0.1)
    tenth.flow.weight.zero_()
    tenth.flow.bias.copy_(10 * align.flow.bias)
    torch.testing.assert_close(tenth(u, s_hat), align(u, s_hat))
    torch.testing.assert_close(align(u, s_hat)[:, 4:, :-1], s_hat[:, :, 1:])
    # The flow is a function of u, place by place.
    align.flow.weight[1, 0] = 1.0
    align.flow.bias.zero_()
    u[:, 0] = 0
    u[:, 0, 3] = 4 / 8
    moved = align(u, s_hat)[:, 4:]
    torch.testing.assert_close(moved[:, :, 3], s_hat[:, :, 5])
    torch.testing.assert_close(moved[:, :, [0, 1, 2, 4]], s_hat[:, :, [0, 1, 2, 4]])


@torch.no_grad()
def test_code_holds_the_mean_over_targets(generator):
    photos, rasters = pictures(3)
    code = generator.encode(photos, rasters)
    each = [generator.target_encoder(photos[:, i], rasters[:, i]) for i in range(3)]
    for j, s_hat in enumerate(code.s_hat):
        torch.testing.assert_close(s_hat, sum(found.s_hat[j] for found in each) / 3)
    torch.testing.assert_close(code.z_y[0], torch.cat([found.z_y for found in each]))


@torch.no_grad()
def test_decoder_reads_each_scale():
    decoder = made(Decoder, tiny())
    u, s_hat = noise(1, 12, 16, 16), (noise(1, 8, 32, 32), noise(1, 12, 16, 16))
    image = decoder(u, s_hat)
    for j in range(2):
        changed = tuple(s + (i == j) * noise(*s.shape, seed=5) for i, s in enumerate(s_hat))
        assert (decoder(u, changed) - image).abs().max() > 1e-3


# Ablations.


def test_ablations_differ_by_what_they_omit():
    names = {}
    for blender, alignment in ABLATIONS:
        network = MarioNETteGenerator(tiny(blender, alignment))
        names[blender, alignment] = {name for name, _ in network.named_parameters()}
    full = names["attention", True]
    flows = {n for n in full if n.startswith(("target_encoder.up", "target_encoder.flow", "decoder.align"))}
    assert flows
    assert full - names["attention", False] == flows
    assert names["adain", True] - names["adain", False] == flows
    assert all(n.startswith("blender") for n in full ^ names["adain", True])


@torch.no_grad()
def test_ablations_code_holds_no_more_than_is_used():
    for blender, alignment in ABLATIONS:
        code = made(MarioNETteGenerator, tiny(blender, alignment)).encode(*pictures(2))
        assert len(code.s_hat) == (2 if alignment else 0)


# Attention maps.


@torch.no_grad()
def test_attention_maps(generator):
    code = generator.encode(*pictures(3))
    maps = generator.attention_maps(code, driver(2))
    assert maps.shape == (2, 3, 16, 16, 3, 8, 8)
    torch.testing.assert_close(maps.sum((4, 5, 6)), torch.ones(2, 3, 16, 16, dtype=torch.float64))


def test_adain_has_no_attention_to_show():
    network = made(MarioNETteGenerator, tiny("adain"))
    with pytest.raises(ValueError, match="AdaIN"):
        network.attention_maps(network.encode(*pictures(1)), driver())


# Discriminator.


@torch.no_grad()
def test_discriminator_scores_patches_and_identities():
    network = made(MarioNETteDiscriminator, tiny(), 4)
    images, rasters = driver(3), driver(3, seed=1)
    judged = network(images, rasters, torch.tensor([0, 1, 2]))
    loop = [network(images[b : b + 1], rasters[b : b + 1], torch.tensor([b])) for b in range(3)]
    torch.testing.assert_close(judged.scores, torch.cat([one.scores for one in loop]))
    # Another identity moves the score by the difference of embeddings, projected on the features.
    other = network(images, rasters, torch.tensor([3, 1, 2]))
    e = network.head.identity.weight
    moved = torch.einsum("c,chw->hw", e[3] - e[0], judged.features[-1][0].relu())
    torch.testing.assert_close((other.scores - judged.scores)[0, 0], moved)
    assert torch.equal(other.scores[1:], judged.scores[1:])
    # The raster counts.
    assert (network(images, rasters.flip(3), torch.tensor([0, 1, 2])).scores - judged.scores).abs().max() > 1e-3


@torch.no_grad()
def test_discriminator_does_not_pool_globally():
    network = made(MarioNETteDiscriminator, tiny(), 4)
    images, rasters, who = driver(), driver(seed=1), torch.tensor([0])
    changed = images.clone()
    changed[..., 0, 0] += 1
    moved = (network(changed, rasters, who).scores - network(images, rasters, who).scores)[0, 0].abs()
    # Stem and two blocks reach 1 + 2 + 2 * 2 pixels back: patches beyond the third do not see the corner.
    assert moved[0, 0] > 0
    assert (moved[3:] == 0).all()
    assert (moved[:, 3:] == 0).all()


# Config and contract.


def test_config_is_checked_and_frozen():
    with pytest.raises(ValidationError):
        MarioNETteConfig(resolution=100)
    with pytest.raises(ValidationError):
        MarioNETteConfig(depth=3)
    with pytest.raises(ValidationError):
        MarioNETteConfig().levels = 3
    assert MarioNETteConfig.model_validate_json(MarioNETteConfig.lite().model_dump_json()) == MarioNETteConfig.lite()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MarioNETte(tiny()).eval()


def faces(count, seed=0):
    mesh = np.random.default_rng(seed).uniform(8, SIZE - 8, (count, MESH_POINTS, 3))
    return mesh.astype(np.float32)


def maps(mesh, kind=MapKind.LANDMARK_RASTER):
    return draw_maps([kind], torch.from_numpy(mesh), SIZE)


@torch.no_grad()
@pytest.mark.parametrize("irises", [False, True])
def test_behind_the_contract(irises):
    torch.manual_seed(0)
    model = MarioNETte(tiny(irises=irises)).eval()
    kind = MapKind.IRIS_RASTER if irises else MapKind.LANDMARK_RASTER
    assert model.needs.maps == (kind,)
    photos, wanted = faces(2), faces(3, seed=1)
    targets = TargetSet(noise(2, 3, SIZE, SIZE).float(), photos, maps(photos, kind))
    image = model.synthesize(model.encode_target(targets), DriverFrame(wanted, maps(wanted, kind)))
    expected = model.generator(maps(wanted, kind)[kind], targets.images[None], maps(photos, kind)[kind][None])
    assert image.shape == (3, 3, SIZE, SIZE)
    torch.testing.assert_close(image, expected)


def test_what_the_zoo_asks_of_it(model):
    assert model.config == tiny()
    assert model.resolution == SIZE
    assert MarioNETte.config_type is MarioNETteConfig
    assert all(name.startswith("generator.") and "parametrizations" not in name for name in model.state_dict())


def test_contract_refuses_other_codes_odd_sizes_and_missing_maps(model):
    photos = faces(1)
    with pytest.raises(TypeError, match="Code"):
        model.synthesize(TargetCode(), DriverFrame(photos, maps(photos)))
    with pytest.raises(ValueError, match="32"):
        model.encode_target(TargetSet(torch.zeros(1, 3, 60, 60), photos, maps(photos)))
    with pytest.raises(ValueError, match="landmark raster of the target photos"):
        model.encode_target(TargetSet(torch.zeros(1, 3, SIZE, SIZE), photos))
    code = model.encode_target(TargetSet(torch.zeros(1, 3, SIZE, SIZE), photos, maps(photos)))
    with pytest.raises(ValueError, match="landmark raster of the driver frames"):
        model.synthesize(code, DriverFrame(photos, maps(photos, MapKind.IRIS_RASTER)))
