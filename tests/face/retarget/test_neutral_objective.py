"""Training of the network that estimates neutral faces, on synthetic people."""

import numpy as np
import pytest
import torch
from faces import shape

from factories import posed
from reenactor.core import FrameBatch, ReenactError
from reenactor.face.geometry import in_mean_pose
from reenactor.face.retarget.neutral import NEUTRAL, NeutralNetwork
from reenactor.face.retarget.neutral_objective import (
    NeutralObjective,
    NeutralObjectiveConfig,
    neutral_of_clip,
    neutral_statistics,
)

SMALL = NeutralObjectiveConfig(hidden=32, bases=4, dropout=0.0, noise=0.0)


def clip(seed, length=40):
    rng = np.random.default_rng(seed)
    moves = [{"opening": -0.06}] * 8 + [
        {"opening": rng.uniform(-0.06, 0.12), "smile": rng.uniform(0, 0.06)} for _ in range(length - 8)
    ]
    return np.stack([posed(shape(seed=seed, **move), angles_deg=rng.uniform(-8, 8, 3)) for move in moves])


@pytest.fixture(scope="module")
def clips():
    return [(row, clip(seed)) for row, seed in enumerate(range(10, 22))]


@pytest.fixture(scope="module")
def statistics(clips):
    photos = [[posed(shape(seed=9, opening=-0.06)), posed(shape(seed=9, smile=0.06))], [clip(5)[0], clip(5)[1]]]
    return neutral_statistics(clips[:10], photos, clips[10:])


def batch_of(clips, count, rng):
    chosen = [clips[i] for i in rng.integers(len(clips), size=count)]
    meshes = torch.from_numpy(np.stack([meshes[rng.integers(len(meshes))] for _, meshes in chosen])).float()
    rows = torch.tensor([row for row, _ in chosen])
    return FrameBatch(torch.zeros(count, 3, 0, 0), meshes, torch.zeros_like(rows), rows)


def test_the_neutral_face_of_a_clip_is_its_closed_mouth():
    shapes = in_mean_pose(clip(3))[1]
    truth = in_mean_pose(posed(shape(seed=3, opening=-0.06)))[1]
    found = neutral_of_clip(shapes)
    assert np.abs(found - truth).mean() < 0.2 * np.abs(shapes.mean(0) - truth).mean()


def test_photos_count_where_one_has_a_wider_mouth(statistics):
    assert len(statistics.people) == len(statistics.changes) == 1
    truth = in_mean_pose(posed(shape(seed=9, opening=-0.06)))[1]
    np.testing.assert_allclose(statistics.people[0], truth, atol=1e-6)
    assert statistics.learned.tolist() == [True] * 10 + [False] * 2


def test_it_learns_to_take_expressions_away_from_people_it_has_not_seen(clips, statistics):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    objective = NeutralObjective(SMALL, statistics)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(250):
        optimizer.zero_grad()
        objective.generator_step(batch_of(clips[:10], 32, rng)).loss.backward()
        optimizer.step()
    found = objective.measure(objective.generator, batch_of(clips[10:], 64, rng))
    assert found["error"] < 0.6 * found["as_seen"]

    checkpoint = objective.checkpoint(objective.generator)
    assert checkpoint.kind == NEUTRAL
    again = NeutralNetwork(**checkpoint.config)
    again.load_state_dict(dict(checkpoint.tensors))
    shapes = torch.from_numpy(in_mean_pose(clips[11][1])[1]).float()
    torch.testing.assert_close(again.eval()(shapes), objective.network.eval()(shapes))


def test_too_few_expressions_or_no_clip_are_refused(statistics):
    with pytest.raises(ReenactError, match="fewer expressions than the 1000"):
        NeutralObjective(SMALL.model_copy(update={"bases": 1000}), statistics)
    with pytest.raises(ReenactError, match="no clip to learn"):
        neutral_statistics([], [])
