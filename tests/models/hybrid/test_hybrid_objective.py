"""The hybrid's objective against its terms written out, and what it must leave alone."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reenactor.core import DriverFrame, MapKind, PairBatch, TargetSet
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.contours import (
    INNER_LIPS_LOWER,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    OUTER_LIPS,
    RIGHT_EYE_LOWER,
    RIGHT_EYE_UPPER,
)
from reenactor.face.maps import draw_maps
from reenactor.models.hybrid import Hybrid, HybridConfig, HybridObjective, HybridObjectiveConfig
from reenactor.models.hybrid.objective import around, opening_parts
from reenactor.nn.checkpoint import read_checkpoint, write_checkpoint
from reenactor.nn.losses import RandomVgg, TrainedFeatures, build_features

SIZE = 64
RASTER = MapKind.IRIS_RASTER
VGG = RandomVgg(width=1 / 16)
NO_JUDGE = {"gan": 0, "feature_matching": 0}
WEIGHTS = {"pixel": 4, "perceptual": 1, "paint": 2, "mask": 0.2, "smooth": 0.1, "gan": 0.4, "feature_matching": 2}
"""The temporal loss is on its own: few pairs have one that follows."""


def config(**changes):
    model = HybridConfig(resolution=SIZE, base_width=8)
    return HybridObjectiveConfig(**({"model": model, "features": VGG} | changes))


def made(seed=0, *, stirred=False, **changes):
    torch.manual_seed(seed)
    objective = HybridObjective(config(**changes)).train()
    if stirred:
        with torch.no_grad():
            for p in objective.G.parameters():
                p.add_(0.05 * torch.randn_like(p))
    return objective


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(count, seed=0):
    return F.interpolate(noise(count, 3, 8, 8, seed=seed), (SIZE, SIZE), mode="bilinear")


def faces(count, seed, lips=0.0):
    points = torch.tensor(mean_face().points.copy()).float()
    below = points[:, 1] > points[[13, 14], 1].mean()
    points[:, 1] += lips * below * (1.3 - points[:, 0].abs() / 0.4).clamp(0, 1)
    return (points + 0.03 * noise(count, 1, 3, seed=seed)) * (0.3 * SIZE) + torch.tensor([SIZE / 2, SIZE / 2, 0.0])


def pairs(count=2, k=1, seed=0):
    driver, photos = faces(count, seed, lips=0.2), faces(count * k, seed + 1)
    maps = draw_maps((RASTER, MapKind.FACE_MASK, MapKind.HULL_MASK), driver, SIZE)
    return PairBatch(
        targets=smooth(count * k, seed + 2).unflatten(0, (count, k)),
        target_mesh=photos.unflatten(0, (count, k)),
        target_maps={RASTER: draw_maps((RASTER,), photos, SIZE)[RASTER].unflatten(0, (count, k))},
        truth=smooth(count, seed + 3),
        driver_mesh=driver,
        driver_maps=maps,
        mask=torch.ones(count, 1, SIZE, SIZE),
        identity=torch.arange(count),
    )


def followed(batch, *follows):
    return dataclasses.replace(batch, follows=torch.tensor(follows))


def half_masked(batch):
    mask = torch.ones_like(batch.mask)
    mask[..., SIZE // 2 :] = 0
    return dataclasses.replace(batch, mask=mask)


def drawing(objective, batch):
    given = batch.driver_maps[RASTER], batch.driver_mesh, batch.targets, batch.target_maps[RASTER], batch.target_mesh
    return objective.generator(*given)


# Settings.


def test_defaults_and_their_json():
    defaults = config()
    assert {name: getattr(defaults, name) for name in WEIGHTS} == WEIGHTS
    assert HybridObjectiveConfig().kind == "hybrid"
    assert HybridObjectiveConfig.model_validate_json(defaults.model_dump_json()) == defaults


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"features": None}, "features must name a network"),
        ({"gan": -1}, "greater than or equal to 0"),
        ({"parts_weight": 0.5}, "greater than or equal to 1"),
        ({"pixel": 0, "perceptual": 0}, "no loss compares"),
        ({"identity": 1}, "Extra inputs"),
        ({"detail_only": True}, "no longer has detail_only=True, only False"),
    ],
)
def test_incomplete_settings_are_refused(wrong, reason):
    with pytest.raises(ValidationError, match=reason):
        config(**wrong)


def test_a_network_that_weighs_nothing_is_not_looked_for():
    objective = made(perceptual=0, features=TrainedFeatures(folder="nowhere"), **NO_JUDGE)
    assert set(objective.generator_step(pairs()).parts) == {"pixel", "paint", "mask", "smooth", "mask_mean"}
    assert objective.discriminator is None
    assert made(gan=0).discriminator is not None
    assert made(feature_matching=0).discriminator is not None


# The generator's half.


@torch.no_grad()
def test_each_term_written_out():
    objective, batch = made(stirred=True), half_masked(pairs())
    drawn = drawing(objective, batch)
    weights = batch.mask * objective.pixel_weights(batch)

    def mean(distance, weights):
        distance = distance.mean(1, keepdim=True)
        return ((distance * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))).mean()

    image, paint = (torch.where(batch.mask > 0, x, batch.truth) for x in (drawn.image, drawn.paint))
    errors = [(x - batch.truth).abs().mean(1, keepdim=True) for x in (drawn.paint, drawn.warped)]
    keep = torch.sigmoid((F.avg_pool2d(errors[0] - errors[1], 5, 1, 2) + 0.02) / 0.01)
    told = drawn.logit.sigmoid()
    entropy = -(keep * told.log() + (1 - keep) * (1 - told).log())
    flow_px = drawn.flow_ndc * SIZE / 2
    layers = zip(*(build_features(VGG)(x) for x in (image, batch.truth)), strict=True)
    judged = opening_parts(batch)
    fake, real = (objective.D(x, batch.driver_maps[RASTER], batch.driver_mesh, judged) for x in (image, batch.truth))
    expected = {
        "pixel": mean(torch.hypot(image - batch.truth, torch.tensor(0.1)) - 0.1, weights),
        "paint": mean(torch.hypot(paint - batch.truth, torch.tensor(0.1)) - 0.1, weights),
        "mask": (entropy * batch.mask * (1 - drawn.holes)).mean(),
        "smooth": flow_px.diff(dim=3).abs().mean() + flow_px.diff(dim=2).abs().mean(),
        "perceptual": sum(mean((a - b).abs(), F.avg_pool2d(weights, SIZE // a.shape[-1])) for a, b in layers) / 5,
        "gan": -fake.scores.mean(),
        "feature_matching": sum((f - r).abs().mean() for f, r in zip(fake.features, real.features, strict=True)),
        "mask_mean": drawn.mask.mean(),
    }
    step = objective.generator_step(batch)
    assert step.parts.keys() == expected.keys()
    for name, part in step.parts.items():
        torch.testing.assert_close(part, expected[name], rtol=1e-4, atol=1e-6, msg=name)
        assert part.abs() > 1e-5, name
    torch.testing.assert_close(step.loss, sum(factor * expected[name] for name, factor in WEIGHTS.items()))
    torch.testing.assert_close(step.drawn, image)


def test_changes_from_frame_to_frame():
    """Of pairs that follow their predecessor in the batch; the first one's is in another."""
    objective, batch = made(stirred=True, smooth=0, perceptual=0, **NO_JUDGE), pairs(4)
    step = objective.generator_step(followed(batch, True, False, True, True))
    changes = step.drawn.diff(dim=0) - batch.truth.diff(dim=0)
    weights = objective.pixel_weights(batch)[[2, 3]]
    distance = (torch.hypot(changes[[1, 2]], torch.tensor(0.1)) - 0.1).mean(1, keepdim=True)
    expected = ((distance * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))).mean()
    torch.testing.assert_close(step.parts["temporal"], expected)
    without = objective.generator_step(followed(batch, True, False, False, False))
    assert "temporal" not in without.parts
    torch.testing.assert_close(step.loss - without.loss, 2 * expected, atol=1e-5, rtol=0)
    assert "temporal" not in made(temporal=0, **NO_JUDGE).generator_step(followed(batch, False, True, True, True)).parts


def test_where_it_counts():
    batch = pairs()
    weights = made(parts_weight=7, silhouette_weight=2, **NO_JUDGE).pixel_weights(batch)
    for vertices, expected in (((13, 14), 7.0), ((159, 145), 7.0), ((386, 374), 7.0), ((10,), 2.0), ((152,), 2.0)):
        x, y = batch.driver_mesh[0, list(vertices), :2].mean(0).round().long()
        assert float(weights[0, 0, y, x]) == pytest.approx(expected, abs=0.4)
    assert float(weights[0, 0, 0, 0]) == 1
    assert weights.min() == 1
    assert weights.max() == 7
    even = made(parts_weight=1, silhouette_weight=1, **NO_JUDGE).pixel_weights(batch)
    assert (even == 1).all()


def test_around_by_hand():
    mesh = torch.zeros(1, 478, 3)
    mesh[0, 0, :2], mesh[0, 1, :2] = torch.tensor([20.0, 30.0]), torch.tensor([40.0, 50.0])
    found = around(mesh, (0, 1), SIZE)[0, 0]
    # Half a side is 10: inside of 12.5 all, beyond 17.5 nothing.
    assert found[40, 30 + 12] == 1
    assert found[40, 30 + 15] == pytest.approx(0.5)
    assert found[40 - 18, 30] == 0
    assert float(found.sum()) == pytest.approx(30.0**2, rel=0.03)


def test_the_mouth_is_the_lips():
    mesh = faces(1, 0)[0]
    lips = mesh[list(OUTER_LIPS), :2]
    corners = mesh[[61, 291, 0, 17], :2]
    torch.testing.assert_close(lips.amin(0), corners.amin(0), atol=0.5, rtol=0)
    torch.testing.assert_close(lips.amax(0), corners.amax(0), atol=0.5, rtol=0)


def test_nothing_is_compared_outside_the_mask():
    objective, batch = made(stirred=True, smooth=0), half_masked(pairs())
    seen = []
    objective.generator.register_forward_hook(lambda _m, _i, out: (out.image.retain_grad(), seen.append(out))[1])
    objective.generator_step(batch).loss.backward()
    gradient = seen[0].image.grad
    assert (gradient[..., SIZE // 2 :] == 0).all()
    assert (gradient[..., : SIZE // 2] != 0).float().mean() > 0.9
    parts = made().generator_step(dataclasses.replace(batch, mask=0 * batch.mask)).parts
    assert all(parts[name] == 0 for name in ("pixel", "paint", "mask", "perceptual", "feature_matching"))


def test_the_mask_is_supervised():
    objective = made(pixel=0, paint=0, smooth=0, mask=1, **NO_JUDGE)
    batch = pairs()
    with torch.no_grad():
        objective.generator.trunk.heads.out[-1].bias[2 : 2 + 12] = 0.4
        drawn = drawing(objective, batch)
    for truth, sign in ((drawn.warped, -1), (drawn.paint, 1)):
        objective.zero_grad()
        objective.generator_step(dataclasses.replace(batch, truth=truth)).loss.backward()
        # Of the mask's channels: to keep the warp its logit must grow, so its gradient is negative.
        gradient = objective.generator.trunk.heads.out[-1].bias.grad
        assert (gradient[2 + 12 :].sign() == sign).all()


def test_the_players_leave_each_other_alone():
    objective, batch = made(stirred=True), pairs()
    step = objective.generator_step(batch)
    step.loss.backward()
    assert all(p.grad is None and p.requires_grad for p in objective.discriminator.parameters())
    assert all(p.grad is not None for p in objective.generator.parameters())
    assert not step.drawn.requires_grad
    objective.zero_grad()
    objective.discriminator_step(batch, step.drawn).loss.backward()
    assert all(p.grad is None for p in objective.generator.parameters())
    assert all(p.grad is not None for p in objective.discriminator.parameters())


# The discriminator's half.


def test_the_hinge_loss_by_hand():
    objective, batch = made(), pairs()
    drawn = smooth(2, seed=9)
    given = batch.driver_maps[RASTER], batch.driver_mesh, opening_parts(batch)
    real, fake = (objective.D(x, *given).scores for x in (batch.truth, drawn))
    step = objective.discriminator_step(batch, drawn)
    torch.testing.assert_close(step.loss, (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    torch.testing.assert_close(step.parts["score_real"], real.mean().detach())
    torch.testing.assert_close(step.parts["score_fake"], fake.mean().detach())


def test_what_opens_is_judged():
    still, talking, blinking = (faces(1, 0)[0] for _ in range(3))
    eyes = (still[263] - still[33]).norm()
    talking[list(INNER_LIPS_LOWER), 1] += 0.1 * eyes
    for upper, lower in ((RIGHT_EYE_UPPER, RIGHT_EYE_LOWER), (LEFT_EYE_UPPER, LEFT_EYE_LOWER)):
        blinking[list(upper)] = blinking[list(lower)]
    batch = pairs(3)
    of_photos, of_drivers = torch.stack([still, blinking, still]), torch.stack([talking, still, still])
    batch = dataclasses.replace(batch, target_mesh=of_photos[:, None], driver_mesh=of_drivers)
    mouth, eyes, nothing = [True, False, False], [False, True, True], [False] * 3
    assert opening_parts(batch).view(3, 3).tolist() == [mouth, eyes, nothing]
    # Where nothing opens, all is judged.
    assert opening_parts(dataclasses.replace(batch, driver_mesh=of_photos)).all()
    closing = dataclasses.replace(batch, target_mesh=of_drivers[:, None], driver_mesh=of_photos)
    assert opening_parts(closing).all()


def test_the_discriminator_learns_to_tell():
    objective, batch = made(), pairs()
    drawn = smooth(2, seed=9)
    optimizer = torch.optim.Adam(objective.discriminator.parameters(), 1e-3)
    for _ in range(20):
        step = objective.discriminator_step(batch, drawn)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    assert step.parts["score_real"] > step.parts["score_fake"] + 0.5


# Learning.


@pytest.mark.slow
def test_overfits_pairs_and_leaves_the_warp():
    objective, batch = made(**NO_JUDGE), pairs()
    average = copy.deepcopy(objective.generator).eval()
    before = objective.measure(average, batch)
    assert before["psnr"] <= before["warp_psnr"] + 0.5
    optimizer = torch.optim.Adam(objective.generator.parameters(), 2e-3)
    for _ in range(40):
        step = objective.generator_step(batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    after = objective.measure(objective.generator, batch)
    assert after["psnr"] > after["warp_psnr"] + 2
    assert after["mouth_psnr"] > after["warp_mouth_psnr"] + 2
    assert after["warp_psnr"] == before["warp_psnr"]


@pytest.mark.slow
def test_the_mask_does_not_close_for_good():
    # The warp is right but where it shows red, which should be blue: all that speaks for painting is there.
    objective = made(perceptual=0, **NO_JUDGE)
    batch = pairs()
    red, blue = torch.tensor([0.9, -0.9, -0.9])[:, None, None], torch.tensor([-0.9, -0.9, 0.9])[:, None, None]
    batch.targets[..., 24:40, 20:44] = red
    with torch.no_grad():
        warped = drawing(objective, batch).warped
    here = (warped - red).abs().amax(1, keepdim=True) < 0.01
    batch = dataclasses.replace(batch, truth=torch.where(here, blue, warped))
    optimizer = torch.optim.Adam(objective.generator.parameters(), 3e-3)
    for _ in range(100):
        step = objective.generator_step(batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    with torch.no_grad():
        drawn = drawing(objective, batch)
    elsewhere = ~here & (drawn.holes == 0)
    assert drawn.mask[here].mean() < drawn.mask[elsewhere].mean() - 0.1
    errors = [((x - batch.truth).abs() * here).sum() for x in (drawn.image, drawn.warped)]
    assert errors[0] < 0.6 * errors[1]


# What comes out.


def test_measures_by_hand():
    objective, batch = made(stirred=True), half_masked(pairs(1))
    measured = objective.measure(objective.generator, batch)
    with torch.no_grad():
        drawn = drawing(objective, batch)
    inside = batch.mask * (around(batch.driver_mesh, OUTER_LIPS, SIZE) > 0.5)
    for prefix, picture in (("", drawn.image), ("warp_", drawn.mesh_warped)):
        squares = (picture.clamp(-1, 1) - batch.truth).square().mean(1, keepdim=True)
        for name, place in (("psnr", batch.mask), ("mouth_psnr", inside)):
            expected = 10 * torch.log10(4 / (squares * place).sum() * place.sum())
            torch.testing.assert_close(measured[prefix + name], expected)
    assert set(measured) == {
        "psnr", "face_psnr", "mouth_psnr", "warp_psnr", "warp_face_psnr", "warp_mouth_psnr", "mask_mean"
    }  # fmt: skip


def test_pictures_side_by_side():
    objective, batch = made(stirred=True, **NO_JUDGE), pairs(2, 2)
    rows = objective.pictures(objective.generator, batch)
    assert rows.shape == (2, 3, SIZE, 7 * SIZE)
    first, second, warped, mask, paint, image, truth = rows.split(SIZE, dim=3)
    with torch.no_grad():
        drawn = drawing(objective, batch)
    assert torch.equal(torch.stack([first, second], 1), batch.targets)
    for shown, expected in ((warped, drawn.mesh_warped), (paint, drawn.paint), (image, drawn.image)):
        torch.testing.assert_close(shown, expected.clamp(-1, 1))
    torch.testing.assert_close(mask[:, :1], 2 * drawn.mask - 1)
    assert torch.equal(truth, batch.truth)


def test_checkpoint_draws_the_same(tmp_path):
    objective, batch = made(stirred=True), pairs(1)
    average = copy.deepcopy(objective.generator).eval().requires_grad_(False)
    write_checkpoint(tmp_path / "weights", objective.checkpoint(average))
    checkpoint = read_checkpoint(tmp_path / "weights")
    assert checkpoint.kind == Hybrid.name
    model = Hybrid(HybridConfig.model_validate(checkpoint.config)).eval()
    assert model.config == objective.config.model
    model.load_state_dict(dict(checkpoint.tensors))
    with torch.no_grad():
        targets = TargetSet(batch.targets[0], batch.target_mesh[0].numpy(), {RASTER: batch.target_maps[RASTER][0]})
        driver = DriverFrame(batch.driver_mesh.numpy(), {RASTER: batch.driver_maps[RASTER]})
        drawn = model.synthesize(model.encode_target(targets), driver)
        torch.testing.assert_close(drawn, drawing(objective, batch).image.clamp(-1, 1))
    assert {name.split(".")[0] for name in objective.state_dict()} == {"G", "D"}


def test_steps_use_the_first_one_two_or_three_of_three_photos():
    objective, batch = made(stirred=True), pairs(k=3)
    wanted = set()
    for k in (1, 2, 3):
        maps = {kind: drawn[:, :k] for kind, drawn in batch.target_maps.items()}
        few = dataclasses.replace(
            batch, targets=batch.targets[:, :k], target_mesh=batch.target_mesh[:, :k], target_maps=maps
        )
        wanted.add(round(float((drawing(objective, few).image.detach() - batch.truth).abs().mean()), 5))
    assert len(wanted) == 3
    torch.manual_seed(0)
    found = {round(float((objective.generator_step(batch).drawn - batch.truth).abs().mean()), 5) for _ in range(12)}
    assert found == wanted


def test_steps_with_one_photo_repeat_and_draw_no_random_numbers():
    objective, batch = made(stirred=True), pairs()
    before = torch.random.get_rng_state()
    first, second = objective.generator_step(batch), copy.deepcopy(objective).generator_step(batch)
    objective.discriminator_step(batch, first.drawn)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(torch.random.get_rng_state(), before)
