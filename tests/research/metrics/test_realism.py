"""The kernel distance against its definition, pair by pair."""

import itertools

import numpy as np
import pytest
import torch

from reenactor.face.geometry import mean_face
from reenactor.research.metrics.realism import kernel_distance, kernel_sums, part_features, stage_slices


def features(count, shift=0.0, seed=0):
    return (np.random.default_rng(seed).normal(size=(count, 6)) + shift).astype(np.float32)


def by_definition(drawn, true):
    """Every pair of pictures, in a loop."""
    mean, deviation = true.mean(0), true.std(0) + 1e-3
    a, b = (drawn - mean) / deviation, (true - mean) / deviation

    def k(u, v):
        return (float(u @ v) / len(u) + 1) ** 3

    n = len(a)
    same = sum(k(x[i], x[j]) for x in (a, b) for i, j in itertools.permutations(range(n), 2)) / (n * (n - 1))
    crossed = sum(k(u, v) for u in a for v in b) / n**2
    return same - 2 * crossed


def test_definition():
    drawn, true = features(9, 0.3), features(9, seed=1)
    assert kernel_distance(drawn, true) == pytest.approx(by_definition(drawn, true), rel=1e-5)


def test_more_for_other_collections_and_none_for_the_same():
    true = features(400, seed=1)
    same, near, far = (kernel_distance(features(400, shift), true) for shift in (0.0, 0.2, 0.6))
    assert abs(same) < 0.05 < near < far / 3


def test_blur_is_seen_where_a_paired_distance_prefers_it():
    """The mean of two equally likely mouths is nearer to each than they are to each other, and looks like neither."""
    rng = np.random.default_rng(0)
    which = rng.choice([-1.0, 1.0], (300, 2))
    noise = 0.1 * rng.normal(size=(300, 4))
    true = np.hstack([which[:, :1] * np.ones((1, 2)), noise[:, :2]]).astype(np.float32)
    guess = np.hstack([which[:, 1:] * np.ones((1, 2)), noise[:, 2:]]).astype(np.float32)
    blur = np.hstack([0 * which, noise[:, 2:]]).astype(np.float32)
    assert ((blur - true) ** 2).mean() < 0.6 * ((guess - true) ** 2).mean()
    assert kernel_distance(blur, true) > 10 * abs(kernel_distance(guess, true))


def test_resampled_people_are_their_pictures_repeated():
    drawn, true, people = features(12, 0.4), features(12, seed=1), np.repeat([0, 1, 2], [3, 4, 5])
    sums = kernel_sums(drawn, true, people)
    assert sums.distance(np.ones(3)) == pytest.approx(kernel_distance(drawn, true), rel=1e-6)
    # Person 2 twice, person 0 not at all; a picture makes no pair with its own copy.
    rows = [*np.flatnonzero(people == 1), *np.flatnonzero(people == 2), *np.flatnonzero(people == 2)]
    mean, deviation = true.mean(0), true.std(0) + 1e-3
    a, b = ((one[rows] - mean) / deviation for one in (drawn, true))
    k = [((x @ y.T) / 6 + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    other = np.array(rows)[:, None] != np.array(rows)
    wanted = (k[0][other].sum() + k[1][other].sum()) / other.sum() - 2 * k[2].mean()
    assert sums.distance(np.array([0.0, 1.0, 2.0])) == pytest.approx(wanted, rel=1e-5)
    assert np.isnan(kernel_sums(drawn[:1], true[:1], people[:1]).distance(np.ones(1)))


def test_features_of_parts():
    mesh = torch.tensor(mean_face().points * 70 + [128, 128, 0]).float()[None]
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = part_features(picture, mesh)
    slices = stage_slices()
    assert found.shape == (1, 3, slices[-1].stop)
    assert [one.start for one in slices] == [0, *(one.stop for one in slices[:-1])]
    # Another mouth changes the mouth's features alone.
    changed = picture.clone()
    x, y = mesh[0, 14, :2].round().int().tolist()
    changed[..., y - 4 : y + 4, x - 4 : x + 4] = 0
    assert (np.abs(part_features(changed, mesh) - found).max(2) > 1e-3).tolist() == [[True, False, False]]
