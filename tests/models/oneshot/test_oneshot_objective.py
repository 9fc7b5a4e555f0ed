"""Paper A's objective against its formulas written out, and what it must leave alone."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reenactor.core import CheckpointError, MapKind, PairBatch, TargetSet
from reenactor.face.maps import PARSING_CHANNELS, part_weights
from reenactor.models.oneshot import (
    FEATURE_READERS,
    SHAPE_ENCODER,
    VERIFICATION,
    Augmentation,
    OneShotConfig,
    OneShotObjective,
    OneShotObjectiveConfig,
    PartWeights,
    ShapeEncoder,
    ShapeEncoderConfig,
    VerificationConfig,
    VerificationNet,
    augmented,
)
from reenactor.models.oneshot.objective import masked_psnr, parsing_picture
from reenactor.models.registry import model_of
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from reenactor.nn.losses import PIX2PIXHD_LAYERS, RandomVgg, TrainedFeatures, build_features

SIZE = 64
VGG = RandomVgg(width=1 / 16)
PAPER = {"reconstruction": 25, "pixel": 25, "perceptual": 1, "gan": 1, "identity": 1}
STILL = {"augment": Augmentation()}


def tiny(**changes):
    sizes = {"resolution": SIZE, "base_width": 4, "max_width": 16, "discriminator_width": 4, "fusion_width": 8}
    return OneShotConfig(**(sizes | {"spade_from": 8, "fusion": "none"} | changes))


def config(**changes):
    return OneShotObjectiveConfig(**({"model": tiny(), "features": VGG, "identity": 0} | changes))


def made(seed=0, **changes):
    torch.manual_seed(seed)
    return OneShotObjective(config(**changes)).train()


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pairs(count=2, k=1, seed=0):
    return PairBatch(
        targets=noise(count, k, 3, SIZE, SIZE, seed=seed),
        target_mesh=noise(count, k, 478, 3, seed=seed + 1) * SIZE,
        target_maps={MapKind.PARSING: noise(count, k, 9, SIZE, SIZE, seed=seed + 4).abs()},
        truth=noise(count, 3, SIZE, SIZE, seed=seed + 2),
        driver_mesh=noise(count, 478, 3, seed=seed + 5) * SIZE,
        driver_maps={MapKind.PARSING: noise(count, 9, SIZE, SIZE, seed=seed + 3).abs()},
        mask=torch.ones(count, 1, SIZE, SIZE),
        identity=torch.arange(count),
    )


def half_masked(batch):
    """As contour pairs are: the truth counts in a part of the picture."""
    mask = torch.ones_like(batch.mask)
    mask[..., SIZE // 2 :] = 0
    return dataclasses.replace(batch, mask=mask)


@pytest.fixture
def verification(tmp_path):
    """A verification network's checkpoint, as settings name it."""
    torch.manual_seed(1)
    settings = VerificationConfig(width=8, embedding=6)
    network = VerificationNet(settings)
    write_checkpoint(tmp_path / "v", Checkpoint(VERIFICATION, settings.model_dump(), network.state_dict()))
    return TrainedFeatures(folder=tmp_path / "v")


# Settings.


def test_defaults_are_the_papers():
    defaults = OneShotObjectiveConfig(features=VGG, verification=TrainedFeatures(folder="v"))
    assert {name: getattr(defaults, name) for name in PAPER} == PAPER
    assert defaults.model == OneShotConfig.paper()
    assert defaults.augment == Augmentation(rotation_deg=10, zoom=0.1, shift=10 / 256)
    assert defaults.layer_weights == "sum"
    assert OneShotObjectiveConfig.model_validate_json(defaults.model_dump_json()) == defaults
    cited = config(layer_weights=PIX2PIXHD_LAYERS)
    assert OneShotObjectiveConfig.model_validate_json(cited.model_dump_json()) == cited


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"features": None}, "features must name a network"),
        ({"identity": 1}, "verification must name a network"),
        ({"gan": -1}, "greater than or equal to 0"),
        ({"pixel": 0, "perceptual": 0}, "no loss compares"),
        ({"lambda": 1}, "Extra inputs"),
    ],
)
def test_incomplete_settings_are_refused(wrong, reason):
    with pytest.raises(ValidationError, match=reason):
        config(**wrong)


def test_part_weights_are_those_of_the_maps():
    parsing = noise(2, len(PARSING_CHANNELS), 5, 7).abs()
    torch.testing.assert_close(PartWeights().of(parsing), part_weights(parsing))
    # An iris, by hand: face, eyes and gaze lie on top of each other.
    iris = torch.zeros(1, 9, 1, 1)
    iris[:, [PARSING_CHANNELS.index(name) for name in ("face", "eyes", "gaze")]] = 1
    assert PartWeights().of(iris).item() == 0.5 + 1 + 3 + 4
    lips = torch.zeros(1, 9, 1, 1)
    lips[:, PARSING_CHANNELS.index("lower_lip")] = 1
    assert PartWeights(lips=7, everywhere=2).of(lips).item() == 9


# The generator's half.


def test_each_term_as_the_paper_writes_it(verification):
    objective, batch = made(identity=1, verification=verification, **STILL), half_masked(pairs(k=2))
    generator, judge = copy.deepcopy(objective.G), copy.deepcopy(objective.D)
    vgg, identity = build_features(VGG), build_features(verification, FEATURE_READERS)
    parsing = batch.driver_maps[MapKind.PARSING]
    with torch.no_grad():
        found = generator.encode(batch.targets)
        drawn = torch.where(batch.mask > 0, generator.decode(found.z, found.maps, parsing), batch.truth)
        expected = {"reconstruction": (found.reconstructions - batch.targets).abs().mean()}
        weights = part_weights(parsing) * batch.mask
        off = (weights * (drawn - batch.truth).abs().mean(1, keepdim=True)).flatten(1).sum(1)
        expected["pixel"] = (off / weights.flatten(1).sum(1)).mean()
        layers = []
        for ours, theirs in zip(vgg(drawn), vgg(batch.truth), strict=True):
            places = F.avg_pool2d(batch.mask, SIZE // ours.shape[-1]).expand_as(ours)
            off = (places * (ours - theirs).abs()).flatten(1).sum(1)
            layers.append((off / places.flatten(1).sum(1)).mean())
        expected["perceptual"] = sum(layers)
        expected["identity"] = (identity(drawn)[0] - identity(batch.truth)[0]).abs().mean()
        expected["gan"] = sum(((one.scores - 1) ** 2).mean() for one in judge(drawn))
    step = objective.generator_step(batch)
    assert step.parts.keys() == expected.keys()
    for name, part in step.parts.items():
        torch.testing.assert_close(part, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    whole = sum(PAPER[name] * part for name, part in expected.items())
    torch.testing.assert_close(step.loss, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(step.drawn, drawn)
    assert not step.drawn.requires_grad


@pytest.mark.parametrize("part", ["reconstruction", "pixel", "perceptual", "gan"])
def test_each_weight_weighs_its_own_term(part):
    steps = [made(**STILL, **{part: weight}).generator_step(pairs()) for weight in (1, 4)]
    torch.testing.assert_close(steps[1].loss - steps[0].loss, 3 * steps[0].parts[part], rtol=1e-3, atol=1e-4)


def test_layers_of_the_perceptual_loss():
    """VGG19's layers as pix2pixHD weighs them, lowest first; the verification network's one layer is not weighed."""
    batch, vgg = pairs(), build_features(VGG)
    step = made(layer_weights=PIX2PIXHD_LAYERS, **STILL).generator_step(batch)
    layers = [(a - b).abs().mean() for a, b in zip(vgg(step.drawn), vgg(batch.truth), strict=True)]
    expected = layers[0] / 32 + layers[1] / 16 + layers[2] / 8 + layers[3] / 4 + layers[4]
    torch.testing.assert_close(step.parts["perceptual"], expected, rtol=1e-4, atol=1e-6)
    mean = made(layer_weights="mean", **STILL).generator_step(batch)
    torch.testing.assert_close(mean.parts["perceptual"], sum(layers) / 5, rtol=1e-4, atol=1e-6)


def test_target_photos_are_moved_and_the_truth_is_not():
    objective, batch = made(), pairs(k=2)
    torch.manual_seed(5)
    moved, _ = augmented(batch.targets.flatten(0, 1), batch.target_mesh.flatten(0, 1), Augmentation.placed())
    assert (moved - batch.targets.flatten(0, 1)).abs().mean() > 0.01
    still = dataclasses.replace(batch, targets=moved.unflatten(0, (2, 2)))
    expected = made(**STILL).generator_step(still)
    torch.manual_seed(5)
    step = objective.generator_step(batch)
    torch.testing.assert_close(step.loss, expected.loss)
    torch.testing.assert_close(step.drawn, expected.drawn)


def test_nothing_is_compared_outside_the_mask():
    objective, batch = made(**STILL), half_masked(pairs())
    seen = []
    objective.G.decoder.register_forward_hook(lambda _m, _i, output: (output.retain_grad(), seen.append(output))[1])
    objective.generator_step(batch).loss.backward()
    assert (seen[0].grad[..., SIZE // 2 :] == 0).all()
    assert (seen[0].grad[..., : SIZE // 2] != 0).float().mean() > 0.9


@pytest.mark.parametrize("changes", [{}, {"model": tiny(concatenate=False)}])
def test_gradients_reach_every_parameter(changes):
    objective, batch = made(**changes), pairs()
    step = objective.generator_step(batch)
    step.loss.backward()
    assert {n for n, p in objective.G.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-8} == set()
    objective.zero_grad(set_to_none=True)
    objective.discriminator_step(batch, step.drawn).loss.backward()
    assert {n for n, p in objective.D.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-8} == set()
    assert all(p.grad is None for p in objective.G.parameters())


def test_fusion_net_stays_as_it_is():
    objective, batch = made(model=tiny(fusion="learned")), pairs()
    before = copy.deepcopy(objective.G.fusion.state_dict())
    learns = [p for p in objective.generator.parameters() if p.requires_grad]
    assert len(learns) == sum(1 for name, _ in objective.G.named_parameters() if not name.startswith("fusion"))
    optimizer = torch.optim.Adam(learns, 1e-2)
    objective.generator_step(batch).loss.backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in objective.G.fusion.state_dict().items())


# The discriminator's half.


def test_the_least_squares_loss_by_hand():
    objective, batch = made(), pairs()
    drawn = noise(2, 3, SIZE, SIZE, seed=9)
    with torch.no_grad():
        real, fake = ([one.scores for one in objective.D(x)] for x in (batch.truth, drawn))
    expected = sum(((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2 for r, f in zip(real, fake, strict=True))
    step = objective.discriminator_step(batch, drawn)
    torch.testing.assert_close(step.loss, expected)
    torch.testing.assert_close(step.parts["score_real"], sum(one.mean() for one in real) / 3)
    torch.testing.assert_close(step.parts["score_fake"], sum(one.mean() for one in fake) / 3)


def test_the_discriminator_learns_to_tell():
    objective, batch = made(), pairs()
    drawn = objective.generator_step(batch).drawn
    optimizer = torch.optim.Adam(objective.discriminator.parameters(), 2e-3)
    for _ in range(30):
        step = objective.discriminator_step(batch, drawn)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    assert step.parts["score_real"] > step.parts["score_fake"] + 0.5


def test_without_weight_there_is_no_discriminator():
    objective = made(gan=0)
    assert objective.discriminator is None
    assert set(objective.generator_step(pairs()).parts) == {"reconstruction", "pixel", "perceptual"}


# Training.


def test_a_few_steps_make_it_better():
    objective, batch = made(gan=0, **STILL), pairs(1)
    smooth = F.avg_pool2d(batch.truth, 15, 1, 7)
    batch = dataclasses.replace(batch, truth=smooth, targets=smooth[:, None])
    optimizer = torch.optim.Adam(objective.generator.parameters(), 2e-3)
    losses = []
    for _ in range(60):
        step = objective.generator_step(batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append({name: part.item() for name, part in step.parts.items()})
    for part in ("pixel", "reconstruction"):
        assert losses[-1][part] < 0.6 * losses[0][part]


def test_mixed_precision():
    exact, batch = made(**STILL), pairs()
    mixed = copy.deepcopy(exact)
    losses = {}
    for name, objective in (("exact", exact), ("mixed", mixed)):
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "mixed"):
            generators = objective.generator_step(batch)
            discriminators = objective.discriminator_step(batch, generators.drawn)
        assert generators.loss.dtype == discriminators.loss.dtype == torch.float32
        losses[name] = generators.loss.item(), discriminators.loss.item()
    assert losses["mixed"] == pytest.approx(losses["exact"], rel=0.02)


# What comes out, and what it begins with.


def test_pictures_side_by_side():
    objective, batch = made(), pairs(k=2)
    rows = objective.pictures(objective.G, batch)
    assert rows.shape == (2, 3, SIZE, 5 * SIZE)
    target, reconstruction, parsing, face, truth = rows.split(SIZE, dim=3)
    with torch.no_grad():
        found = objective.G.encode(batch.targets)
        drawn = objective.G.decode(found.z, found.maps, batch.driver_maps[MapKind.PARSING])
    assert torch.equal(target, batch.targets[:, 0])
    assert torch.equal(reconstruction, found.reconstructions[:, 0])
    assert torch.equal(parsing, parsing_picture(batch.driver_maps[MapKind.PARSING]))
    assert torch.equal(face, drawn)
    assert torch.equal(truth, batch.truth)


def test_measures():
    ours, theirs, mask = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    ours[0, :, 0], ours[1, :, 0], ours[:, :, 3] = 0.2, 0.02, 9
    mask[:, :, 0] = 1
    # 20 log10(2 / 0.2) and 20 log10(2 / 0.02).
    assert masked_psnr(ours, theirs, mask).item() == pytest.approx((20 + 40) / 2, abs=1e-4)
    objective, batch = made(), half_masked(pairs())
    measured = objective.measure(objective.G, batch)
    assert set(measured) == {"psnr", "face_psnr", "reconstruction_psnr"}
    rows = objective.pictures(objective.G, batch)
    face, truth = rows[..., 3 * SIZE : 4 * SIZE], rows[..., 4 * SIZE :]
    torch.testing.assert_close(measured["psnr"], masked_psnr(face, truth, batch.mask))
    part = batch.mask * batch.driver_maps[MapKind.PARSING][:, :1]
    torch.testing.assert_close(measured["face_psnr"], masked_psnr(face, truth, part))


@pytest.mark.parametrize("fusion", ["none", "learned", "handmade"])
def test_checkpoint_draws_the_same(tmp_path, fusion):
    objective, batch = made(model=tiny(fusion=fusion)), pairs(1)
    average = copy.deepcopy(objective.generator).eval()
    write_checkpoint(tmp_path / "weights", objective.checkpoint(average))
    model = model_of(read_checkpoint(tmp_path / "weights"))
    parsing = batch.driver_maps[MapKind.PARSING]
    with torch.no_grad():
        maps = {MapKind.PARSING: batch.target_maps[MapKind.PARSING][0]}
        code = model.encode_target(TargetSet(batch.targets[0], batch.target_mesh[0].numpy(), maps))
        drawn = model.generator.decode(code.z, code.maps, parsing)
        found = average.encode(batch.targets)
        torch.testing.assert_close(drawn, average.decode(found.z, found.maps, parsing))


def test_training_goes_on_from_trained_weights(tmp_path):
    first, batch = made(seed=3), pairs()
    write_checkpoint(tmp_path / "weights", first.checkpoint(first.generator))
    second = made(seed=4, init=tmp_path / "weights")
    assert all(torch.equal(a, b) for a, b in zip(first.G.parameters(), second.G.parameters(), strict=True))
    torch.testing.assert_close(first.pictures(first.G, batch), second.pictures(second.G, batch))
    assert all(p.requires_grad for p in second.G.parameters())
    with pytest.raises(CheckpointError, match="other settings"):
        made(init=tmp_path / "weights", model=tiny(concatenate=False))
    write_checkpoint(tmp_path / "old", Checkpoint("oneshot", tiny().model_dump(), {"generator.x": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="another release"):
        made(init=tmp_path / "old")
    shape = ShapeEncoderConfig(width=8)
    write_checkpoint(tmp_path / "e", Checkpoint(SHAPE_ENCODER, shape.model_dump(), ShapeEncoder(shape).state_dict()))
    with pytest.raises(CheckpointError, match=SHAPE_ENCODER):
        made(init=tmp_path / "e")


def test_frozen_networks_stay_and_are_no_part_of_it(tmp_path):
    torch.manual_seed(0)
    shape = ShapeEncoderConfig(width=8, resolution=64)
    network = ShapeEncoder(shape)
    write_checkpoint(tmp_path / "e", Checkpoint(SHAPE_ENCODER, shape.model_dump(), network.state_dict()))
    objective, batch = made(features=TrainedFeatures(folder=tmp_path / "e")), pairs()
    frozen = objective._features["perceptual"]
    before = copy.deepcopy(frozen.state_dict())
    optimizer = torch.optim.Adam(objective.parameters(), 1e-2)
    objective.train()
    for _ in range(2):
        step = objective.generator_step(batch)
        step.loss.backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    assert all(p.grad is None for p in frozen.parameters())
    assert {name.split(".")[0] for name in objective.state_dict()} == {"G", "D"}
