"""FusionNet's own training: its inputs, its losses, and that nothing else is trained."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from reenactor.core import CheckpointError, DriverFrame, MapKind, PairBatch, TargetSet
from reenactor.face.geometry import mean_face
from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.models.oneshot import (
    FusionNet,
    FusionObjective,
    FusionObjectiveConfig,
    OneShotConfig,
    OneShotGenerator,
    warped_m1p1,
    warped_photo,
)
from reenactor.models.oneshot.fusion import mask_of, toned
from reenactor.models.oneshot.fusion_objective import lost_db, supervised_loss, total_variation
from reenactor.models.oneshot.objective import model_checkpoint
from reenactor.models.registry import model_of
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from reenactor.nn.losses import RandomVgg

SIZE = 64
GAZE = 3
VGG = RandomVgg(width=1 / 16)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def faces(count, seed):
    points = mean_face().points * 0.3 * SIZE + np.array([(SIZE - 1) / 2, (SIZE - 1) / 2, 0])
    moves = np.random.default_rng(seed).uniform(-4, 4, (count, 1, 3))
    return torch.tensor((points + moves).astype(np.float32))


def pairs(count=2, k=2, seed=0):
    return PairBatch(
        targets=noise(count, k, 3, SIZE, SIZE, seed=seed),
        target_mesh=torch.stack([faces(k, seed + i) for i in range(count)]),
        target_maps={MapKind.PARSING: noise(count, k, 9, SIZE, SIZE, seed=seed + 4).abs()},
        truth=noise(count, 3, SIZE, SIZE, seed=seed + 2),
        driver_mesh=faces(count, seed + 10),
        driver_maps={MapKind.PARSING: noise(count, 9, SIZE, SIZE, seed=seed + 3).abs()},
        mask=torch.ones(count, 1, SIZE, SIZE),
        identity=torch.arange(count),
    )


@pytest.fixture(params=["none", "learned"])
def decoder(request, tmp_path):
    """A generator, and the folder of its checkpoint."""
    torch.manual_seed(1)
    sizes = {"resolution": SIZE, "base_width": 4, "max_width": 16, "spade_from": 8, "fusion_width": 8}
    generator = OneShotGenerator(OneShotConfig(fusion=request.param, **sizes))
    write_checkpoint(tmp_path / "decoder", model_checkpoint(generator.config, generator.state_dict()))
    return generator, tmp_path / "decoder"


def made(folder, **changes):
    torch.manual_seed(0)
    objective = FusionObjective(
        FusionObjectiveConfig(**({"decoder": folder, "identity_mix": 0, "occluded": 0} | changes))
    ).train()
    # A fresh one leaves its first mask as it is, whatever it sees.
    torch.nn.init.normal_(objective.N.logit.weight, std=0.2)
    return objective


def inputs(generator, batch):
    """What is drawn, and the warp with its flags, one pair at a time."""
    parsing = batch.driver_maps[MapKind.PARSING]
    warped = []
    for i in range(len(parsing)):
        gaze = batch.target_maps[MapKind.PARSING][i, 0, GAZE]
        photo = warped_photo(batch.targets[i, 0], batch.target_mesh[i, 0].numpy(), gaze)
        warped.append(warped_m1p1(photo, batch.driver_mesh[i : i + 1].numpy(), parsing[i : i + 1, GAZE]))
    with torch.no_grad():
        found = generator.encode(batch.targets)
        face = generator.decode(found.z, found.maps, parsing)
    return face, torch.cat(warped)


def decibels(ours, truth, mask):
    """Of each picture, over the pixels of the mask."""
    off = ((ours - truth) ** 2 * mask).flatten(1).sum(1) / (3 * mask.flatten(1).sum(1))
    return 20 * torch.log10(2 / off.sqrt())


def worse_than_best(ours, inputs, truth, mask):
    """Mean decibels below the better input, where it is below."""
    ours_db, *inputs_db = (decibels(one, truth, mask) for one in (ours, *inputs))
    return (torch.maximum(*inputs_db) - ours_db).clamp(min=0).mean()


def test_an_identity_mix_is_of_two_people(decoder):
    generator, folder = decoder
    objective, batch = made(folder, identity_mix=1), pairs()
    parsing = batch.driver_maps[MapKind.PARSING]
    with torch.no_grad():
        known, warped = objective._inputs(batch)
        torch.manual_seed(5)
        drawn, same = objective._inputs(batch, identity_mix=1)
        torch.manual_seed(5)
        share = 0.7 * torch.rand(len(parsing), 1, 1, 1)
        found = generator.encode(batch.targets)
        z, *maps = ((1 - share) * one + share * one[[*range(-1, len(one) - 1)]] for one in (found.z, *found.maps))
        torch.testing.assert_close(drawn, generator.decode(z, tuple(maps), parsing))
    assert torch.equal(same, warped)
    assert (drawn - known).abs().amax((1, 2, 3)).min() > 1e-4
    # What is shown and measured is drawn of the people themselves.
    before = torch.random.get_rng_state()
    objective.measure(objective.N, batch)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_photo_may_be_warped_as_if_a_cheek_were_occluded(decoder):
    _, folder = decoder
    objective, batch = made(folder, occluded=1), pairs()
    known, warped = objective._inputs(batch)
    drawn, occluded = objective._inputs(batch, occluded=1)
    assert torch.equal(drawn, known)
    stretched = 3 + FLAGS.index("stretched")
    assert (occluded[:, stretched].mean((1, 2)) > warped[:, stretched].mean((1, 2))).all()
    assert ((occluded[:, :3] != warped[:, :3]).any(1).float().mean((1, 2)) > 0.02).all()
    # Nothing that is shown or measured is changed so.
    torch.testing.assert_close(objective._fused(objective.N, batch)[1], warped[:, :3])


def test_each_term_by_hand(decoder):
    generator, folder = decoder
    batch = pairs()
    mask = torch.ones_like(batch.mask)
    mask[..., : SIZE // 4] = 0
    batch = dataclasses.replace(batch, mask=mask)
    objective = made(folder, supervised=2, smooth=7, guard=11)
    face, flagged = inputs(generator, batch)
    warped = flagged[:, :3]
    # Near to what is drawn, so that taking anything from the warp loses.
    batch = dataclasses.replace(batch, truth=0.9 * face + 0.1 * batch.truth)
    parsing = batch.driver_maps[MapKind.PARSING]
    with torch.no_grad():
        drawn = toned(face, flagged, parsing, generator.config)
        logit = copy.deepcopy(objective.N)(drawn, flagged, parsing)
        share = 0.01 + 0.98 * logit.sigmoid()
        image = share * warped + (1 - share) * drawn
        expected = {}
        across, down = share[..., 1:] - share[..., :-1], share[..., 1:, :] - share[..., :-1, :]
        expected["smooth"] = across.abs().mean() + down.abs().mean()
        lost = [worse_than_best(image, (face, warped), batch.truth, place) for place in (mask, mask * parsing[:, :1])]
        assert min(lost) > 0
        expected["guard"] = sum(lost)
        expected["supervised"] = supervised_loss(logit, warped, drawn, batch.truth, mask, parsing[:, :1])
    step = objective.generator_step(batch)
    assert step.parts.keys() == expected.keys()
    for name, part in step.parts.items():
        torch.testing.assert_close(part, expected[name], rtol=1e-4, atol=1e-6, msg=name)
    whole = 2 * expected["supervised"] + 7 * expected["smooth"] + 11 * expected["guard"]
    torch.testing.assert_close(step.loss, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.drawn, image)


def test_only_fusion_net_learns(decoder):
    generator, folder = decoder
    objective, batch = made(folder), pairs()
    assert sum(p.numel() for p in objective.parameters()) == sum(p.numel() for p in objective.generator.parameters())
    start = copy.deepcopy(objective.generator.state_dict())
    optimizer = torch.optim.Adam(objective.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        objective.generator_step(batch).loss.backward()
        assert {n for n, p in objective.N.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9} == set()
        optimizer.step()
    learned = objective.checkpoint(objective.generator)
    frozen = {n: t for n, t in generator.state_dict().items() if not n.startswith("fusion")}
    assert all(torch.equal(learned.tensors[f"generator.{name}"], tensor) for name, tensor in frozen.items())
    assert all(not torch.equal(value, start[name]) for name, value in objective.generator.state_dict().items())
    assert set(learned.tensors) == {f"generator.{n}" for n in [*frozen, *(f"fusion.{n}" for n in start)]}


def test_the_mask_learns_which_picture_is_right():
    # The warp where parts are, the drawn picture elsewhere: the opposite of a fresh mask.
    torch.manual_seed(0)
    net = FusionNet(OneShotConfig(fusion_width=8))
    face, warped = noise(1, 3, SIZE, SIZE), noise(1, 3, SIZE, SIZE, seed=1)
    flagged = torch.cat([warped, torch.zeros(1, 5, SIZE, SIZE)], 1)
    parsing = torch.zeros(1, 9, SIZE, SIZE)
    parsing[..., : SIZE // 2] = 1
    truth = torch.where(parsing[:, :1] > 0, warped, face)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        mask = mask_of(net(face, flagged, parsing), 0.01)
        loss = 25 * (face + mask * (warped - face) - truth).abs().mean() + total_variation(mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert mask[..., 4 : SIZE // 2 - 4].min() > 0.8
    assert mask[..., SIZE // 2 + 4 : -4].max() < 0.2


def test_the_supervised_loss():
    """The best share gives the least loss; what lies outside the mask, or is the same in both, says nothing."""
    truth, drawn, warped = torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), -0.1), torch.full((1, 3, 16, 16), 0.3)
    everywhere = torch.ones(1, 1, 16, 16)
    logit = torch.zeros(1, 1, 16, 16, requires_grad=True)
    # 0.25 of 0.3 and 0.75 of -0.1 is 0; by the better picture's error, 0.16 * 3 / 0.03, it weighs 16.
    loss = supervised_loss(logit, warped, drawn, truth, everywhere, everywhere)
    assert loss.item() == pytest.approx(16 * 1.25 / 20 * np.log(2), rel=1e-4)
    best = torch.full_like(logit, np.log(0.25 / 0.75))
    assert supervised_loss(best, warped, drawn, truth, everywhere, everywhere) < loss
    for wrong in (best - 0.3, best + 0.3):
        assert supervised_loss(wrong, warped, drawn, truth, everywhere, everywhere) > supervised_loss(
            best, warped, drawn, truth, everywhere, everywhere
        )
    # Closed as far as it goes, a sigmoid still hears that it should open.
    closed = torch.full_like(logit, 30.0, requires_grad=True)
    supervised_loss(closed, warped, drawn, truth, everywhere, everywhere).backward()
    assert closed.grad.min() > 1e-4
    half = everywhere.clone()
    half[..., 8:] = 0
    warped[..., :4, :] = drawn[..., :4, :]
    (slope,) = torch.autograd.grad(supervised_loss(logit, warped, drawn, truth, half, everywhere), logit)
    assert slope[..., 8:].abs().max() == slope[..., :2, :].abs().max() == 0
    assert slope[..., 8:, :8].abs().min() > 0


def test_smoothness_by_hand():
    mask = torch.tensor([[[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]]])
    # Across: 1, 0, 0, 1 of four; down: 0, 1, 0 of three.
    assert total_variation(mask).item() == pytest.approx(2 / 4 + 1 / 3)


def test_what_is_lost_by_hand():
    truth = torch.zeros(2, 3, SIZE, SIZE)
    mask = torch.zeros(2, 1, SIZE, SIZE)
    mask[..., 4:] = 1
    outside = torch.where(mask > 0, 0.0, 5.0)
    better, worse = truth + 0.1 + outside, truth + 0.4 + outside
    # Twice the better one's error is 6.02 dB; half of it is no loss.
    fused = truth + torch.tensor([0.2, 0.05])[:, None, None, None]
    assert lost_db(fused, (worse, better), truth, mask).item() == pytest.approx(20 * np.log10(2) / 2, abs=1e-4)


def test_pictures_and_measures(decoder):
    generator, folder = decoder
    objective, batch = made(folder), pairs()
    face, flagged = inputs(generator, batch)
    warped = flagged[:, :3]
    rows = objective.pictures(objective.N, batch)
    assert rows.shape == (2, 3, SIZE, 6 * SIZE)
    target, second, third, mask, image, truth = rows.split(SIZE, dim=3)
    torch.testing.assert_close(second, warped)
    torch.testing.assert_close(third, face)
    assert torch.equal(target, batch.targets[:, 0])
    assert torch.equal(truth, batch.truth)
    share = (mask + 1) / 2
    drawn = toned(face, flagged, batch.driver_maps[MapKind.PARSING], OneShotConfig())
    torch.testing.assert_close(image, share * warped + (1 - share) * drawn, atol=1e-5, rtol=0)
    measured = objective.measure(objective.N, batch)
    for name, picture in (("psnr", image), ("decoder_psnr", face), ("warp_psnr", warped)):
        error = (picture - batch.truth).square().flatten(1).mean(1)
        torch.testing.assert_close(measured[name], (10 * torch.log10(4 / error)).mean(), rtol=1e-4, atol=1e-4)
    for name, place in (("lost", batch.mask), ("face_lost", batch.driver_maps[MapKind.PARSING][:, :1])):
        lost = worse_than_best(image, (face, warped), batch.truth, place)
        torch.testing.assert_close(measured[name], lost, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(measured["warped_share"], share.mean(), rtol=1e-4, atol=1e-5)


def test_what_is_trained_is_what_the_model_draws(decoder, tmp_path):
    _, folder = decoder
    objective, batch = made(folder), pairs()
    write_checkpoint(tmp_path / "fused", objective.checkpoint(objective.N.eval()))
    model = model_of(read_checkpoint(tmp_path / "fused"))
    assert model.config.fusion == "learned"
    photos = {MapKind.PARSING: batch.target_maps[MapKind.PARSING][0]}
    frame = DriverFrame(batch.driver_mesh[:1].numpy(), {MapKind.PARSING: batch.driver_maps[MapKind.PARSING][:1]})
    with torch.no_grad():
        code = model.encode_target(TargetSet(batch.targets[0], batch.target_mesh[0].numpy(), photos))
        image = model.synthesize(code, frame)
    expected = objective.pictures(objective.N, batch)[:1, :, :, 4 * SIZE : 5 * SIZE]
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)


def test_what_it_needs(tmp_path):
    with pytest.raises(ValidationError, match="no longer has perceptual=1"):
        FusionObjectiveConfig(decoder=tmp_path, perceptual=1)
    with pytest.raises(ValidationError, match="greater than 0"):
        FusionObjectiveConfig(decoder=tmp_path, supervised=0)
    assert FusionObjectiveConfig(decoder=tmp_path, told=2, strangers=0.1, pixel=0).supervised == 2
    with pytest.raises(CheckpointError, match="holds no weights"):
        made(tmp_path)
    write_checkpoint(tmp_path / "other", Checkpoint("marionette", {}, {"x": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="marionette"):
        made(tmp_path / "other")
    assert FusionObjective.maps.targets == FusionObjective.maps.driver == (MapKind.PARSING,)
