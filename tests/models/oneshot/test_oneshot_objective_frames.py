"""How the shape encoder and the verification network learn: their losses by hand, and what others load of them."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import mannwhitneyu

from reenactor.core import FrameBatch, ReenactError
from reenactor.face.geometry import mean_face
from reenactor.face.maps import boundary_maps
from reenactor.models.oneshot import (
    CURVE_POINTS,
    FEATURE_READERS,
    SHAPE_ENCODER,
    VERIFICATION,
    Augmentation,
    Shape,
    ShapeEncoderConfig,
    ShapeEncoderObjective,
    ShapeEncoderObjectiveConfig,
    VerificationConfig,
    VerificationObjective,
    VerificationObjectiveConfig,
    face_centre,
)
from reenactor.models.oneshot.shape_encoder import rescaled, wing_loss
from reenactor.models.oneshot.verification import area_under_curve
from reenactor.nn.checkpoint import write_checkpoint
from reenactor.nn.losses import TrainedFeatures, build_features

SIZE, PEOPLE = 64, 3


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def frames(count=4, size=SIZE, seed=0):
    """Faces at different places; pictures that show where their boundaries are."""
    shift = 0.05 * size * noise(count, 1, 3, seed=seed)
    mesh = torch.tensor((mean_face().points * 0.35 * size + (size - 1) / 2).astype(np.float32)) + shift
    lines = boundary_maps(mesh, size)[:, [0, 5, 12]]
    return FrameBatch(
        images=(lines + 0.1 * noise(count, 3, size, size, seed=seed)).clamp(-1, 1),
        mesh_px=mesh,
        identity=torch.arange(count) % PEOPLE,
        clip=torch.arange(count),
    )


def shape_objective(seed=0, **changes):
    torch.manual_seed(seed)
    model = ShapeEncoderConfig(resolution=SIZE, width=8)
    return ShapeEncoderObjective(ShapeEncoderObjectiveConfig(**({"model": model} | changes)), boundary_maps).train()


def verification_objective(seed=0, identities=PEOPLE, **changes):
    torch.manual_seed(seed)
    model = VerificationConfig(width=8, embedding=16)
    return VerificationObjective(VerificationObjectiveConfig(**({"model": model} | changes)), identities).train()


STILL = {"augment": Augmentation()}


# Shape encoder.


def test_wing_loss_by_hand():
    ours = torch.tensor([[[0.0, 3.0], [20.0, -1.0], [7.0, 7.0]]])
    counts = torch.tensor([[True, True, False]])

    def wing(x):
        return 10 * math.log(1 + x / 2) if x < 10 else x - (10 - 10 * math.log(6))

    expected = (wing(0) + wing(3) + wing(20) + wing(1)) / 4
    assert wing_loss(ours, torch.zeros(1, 3, 2), counts).item() == pytest.approx(expected, rel=1e-6)
    # In a picture half as large the same error is twice as bad.
    assert wing_loss(ours / 2, torch.zeros(1, 3, 2), counts, unit_px=0.5).item() == pytest.approx(expected, rel=1e-6)
    assert wing_loss(ours, torch.zeros(1, 3, 2), counts & False) == 0


def test_shape_losses_by_hand():
    objective, batch = shape_objective(heat=7, points=2, **STILL), frames()
    with torch.no_grad():
        shape = copy.deepcopy(objective.E)(batch.images)
    wanted = boundary_maps((batch.mesh_px + 0.5) / 2 - 0.5, SIZE // 2)
    chance = shape.heatmaps.double()
    heat = -(wanted * chance.log() + (1 - wanted) * (1 - chance).log()).mean()
    points_px = batch.mesh_px[:, list(CURVE_POINTS), :2]
    off = (shape.points_px - points_px).abs() * 256 / SIZE
    wing = torch.where(off < 10, 10 * (1 + off / 2).log(), off - 10 + 10 * math.log(6)).mean()
    step = objective.generator_step(batch)
    torch.testing.assert_close(step.parts["heat"].double(), heat, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.parts["points"], wing, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(step.loss, 7 * step.parts["heat"] + 2 * step.parts["points"])
    assert step.drawn is None


def test_points_that_left_the_picture_do_not_count():
    objective, batch = shape_objective(**STILL), frames(2)
    far = batch.mesh_px.clone()
    far[:, list(CURVE_POINTS[:100]), 0] += 1000
    parts = objective.generator_step(dataclasses.replace(batch, mesh_px=far)).parts
    assert parts["points"] < 60
    gone = dataclasses.replace(batch, mesh_px=batch.mesh_px + 1000)
    assert shape_objective(**STILL).generator_step(gone).parts["points"] == 0


def test_pictures_of_another_size_are_brought_to_the_networks():
    objective, batch = shape_objective(**STILL), frames(size=128)
    small = FrameBatch(
        images=F.interpolate(batch.images, (SIZE, SIZE), mode="bilinear", antialias=True),
        mesh_px=(batch.mesh_px + torch.tensor([0.5, 0.5, 0])) / 2 - torch.tensor([0.5, 0.5, 0]),
        identity=batch.identity,
        clip=batch.clip,
    )
    torch.testing.assert_close(rescaled(batch.mesh_px, 0.5), small.mesh_px)
    first, second = (copy.deepcopy(objective).generator_step(b).loss for b in (batch, small))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_shape_measure_is_the_error_over_the_eyes_distance():
    objective, batch = shape_objective(), frames(2)
    eyes = (batch.mesh_px[:, 263, :2] - batch.mesh_px[:, 33, :2]).norm(dim=-1)
    right = batch.mesh_px[:, list(CURVE_POINTS), :2]

    class Wrong(torch.nn.Module):
        def forward(self, images):
            # A right triangle of 3, 4 and 5 pixels in the first picture, 10 in the second.
            off = torch.tensor([[[3.0, 4.0]], [[6.0, 8.0]]])
            return Shape(torch.zeros(2, 17, SIZE // 2, SIZE // 2), right + off)

    found = objective.measure(Wrong(), batch)["points_error"]
    torch.testing.assert_close(found, 100 * (5 / eyes[0] + 10 / eyes[1]) / 2)


@pytest.mark.parametrize("make", [shape_objective, verification_objective])
def test_gradients_reach_every_parameter(make):
    objective = make()
    objective.generator_step(frames()).loss.backward()
    without = [name for name, p in objective.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9]
    assert without == []
    assert objective.discriminator is None


@pytest.mark.parametrize("make", [shape_objective, verification_objective])
def test_a_few_steps_make_it_better(make):
    objective, batch = make(**STILL), frames()
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        step = objective.generator_step(batch)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("make", [shape_objective, verification_objective])
def test_random_numbers_come_from_pytorchs_generator(make):
    losses = []
    for seed in (0, 0, 1):
        objective = make()
        torch.manual_seed(seed)
        losses.append(objective.generator_step(frames()).loss.item())
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_shape_pictures():
    objective, batch = shape_objective(), frames(2)
    rows = objective.pictures(objective.E.eval(), batch)
    assert rows.shape == (2, 3, SIZE, 3 * SIZE)
    dotted, wanted, found = rows.split(SIZE, dim=3)
    changed = (dotted != batch.images).any(dim=1).sum()
    assert 0 < changed <= 2 * len(CURVE_POINTS)
    assert wanted.max() > 0.2
    assert found.abs().max() <= 1


# Verification network.


def test_cross_entropy_by_hand():
    objective, batch = verification_objective(**STILL), frames(5)
    verifier = copy.deepcopy(objective.V)
    with torch.no_grad():
        net, faces = verifier.network, face_centre(batch.images, 200 / 256)
        raw = net.embed(net.gather(net.features(faces)[-1]).flatten(1)).double()
        raw = (raw - raw.mean(0)) / (raw.var(0, unbiased=False) + 1e-5).sqrt()
        embeddings = raw / raw.norm(dim=1, keepdim=True)
        cosines = embeddings @ F.normalize(verifier.head.directions.double()).T
        logits = 30 * cosines
        own = torch.arange(5), batch.identity
        logits[own] = 30 * (cosines[own].acos() + 0.5).cos()
        expected = (logits.logsumexp(1) - logits[own]).mean()
    step = objective.generator_step(batch)
    torch.testing.assert_close(step.loss.double(), expected, rtol=1e-4, atol=1e-4)
    named = (cosines.argmax(1) == batch.identity).float().mean()
    torch.testing.assert_close(step.parts["accuracy"], named)


def test_verification_measure_by_hand():
    objective, batch = verification_objective(), frames(5)
    angles = torch.tensor([0.0, 1.0, 2.5, 0.3, 0.9])
    batch = dataclasses.replace(batch, identity=torch.tensor([7, 7, 9, 9, 7]))

    class Known(torch.nn.Module):
        def forward(self, images):
            return torch.stack([angles.cos(), angles.sin()], 1)

    measured = objective.measure(Known(), batch)
    same = [math.cos(x) for x in (1.0, 0.9, 0.1, 2.2)]
    different = [math.cos(x) for x in (2.5, 0.3, 1.5, 0.7, 1.6, 0.6)]
    assert measured["cosine_same"].item() == pytest.approx(np.mean(same), abs=1e-6)
    assert measured["cosine_different"].item() == pytest.approx(np.mean(different), abs=1e-6)
    assert measured["auc"].item() == pytest.approx(mannwhitneyu(same, different).statistic / 24)
    # Nothing to say: one person, or nobody twice.
    for identity in ([0] * 5, [0, 1, 2, 3, 4]):
        assert objective.measure(Known(), dataclasses.replace(batch, identity=torch.tensor(identity))) == {}


def test_equal_scores_count_half():
    assert area_under_curve(torch.tensor([0.5, 0.7]), torch.tensor([0.5, 0.6, 0.1])).item() == pytest.approx(4.5 / 6)


def test_one_person_is_not_enough():
    with pytest.raises(ReenactError, match="two people"):
        verification_objective(identities=1)
    with pytest.raises(ReenactError, match="two pictures or more at a time; choose a larger batch_size"):
        verification_objective().generator_step(frames(1))


# What comes out.


@pytest.mark.parametrize(("make", "kind"), [(shape_objective, SHAPE_ENCODER), (verification_objective, VERIFICATION)])
def test_checkpoints_are_read_as_features(make, kind, tmp_path):
    objective, batch = make(), frames()
    objective.generator_step(batch)
    average = copy.deepcopy(objective.generator).eval()
    checkpoint = objective.checkpoint(average)
    assert checkpoint.kind == kind
    write_checkpoint(tmp_path / "weights", checkpoint)
    features = build_features(TrainedFeatures(folder=tmp_path / "weights"), FEATURE_READERS)
    found = features(batch.images)
    if kind == SHAPE_ENCODER:
        for one, other in zip(found, average.features(batch.images), strict=True):
            torch.testing.assert_close(one, other)
    else:
        torch.testing.assert_close(F.normalize(found[0][..., 0, 0]), average(batch.images))


@pytest.mark.parametrize("make", [shape_objective, verification_objective])
def test_mixed_precision(make):
    exact = make(**STILL)
    mixed = copy.deepcopy(exact)
    with torch.autocast("cpu", torch.bfloat16):
        step = mixed.generator_step(frames())
    assert step.loss.dtype == torch.float32
    assert step.loss.item() == pytest.approx(exact.generator_step(frames()).loss.item(), rel=0.05)
    step.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in mixed.parameters())
