"""The One-Euro filter against the paper's algorithm written out for one number at a time."""

import math

import numpy as np
import pytest

from reenactor.face.perception import MeshSmoother, OneEuroFilter


def one_euro_ref(values, times, min_cutoff, beta, speed_cutoff):
    """Casiez et al. 2012, algorithm 1, scalar."""

    def alpha(cutoff, period):
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / period)

    out = [values[0]]
    speed = 0.0
    for i in range(1, len(values)):
        period = times[i] - times[i - 1]
        a = alpha(speed_cutoff, period)
        speed = a * (values[i] - out[-1]) / period + (1 - a) * speed
        a = alpha(min_cutoff + beta * abs(speed), period)
        out.append(a * values[i] + (1 - a) * out[-1])
    return out


def test_is_the_papers_filter_for_every_number():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.08, 40))  # uneven, like a webcam
    values = np.cumsum(rng.normal(size=(40, 3, 2)), axis=0)
    smooth = OneEuroFilter(1.3, 0.4, speed_cutoff_hz=0.8)
    ours = np.stack([smooth(v, t) for v, t in zip(values, times, strict=True)])
    for i in np.ndindex(3, 2):
        theirs = one_euro_ref(values[(slice(None), *i)], times, 1.3, 0.4, 0.8)
        np.testing.assert_allclose(ours[(slice(None), *i)], theirs, rtol=1e-12)


def test_times_must_increase_and_reset_forgets():
    smooth = OneEuroFilter()
    smooth(np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="time must increase"):
        smooth(np.zeros(2), 1.0)
    smooth.reset()
    np.testing.assert_array_equal(smooth(np.ones(2), 0.0), 1)
    with pytest.raises(ValueError, match="positive"):
        OneEuroFilter(0.0)


def test_calms_a_still_face_and_follows_a_moving_one():
    rng = np.random.default_rng(1)
    face = rng.uniform(0, 200, (478, 3))
    noise = rng.normal(scale=0.5, size=(60, 478, 3))
    still, moving = MeshSmoother(), MeshSmoother()
    calm = np.stack([still(face + n, i / 30) for i, n in enumerate(noise)])[20:]
    assert np.diff(calm, axis=0).std() < 0.6 * np.diff(noise, axis=0).std()
    shift = np.arange(60)[:, None, None] * np.array([10.0, 0, 0])  # 1.5 faces a second
    moved = np.stack([moving(face + s, i / 30) for i, s in enumerate(shift)])
    lag_px = (face + shift - moved)[30:, :, 0].mean()
    assert 0 < lag_px < 5  # less than half a frame


def test_does_not_depend_on_the_resolution():
    rng = np.random.default_rng(2)
    track = np.cumsum(rng.normal(size=(20, 478, 3)), axis=0) + rng.uniform(0, 100, (478, 3))
    small, large = MeshSmoother(), MeshSmoother()
    for i, mesh in enumerate(track):
        np.testing.assert_allclose(4 * small(mesh, i / 25), large(4 * mesh, i / 25), rtol=1e-4, atol=1e-3)
