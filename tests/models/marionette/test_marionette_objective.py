"""MarioNETte's objective against its formulas written out, and what it must leave alone."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reenactor.core import MapKind, PairBatch, TargetSet
from reenactor.face.geometry import mean_face
from reenactor.models.marionette import (
    MarioNETte,
    MarioNETteConfig,
    MarioNETteObjective,
    MarioNETteObjectiveConfig,
)
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from reenactor.nn.losses import RandomVgg, TrainedFeatures, build_features

SIZE, IDENTITIES = 64, 3
RASTER = MapKind.LANDMARK_RASTER
VGG19, FACE = RandomVgg(width=1 / 16), RandomVgg(width=1 / 16, seed=1)
PAPER = {"gan": 1, "perceptual": 10, "perceptual_face": 0.01, "feature_matching": 10}
NO_JUDGE = {"gan": 0, "feature_matching": 0}


def config(**changes):
    model = MarioNETteConfig(resolution=SIZE, levels=2, base_width=4, max_width=12, discriminator_blocks=2)
    return MarioNETteObjectiveConfig(**({"model": model, "vgg19": VGG19, "vgg_face": FACE} | changes))


def made(seed=0, **changes):
    torch.manual_seed(seed)
    return MarioNETteObjective(config(**changes), IDENTITIES).train()


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pairs(count=2, k=2, seed=0, raster=RASTER):
    hull = torch.zeros(count, 1, SIZE, SIZE)
    hull[..., 16:40, 20:44] = 1
    return PairBatch(
        targets=noise(count, k, 3, SIZE, SIZE, seed=seed),
        target_mesh=torch.zeros(count, k, 478, 3),
        target_maps={raster: noise(count, k, 3, SIZE, SIZE, seed=seed + 1)},
        truth=noise(count, 3, SIZE, SIZE, seed=seed + 2),
        driver_mesh=torch.zeros(count, 478, 3),
        driver_maps={raster: noise(count, 3, SIZE, SIZE, seed=seed + 3), MapKind.HULL_MASK: hull},
        mask=torch.ones(count, 1, SIZE, SIZE),
        identity=torch.arange(count) % IDENTITIES,
    )


def half_masked(batch):
    mask = torch.ones_like(batch.mask)
    mask[..., SIZE // 2 :] = 0
    return dataclasses.replace(batch, mask=mask)


def frozen_judge(objective):
    return copy.deepcopy(objective.discriminator).eval()


def drawing(objective, batch):
    """What the generator draws in its next training step."""
    generator = copy.deepcopy(objective.generator)
    return generator(batch.driver_maps[RASTER], batch.targets, batch.target_maps[RASTER])


# Settings.


def test_defaults_are_the_papers_weights():
    defaults = config()
    assert (defaults.gan, defaults.perceptual_vgg19, defaults.perceptual_vgg_face) == (1, 10, 0.01)
    assert (defaults.feature_matching, defaults.pixel_l1, defaults.hull_divided_by) == (10, 0, "pixels")
    assert MarioNETteObjectiveConfig.model_validate_json(defaults.model_dump_json()) == defaults


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"vgg19": None}, "vgg19 must name a network"),
        ({"vgg_face": None}, "vgg_face must name a network"),
        ({"gan": -1}, "greater than or equal to 0"),
        ({"gan": 0, "perceptual_vgg19": 0, "perceptual_vgg_face": 0}, "no loss compares"),
        ({"perceptual": 1}, "Extra inputs"),
    ],
)
def test_incomplete_settings_are_refused(wrong, reason):
    with pytest.raises(ValidationError, match=reason):
        config(**wrong)


def test_a_network_that_weighs_nothing_need_not_be_there():
    # It is not even looked for.
    objective = made(perceptual_vgg19=0, vgg19=None, perceptual_vgg_face=0, vgg_face=TrainedFeatures(folder="nowhere"))
    assert set(objective.generator_step(pairs()).parts) == {"gan", "feature_matching"}


@pytest.mark.parametrize("irises", [False, True])
def test_which_maps_it_needs(irises):
    raster = MapKind.IRIS_RASTER if irises else RASTER
    model = config().model.model_copy(update={"irises": irises})
    objective = made(model=model, **NO_JUDGE)
    assert objective.maps.targets == (raster,)
    assert objective.maps.driver == (raster, MapKind.HULL_MASK)
    batch = pairs(raster=raster)
    assert torch.isfinite(objective.generator_step(batch).loss)
    assert objective.pictures(objective.generator, batch).shape[-1] == 5 * SIZE


# The generator's half.


@pytest.mark.parametrize("divided_by", ["pixels", "weights"])
def test_each_term_as_the_paper_writes_it(divided_by):
    objective, batch = made(pixel_l1=3, hull_divided_by=divided_by), half_masked(pairs())
    judge, networks = (
        frozen_judge(objective),
        {"perceptual": build_features(VGG19), "perceptual_face": build_features(FACE)},
    )
    with torch.no_grad():
        drawn = torch.where(batch.mask > 0, drawing(objective, batch), batch.truth)
        hull = batch.driver_maps[MapKind.HULL_MASK]
        expected = {}
        for name, network in networks.items():
            layers = []
            for ours, theirs in zip(network(drawn), network(batch.truth), strict=True):
                # Three times in the hull, nothing outside the mask; each picture's (weighted) mean, then the batch's.
                weights = F.avg_pool2d((1 + 2 * hull) * batch.mask, SIZE // ours.shape[-1]).expand_as(ours)
                off = weights * (ours - theirs).abs()
                by_weights = (off.flatten(1).sum(1) / weights.flatten(1).sum(1)).mean()
                layers.append(by_weights if divided_by == "weights" else off.mean())
            expected[name] = sum(layers) / 5
        fake, real = (judge(x, batch.driver_maps[RASTER], batch.identity) for x in (drawn, batch.truth))
        expected["gan"] = -fake.scores.mean()
        expected["feature_matching"] = sum(
            (f - r).abs().mean() for f, r in zip(fake.features, real.features, strict=True)
        )
        expected["pixel"] = (drawn - batch.truth).abs()[..., : SIZE // 2].mean()
    step = objective.generator_step(batch)
    assert step.parts.keys() == expected.keys()
    for name, part in step.parts.items():
        torch.testing.assert_close(part, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    whole = sum(factor * expected[name] for name, factor in (PAPER | {"pixel": 3}).items())
    torch.testing.assert_close(step.loss, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.drawn, drawn)
    assert not step.drawn.requires_grad


def test_the_hull_weighs_three_times():
    # Of a weighted mean: a hull over all of the picture changes nothing, one over where the error is larger does. As
    # the paper writes it, a hull over all of the picture triples the loss.
    batch = pairs()
    hulls = {"none": 0 * batch.mask, "all": batch.mask, "here": batch.driver_maps[MapKind.HULL_MASK]}
    found = {}
    for name, hull in hulls.items():
        one = dataclasses.replace(batch, driver_maps=batch.driver_maps | {MapKind.HULL_MASK: hull})
        found[name] = made(hull_divided_by="weights", **NO_JUDGE).generator_step(one).parts["perceptual"]
        found[name, "literal"] = made(**NO_JUDGE).generator_step(one).parts["perceptual"]
    torch.testing.assert_close(found["all"], found["none"])
    torch.testing.assert_close(found["none", "literal"], found["none"])
    torch.testing.assert_close(found["all", "literal"], 3 * found["none"])
    assert (found["here"] - found["none"]).abs() > 1e-4


def gradient_of_the_drawing(objective, batch):
    seen = []
    hook = objective.generator.register_forward_hook(
        lambda _m, _i, output: (output.retain_grad(), seen.append(output))[1]
    )
    objective.generator_step(batch).loss.backward()
    hook.remove()
    return seen[0].grad


def test_nothing_is_compared_outside_the_mask():
    gradient = gradient_of_the_drawing(made(pixel_l1=1), half_masked(pairs()))
    assert (gradient[..., SIZE // 2 :] == 0).all()
    assert (gradient[..., : SIZE // 2] != 0).float().mean() > 0.9
    batch = pairs()
    parts = made(pixel_l1=1).generator_step(dataclasses.replace(batch, mask=0 * batch.mask)).parts
    assert all(parts[name] == 0 for name in ("perceptual", "perceptual_face", "feature_matching", "pixel"))


def test_the_discriminator_is_left_alone():
    objective, batch = made(), pairs()
    before = copy.deepcopy(objective.discriminator.state_dict())
    objective.generator_step(batch).loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in objective.discriminator.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in objective.discriminator.parameters())
    assert objective.discriminator.training


def test_gradients_reach_the_generator():
    objective = made()
    objective.generator_step(pairs()).loss.backward()
    # Biases that cancel: test_marionette.py.
    without = {name for name, p in objective.generator.named_parameters() if p.grad.abs().max() < 1e-7}
    assert without <= {"decoder.up.1.conv2.bias"}


def test_the_mesh_prior_is_given_the_meshes():
    model = config().model.model_copy(update={"mesh_prior": True})
    objective, batch = made(**NO_JUDGE, model=model), pairs()
    face = torch.from_numpy(mean_face().points * 24 + np.array([32, 32, 0])).float()
    batch = dataclasses.replace(batch, target_mesh=face.expand(2, 2, 478, 3), driver_mesh=face.expand(2, 478, 3))
    moved = dataclasses.replace(batch, driver_mesh=batch.driver_mesh + torch.tensor([8.0, 0, 0]))
    first, second = (copy.deepcopy(objective).generator_step(b).drawn for b in (batch, moved))
    assert (first - second).abs().max() > 0.01
    assert objective.pictures(objective.generator, batch).shape == (2, 3, SIZE, 5 * SIZE)


# The discriminator's half.


def test_the_hinge_loss_by_hand():
    objective, batch = made(), pairs()
    drawn = noise(2, 3, SIZE, SIZE, seed=9).requires_grad_()
    judge = copy.deepcopy(objective.discriminator)
    judge(batch.truth, batch.truth, batch.identity)  # the one power iteration
    judge.eval()
    with torch.no_grad():
        real, fake = (judge(x, batch.driver_maps[RASTER], batch.identity).scores for x in (batch.truth, drawn))
    step = objective.discriminator_step(batch, drawn.detach())
    torch.testing.assert_close(step.loss, (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    torch.testing.assert_close(step.parts["score_real"], real.mean())
    torch.testing.assert_close(step.parts["score_fake"], fake.mean())
    step.loss.backward()
    # While no score is beyond its margin, what is added to all of them cancels.
    without = {name for name, p in objective.discriminator.named_parameters() if p.grad.abs().max() < 1e-7}
    assert without == {"head.score.bias"}
    assert all(p.grad is None for p in objective.generator.parameters())
    for ours, theirs in zip(objective.discriminator.buffers(), judge.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_identity_counts():
    objective, batch = made(), pairs()
    drawn = noise(2, 3, SIZE, SIZE, seed=9)
    other = dataclasses.replace(batch, identity=torch.tensor([2, 2]))
    first, second = (copy.deepcopy(objective).discriminator_step(b, drawn).loss for b in (batch, other))
    assert first != second


def test_steps_repeat_and_draw_no_random_numbers():
    objective, batch = made(), pairs()
    twin, before = copy.deepcopy(objective), torch.random.get_rng_state()
    for one in (objective, twin):
        step = one.generator_step(batch)
        one.discriminator_step(batch, step.drawn).loss.backward()
    assert torch.equal(torch.random.get_rng_state(), before)
    pairs_of = zip(objective.state_dict().items(), twin.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for (_, a), b in pairs_of)


def test_without_weights_there_is_no_discriminator():
    objective = made(**NO_JUDGE)
    assert objective.discriminator is None
    assert not any(name.startswith("D.") for name in objective.state_dict())
    assert set(objective.generator_step(pairs()).parts) == {"perceptual", "perceptual_face"}
    assert made(gan=0).discriminator is not None
    assert made(feature_matching=0).discriminator is not None


# Training.


def smooth(images):
    blurred = F.avg_pool2d(images.flatten(0, -4), 8) * 4
    return F.interpolate(blurred, scale_factor=8.0, mode="bilinear", align_corners=False).view(images.shape)


@pytest.mark.parametrize("alignment", [False, True])
def test_mixed_precision(alignment):
    exact, batch = made(pixel_l1=1, model=config().model.model_copy(update={"alignment": alignment})), pairs()
    batch = dataclasses.replace(
        batch,
        truth=smooth(batch.truth),
        targets=smooth(batch.targets),
        target_maps={RASTER: smooth(batch.target_maps[RASTER])},
        driver_maps=batch.driver_maps | {RASTER: smooth(batch.driver_maps[RASTER])},
    )
    mixed = copy.deepcopy(exact)
    losses = {}
    for name, objective in (("exact", exact), ("mixed", mixed)):
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "mixed"):
            generators = objective.generator_step(batch)
            discriminators = objective.discriminator_step(batch, generators.drawn)
        for step in (generators, discriminators):
            assert step.loss.dtype == torch.float32
            step.loss.backward()
        losses[name] = generators.loss.item(), discriminators.loss.item()
    assert losses["mixed"] == pytest.approx(losses["exact"], rel=0.02)
    gradients = [torch.cat([p.grad.flatten() for p in one.parameters()]) for one in (exact, mixed)]
    # A fresh network's flows are random: where they move by a hair, slopes between other pixels count.
    assert F.cosine_similarity(*gradients, dim=0) > (0.5 if alignment else 0.97)


def test_a_few_steps_make_it_better():
    objective, batch = made(**NO_JUDGE, pixel_l1=10), pairs(1, 1)
    smooth = F.avg_pool2d(batch.truth, 15, 1, 7)
    batch = dataclasses.replace(batch, truth=smooth, targets=smooth[:, None])
    optimizer = torch.optim.Adam(objective.generator.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        step = objective.generator_step(batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.parts["pixel"].item())
    assert losses[-1] < 0.5 * losses[0]


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


# What comes out.


def test_pictures_side_by_side():
    objective, batch = made(**NO_JUDGE), pairs()
    average = copy.deepcopy(objective.generator).eval()
    rows = objective.pictures(average, batch)
    assert rows.shape == (2, 3, SIZE, 5 * SIZE)
    assert not rows.requires_grad
    first, second, raster, drawn, truth = rows.split(SIZE, dim=3)
    assert torch.equal(torch.stack([first, second], 1), batch.targets)
    assert torch.equal(raster, batch.driver_maps[RASTER])
    assert torch.equal(drawn, average(batch.driver_maps[RASTER], batch.targets, batch.target_maps[RASTER]))
    assert torch.equal(truth, batch.truth)


def test_checkpoint_draws_the_same(tmp_path):
    objective, batch = made(), pairs(1)
    objective.generator_step(batch)
    average = copy.deepcopy(objective.generator).eval().requires_grad_(False)
    write_checkpoint(tmp_path / "weights", objective.checkpoint(average))
    checkpoint = read_checkpoint(tmp_path / "weights")
    assert checkpoint.kind == MarioNETte.name
    model = MarioNETte(MarioNETteConfig.model_validate(checkpoint.config)).eval()
    assert model.config == objective.config.model
    model.load_state_dict(dict(checkpoint.tensors))
    with torch.no_grad():
        targets = TargetSet(batch.targets[0], batch.target_mesh[0].numpy(), {RASTER: batch.target_maps[RASTER][0]})
        drawn = model.generator.decode(model.encode_target(targets), batch.driver_maps[RASTER])
        expected = average(batch.driver_maps[RASTER], batch.targets, batch.target_maps[RASTER])
    torch.testing.assert_close(drawn, expected)


def test_frozen_networks_are_no_part_of_it(tmp_path):
    write_checkpoint(tmp_path / "own", Checkpoint("own", {}, {"x": torch.zeros(1)}))
    read = []

    def reader(checkpoint):
        read.append(checkpoint.kind)
        return build_features(FACE)

    face = TrainedFeatures(folder=tmp_path / "own")
    objective = MarioNETteObjective(config(vgg_face=face), IDENTITIES, {"own": reader})
    assert read == ["own"]
    assert {name.split(".")[0] for name in objective.state_dict()} == {"G", "D"}
    assert all(p.requires_grad for p in objective.parameters())
