"""Video: a pan and zoom over a photo, gaps, cuts, several people, real clips if the data pack is there."""

from itertools import islice

import cv2
import numpy as np
import pytest

from factories import DATA
from reenactor.face.geometry import fit_head, mean_face
from reenactor.face.perception import FaceTracker, MeshSmoother, Missing, Region, tracking
from reenactor.face.perception.observe import cut_off
from reenactor.face.perception.tracking import eased


@pytest.fixture(scope="module")
def shared_tracker():
    with FaceTracker() as one:
        yield one


@pytest.fixture
def tracker(shared_tracker):
    shared_tracker.reset()
    return shared_tracker


def _view(photo, zoom, x, y, size=(320, 240)):
    """The photo scaled, its pixel (0, 0) moved to (x, y)."""
    M = np.array([[zoom, 0, x], [0, zoom, y]], dtype=float)
    return cv2.warpAffine(photo, M, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), M


def test_follows_a_pan_and_zoom(tracker, finder, photo):
    still = finder.observe(photo).landmarks.mesh[:, :2]
    worst = []
    for i in range(50):
        zoom = 0.6 + 0.016 * i
        frame, M = _view(photo, zoom, 60 - zoom * 222 + 3.5 * i, 120 - zoom * 130 + 10 * np.sin(i / 5))
        seen = tracker.track(frame)
        assert seen is not None
        error = np.linalg.norm(seen.landmarks.mesh[:, :2] - (still @ M[:, :2].T + M[:, 2]), axis=1)
        worst.append(error.mean() / (zoom * 61))
    assert max(worst) < 0.05  # of the eye distance
    assert np.mean(worst) < 0.03


def test_agrees_with_single_pictures(tracker, finder, photo):
    for _ in range(5):
        tracked = tracker.track(photo)
    single = finder.observe(photo)
    assert np.abs(tracked.landmarks.mesh - single.landmarks.mesh).mean() < 0.3
    assert tracked.pose.yaw_deg == pytest.approx(single.pose.yaw_deg, abs=0.7)


def test_a_still_noisy_picture_stays_still(tracker, head):
    rng = np.random.default_rng(0)
    noisy = [np.clip(head + rng.normal(0, 6, head.shape), 0, 255).astype(np.uint8) for _ in range(25)]
    track = np.stack([tracker.track(frame).landmarks.mesh[:, :2] for frame in noisy])[5:]
    assert track.std(axis=0).mean() / 61 < 0.006  # of the eye distance


def test_gaps_and_refinding(tracker, photo):
    blank = np.full((240, 320, 3), 60, dtype=np.uint8)
    here, _ = _view(photo, 0.8, -20, 10)
    there, _ = _view(photo, 0.8, -100, 30)
    seen = [tracker.track(f) for f in (here, here, blank, blank, there, there)]
    assert [s is not None for s in seen] == [True, True, False, False, True, True]
    assert seen[4].landmarks.mesh[4, 0] - seen[1].landmarks.mesh[4, 0] == pytest.approx(-80, abs=3)


def test_a_cut_leaves_nothing_behind(tracker, finder, photo):
    wide, _ = _view(photo, 0.5, 150, 100)
    close, _ = _view(np.ascontiguousarray(photo[:, ::-1]), 1.3, -300, -40)
    for _ in range(3):
        tracker.track(wide)
    first = tracker.track(close)
    single = finder.observe(close)
    assert first is not None
    assert np.abs(first.landmarks.mesh - single.landmarks.mesh).mean() < 1.0


def _two(head, left_x, right_x, *, left=110, right=150):
    canvas = np.full((240, 640, 3), 120, dtype=np.uint8)
    for x, size in ((left_x, left), (right_x, right)):
        canvas[40 : 40 + size, x : x + size] = cv2.resize(head, (size, size), interpolation=cv2.INTER_AREA)
    return canvas


def test_stays_with_the_same_person(tracker, head):
    """The largest at first; then that one, though another becomes larger, and back to it after a gap."""
    frames = [_two(head, 40 + 4 * i, 380 - 4 * i, left=110 + 4 * i, right=150) for i in range(15)]
    for i, frame in enumerate(frames):
        seen = tracker.track(frame)
        assert seen.landmarks.mesh[4, 0] == pytest.approx(380 - 4 * i + 150 * 0.5, abs=10)
    assert tracker.track(np.full((240, 640, 3), 120, dtype=np.uint8)) is None
    assert tracker.track(frames[-1]).landmarks.mesh[4, 0] > 380


def test_the_face_that_is_asked_for(head):
    with FaceTracker(face=1) as first:
        assert all(first.track(_two(head, 40, 380)).landmarks.mesh[4, 0] < 160 for _ in range(3))
    with FaceTracker(face=3) as third:
        assert third.track(_two(head, 40, 380)) is None
    with pytest.raises(ValueError, match="counted from 1"):
        FaceTracker(face=0)


def test_a_small_face_moving_in_a_large_picture(tracker, head):
    """A face of 41 of 1280 pixels, from the first frame on and without a detector in between."""
    small = cv2.resize(head, (100, 100), interpolation=cv2.INTER_AREA)
    noses = []
    for i in range(12):
        canvas = np.full((720, 1280, 3), 90, dtype=np.uint8)
        canvas[400:500, 900 + 3 * i : 1000 + 3 * i] = small
        noses.append(tracker.track(canvas).landmarks.mesh[4, 0])
    np.testing.assert_allclose(np.diff(noses), 3, atol=0.8)


class ByColour:
    """Stands for the identity network: people are told apart by a tint."""

    def embed(self, image, landmarks):
        x, y = landmarks.mesh[:, :2].mean(0).astype(int)
        red, _, blue = image[y - 9 : y + 10, x - 9 : x + 10].reshape(-1, 3).mean(0)
        return np.full(128, 0.1 if red > blue else -0.1, np.float32)

    def embed_batch(self, images, faces):
        return np.stack([self.embed(*pair) for pair in zip(images, faces, strict=True)])


@pytest.fixture
def people(monkeypatch, head):
    """Two of them: 160 pixels, red and blue."""
    monkeypatch.setattr(tracking, "_embedder", ByColour)
    grey = cv2.resize(head, (160, 160), interpolation=cv2.INTER_AREA).mean(-1, keepdims=True)
    return [np.clip(grey * tint, 0, 255).astype(np.uint8) for tint in ([1.2, 1, 0.6], [0.6, 1, 1.2])]


def _scene(level, *placed):
    """A grey picture with people whose left edges are given."""
    canvas = np.full((240, 640, 3), level, dtype=np.uint8)
    for face, x in placed:
        canvas[40:200, x : x + 160] = face
    return canvas


def _noses(tracker, *frames):
    """Where the nose is seen, None if it is not."""
    seen = [tracker.track(frame) for frame in frames]
    return [None if one is None else float(one.landmarks.mesh[4, 0]) for one in seen]


def test_people_who_change_places_at_a_cut(tracker, people):
    a, b = people
    before, after = _scene(20, (a, 40), (b, 420)), _scene(150, (b, 40), (a, 420))
    noses = _noses(tracker, _scene(20, (a, 40)), *[before] * 3, *[after] * 3)
    assert max(noses[:4]) < 160
    assert min(noses[4:]) > 440
    assert tracker.memory.frames_with == 7


def test_a_reverse_shot_is_not_the_driver(tracker, people):
    a, b = people
    mine, theirs = _scene(20, (a, 240)), _scene(150, (b, 240))
    noses = _noses(tracker, mine, mine, theirs, theirs, theirs, mine)
    assert [one is None for one in noses] == [False, False, True, True, True, False]
    tracker.forget_identity()
    assert _noses(tracker, theirs) != [None]


def test_another_who_steps_in_between(tracker, people):
    a, b = people
    noses = _noses(tracker, *[_scene(90, (a, 240))] * 2, _scene(90, (b, 290), (a, 460)), _scene(90, (b, 290)))
    assert noses[2] == pytest.approx(noses[1] + 220, abs=6)
    assert noses[3] is None


def test_another_tracker_remembers_the_person(tracker, people):
    a, b = people
    mine, theirs = _scene(20, (a, 240)), _scene(150, (b, 240))
    _noses(tracker, mine, theirs)
    with FaceTracker() as other:
        other.resume(tracker.memory, theirs)
        assert _noses(other, theirs, mine)[0] is None
        assert other.memory.frames_with == 2


def test_another_resolution_is_another_scene(tracker, photo, head):
    assert tracker.track(photo) is not None
    assert tracker.track(head) is not None


def test_eased_goes_part_of_the_way_and_all_of_a_long_one():
    region = Region(x=100.0, y=100.0, side_px=100.0, angle_deg=179.0)
    near = eased(region, Region(x=101.0, y=100.0, side_px=100.0, angle_deg=-179.0))
    assert 100.3 < near.x < 100.6
    assert 179 < near.angle_deg < 181  # the short way round
    far = Region(x=120.0, y=90.0, side_px=130.0, angle_deg=179.0)
    assert eased(region, far).x == 120


@pytest.mark.skipif(not (DATA / "clips").exists(), reason="the data pack is not here")
def test_real_clips_lose_no_frame(tracker):
    import av

    for clip in sorted((DATA / "clips").glob("*.mp4"))[::12]:
        tracker.reset()
        with av.open(str(clip)) as container:
            for frame, _ in zip(container.decode(video=0), range(25), strict=False):
                assert tracker.track(frame.to_ndarray(format="rgb24")) is not None, clip.name


@pytest.mark.skipif(not (DATA / "clips").exists(), reason="the data pack is not here")
def test_real_people_change_places_at_a_cut(tracker):
    import av

    clips = []
    for name in ("andrew_ng_187367", "bob_menendez_2dff83"):
        with av.open(str(DATA / "clips" / f"{name}.mp4")) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 0, 50, 5)]
        clips.append([cv2.resize(frame, (300, 300), interpolation=cv2.INTER_AREA) for frame in frames])
    halves = [np.stack([np.hstack(pair) for pair in zip(*order, strict=True)]) for order in (clips, clips[::-1])]
    for first in (1, 2):
        with FaceTracker(face=first) as one:
            before, after = _noses(one, *halves[0]), _noses(one, *halves[1])
        assert [nose > 300 for nose in before] == [first == 2] * 10
        assert [nose > 300 for nose in after] == [first == 1] * 10


def test_half_a_face_at_the_border_is_none(tracker, photo):
    """Somebody walks out of the picture and back in."""
    path = [*range(0, 200, 20), *[200] * 4, *range(200, -1, -20)]
    found, reasons, sizes = [], [], []
    for shift in path:
        frame, _ = _view(photo, 1.0, 40 - 222 + 160 + shift, 0)
        seen = tracker.track(frame)
        found.append(seen is not None)
        reasons.append(tracker.missing)
        if seen is not None:
            assert not cut_off(seen.landmarks.mesh, (320, 240))
            sizes.append(Region.of_mesh(seen.landmarks.mesh).side_px)
    assert found[0]
    assert found[-1]
    assert not any(found[10:14])
    assert Missing.CUT_OFF in reasons
    assert all((reason is Missing.NOT_MISSING) == seen for reason, seen in zip(reasons, found, strict=True))
    assert max(sizes) < 1.1 * min(sizes)


def test_smoothing_steadies_the_size_of_the_head():
    rest = np.asarray(mean_face().points, np.float32) * 100 + 200
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.normal(0, 0.005, 200))
    smoother = MeshSmoother()
    shown = [smoother(np.float32(size) * rest, i / 25) for i, size in enumerate(sizes)]
    logs = np.log([float(fit_head(mesh).scale) for mesh in shown])[20:]
    assert np.diff(logs).std() < 0.15 * np.diff(np.log(sizes)).std()
    # A head that comes nearer is followed, a little late.
    smoother.reset()
    grown = [smoother(np.float32(1 + 0.02 * min(max(i - 20, 0), 20)) * rest, i / 25) for i in range(80)]
    assert float(fit_head(grown[45]).scale) == pytest.approx(140, rel=0.04)
    assert float(fit_head(grown[-1]).scale) == pytest.approx(140, rel=0.005)
