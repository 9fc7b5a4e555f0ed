"""Bootstrap intervals: against theory, and against what ignoring identities would give."""

import numpy as np
import pytest

from reenactor.research.metrics import bootstrap_interval, paired_difference


def clustered(people, frames, seed, between=1.0, within=0.2):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i}" for i in range(people)], frames)
    return np.repeat(rng.normal(0, between, people), frames) + rng.normal(0, within, people * frames), list(names)


def test_width_is_that_of_the_means_of_people():
    values, names = clustered(people=40, frames=30, seed=0)
    interval = bootstrap_interval(values, names, np.random.default_rng(0))
    means = values.reshape(40, 30).mean(1)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.identities == 40
    half = 1.96 * means.std() / np.sqrt(40)
    assert interval.low == pytest.approx(means.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(means.mean() + half, abs=0.1 * half)
    naive = bootstrap_interval(values, list(range(len(values))), np.random.default_rng(0))
    assert interval.high - interval.low > 4 * (naive.high - naive.low)


def test_covers_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for seed in range(150):
        values, names = clustered(people=25, frames=4, seed=seed)
        interval = bootstrap_interval(values, names, rng, resamples=200, level=0.8)
        hits += interval.low <= 0 <= interval.high
    assert 0.7 < hits / 150 < 0.87


def test_the_same_generator_gives_the_same_interval():
    values, names = clustered(people=10, frames=5, seed=2)
    one, two, other = (bootstrap_interval(values, names, np.random.default_rng(s)) for s in (3, 3, 4))
    assert one == two
    assert one != other


def test_pairing_cancels_what_is_hard_for_both():
    values, names = clustered(people=30, frames=10, seed=5)
    better = values + 0.1 + np.random.default_rng(6).normal(0, 0.05, len(values))
    difference = paired_difference(better, values, names, np.random.default_rng(0))
    assert difference.estimate == pytest.approx(0.1, abs=0.02)
    assert difference.low > 0
    assert difference.high - difference.low < 0.05
    alone = bootstrap_interval(better, names, np.random.default_rng(0))
    assert alone.high - alone.low > 0.4
    same = paired_difference(values, values, names, np.random.default_rng(0))
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_frames_that_one_method_lacks_are_left_out_for_both():
    ours, theirs = np.array([1.0, np.nan, 3, 9]), np.array([0.0, 100, 2, np.nan])
    difference = paired_difference(ours, theirs, ["a", "a", "b", "b"], np.random.default_rng(0))
    assert (difference.estimate, difference.low, difference.high) == (1, 1, 1)


def test_another_statistic_over_rows():
    errors = np.random.default_rng(7).normal(0, 3, (300, 3))
    names = [str(i // 3) for i in range(300)]

    def rms(rows):
        return np.sqrt(np.nanmean(rows**2))

    interval = bootstrap_interval(errors, names, np.random.default_rng(0), statistic=rms)
    assert interval.estimate == pytest.approx(rms(errors))
    assert interval.low < interval.estimate < interval.high
    # The standard error of the standard deviation of 900 normal numbers.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 3 / np.sqrt(2 * 900), rel=0.15)
    assert str(interval).startswith(f"{interval.estimate:.4g} [")


@pytest.mark.parametrize("level", [0, 1, 95])
def test_levels_are_shares(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_interval(np.zeros(2), ["a", "b"], np.random.default_rng(0), level=level)


def test_every_value_needs_an_identity():
    with pytest.raises(ValueError, match="3 values, but 2 identities"):
        bootstrap_interval(np.zeros(3), ["a", "b"], np.random.default_rng(0))
    with pytest.raises(Exception, match=r"same frames only|Type-check"):
        paired_difference(np.zeros(3), np.zeros(2), ["a", "b", "c"], np.random.default_rng(0))
