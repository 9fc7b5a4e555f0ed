import cv2
import numpy as np
import pytest

from factories import psnr
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.face.geometry import draw_face_mesh, face_crop, face_mesh, head_angles, in_mean_pose, mean_face, turned
from reenactor.face.geometry.contours import FACE_OVAL, INNER_LIPS_LOWER, INNER_LIPS_UPPER, OPENINGS
from reenactor.face.perception import FaceFinder
from reenactor.media import read_motion
from reenactor.research.data.pairs import (
    PairKind,
    clip_pairs,
    contour_pair,
    eye_opening,
    eyes_closed,
    photos_pair,
    turned_away,
    warp_back_pair,
)

SIZE = 128


@pytest.fixture(scope="module")
def astronaut():
    photo = demo_photo()
    with FaceFinder() as finder:
        mesh = finder.observe(photo).landmarks.mesh
    crop = face_crop(mesh, size=SIZE)
    return crop.cut(photo), crop.to_crop(mesh)


@pytest.fixture(scope="module")
def expression():
    motion = read_motion(shipped_motions()["smile"])
    return in_mean_pose(motion.mesh_px[60])[1], in_mean_pose(motion.mesh_px[20])[1]


def numbered_clip(frames, seed=0):
    """Frames that carry their number in every pixel; a head that turns by a quarter of a degree a frame."""
    pictures = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 8, 8, 3))
    meshes = [turned(100 * mean_face().points, np.array([frame / 4, 0, 0])) for frame in range(frames)]
    return pictures, np.stack(meshes).astype(np.float32)


class TestClipPair:
    def test_pictures_belong_to_their_landmarks(self):
        frames, meshes = numbered_clip(50)
        rng = np.random.default_rng(0)
        for _ in range(20):
            (pair,) = clip_pairs("a", frames, meshes, np.arange(50) / 25, targets=3, least_gap_s=0.5, rng=rng)
            driver = int(pair.truth[0, 0, 0])
            assert (pair.driver_mesh == meshes[driver]).all()
            picked = pair.targets[:, 0, 0, 0].astype(int)
            assert (pair.target_mesh == meshes[picked]).all()
            assert (np.abs(picked - driver) / 25 >= 0.5).all()
            assert len(set(picked)) == 3

    def test_different_frames_are_preferred(self):
        frames, meshes = numbered_clip(200)
        rng = np.random.default_rng(1)
        gaps = []
        for _ in range(200):
            (pair,) = clip_pairs("a", frames, meshes, np.arange(200) / 25, targets=1, least_gap_s=0.0, rng=rng)
            gaps.append(abs(int(pair.targets[0, 0, 0, 0]) - int(pair.truth[0, 0, 0])))
        # Uniform choice gives a mean gap of a third of the clip.
        assert np.mean(gaps) > 200 / 3 * 1.15

    def test_all_frames_are_equally_likely_if_asked_for(self):
        frames, meshes = numbered_clip(40)
        options = {"targets": 2, "least_gap_s": 0.0, "choice": "uniform", "rng": np.random.default_rng(1)}
        pairs = [clip_pairs("a", frames, meshes, np.arange(40) / 25, **options)[0] for _ in range(2000)]
        shown = np.array([pair.targets[:, 0, 0, 0] for pair in pairs]).astype(int)
        drivers = np.array([pair.truth[0, 0, 0] for pair in pairs]).astype(int)
        # Never the driver, nor one twice; 100 and 50 of each frame expected, deviations 10 and 7.
        assert (shown != drivers[:, None]).all()
        assert (shown[:, 0] != shown[:, 1]).all()
        assert np.abs(np.bincount(shown.ravel(), minlength=40) - 100).max() < 40
        assert np.abs(np.bincount(drivers, minlength=40) - 50).max() < 28
        # Two different numbers of 0..39 are (40 + 1) / 3 apart on average.
        assert np.abs(shown - drivers[:, None]).mean() == pytest.approx(41 / 3, abs=0.7)

    @pytest.mark.parametrize("frames", [1, 2])
    def test_short_clips_still_give_pairs(self, frames):
        pictures, meshes = numbered_clip(frames)
        rng = np.random.default_rng(0)
        (pair,) = clip_pairs("a", pictures, meshes, np.arange(frames) / 25, targets=4, least_gap_s=1.0, rng=rng)
        assert pair.targets.shape[0] == 4

    def test_the_next_frame_may_follow(self):
        """With the same photos; not across the gap between two stretches, nor after the last frame."""
        frames, meshes = numbered_clip(20)
        times_s = np.arange(20) / 25 + 3 * (np.arange(20) >= 10)
        rng, followed = np.random.default_rng(0), set()
        for _ in range(200):
            options = {"targets": 2, "least_gap_s": 0.1, "follow": True, "rng": rng}
            first, *rest = clip_pairs("a", frames, meshes, times_s, **options)
            driver = int(first.truth[0, 0, 0])
            assert not first.follows
            assert len(rest) == (driver not in (9, 19))
            for after in rest:
                assert after.follows
                assert (after.targets == first.targets).all()
                assert (after.truth == driver + 1).all()
                assert (after.driver_mesh == meshes[driver + 1]).all()
            followed.add(driver)
        assert followed == set(range(20))


class TestContourPair:
    def test_own_outline_gives_the_photo_back(self, astronaut):
        photo, mesh = astronaut
        pair = contour_pair("a", photo, mesh, mesh)
        assert pair.kind is PairKind.CONTOUR
        assert psnr(pair.truth, photo) > 45

    def test_truth_has_the_other_outline_and_the_own_parts(self, astronaut):
        photo, mesh = astronaut
        other = mesh.copy()
        oval = list(FACE_OVAL)
        middle = mesh[oval, 0].mean()
        other[oval, 0] = middle + 1.2 * (mesh[oval, 0] - middle)
        pair = contour_pair("a", photo, mesh, other)
        assert np.ptp(pair.driver_mesh[oval, 0]) > 1.1 * np.ptp(mesh[oval, 0])
        eye = slice(int(mesh[159, 1]) - 1, int(mesh[145, 1]) + 2), slice(int(mesh[33, 0]) + 2, int(mesh[133, 0]) - 1)
        assert psnr(pair.truth[eye], photo[eye]) > 35
        assert (pair.targets[0] == photo).all()
        # The mask is the outline's inside: its middle counts, the picture's corners do not.
        x, y = pair.driver_mesh[1, :2].astype(int)
        assert pair.mask[y, x] == 255
        assert pair.mask[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0


class TestWarpBackPair:
    def test_truth_is_the_real_photo_and_targets_can_be_undone(self, astronaut, expression):
        photo, mesh = astronaut
        pair = warp_back_pair("a", photo, mesh, expression, targets=3, rng=np.random.default_rng(0))
        assert (pair.truth == photo).all()
        assert (pair.driver_mesh == mesh).all()
        inside = np.zeros((SIZE, SIZE), bool)
        low, high = mesh[:, :2].min(0).astype(int), mesh[:, :2].max(0).astype(int)
        inside[low[1] : high[1], low[0] : high[0]] = True
        for target, target_mesh in zip(pair.targets, pair.target_mesh, strict=True):
            back = draw_face_mesh(target, face_mesh(target_mesh, SIZE), mesh)
            # Warping with the landmarks that come with the target brings the photo closer than leaving it.
            assert psnr(back[inside], photo[inside]) > psnr(target[inside], photo[inside]) + 2

    def test_same_seed_same_pair(self, astronaut, expression):
        photo, mesh = astronaut
        pairs = [warp_back_pair("a", photo, mesh, expression, targets=2, rng=np.random.default_rng(7)) for _ in "ab"]
        assert (pairs[0].targets == pairs[1].targets).all()
        assert (pairs[0].target_mesh == pairs[1].target_mesh).all()

    @pytest.mark.parametrize("opens", [False, True])
    def test_the_truth_may_count_in_the_face_alone(self, astronaut, opens):
        """And not in a mouth that the target has more closed."""
        photo, mesh = astronaut
        before = mean_face().points
        after = before.copy()
        after[list(INNER_LIPS_LOWER[1:-1]), 1] += -0.1 if opens else 0.1
        made = {"targets": 1, "face_only": True, "rng": np.random.default_rng(0)}
        pair = warp_back_pair("a", photo, mesh, (before, after), **made)

        def inside(vertices):
            outline = cv2.convexHull(mesh[vertices, :2].astype(np.float32))
            distances = [[cv2.pointPolygonTest(outline, (x, y), True) for x in range(SIZE)] for y in range(SIZE)]
            return np.array(distances)

        face, lips = inside(list(range(468))), inside([61, 0, 291, 17, 37, 267, 84, 314])
        assert pair.mask[(face > 3) & (lips < -4)].min() == 255
        assert pair.mask[face < -1].max() == 0
        assert set(pair.mask[lips > 1].tolist()) == {0 if opens else 255}

    def test_targets_differ_in_pose(self, astronaut, expression):
        photo, mesh = astronaut
        pair = warp_back_pair("a", photo, mesh, expression, targets=8, rng=np.random.default_rng(3))
        apart = np.linalg.norm(pair.target_mesh - mesh, axis=2).mean(1)
        assert apart.min() > 0.5
        assert apart.max() > 4


LOWER, UPPER = INNER_LIPS_LOWER[5], INNER_LIPS_UPPER[5]


class TestPhotosPair:
    def test_the_truth_is_another_photo_in_the_targets_colours(self, astronaut):
        photo, mesh = astronaut
        darker = np.clip(0.6 * photo.astype(float) + (30, 5, 0), 0, 255).round().astype(np.uint8)
        photos, meshes = np.stack([photo, darker]), np.stack([mesh, mesh + np.float32(1)])
        rng = np.random.default_rng(0)
        drawn = [photos_pair("a", photos, meshes, targets=1, rng=rng) for _ in range(8)]
        assert {bool((pair.targets[0] == photo).all()) for pair in drawn} == {True, False}
        for pair in drawn:
            target = int((pair.targets[0] == darker).all())
            assert (pair.targets[0] == photos[target]).all()
            assert (pair.target_mesh[0] == meshes[target]).all()
            assert (pair.driver_mesh == meshes[1 - target]).all()
            inside = pair.mask > 0
            # Where no channel was clipped, the other photo in this one's colours is this one.
            assert np.median(np.abs(pair.truth[inside].astype(int) - photos[target][inside])) <= 4
            assert np.median(np.abs(photos[0][inside].astype(int) - photos[1][inside])) > 20

    def test_photos_of_one_colour(self, astronaut):
        photo, mesh = astronaut
        pair = photos_pair(
            "a", np.stack([photo, np.full_like(photo, 90)]), np.stack([mesh] * 2), targets=1,
            rng=np.random.default_rng(1),
        )  # fmt: skip
        assert pair.truth.shape == photo.shape

    def test_few_photos_are_repeated(self, astronaut):
        photo, mesh = astronaut
        pair = photos_pair("a", np.stack([photo] * 3), np.stack([mesh] * 3), targets=4, rng=np.random.default_rng(0))
        assert pair.targets.shape[0] == pair.target_mesh.shape[0] == 4


def talking(openings):
    """Frames, two seconds apart, of a mean face whose mouth opens by these numbers of eye distances."""
    meshes = np.repeat(mean_face().points[None] * 20 + 32, len(openings), axis=0).astype(np.float32)
    meshes[:, LOWER] = meshes[:, UPPER]
    meshes[:, LOWER, 1] += np.linalg.norm(meshes[0, 263] - meshes[0, 33]) * np.asarray(openings, np.float32)
    return np.zeros((len(openings), 64, 64, 3), np.uint8), meshes, np.arange(len(openings)) * 2.0


def gap(mesh):
    return float(np.linalg.norm(mesh[LOWER] - mesh[UPPER]))


def test_opening_pairs_show_a_closed_mouth_and_want_an_open_one():
    clip = talking([0.0, 0.01, 0.02, 0.3, 0.0, 0.28, 0.1, 0.15, 0.02, 0.01])

    def share_that_opens(opening):
        found = []
        for seed in range(40):
            options = {"targets": 2, "least_gap_s": 1.0, "opening": opening, "rng": np.random.default_rng(seed)}
            (pair,) = clip_pairs("a", *clip, **options)
            found.append(gap(pair.driver_mesh) > 1.5 * max(map(gap, pair.target_mesh)))
        return np.mean(found)

    assert share_that_opens(1.0) == 1
    assert share_that_opens(0.0) < share_that_opens(0.5) < 1


def test_closing_pairs_show_an_open_mouth_and_want_a_closed_one():
    clip = talking([0.0, 0.3, 0.28, 0.01, 0.25, 0.3, 0.02, 0.3, 0.27, 0.3])
    for seed in range(30):
        options = {"targets": 2, "least_gap_s": 1.0, "closing": 1.0, "rng": np.random.default_rng(seed)}
        (pair,) = clip_pairs("a", *clip, **options)
        assert gap(pair.driver_mesh) * 2 < min(map(gap, pair.target_mesh))


def test_blinking_pairs_show_open_eyes_and_want_closed_ones():
    frames, meshes, times = talking([0.0] * 12)
    for lower, upper in OPENINGS[1:]:
        for frame, part in ((3, 0.1), (4, 0.2), (9, 0.0), (10, 0.6)):
            meshes[frame, list(upper)] = meshes[frame, list(lower)] + part * (
                meshes[frame, list(upper)] - meshes[frame, list(lower)]
            )
    opened = eye_opening(meshes)
    assert eyes_closed(opened).tolist() == [number in (3, 4, 9) for number in range(12)]
    assert opened[10] == pytest.approx(0.6 * opened[0], rel=1e-3)
    for seed in range(30):
        options = {"targets": 2, "least_gap_s": 1.0, "blinking": 1.0, "rng": np.random.default_rng(seed)}
        (pair,) = clip_pairs("a", frames, meshes, times, **options)
        assert eye_opening(pair.driver_mesh[None])[0] < 0.5 * eye_opening(pair.target_mesh).min()


def turning_clip(yaws):
    """Frames, two seconds apart, of a mean face that looks to these sides."""
    mesh = mean_face().points * 20 + 32
    meshes = np.stack([turned(mesh, np.array([yaw, 0.0, 0.0])) for yaw in yaws]).astype(np.float32)
    return np.zeros((len(yaws), 64, 64, 3), np.uint8), meshes, np.arange(len(yaws)) * 2.0


@pytest.mark.parametrize("turning", [False, True])
def test_turning_pairs_look_to_different_sides(turning):
    clip = turning_clip([0, 1, 2, 3, -2, -1, 0, 1, 18, 20, -1, 0])
    away = []
    for seed in range(40):
        options = {"targets": 2, "least_gap_s": 1.0, "turning": turning, "rng": np.random.default_rng(seed)}
        (pair,) = clip_pairs("a", *clip, **options)
        yaws = [head_angles(mesh)[0] for mesh in (pair.driver_mesh, *pair.target_mesh)]
        away.append(min(abs(yaw - yaws[0]) for yaw in yaws[1:]) > 15)
    assert np.mean(away) == 1 if turning else np.mean(away) < 0.5


def test_a_clip_that_never_turns_still_gives_pairs():
    options = {"targets": 1, "least_gap_s": 1.0, "turning": True, "rng": np.random.default_rng(0)}
    (pair,) = clip_pairs("a", *turning_clip([0, 1, 2, 3, 4]), **options)
    assert len(pair.targets) == 1


def test_turned_away():
    _, meshes, _ = turning_clip([0, 10, 20, -2])
    assert turned_away(meshes, meshes[0]).tolist() == [False, False, True, False]
    assert turned_away(meshes).tolist() == [True, False, True, True]


def test_a_clip_that_never_opens_its_mouth_still_gives_pairs():
    options = {"targets": 1, "least_gap_s": 1.0, "opening": 1.0, "rng": np.random.default_rng(0)}
    (pair,) = clip_pairs("a", *talking([0.01] * 6), **options)
    assert len(pair.targets) == 1
