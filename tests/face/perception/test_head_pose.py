"""Head pose: synthetic turns of the mean face, and a mirrored and a turned photo."""

import numpy as np
import pytest
from skimage.transform import rotate

from reenactor.face.geometry import fit_head, head_angles, matrix_from_angles, mean_face


def _posed(angles_deg, scale=120.0, t=(300.0, 200.0, 5.0)):
    return scale * mean_face().points @ matrix_from_angles(np.array(angles_deg, dtype=float)).T + np.array(t)


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (0, -15, 0), (0, 0, 40), (-35, 12, 170)])
def test_of_the_turned_mean_face(angles):
    mesh = _posed(angles).astype(np.float32)
    assert head_angles(mesh) == pytest.approx(angles, abs=1e-3)
    fit = fit_head(mesh)
    assert fit.scale == pytest.approx(120, rel=1e-5)
    np.testing.assert_allclose(fit.t, [300, 200, 5], atol=1e-3)


def test_positive_yaw_moves_the_nose_right_and_positive_pitch_down():
    eyes, nose = [33, 263], 4
    for angles, axis in (((20, 0, 0), 0), ((0, 20, 0), 1)):
        turned, frontal = _posed(angles), _posed((0, 0, 0))
        moved = turned[nose] - frontal[nose] - (turned[eyes] - frontal[eyes]).mean(axis=0)
        assert moved[axis] > 10


def test_an_open_mouth_hardly_moves_it():
    mesh = _posed((10, 5, 0))
    jaw = [14, 17, 152, 148, 377, 176, 400, 87, 317, 84, 314, 18, 200, 199, 175]
    mesh[jaw, 1] += 40  # a third of the eye distance
    np.testing.assert_allclose(head_angles(mesh), [10, 5, 0], atol=0.5)


def test_a_batch_is_a_loop():
    angles = np.array([[10.0, 5, 3], [-20, 0, 1]])
    np.testing.assert_allclose(head_angles(np.stack([_posed(a) for a in angles])), angles, atol=1e-5)


def test_a_mirrored_photo_turns_the_other_way(finder, photo):
    pose = finder.observe(photo).pose
    mirrored = finder.observe(np.ascontiguousarray(photo[:, ::-1])).pose
    assert mirrored.yaw_deg == pytest.approx(-pose.yaw_deg, abs=2)
    assert mirrored.pitch_deg == pytest.approx(pose.pitch_deg, abs=2)
    assert mirrored.roll_deg == pytest.approx(-pose.roll_deg, abs=1)


@pytest.mark.parametrize("clockwise_deg", [-30, 15, 45])
def test_roll_follows_a_turned_photo(finder, photo, clockwise_deg):
    upright = finder.observe(photo).pose
    turned = rotate(photo, -clockwise_deg, center=(222, 130), preserve_range=True, mode="edge")
    pose = finder.observe(turned.astype(np.uint8)).pose
    assert pose.roll_deg - upright.roll_deg == pytest.approx(clockwise_deg, abs=1)
    assert pose.yaw_deg == pytest.approx(upright.yaw_deg, abs=3)
    assert pose.pitch_deg == pytest.approx(upright.pitch_deg, abs=3)
