"""How far and how fast a target follows: head movement, size, strength of the expression, and after a gap."""

import numpy as np
import pytest
from faces import EYES, LIPS, gap, shape

from factories import posed
from reenactor.face.geometry import angles_from_matrix, in_mean_pose
from reenactor.face.retarget import EASE_S, DriverRest, Easing, Moderation, PartsRetargeter, usual_face
from reenactor.face.retarget.moderation import LARGEST_HEAD, SMALLEST_HEAD, bounded

REST = posed(shape(seed=7, opening=-0.06), angles_deg=(4, 2, -3), scale=60, at=(300, 200))
NEUTRAL = in_mean_pose(REST)[1]


def driver(angles_deg=(4, 2, -3), *, scale=60, at=(300, 200), **expression):
    return posed(shape(seed=7, **expression), angles_deg=angles_deg, scale=scale, at=at)


def turned_deg(mesh, since=REST):
    turn = in_mean_pose(mesh)[0].R @ in_mean_pose(since)[0].R.T
    return np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))


def test_nothing_to_moderate_is_nothing_done():
    mesh = driver((20, 2, -3), scale=63, at=(320, 190), opening=0.1)
    assert Moderation(REST, NEUTRAL)(mesh) is mesh


def test_size_is_followed_near_the_usual_one_and_bounded_beyond():
    assert [bounded(size) for size in (0.95, 1.0, 1.08)] == [0.95, 1.0, 1.08]
    sizes = np.array([bounded(size) for size in np.geomspace(0.1, 10, 401)])
    assert SMALLEST_HEAD <= sizes.min() < SMALLEST_HEAD + 1e-3
    assert LARGEST_HEAD - 1e-3 < sizes.max() <= LARGEST_HEAD
    assert (np.diff(sizes) >= 0).all()
    assert (np.diff(np.log(sizes)) <= np.log(100) / 400 + 1e-9).all()
    near = in_mean_pose(Moderation(REST, NEUTRAL)(driver(scale=120)))[0]
    assert float(near.scale) == pytest.approx(LARGEST_HEAD * float(in_mean_pose(REST)[0].scale), rel=0.01)


def test_a_head_that_stays_still_moves_its_face():
    mesh = Moderation(REST, NEUTRAL, head=0.0)(driver((30, -10, 8), scale=90, at=(350, 250), opening=0.1))
    head, face = in_mean_pose(mesh)
    wanted = in_mean_pose(REST)[0]
    np.testing.assert_allclose(head.R, wanted.R, atol=1e-3)
    np.testing.assert_allclose(head.t, wanted.t, atol=0.1)
    assert float(head.scale) == pytest.approx(float(wanted.scale), rel=1e-3)
    assert gap(face, LIPS).mean() > 0.06


def test_half_of_the_movement():
    whole = driver((24, 2, -3), at=(340, 180))
    half = Moderation(REST, NEUTRAL, head=0.5)(whole)
    assert turned_deg(half) == pytest.approx(turned_deg(whole) / 2, abs=0.1)
    here, there, start = (in_mean_pose(mesh)[0].t for mesh in (half, whole, REST))
    np.testing.assert_allclose(here - start, (there - start) / 2, atol=0.1)


def test_angles_that_are_absolute_stay():
    moderated = Moderation(REST, NEUTRAL, absolute=True)(driver((30, 0, 0), scale=120))
    assert angles_from_matrix(in_mean_pose(moderated)[0].R)[0] == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_strength_is_of_the_expression_and_not_of_the_eyes(strength):
    mesh = driver(opening=0.06, eyes=(0.0, 0.0))
    face = in_mean_pose(Moderation(REST, NEUTRAL, strength=strength)(mesh))[1]
    opening = [gap(one, LIPS).mean() for one in (NEUTRAL, face, in_mean_pose(mesh)[1])]
    assert opening[1] - opening[0] == pytest.approx(strength * (opening[2] - opening[0]), abs=0.004)
    for eye in EYES:
        np.testing.assert_allclose(gap(face, eye), gap(in_mean_pose(mesh)[1], eye), atol=0.01)


def test_a_new_reference():
    """A new shot: the head is elsewhere, larger and turned, and at rest all the same."""
    moderation = Moderation(REST, NEUTRAL)
    elsewhere = driver((35, 2, -3), scale=100, at=(100, 100))
    moderation.count_from(elsewhere)
    head, wanted = (in_mean_pose(mesh)[0] for mesh in (moderation(elsewhere), REST))
    np.testing.assert_allclose(head.R, wanted.R, atol=1e-3)
    np.testing.assert_allclose(head.t, wanted.t, atol=0.05)
    assert turned_deg(moderation(driver((45, 2, -3), scale=100, at=(100, 100)))) == pytest.approx(10, abs=0.3)


def test_a_driver_at_rest_that_leans_in_only_there():
    """The face is calm only while it is near: its usual size counts all the same."""
    far = [driver(scale=50, opening=0.02 + 0.002 * i, smile=0.05) for i in range(20)]
    near = [driver(scale=80, opening=-0.06)] * 5
    rest = usual_face(np.stack([*far, *near]))
    head, face = in_mean_pose(rest)
    assert float(head.scale) == pytest.approx(float(in_mean_pose(far[0])[0].scale), rel=0.01)
    assert gap(face, LIPS).mean() < 0.02
    clip = DriverRest.of_clip(np.stack([*far, *near]))
    photo = posed(shape(seed=2), scale=90)
    sizes = [float(in_mean_pose(PartsRetargeter(photo[None], clip)(one))[0].scale) for one in (far[0], near[0])]
    own = float(in_mean_pose(photo)[0].scale)
    assert sizes[0] == pytest.approx(own, rel=0.02)
    assert sizes[1] == pytest.approx(1.6 * own, rel=0.02)  # bounded before it comes here


def test_after_a_gap_the_face_eases_back():
    easing = Easing()
    assert easing.hold(0.0) is None
    here, there = REST, REST + np.float32(100)
    np.testing.assert_array_equal(easing(here, 0.1), here)
    for time_s in (0.2, 0.3, 0.4):
        np.testing.assert_array_equal(easing.hold(time_s), here)
    way = [float((easing(there, 0.4 + after) - here).mean()) for after in (0.05, 0.15, EASE_S, 0.5)]
    assert 0 < way[0] < way[1] < 100
    assert way[1] == pytest.approx(50)
    assert way[2:] == [100, 100]


def test_a_jump_is_eased_from_what_is_shown():
    easing = Easing()
    easing(REST, 0.0)
    easing.restart()
    first = easing(REST + np.float32(100), 0.1)
    assert 0 < float((first - REST).mean()) < 50
    easing.restart()
    assert float((easing(REST, 0.2) - first).mean()) < 0
