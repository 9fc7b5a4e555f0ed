"""Landmarks over time, steadied."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from factories import head
from reenactor import Motion, Reenactor
from reenactor.engine import Track, TrackFolder
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.engine.track import driver_pictures, shot_heads, track_rest
from reenactor.face.geometry import in_mean_pose, turned
from reenactor.face.perception import MeshSmoother, Missing
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


@pytest.fixture(scope="module")
def lost(rest):
    """A head that moves, is lost twice in half a second, and is found elsewhere."""
    meshes = [rest + np.float32(3 * np.sin(i)) + np.float32(40 * (i > 25)) for i in range(60)]
    seen = np.ones(60, bool)
    seen[20:26] = seen[29:31] = False
    return replace(Track.of_motion(motion_of(meshes, seen)), missing=np.where(seen, 0, 1).astype(np.uint8))


def test_after_a_gap_the_target_eases_back(lost):
    reenactor = Reenactor("warp", size=64, max_side=128)
    reenactor.set_target([demo_photo()])
    shown = np.stack(list(reenactor.target_meshes(lost)))
    every = Track.of_motion(motion_of(lost.read(0, 60)))
    plain = np.stack(list(reenactor.target_meshes(every, rest=track_rest(lost))))
    np.testing.assert_allclose(shown[:20], plain[:20], atol=1e-3)
    for held in shown[20:26]:
        np.testing.assert_array_equal(held, shown[19])
    away = [np.abs(a - b).mean() for a, b in zip(shown[26:40], plain[26:40], strict=True)]
    assert away[0] > 5 * away[-1] + 0.1
    np.testing.assert_allclose(shown[40:], plain[40:], atol=1e-3)
    # Whoever continues anywhere shows the same.
    for start in (0, 19, 20, 25, 26, 28, 30, 31, 34, 38, 39, 59):
        for mesh, wanted in zip(reenactor.target_meshes(lost, start=start), shown[start:], strict=True):
            np.testing.assert_array_equal(mesh, wanted)
    flags = [frame.driver_seen for frame in reenactor.drive(every.to_motion())]
    assert flags == [True] * 60


def test_gaps_say_why(lost):
    missing = lost.missing.copy()
    missing[22] = Missing.CUT_OFF
    gaps = replace(lost, missing=missing).gaps()
    assert [(gap.start_s, gap.end_s, gap.reason) for gap in gaps] == [
        (0.8, 1.04, Missing.CUT_OFF),
        (1.16, 1.24, Missing.NOT_FOUND),
    ]
    assert gaps[0].text() == "the driver's face leaves the picture at 0.80-1.04 s: the last pose was held"
    assert (
        replace(lost, missing=None).gaps()[0].text() == "no face in the driver at 0.80-1.04 s: the last pose was held"
    )


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


@pytest.fixture(scope="module")
def two_shots(rest):
    """A head that nods, filmed from the front, and then nearer and from the side; a third shot is short."""
    nods_deg = [np.array([0, 6 * np.sin(i / 3), 0]) for i in range(40)]
    near = turned(rest, np.array([25.0, 0, 0])) * np.float32(1.6) - np.array([120, 30, 0], np.float32)
    shots = [[turned(one, nod) for nod in nods_deg] for one in (rest, near)]
    return replace(Track.of_motion(motion_of([*shots[0], *shots[1], *[rest * np.float32(0.7)] * 5])), shots=(0, 40, 80))


def test_smoothing_begins_anew_with_a_shot(two_shots):
    smooth = list(two_shots.meshes(smooth=MeshSmoother()))
    np.testing.assert_allclose(smooth[40], two_shots.read(40, 41)[0], atol=1e-3)


def test_each_shot_counts_head_movement_from_its_own_frames(two_shots):
    reenactor = Reenactor("warp", size=64, max_side=128)
    reenactor.set_target([demo_photo()])
    meshes = list(reenactor.target_meshes(two_shots))
    photo, heads = in_mean_pose(reenactor.target.mesh_px)[0], in_mean_pose(np.stack(meshes))[0]
    for first, last in ((0, 40), (40, 80)):
        off_deg = np.degrees(np.arccos((np.einsum("tij,ij->t", heads.R[first:last], photo.R) - 1) / 2))
        assert off_deg.min() < 2
        assert 3 < off_deg.max() < 14
    np.testing.assert_allclose(heads.scale, photo.scale, rtol=0.06)
    shift_px = np.linalg.norm((heads.t - photo.t)[:, :2], axis=1)
    assert shift_px.max() < 0.15 * photo.scale
    for start in (39, 40, 41, 82):
        for mesh, wanted in zip(reenactor.target_meshes(two_shots, start=start), meshes[start:], strict=True):
            np.testing.assert_array_equal(mesh, wanted)


def test_a_short_shot_keeps_the_angles_of_the_whole_clip(two_shots):
    rest = track_rest(two_shots)
    counted = in_mean_pose(shot_heads(two_shots, rest)[80])[0]
    here, whole = in_mean_pose(two_shots.read(80, 81)[0])[0], in_mean_pose(rest.mesh_px)[0]
    assert float(counted.scale) == pytest.approx(float(here.scale), rel=0.01)
    np.testing.assert_allclose(counted.t[:2], here.t[:2], atol=0.02 * here.scale)
    np.testing.assert_allclose(counted.R, whole.R, atol=0.02)


def test_a_track_knows_its_shots(tmp_path):
    """A person, filmed anew; a flash of light and frames without a face in between."""
    far, near = (np.full((240, 320, 3), level, np.uint8) for level in (20, 120))
    far[60:188, 20:148], near[:, 60:300] = cv2.resize(head(), (128, 128)), cv2.resize(head(), (240, 240))
    wall = np.full_like(far, 70)
    frames = [*[far] * 3, far // 2 + 127, *[far] * 2, *[wall] * 2, *[near] * 4, wall]
    with VideoWriter(tmp_path / "v.mp4", size=(320, 240), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number)
    track = TrackFolder(tmp_path / "track", tmp_path / "v.mp4").fill()
    assert track.seen.tolist() == [True] * 6 + [False] * 2 + [True] * 4 + [False]
    assert track.shots == (0, 8)
