"""Identity, pose, action units, landmarks: hand-made cases, SciPy, and pictures of known change."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import cosine, euclidean
from scipy.spatial.transform import Rotation
from scipy.stats import pearsonr

from factories import posed
from reenactor.core import MESH_TO_IBUG68
from reenactor.face.geometry import contours, matrix_from_angles, mean_face
from reenactor.research.metrics import (
    ActionUnits,
    angle_errors,
    au_consistency,
    au_intensity_correlation,
    aucon,
    aucon_chance,
    csim,
    gaze_error,
    landmark_nme,
    pose_mae,
    roughness,
    temporal_jitter,
    verification_rate,
)

RNG = np.random.default_rng


class TestIdentity:
    def test_csim_is_scipys_cosine_about_the_mean(self):
        rng = RNG(0)
        a, b, mean = rng.normal(3, 1, (5, 128)), rng.normal(3, 1, (5, 128)), rng.normal(3, 0.1, 128)
        expected = [1 - cosine(x - mean, y - mean) for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(csim(a, b, mean), expected)
        assert csim(a, b, np.zeros(128)).min() > 0.8  # the shared part hides that they differ

    def test_by_hand(self):
        mean = np.array([1.0, 1.0])
        a, b = np.array([[2.0, 1.0], [1.0, 3.0], [2.0, 2.0]]), np.array([[1.0, 2.0], [1.0, 0.0], [3.0, 3.0]])
        np.testing.assert_allclose(csim(a, b, mean), [0, -1, 1], atol=1e-12)

    def test_rate(self):
        rng = RNG(1)
        a = rng.normal(size=(6, 16)).astype(np.float32)
        b = a + rng.normal(size=(6, 16)).astype(np.float32) * np.array([0, 0.01, 0.1, 0.2, 1, 2])[:, None]
        b = b.astype(np.float32)
        expected = [euclidean(x, y) for x, y in zip(a, b, strict=True)]
        rate = verification_rate(a, b, threshold=0.6)
        assert rate.mean() == pytest.approx(100 * np.mean(np.array(expected) < 0.6))
        assert set(rate) == {0.0, 100.0}
        a[0] = np.nan
        assert np.isnan(verification_rate(a, b, threshold=0.6)[0])


class TestPose:
    def test_angles_wrap(self):
        drawn, driver = np.array([[179.0, -170, 10]]), np.array([[-179.0, 175, 350]])
        np.testing.assert_allclose(angle_errors(drawn, driver), [[-2, 15, 20]])
        np.testing.assert_allclose(pose_mae(drawn, driver), [(2 + 15 + 20) / 3])

    @pytest.mark.parametrize(("axis", "letter"), [(0, "y"), (1, "x"), (2, "z")])
    def test_a_turn_about_one_axis_is_its_error(self, axis, letter):
        # SciPy's rotation as the judge: a single-axis error is the angle of the rotation between the two poses.
        rng = RNG(2)
        driver = np.zeros((8, 3))
        driver[:, axis] = rng.uniform(-180, 180, 8)
        drawn = driver.copy()
        drawn[:, axis] += rng.uniform(-170, 170, 8)
        sign = -1 if letter == "y" else 1
        a, b = (Rotation.from_euler(letter, sign * x[:, [axis]], degrees=True) for x in (drawn, driver))
        apart = np.rad2deg((a * b.inv()).magnitude())
        np.testing.assert_allclose(pose_mae(drawn, driver), apart / 3, atol=1e-6)

    def test_ideal_and_missing(self):
        poses = RNG(3).uniform(-90, 90, (5, 3))
        assert pose_mae(poses, poses).max() == 0
        with_gap = poses + 3.0
        with_gap[2] = np.nan
        assert np.isnan(pose_mae(with_gap, poses)).tolist() == [False, False, True, False, False]


class TestActionUnits:
    def test_aucon_by_hand(self):
        a = np.array([[1, 0, 1], [0, 0, 1]], bool)
        b = np.array([[1, 1, 1], [0, 1, 0]], bool)
        assert aucon(a, b) == pytest.approx(3 / 6)
        assert aucon(a, a) == 1
        assert math.isnan(aucon(a[:0], b[:0]))
        assert math.isnan(aucon_chance(a[:0], b[:0]))

    def test_chance_is_the_mean_over_shuffles(self):
        rng = RNG(4)
        driver = rng.random((200, 4)) < [0.1, 0.5, 0.8, 1.0]
        drawn = driver ^ (rng.random((200, 4)) < 0.1)
        shuffled = [aucon(rng.permutation(drawn), driver) for _ in range(500)]
        assert aucon_chance(drawn, driver) == pytest.approx(
            np.mean(shuffled), abs=4 * np.std(shuffled) / math.sqrt(500)
        )
        assert aucon(drawn, driver) > aucon_chance(drawn, driver) + 0.1

    def test_correlation_is_scipys(self):
        rng = RNG(5)
        driver = rng.uniform(0, 5, (40, 3))
        drawn = 0.5 * driver + rng.normal(0, [0.1, 1, 5], (40, 3))
        expected = [pearsonr(drawn[:, i], driver[:, i])[0] for i in range(3)]
        np.testing.assert_allclose(au_intensity_correlation(drawn, driver), expected, atol=1e-9)
        assert au_consistency(drawn, driver) == pytest.approx(100 * np.mean(expected))

    def test_what_does_not_move(self):
        driver = RNG(6).uniform(0, 5, (20, 3))
        driver[:, 2] = 1.1
        drawn = driver.copy()
        drawn[:, 1] = 0.1
        r = au_intensity_correlation(drawn, driver)
        assert r[0] == pytest.approx(1)
        assert np.isnan(r[1:]).all()
        assert au_consistency(drawn, driver) == pytest.approx(50)  # AU 0 perfect, AU 1 still, AU 2 not asked for
        still = np.tile(driver[:1], (20, 1))
        assert au_consistency(still, driver) == 0
        assert math.isnan(au_consistency(driver, still))

    def test_an_au_without_intensity_does_not_count(self):
        driver = RNG(7).uniform(0, 5, (20, 2))
        driver[:, 1] = np.nan
        assert au_consistency(driver, driver) == pytest.approx(100)

    def test_records_agree_on_frames_and_units(self):
        units = ActionUnits((1, 12), np.arange(6.0).reshape(3, 2), np.eye(3, 2) > 0, np.array([True, False, True]))
        assert len(units) == 3
        with pytest.raises(ValueError, match="3 frames of 1 AUs"):
            ActionUnits((1,), units.intensity, units.presence, units.seen)


def looking(yaw_deg, pitch_deg, lids=1.0):
    """The mean face with irises on eyeballs 0.8 / 2.4 of the eye's width in radius, turned."""
    points = mean_face().points.astype(np.float64)
    for upper, lower, iris in (
        (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER, contours.RIGHT_IRIS),
        (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER, contours.LEFT_IRIS),
    ):
        middle = points[[upper[0], upper[-1]]].mean(0)
        width = np.linalg.norm(points[upper[0], :2] - points[upper[-1], :2])
        ahead = matrix_from_angles(np.array([yaw_deg, pitch_deg, 0.0])) @ [0, 0, -1]
        points[list(iris), :2] = middle[:2] + width / 3 * ahead[:2]
        points[list(upper)] += (1 - lids) * (points[list(lower)] - points[list(upper)])
    return points


class TestLandmarks:
    def test_a_shift_is_its_length_over_the_eye_distance(self):
        mesh = posed(mean_face().points)[None]
        moved = mesh + np.array([3, 4, 50], np.float32)
        np.testing.assert_allclose(landmark_nme(moved, mesh), [5 / 90], rtol=1e-5)
        points = mesh[:, list(MESH_TO_IBUG68)]
        np.testing.assert_allclose(landmark_nme(points + np.float32(1), points), [math.sqrt(2) / 90], rtol=1e-5)
        assert landmark_nme(mesh, mesh) == 0

    def test_other_numbers_of_points_are_refused(self):
        with pytest.raises(ValueError, match="478 or iBUG's 68"):
            landmark_nme(np.zeros((1, 5, 2)), np.zeros((1, 5, 2)))

    @pytest.mark.parametrize(("yaw", "pitch"), [(12, 0), (0, -9), (10, 10)])
    def test_gaze_turns_by_what_the_eyes_turn(self, yaw, pitch):
        straight, aside = posed(looking(0, 0)), posed(looking(yaw, pitch))
        a, b = (matrix_from_angles(np.array(x, float)) @ [0, 0, -1] for x in ((0, 0, 0), (yaw, pitch, 0)))
        expected = np.rad2deg(np.arccos(a @ b))
        np.testing.assert_allclose(gaze_error(aside[None], straight[None]), [expected], atol=0.2)

    def test_the_heads_pose_does_not_matter_to_gaze(self):
        one, two = posed(looking(8, 3)), posed(looking(8, 3), (20, -10, 30), scale=60)
        np.testing.assert_allclose(gaze_error(two[None], one[None]), [0], atol=0.05)

    def test_people_with_other_eyes_are_compared_about_their_means(self):
        turns = [(0, 0), (6, 0), (-6, 0), (0, 5), (0, -5)]
        expected = np.stack([posed(looking(*turn)) for turn in turns])
        offset = np.stack([posed(looking(yaw + 5, pitch + 3)) for yaw, pitch in turns])
        np.testing.assert_allclose(gaze_error(offset, expected), np.hypot(5, 3), atol=0.3)
        np.testing.assert_allclose(gaze_error(offset, expected, about_mean=True), 0, atol=0.3)
        half = np.stack([posed(looking(yaw / 2, pitch / 2)) for yaw, pitch in turns])
        np.testing.assert_allclose(gaze_error(half, expected, about_mean=True), [0, 3, 3, 2.5, 2.5], atol=0.1)
        # A frame without one face does not shift the mean of the other.
        half[1] = np.nan
        three = gaze_error(half, expected, about_mean=True)
        np.testing.assert_allclose(
            three,
            gaze_error(half[[0, 2, 3, 4]], expected[[0, 2, 3, 4]], about_mean=True)[[0, 0, 1, 2, 3]]
            * [1, np.nan, 1, 1, 1],
        )

    def test_no_face_at_all(self):
        nothing = np.full((2, 478, 3), np.nan)
        assert np.isnan(gaze_error(nothing, nothing)).all()

    def test_closed_eyes_and_missing_faces_have_no_gaze(self):
        open_, closed = posed(looking(0, 0)), posed(looking(0, 0, lids=0.1))
        missing = np.full_like(open_, np.nan)
        error = gaze_error(np.stack([closed, missing, open_]), np.stack([open_, open_, open_]))
        assert np.isnan(error).tolist() == [True, True, False]

    def test_roughness_of_a_known_motion(self):
        t = np.arange(9.0)
        base = np.tile(posed(mean_face().points)[None, :, :2].astype(float), (9, 1, 1))
        even, zigzag, parabola = base.copy(), base.copy(), base.copy()
        even[..., 0] += 5 * t[:, None]
        zigzag[..., 1] += np.where(t % 2 == 0, 1.0, -1.0)[:, None]  # second difference 4
        parabola[..., 0] += 0.5 * t[:, None] ** 2  # 1
        eyes = np.linalg.norm(base[0, 263] - base[0, 33])
        assert roughness(even) == pytest.approx(0, abs=1e-9)
        assert roughness(zigzag) == pytest.approx(4 / eyes)
        assert temporal_jitter(zigzag, parabola) == pytest.approx(4)
        assert temporal_jitter(parabola, parabola) == 1
        assert math.isnan(temporal_jitter(zigzag, base))
        zigzag[4] = np.nan  # takes three triples with it
        assert roughness(zigzag) == pytest.approx(4 / eyes)
        parabola[4, :, 1] += 30  # a jump of the driver where the result has no face
        assert temporal_jitter(zigzag, parabola) == pytest.approx(4)
        assert math.isnan(roughness(base[:2]))
