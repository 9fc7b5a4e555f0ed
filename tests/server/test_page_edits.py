"""Sliders become landmarks, motion files, and sliders again."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from reenactor.engine.shipped import shipped_motions
from reenactor.face.geometry import head_angles, in_mean_pose, mean_face
from reenactor.face.perception.action_units import AU_NUMBERS, measure
from reenactor.media import read_motion, write_motion
from reenactor.server.page.edits import (
    HIGHEST,
    LOWEST,
    NAMES,
    Edits,
    driver_mesh,
    edits_of,
    movement,
    rest_mesh,
    still_motion,
)

SEVERAL = [
    Edits(yaw=25),
    Edits(pitch=-15, roll=20),
    Edits(mouth=1),
    Edits(smile=-0.5, brows=-1),
    Edits(blink_left=1, gaze_x=0.5),
    Edits(yaw=15, pitch=5, mouth=0.4, smile=0.7, brows=0.6, gaze_x=-0.8, gaze_y=0.5, blink_right=0.5),
]


def change(edits):
    """Of the lengths that action units are told by."""
    after, before = measure(np.stack([driver_mesh(edits), rest_mesh()]))
    return dict(zip(AU_NUMBERS, after - before, strict=True))


def test_zero_is_rest():
    np.testing.assert_allclose(driver_mesh(Edits()), rest_mesh())
    np.testing.assert_allclose(head_angles(rest_mesh()), 0, atol=1e-3)


@pytest.mark.parametrize("edits", [Edits(yaw=20), Edits(pitch=-10), Edits(roll=15), Edits(mouth=1, smile=1, brows=1)])
def test_head_turns_by_the_degrees_said(edits):
    np.testing.assert_allclose(head_angles(driver_mesh(edits)), (edits.yaw, edits.pitch, edits.roll), atol=0.1)


def test_each_slider_does_what_it_says():
    assert change(Edits(mouth=1))[25] > 0.15  # lips part
    assert change(Edits(smile=1))[14] > 0.1  # the mouth is wider
    assert change(Edits(smile=1))[12] > 0.02  # its corners rise
    assert change(Edits(smile=-0.5))[12] < -0.01
    assert change(Edits(brows=1))[1] > 0.04
    assert change(Edits(brows=-1))[2] < -0.04
    both = change(Edits(blink_left=1, blink_right=1))[45]
    assert both > 0.03
    assert change(Edits(blink_left=1))[45] == pytest.approx(both / 2, rel=0.1)


def test_left_is_left_in_the_picture():
    moved = np.abs(driver_mesh(Edits(blink_left=1)) - rest_mesh()).sum(1)
    middle = rest_mesh()[:, 0].mean()
    assert moved[rest_mesh()[:, 0] < middle].sum() > 10 * moved[rest_mesh()[:, 0] > middle].sum()
    iris = [468, 473]
    assert (driver_mesh(Edits(gaze_x=1))[iris, 0] > rest_mesh()[iris, 0] + 1).all()
    assert (driver_mesh(Edits(gaze_y=1))[iris, 1] > rest_mesh()[iris, 1] + 1).all()


def test_both_sides_do_the_same():
    _, shape = in_mean_pose(driver_mesh(Edits(mouth=1, smile=0.5, brows=1)))
    np.testing.assert_allclose(shape[mean_face().mirror] * (-1, 1, 1), shape, atol=2e-3)


@pytest.mark.parametrize("edits", SEVERAL)
@pytest.mark.parametrize("make", [still_motion, movement])
def test_a_motion_file_gives_the_sliders_back(tmp_path, edits, make):
    write_motion(tmp_path / "a.motion", make(edits))
    read = edits_of(read_motion(tmp_path / "a.motion"))
    np.testing.assert_allclose(astuple(read)[:3], astuple(edits)[:3], atol=0.3)
    np.testing.assert_allclose(astuple(read)[3:], astuple(edits)[3:], atol=0.03)


def test_a_movement_begins_at_rest_and_ends_there():
    motion = movement(Edits(yaw=20, smile=1))
    np.testing.assert_allclose(motion.mesh_px[0], rest_mesh())
    np.testing.assert_allclose(motion.mesh_px[-1], driver_mesh(Edits(yaw=20, smile=1)))


def test_any_motion_can_be_read():
    read = edits_of(read_motion(shipped_motions()["smile"]))
    assert read.smile > 0.4
    for name in NAMES:
        assert getattr(LOWEST, name) <= getattr(read, name) <= getattr(HIGHEST, name)
    assert replace(read, smile=0) != read
