"""Angles against scipy and against what the signs mean (docs/conventions.md)."""

import numpy as np
from scipy.spatial.transform import Rotation

from reenactor.face.geometry import angles_from_matrix, matrix_from_angles

NOSE = np.array([0.0, 0.0, -1.0])
RIGHT_OF_PICTURE = np.array([1.0, 0.0, 0.0])


def test_signs():
    def turn(yaw=0.0, pitch=0.0, roll=0.0):
        return matrix_from_angles(np.array([yaw, pitch, roll]))

    assert (turn(yaw=20) @ NOSE)[0] > 0.3  # the nose goes to the image's right
    assert (turn(pitch=20) @ NOSE)[1] > 0.3  # and down: y points down
    assert (turn(roll=20) @ RIGHT_OF_PICTURE)[1] > 0.3  # clockwise: what was right is lower


def test_is_scipys_intrinsic_xyz():
    angles = np.random.default_rng(0).uniform([-89, -179, -179], [89, 179, 179], (50, 3))
    yaw, pitch, roll = angles.T
    theirs = Rotation.from_euler("XYZ", np.stack([pitch, -yaw, roll], axis=1), degrees=True)
    np.testing.assert_allclose(matrix_from_angles(angles), theirs.as_matrix(), atol=1e-12)


def test_there_and_back():
    angles = np.random.default_rng(1).uniform([-89, -179, -179], [89, 179, 179], (5, 10, 3))
    np.testing.assert_allclose(angles_from_matrix(matrix_from_angles(angles)), angles, atol=1e-9)


def test_a_full_profile_keeps_its_matrix():
    for yaw in (90.0, -90.0):
        R = matrix_from_angles(np.array([yaw, 30.0, -20.0]))
        angles = angles_from_matrix(R)
        assert angles[0] == yaw
        assert angles[2] == 0
        np.testing.assert_allclose(matrix_from_angles(angles), R, atol=1e-7)
