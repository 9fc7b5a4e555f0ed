"""Synthetic truth: known answers for copies and an oracle, and the order of the ways."""

import numpy as np
import pytest
import torch

from factories import DATA
from reenactor.core import ReenactError
from reenactor.face.geometry import head_angles, mean_face
from reenactor.face.retarget.transformer import LandmarkTransformer, LandmarkTransformerConfig
from reenactor.research.evaluation.retargeting import (
    PARTS,
    SURFACE,
    FaceModel,
    errors,
    make_trials,
    measure,
    read_face_model,
    transfers,
)

ICT = DATA / "ict" / "ict_mp468.npz"


@pytest.fixture(scope="module")
def model():
    """A face that varies smoothly, as a stand-in for ICT-FaceKit."""
    points = mean_face().points[:SURFACE]
    rng = np.random.default_rng(0)
    smooth = np.exp(-((np.linalg.norm(points[:, None] - points[rng.integers(SURFACE, size=8)], axis=2) / 0.3) ** 2))
    ident = smooth.T[:, :, None] * rng.normal(size=(8, 1, 3)) * 0.03
    lower = np.clip(points[:, 1] / 0.8, 0, 1)[:, None]
    expr = np.stack(
        [lower * [0, 0.15, 0], np.abs(lower) * np.sign(points[:, :1]) * [0.08, -0.04, 0], lower * [0.3, 0, 0]]
    )
    return FaceModel(points, ident, expr, ("jawOpen", "mouthSmile_L", "eyeLookUp_L"))


@pytest.fixture(scope="module")
def trials(model):
    return make_trials(model, np.random.default_rng(1), people=6, frames=4)


def test_an_oracle_makes_no_error(trials):
    truths = [np.vstack([trial.truth, trial.target[SURFACE:]]) for trial in trials]
    for part in PARTS:
        assert errors(truths, trials, part).max() == 0
    moved = [2 * truth + 7 for truth in truths]
    assert errors(moved, trials).min() > 1
    assert errors(moved, trials, shape_only=True).max() < 1e-4


def test_errors_in_percent_of_the_eye_distance(trials):
    trial = trials[0]
    off = np.vstack([trial.truth, trial.target[SURFACE:]])
    off[:, 0] += 3
    distance = np.linalg.norm(trial.target[263] - trial.target[33])
    assert errors([off], [trial])[0] == pytest.approx(300 / distance, rel=1e-5)
    off[:, 2] += 50
    assert errors([off], [trial])[0] == pytest.approx(300 / distance, rel=1e-5), "depth does not count"


def test_truth_is_the_target_with_the_drivers_expression(model, trials):
    for trial in trials:
        # Both moved alike, so what differs between them at rest is all that differs, turned with the head.
        wanted = np.linalg.norm(trial.target[:SURFACE] - trial.rest[:SURFACE], axis=1)
        np.testing.assert_allclose(np.linalg.norm(trial.truth - trial.driver[:SURFACE], axis=1), wanted, atol=1e-3)
        assert np.abs(head_angles(trial.driver)).max() < 25
    assert len({trial.person for trial in trials}) == 6


def test_expressions_in_the_photo_are_not_in_the_truth(model):
    calm = make_trials(model, np.random.default_rng(2), people=2, frames=1)
    smiling = make_trials(model, np.random.default_rng(2), people=2, frames=1, target_expression=0.5)
    assert np.abs(smiling[0].target - calm[0].target).max() > 0.5


def test_eyeballs_are_left_alone(model, trials):
    expressions = model.expressions.copy()
    expressions[2] *= 100
    others = FaceModel(model.neutral, model.identities, expressions, model.names)
    again = make_trials(others, np.random.default_rng(1), people=6, frames=4)
    np.testing.assert_array_equal(again[3].truth, trials[3].truth)


def test_relative_keeps_the_face(trials):
    found = measure(trials, transfers())
    assert set(found) == {"still photo", "absolute", "relative", "parts"}
    for part in ("all", "shape", "jaw"):
        assert found["relative"][part].high < found["absolute"][part].low
    assert found["relative"]["all"].estimate < 1
    assert found["still photo"]["all"].estimate > found["absolute"]["all"].estimate


def test_transformers_of_68_points_are_measured_and_those_that_see_are_not(trials):
    made = LandmarkTransformer(LandmarkTransformerConfig(points="ibug68", hidden=0)).eval()
    made.mean.copy_(torch.from_numpy(made.points.mean))  # no bases: it finds no expressions
    found = measure(trials, {"still": transfers()["still photo"], "68": transfers(made)["transformer"]})
    assert found["68"]["all"].estimate < 0.6 * found["still"]["all"].estimate
    seeing = LandmarkTransformer(LandmarkTransformerConfig(image="resnet50", hidden=0))
    with pytest.raises(ReenactError, match="these faces have no pictures"):
        transfers(seeing)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ReenactError, match="cannot read"):
        read_face_model(tmp_path / "none.npz")
    np.savez(
        tmp_path / "a.npz", neutral=np.zeros((3, 3)), ident=np.zeros((1, 3, 3)), expr=np.zeros((1, 3, 3)), names=["a"]
    )
    with pytest.raises(ReenactError, match="has not"):
        read_face_model(tmp_path / "a.npz")


@pytest.mark.skipif(not ICT.exists(), reason="needs the data pack")
def test_ict_facekit():
    model = read_face_model(ICT)
    # Brought to the mean face: eyes' corners one apart, and near it.
    assert np.linalg.norm(model.neutral[263] - model.neutral[33]) == pytest.approx(1, abs=0.1)
    assert np.abs(model.neutral - mean_face().points[:SURFACE]).mean() < 0.06
    down = model.expressions[model.names.index("jawOpen")][152]
    assert down[1] > 0.1, "the chin goes down"
    trials = make_trials(model, np.random.default_rng(0), people=8, frames=4)
    found = measure(trials, transfers())
    assert found["relative"]["all"].estimate < 1
    assert found["absolute"]["all"].estimate > 1.5
