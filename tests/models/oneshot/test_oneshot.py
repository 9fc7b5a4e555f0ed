"""One-shot face reenactment's generator: sizes as the paper gives them, and what its structure implies."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from reenactor.core import MESH_POINTS, DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.models.oneshot import OneShot, OneShotCode, OneShotConfig, OneShotGenerator, oneshot_discriminator
from reenactor.nn import SPADEResidualBlock

SIZE = 64
FUSIONS = ["learned", "handmade", "none"]


def tiny(**changes):
    # Widths that differ from stage to stage, so that mixed-up channels do not fit.
    sizes = {"resolution": SIZE, "base_width": 4, "max_width": 24, "spade_from": 4, "fusion_width": 8}
    return OneShotConfig(**(sizes | changes))


def made(config, seed=0):
    torch.manual_seed(seed)
    network = OneShotGenerator(config).double().eval()
    if network.fusion is not None:
        nn.init.normal_(network.fusion.logit.weight, std=0.5)
    return network


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def photos(k, *, batch=1, seed=0, size=SIZE):
    return noise(batch, k, 3, size, size, seed=seed)


def parsing(batch=1, seed=5, size=SIZE):
    return noise(batch, 9, size, size, seed=seed).abs()


def warped(batch=1, seed=6, size=SIZE):
    return torch.cat([noise(batch, 3, size, size, seed=seed), noise(batch, 5, size, size, seed=seed + 1).abs()], 1)


@pytest.fixture(scope="module")
def generator():
    return made(tiny())


# The paper's sizes, on the meta device: shapes without memory.


@pytest.fixture(scope="module")
def paper():
    with torch.device("meta"):
        return OneShotGenerator(OneShotConfig.paper())


def outputs_of(modules, run):
    """The sizes of what each module returns while `run` runs."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda _module, _input, output: seen.append(tuple(output.shape[1:]))) for m in modules
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


def test_paper_shapes_at_each_stage(paper):
    with torch.device("meta"):
        images, maps = torch.empty(1, 2, 3, 256, 256), torch.empty(3, 9, 256, 256)
        down = outputs_of(paper.appearance_encoder.down, lambda: paper.encode(images))
        up = outputs_of(paper.appearance_decoder.up, lambda: paper.encode(images))
        found = paper.encode(images)
        spade = [m for m in paper.decoder.modules() if isinstance(m, SPADEResidualBlock)]
        modules = outputs_of(paper.decoder.modules_up, lambda: paper.decode(found.z, found.maps, maps))
        blocks = outputs_of(spade, lambda: paper.decode(found.z, found.maps, maps))
        drawn = paper(images, maps[:1], maps[:1, :8])
    widths = [64, 128, 256, 512, 1024, 1024, 1024, 1024]
    assert down == [(c, 2**j, 2**j) for c, j in zip(widths, range(7, -1, -1), strict=True)]
    widths = [1024, 1024, 1024, 1024, 512, 256, 128]
    assert up == [(c, 2**j, 2**j) for j, c in enumerate(widths, start=1)]
    assert found.z.shape == (1, 1024, 1, 1)
    assert [tuple(m.shape) for m in found.maps] == [
        (1, 1024, 16, 16),
        (1, 512, 32, 32),
        (1, 256, 64, 64),
        (1, 128, 128, 128),
    ]
    assert found.reconstructions.shape == images.shape
    assert [size for _, size, _ in modules] == [2**j for j in range(1, 9)]
    # SPADE at 16, 32, 64 and 128 pixels, on the decoder's channels and the appearance beside them.
    assert blocks == [(512 + 1024, 16, 16), (256 + 512, 32, 32), (128 + 256, 64, 64), (64 + 128, 128, 128)]
    assert drawn.image.shape == drawn.face.shape == (1, 3, 256, 256)
    assert drawn.mask.shape == (1, 1, 256, 256)


def test_paper_layers(paper):
    for number, block in enumerate(paper.appearance_encoder.down):
        kinds = [type(layer) for layer in block]
        norm = [nn.InstanceNorm2d] if 0 < number < 7 else []
        assert kinds == [nn.Conv2d, *norm, *([nn.LeakyReLU] if number < 7 else [])]
        assert (block[0].kernel_size, block[0].stride) == ((4, 4), (2, 2))
    assert paper.appearance_encoder.down[0][1].negative_slope == 0.2
    for block in paper.appearance_decoder.up:
        assert [type(layer) for layer in block] == [nn.ConvTranspose2d, nn.InstanceNorm2d, nn.ReLU]
        assert (block[0].kernel_size, block[0].stride) == ((4, 4), (2, 2))
    assert [module.spade is not None for module in paper.decoder.modules_up] == [False] * 4 + [True] * 4
    assert all(not m.affine for m in paper.modules() if isinstance(m, nn.InstanceNorm2d))


def test_paper_parameter_counts(paper):
    """Summed by hand from the paper's list of layers."""
    encoder = [3, 64, 128, 256, 512, 1024, 1024, 1024, 1024]
    down = sum(16 * a * b for a, b in itertools.pairwise(encoder)) + 64 + 1024
    decoder = [1024, 1024, 1024, 1024, 1024, 512, 256, 128, 3]
    up = sum(16 * a * b for a, b in itertools.pairwise(decoder)) + 3

    def plain(a, b):
        return 16 * a * b + b

    def spade(a, b, last=False):
        block = 3 * (9 * 9 * 2 * a + 2 * a) + 3 * a * a + a
        return block + a * b + b + 16 * b * b + b * last

    adaptive = plain(1024, 512) + 3 * plain(512, 512) + spade(1536, 256) + spade(768, 128) + spade(384, 64)
    adaptive += spade(192, 64, last=True) + 9 * 64 * 3 + 3
    counted = {name: sum(p.numel() for p in part.parameters()) for name, part in paper.named_children()}
    assert counted["appearance_encoder"] == down
    assert counted["appearance_decoder"] == up
    assert counted["decoder"] == adaptive
    assert counted["fusion"] < 2e5


def test_discriminators_at_256_128_and_64():
    with torch.device("meta"):
        judged = oneshot_discriminator(OneShotConfig.paper())(torch.empty(1, 3, 256, 256))
    assert [tuple(one.scores.shape) for one in judged] == [(1, 1, 30, 30), (1, 1, 30, 30), (1, 1, 14, 14)]
    assert [one.features[0].shape[-1] for one in judged] == [128, 64, 32]


def test_lite_is_small():
    with torch.device("meta"):
        lite = OneShotGenerator(OneShotConfig.lite())
        found = lite.encode(torch.empty(1, 1, 3, 128, 128))
        assert lite.decode(found.z, found.maps, torch.empty(1, 9, 128, 128)).shape == (1, 3, 128, 128)
    assert [m.shape[-1] for m in found.maps] == [8, 16, 32, 64]
    assert sum(p.numel() for p in lite.parameters()) < 5.5e6


# Switches.


def spade_sizes(config):
    with torch.device("meta"):
        network = OneShotGenerator(config)
        modules = network.decoder.modules_up
    return [2**number for number, module in enumerate(modules) if module.spade is not None]


def test_spade_blocks_where_they_shall_be():
    assert spade_sizes(OneShotConfig()) == [16, 32, 64, 128]
    assert spade_sizes(OneShotConfig(spade_from=4)) == [4, 8, 16, 32, 64, 128]
    assert spade_sizes(OneShotConfig.lite()) == [8, 16, 32, 64]
    with pytest.raises(ValidationError, match="power of two"):
        OneShotConfig(spade_from=24)
    with pytest.raises(ValidationError, match="power of two"):
        OneShotConfig(spade_from=256)


@torch.no_grad()
def test_without_concatenation_only_the_code_tells_of_looks():
    network, images = made(tiny(concatenate=False)), photos(1)
    found = network.encode(images)
    face = network.decode(found.z, found.maps, parsing())
    zeros = tuple(torch.zeros_like(m) for m in found.maps)
    assert torch.equal(network.decode(found.z, zeros, parsing()), face)
    assert (network.decode(found.z + 1, zeros, parsing()) - face).abs().max() > 1e-3
    channels = [m.spade.conv1.in_channels for m in network.decoder.modules_up if m.spade is not None]
    assert channels == [12, 12, 8, 4]


@torch.no_grad()
def test_decoder_reads_each_appearance_map_and_each_channel_of_the_parsing_map(generator):
    found, where = generator.encode(photos(1)), parsing()
    face = generator.decode(found.z, found.maps, where)
    for j in range(4):
        changed = tuple(m + (i == j) * noise(*m.shape, seed=9) for i, m in enumerate(found.maps))
        assert (generator.decode(found.z, changed, where) - face).abs().max() > 1e-3
    assert (generator.decode(found.z + 1, found.maps, where) - face).abs().max() > 1e-4
    for channel in range(9):
        changed = where.clone()
        changed[:, channel] = 0
        assert (generator.decode(found.z, found.maps, changed) - face).abs().max() > 1e-3


@torch.no_grad()
def test_spade_blocks_get_the_parsing_map_averaged_down(generator):
    seen = []
    hooks = [
        m.register_forward_pre_hook(lambda _module, given: seen.append(given[1]))
        for m in generator.decoder.modules()
        if isinstance(m, SPADEResidualBlock)
    ]
    found, where = generator.encode(photos(1)), parsing()
    generator.decode(found.z, found.maps, where)
    for hook in hooks:
        hook.remove()
    for given, side in zip(seen, (4, 8, 16, 32), strict=True):
        step = SIZE // side
        expected = where.unflatten(3, (side, step)).unflatten(2, (side, step)).mean((3, 5))
        torch.testing.assert_close(given, expected)


@torch.no_grad()
@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_is_a_choice(fusion):
    network = made(tiny(fusion=fusion))
    drawn = network(photos(1), parsing(), warped())
    other = network(photos(1), parsing(), warped(seed=8))
    assert (drawn.mask is not None) == (fusion == "learned")
    assert torch.equal(drawn.face, other.face)
    changed = (drawn.image - other.image).abs().max()
    assert changed == 0 if fusion == "none" else changed > 1e-2
    if fusion == "none":
        assert torch.equal(network(photos(1), parsing()).image, drawn.face)
    else:
        with pytest.raises(ValueError, match="warped"):
            network(photos(1), parsing())


# Photos and frames.


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 8])
def test_any_number_of_targets(generator, k):
    image = generator(photos(k), parsing(), warped()).image
    assert image.shape == (1, 3, SIZE, SIZE)
    assert image.abs().max() <= 1
    assert (generator(photos(k, seed=3), parsing(), warped()).image - image).abs().max() > 1e-3
    assert (generator(photos(k), parsing(seed=3), warped()).image - image).abs().max() > 1e-3


@torch.no_grad()
def test_codes_and_maps_are_means_over_the_photos(generator):
    images = photos(3, batch=2)
    found = generator.encode(images)
    each = [generator.encode(images[:, i : i + 1]) for i in range(3)]
    torch.testing.assert_close(found.z, sum(one.z for one in each) / 3)
    for j, one in enumerate(found.maps):
        torch.testing.assert_close(one, sum(single.maps[j] for single in each) / 3)
    torch.testing.assert_close(found.reconstructions, torch.cat([one.reconstructions for one in each], dim=1))


@torch.no_grad()
def test_batch_of_people_equals_loop(generator):
    images, where, moved = photos(2, batch=3), parsing(3), warped(3)
    loop = [generator(images[b : b + 1], where[b : b + 1], moved[b : b + 1]).image for b in range(3)]
    torch.testing.assert_close(generator(images, where, moved).image, torch.cat(loop))


@torch.no_grad()
def test_one_person_in_many_frames(generator):
    found, where = generator.encode(photos(2)), parsing(3)
    loop = torch.cat([generator.decode(found.z, found.maps, one[None]) for one in where])
    torch.testing.assert_close(generator.decode(found.z, found.maps, where), loop)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 96), (64, 160)])
def test_other_multiples_of_32(generator, height, width):
    images, where = noise(1, 1, 3, height, width), noise(1, 9, height, width).abs()
    drawn = generator(images, where, noise(1, 8, height, width))
    assert drawn.image.shape == (1, 3, height, width)
    assert drawn.reconstructions.shape == (1, 1, 3, height, width)
    assert torch.isfinite(drawn.image).all()


@pytest.mark.parametrize(("height", "width"), [(60, 64), (64, 48), (32, 32)])
def test_odd_sizes_are_refused(generator, height, width):
    with pytest.raises(ValueError, match="32"):
        generator.encode(noise(1, 1, 3, height, width))
    found = generator.encode(photos(1))
    with pytest.raises(ValueError, match="32"):
        generator.decode(found.z, found.maps, noise(1, 9, height, width))


def test_parsing_maps_must_fit_the_photos(generator):
    found = generator.encode(photos(1))
    with pytest.raises(ValueError, match="size of the target"):
        generator.decode(found.z, found.maps, parsing(size=96))


# Gradients.


@pytest.mark.parametrize(
    "changes", [{}, {"concatenate": False}, {"fusion": "none"}, {"spade_from": 2, "spade_kernel": 3}]
)
def test_gradients_reach_every_parameter(changes):
    network = made(tiny(**changes)).train()
    drawn = network(photos(2, batch=2), parsing(2), warped(2))
    (drawn.image.square().sum() + drawn.reconstructions.square().sum()).backward()
    assert {name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7} == set()


def test_appearance_learns_from_the_drawn_face_alone(generator):
    network = made(tiny(fusion="none")).train()
    network(photos(1), parsing()).face.square().sum().backward()
    without = {name for name, p in network.named_parameters() if p.grad is None}
    assert without == {"appearance_decoder.to_rgb.weight", "appearance_decoder.to_rgb.bias"}


def test_fresh_networks_keep_signals_alive():
    """Codes, maps and pictures have a useful size before training, at the paper's depth."""
    torch.manual_seed(0)
    network = OneShotGenerator(OneShotConfig(base_width=8, max_width=64, fusion="none")).eval()
    with torch.no_grad():
        found = network.encode(photos(1, size=256).float())
        face = network.decode(found.z, found.maps, parsing(size=256).float())
        other = network.decode(found.z.flip(1), found.maps, parsing(size=256).float())
    assert 0.1 < found.z.std() < 10
    assert all(0.3 < m.std() < 3 for m in found.maps)
    assert 0.02 < face.std() < 0.95
    assert (face - other).abs().mean() > 1e-3


def test_config_is_checked_and_frozen():
    with pytest.raises(ValidationError):
        OneShotConfig(resolution=100)
    with pytest.raises(ValidationError):
        OneShotConfig(depth=3)
    with pytest.raises(ValidationError):
        OneShotConfig().concatenate = False
    for config in (OneShotConfig.paper(), OneShotConfig.lite(fusion="handmade")):
        assert OneShotConfig.model_validate_json(config.model_dump_json()) == config


# Behind the contract.


def faces(count, seed=0):
    mesh = np.random.default_rng(seed).uniform(8, SIZE - 8, (count, MESH_POINTS, 3))
    return mesh.astype(np.float32)


def targets(k):
    return TargetSet(noise(k, 3, SIZE, SIZE).float(), faces(k), {MapKind.PARSING: parsing(k).float()})


def frames(count):
    return DriverFrame(faces(count, seed=1), {MapKind.PARSING: parsing(count, seed=2).float()})


@pytest.fixture(scope="module", params=FUSIONS)
def model(request):
    torch.manual_seed(0)
    return OneShot(tiny(fusion=request.param)).eval()


def test_says_what_it_needs(model):
    assert model.needs.maps == (MapKind.PARSING,)
    assert model.resolution == SIZE
    assert model.config_type is type(model.config) is OneShotConfig


@torch.no_grad()
def test_behind_the_contract(model):
    code, wanted = model.encode_target(targets(2)), frames(3)
    image = model.synthesize(code, wanted)
    assert image.shape == (3, 3, SIZE, SIZE)
    assert image.dtype == torch.float32
    assert image.abs().max() <= 1
    found = model.generator.encode(targets(2).images[None])
    face = model.generator.decode(found.z, found.maps, wanted.maps[MapKind.PARSING])
    if model.config.fusion == "none":
        torch.testing.assert_close(image, face)
    else:
        assert (image - face).abs().max() > 0.05
    each = [
        model.synthesize(code, DriverFrame(m[None], {MapKind.PARSING: p[None]}))
        for m, p in zip(wanted.mesh_px, wanted.maps[MapKind.PARSING], strict=True)
    ]
    torch.testing.assert_close(image, torch.cat(each))


@torch.no_grad()
def test_code_cannot_be_changed(model):
    code = model.encode_target(targets(1))
    assert isinstance(code, OneShotCode)
    assert (code.photo is None) == (model.config.fusion == "none")
    with pytest.raises(dataclasses.FrozenInstanceError):
        code.photo = None


@torch.no_grad()
def test_contract_refuses_what_does_not_fit(model):
    with pytest.raises(TypeError, match="Code"):
        model.synthesize(TargetCode(), frames(1))
    with pytest.raises(ValueError, match="32"):
        model.encode_target(TargetSet(torch.zeros(1, 3, 60, 60), faces(1)))
    with pytest.raises(ValueError, match="parsing"):
        model.synthesize(model.encode_target(targets(1)), DriverFrame(faces(1)))
