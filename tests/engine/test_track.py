"""Landmarks over time, steadied."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from reenactor import Motion, Reenactor
from reenactor.engine import Track
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.engine.track import driver_pictures
from reenactor.face.perception import MeshSmoother
from reenactor.media import VideoWriter, read_motion

FRAMES = 60
NOISE_PX = 0.5


@pytest.fixture(scope="module")
def rest():
    """A face of about 150 pixels."""
    return read_motion(shipped_motions()["talk"]).mesh_px[0]


def motion_of(meshes, seen=None):
    frames = len(meshes)
    return Motion(
        mesh_px=np.asarray(meshes, np.float32),
        seen=np.ones(frames, bool) if seen is None else seen,
        pts=np.arange(frames),
        end_pts=frames,
        time_base=Fraction(1, 25),
        pose_deg=np.zeros((frames, 3), np.float32),
        picture_size=(256, 256),
    )


@pytest.fixture(scope="module")
def jittery(rest):
    """Someone who sits still, seen through noise."""
    return motion_of(rest + np.random.default_rng(0).normal(0, NOISE_PX, (FRAMES, 478, 3)))


def jitter_px(meshes):
    """RMS change from frame to frame, in the picture plane; the first frames, where a filter begins, left out."""
    return float(np.sqrt((np.diff(np.stack(meshes)[10:, :, :2], axis=0) ** 2).mean()))


def test_smoothing_lowers_the_jitter(jittery):
    track = Track.of_motion(jittery)
    plain, smooth = jitter_px(list(track.meshes())), jitter_px(list(track.meshes(smooth=MeshSmoother())))
    assert plain == pytest.approx(NOISE_PX * np.sqrt(2), rel=0.05)
    assert smooth < 0.6 * plain


def test_drive_smooths_when_asked(jittery):
    reenactor = Reenactor("warp", size=64, max_side=128)
    reenactor.set_target([demo_photo()])
    meshes = {smooth: [frame.mesh_px for frame in reenactor.drive(jittery, smooth=smooth)] for smooth in (False, True)}
    assert jitter_px(meshes[True]) < 0.6 * jitter_px(meshes[False])


def test_nothing_is_smeared_across_a_gap(rest):
    """The face is lost at the left and comes back at the right: there at once, as in a new film."""
    before, after = rest + np.linspace(0, 3, 20)[:, None, None], rest + np.linspace(90, 95, 20)[:, None, None]
    held = np.repeat(before[-1:], 10, axis=0)
    seen = np.ones(50, bool)
    seen[20:30] = False
    track = Track.of_motion(motion_of([*before, *held, *after], seen))
    smooth = list(track.meshes(smooth=MeshSmoother()))
    alone = list(Track.of_motion(motion_of(after)).meshes(smooth=MeshSmoother()))
    np.testing.assert_allclose(np.stack(smooth[30:]), np.stack(alone), atol=1e-3)
    assert np.abs(smooth[19] - before[-1]).max() > 0.01  # the filter lags; what it shows is held
    for mesh in smooth[20:30]:
        np.testing.assert_array_equal(mesh, smooth[19])
    # A run that continues in the gap, or after it, shows the same.
    for start in (25, 30, 40):
        for mesh, wanted in zip(track.meshes(start, MeshSmoother()), smooth[start:], strict=True):
            np.testing.assert_array_equal(mesh, wanted)


def test_before_the_first_face(rest):
    motion = motion_of(np.repeat(rest[None], 6, axis=0), np.arange(6) >= 3)
    for mesh in Track.of_motion(replace(motion)).meshes(smooth=MeshSmoother()):
        np.testing.assert_allclose(mesh, rest, atol=1e-3)


def test_each_mesh_has_the_picture_that_it_was_found_in(rest, tmp_path):
    with VideoWriter(tmp_path / "v.mp4", size=(64, 64), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
        for number in range(8):
            writer.write(np.full((64, 64, 3), 30 * number, np.uint8), number)
    seen = np.array([0, 0, 1, 1, 0, 0, 1, 0], bool)
    track = Track.of_motion(motion_of(np.repeat(rest[None], 8, axis=0), seen))
    shown = [2, 2, 2, 3, 3, 3, 6, 6]
    for start in range(8):
        found = [round(float(one.mean()) / 30) for one in driver_pictures(track, tmp_path / "v.mp4", start)]
        assert found == shown[start:]
