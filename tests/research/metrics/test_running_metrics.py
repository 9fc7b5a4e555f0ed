"""Running results: what several processes saw adds up to what one would have seen."""

import math
import pickle
from functools import partial

import numpy as np
import pytest

from reenactor.research.metrics import (
    AUCON,
    PRMSE,
    AUIntensityCorrelation,
    Average,
    au_consistency,
    au_intensity_correlation,
    aucon,
    aucon_chance,
    pose_mae,
    prmse,
    verification_rate,
)


def merged(make, batches, workers=3):
    """Every worker sees some batches; their states travel as bytes."""
    states = []
    for i in range(workers):
        one = make()
        for batch in batches[i::workers]:
            one.update(*batch)
        states.append(pickle.dumps(one.state))
    total = make()
    for state in states:
        total.merge(pickle.loads(state))
    return total


@pytest.fixture
def poses():
    rng = np.random.default_rng(0)
    drawn, driver = rng.uniform(-180, 180, (2, 50, 3))
    drawn[[3, 30]] = np.nan
    return drawn, driver


def batches(*arrays, size=7):
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, len(arrays[0]), size)]


def test_prmse(poses):
    total = merged(PRMSE, batches(*poses))
    assert total.compute() == pytest.approx(prmse(*poses), rel=1e-12)
    assert total.left_out == 2


def test_average_leaves_out_and_counts(poses):
    total = merged(partial(Average, pose_mae), batches(*poses))
    assert total.compute() == pytest.approx(np.nanmean(pose_mae(*poses)))
    assert (total.count, total.left_out) == (48, 2)


def test_average_of_a_rate_with_its_threshold():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 20, 4))
    running = Average(partial(verification_rate, threshold=2.0))
    for part in batches(a, b):
        running.update(*part)
    assert running.compute() == pytest.approx(100 * np.mean(np.linalg.norm(a - b, axis=1) < 2))


def test_average_of_clips():
    rng = np.random.default_rng(2)
    clips = [tuple(rng.uniform(0, 5, (2, n, 3))) for n in (10, 30)]
    total = merged(partial(Average, au_consistency), clips)
    assert total.compute() == pytest.approx(np.mean([au_consistency(*clip) for clip in clips]))


def test_correlation_of_all_frames():
    rng = np.random.default_rng(3)
    driver = rng.uniform(0, 5, (40, 3))
    drawn = driver + rng.normal(size=(40, 3))
    total = merged(AUIntensityCorrelation, batches(drawn, driver))
    np.testing.assert_allclose(total.compute(), au_intensity_correlation(drawn, driver), rtol=1e-9)


def test_aucon_with_chance_and_ceiling():
    rng = np.random.default_rng(4)
    clips = []
    for n in (10, 30, 5):
        driver = rng.random((n, 6)) < 0.4
        clips.append((driver ^ (rng.random((n, 6)) < 0.3), driver, driver ^ (rng.random((n, 6)) < 0.05)))
    scores = merged(AUCON, clips).compute()
    drawn, driver, again = (np.concatenate(part) for part in zip(*clips, strict=True))
    assert scores.aucon == pytest.approx(aucon(drawn, driver))
    assert scores.ceiling == pytest.approx(aucon(again, driver))
    # Shuffled within clips, not across.
    wanted = np.average([aucon_chance(a, b) for a, b, _ in clips], weights=[10, 30, 5])
    assert scores.chance == pytest.approx(wanted)
    assert scores.chance < scores.aucon < scores.ceiling


def test_ceiling_is_optional():
    metric = AUCON()
    metric.update(np.ones((3, 2), bool), np.ones((3, 2), bool))
    scores = metric.compute()
    assert (scores.aucon, scores.chance) == (1, 1)
    assert math.isnan(scores.ceiling)


@pytest.mark.parametrize("make", [PRMSE, AUCON, AUIntensityCorrelation, partial(Average, pose_mae)])
def test_nothing_seen_and_reset(make):
    fresh = make()
    assert np.isnan(fresh.compute()).all()
    numbers = np.random.default_rng(5).random((6, 3))
    args = (numbers > 0.5, numbers > 0.3) if make is AUCON else (numbers, 2 * numbers)
    fresh.update(*args)
    assert not np.isnan(np.array(fresh.compute())[:2] if make is AUCON else fresh.compute()).any()
    fresh.reset()
    assert np.isnan(fresh.compute()).all()


def test_a_state_once_taken_does_not_change(poses):
    one = PRMSE()
    one.update(*poses)
    before = one.state
    kept = dict(before)
    one.update(*poses)
    assert before == kept
    assert one.state != kept
