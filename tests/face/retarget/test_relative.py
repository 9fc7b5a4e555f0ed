"""Retargeting against what must hold exactly: identity, mirror, invariances, closing eyes and lips."""

import numpy as np
import pytest
from faces import EYES, LIPS, gap, lips_closed, mirrored, shape

from factories import posed
from reenactor.core import Transfer
from reenactor.face.geometry import Similarity, fit_similarity, in_mean_pose, matrix_from_angles, mean_face
from reenactor.face.geometry.similarity import angles_from_matrix
from reenactor.face.retarget import Retargeter, transfer_expression

TARGETS = {
    "frontal": posed(shape(seed=1, opening=-0.04)),
    "turned, smiling": posed(shape(seed=2, smile=0.05), angles_deg=(20, -8, 6), scale=70, at=(110, 140)),
    "open mouth": posed(shape(seed=3, opening=0.12), angles_deg=(-5, 4, -10), scale=120),
}
NEUTRAL = posed(shape(seed=7), angles_deg=(4, 2, -3), scale=60, at=(300, 200), depth=10)
EXPRESSIONS = {
    "talk": {"opening": 0.1, "smile": 0.02},
    "pressed lips": {"opening": -0.15},
    "smile": {"smile": 0.08, "eyes": (0.7, 0.75)},
    "blink": {"eyes": (0.15, 0.2)},
    "wink": {"eyes": (1.0, 0.1)},
    "surprise": {"brows": 0.06, "eyes": (1.4, 1.4), "opening": 0.2},
    "look aside": {"gaze": 0.04},
}


@pytest.fixture(params=list(TARGETS))
def target(request):
    return TARGETS[request.param]


@pytest.fixture(params=list(EXPRESSIONS))
def driver(request):
    face = shape(seed=7, **EXPRESSIONS[request.param])
    return posed(face, angles_deg=(15, -6, 8), scale=66, at=(310, 190), depth=4)


def moved(mesh, *, scale=1.0, angle_deg=0.0, shift=(0.0, 0.0)):
    """The mesh in a picture that was enlarged, turned and shifted."""
    R = matrix_from_angles(np.array([0.0, 0.0, angle_deg]))
    return (scale * mesh.astype(np.float64) @ R.T + np.array([*shift, 0.0])).astype(np.float32)


def centred(mesh):
    return mesh - mesh.mean(0)


def test_mean_pose_is_undone_exactly(target):
    head, face = in_mean_pose(target)
    np.testing.assert_allclose(head.apply(face), target, atol=1e-4)
    again = fit_similarity(mean_face().points, face, mean_face().weights)
    np.testing.assert_allclose(again.R, np.eye(3), atol=1e-6)
    assert again.scale == pytest.approx(1)


def test_driver_at_rest_returns_the_target(target):
    np.testing.assert_allclose(Retargeter(target, NEUTRAL)(NEUTRAL), target, atol=2e-3)


def test_target_as_its_own_driver_follows_itself():
    # Same person, a closed mouth at rest: nothing needs easing, so the driver itself comes out.
    closed = lips_closed(seed=5)
    rest = posed(shape(seed=5, opening=closed))
    talking = posed(shape(seed=5, opening=closed + 0.08, brows=0.03), angles_deg=(12, 5, -4), scale=93, at=(131, 118))
    drawn = Retargeter(rest, rest)(talking)
    lids = {v for halves in EYES for half in halves for v in half}
    others = [v for v in range(478) if v not in lids]
    assert np.abs(drawn[others] - talking[others]).max() < 0.3
    assert np.median(np.abs(drawn - talking)) < 0.1


def test_mirrored_driver_and_target_give_the_mirrored_result(target, driver):
    straight = Retargeter(target, NEUTRAL)(driver)
    flipped = Retargeter(mirrored(target), mirrored(NEUTRAL))(mirrored(driver))
    np.testing.assert_allclose(flipped, mirrored(straight), atol=2e-3)


@pytest.mark.parametrize("transfer", [Transfer.RELATIVE, Transfer.ABSOLUTE])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, (50.0, -20.0)), (3.0, (0.0, 0.0)), (0.4, (-80.0, 33.0))])
def test_size_and_place_of_the_drivers_face_do_not_matter(target, driver, transfer, scale, shift):
    straight = Retargeter(target, NEUTRAL, transfer)(driver)
    changed = Retargeter(target, moved(NEUTRAL, scale=scale, shift=shift), transfer)(
        moved(driver, scale=scale, shift=shift)
    )
    np.testing.assert_allclose(changed, straight, atol=5e-3)


@pytest.mark.parametrize("angle_deg", [12.0, -30.0])
def test_tilted_camera_moves_the_head_about_its_own_axes(target, driver, angle_deg):
    straight = Retargeter(target, NEUTRAL)(driver)
    tilted = Retargeter(target, moved(NEUTRAL, angle_deg=angle_deg))(moved(driver, angle_deg=angle_deg))
    # The driver's head turns by D in the upright picture, by Z D Z' in the tilted one; the expression is the same.
    D = in_mean_pose(driver)[0].R @ in_mean_pose(NEUTRAL)[0].R.T
    Z = matrix_from_angles(np.array([0.0, 0.0, angle_deg]))
    expected = centred(straight) @ (Z @ D @ Z.T @ D.T).T
    np.testing.assert_allclose(centred(tilted), expected, atol=5e-3)


@pytest.mark.parametrize("angle_deg", [12.0, -30.0])
def test_everything_turned_gives_the_turned_result(target, driver, angle_deg):
    straight = Retargeter(target, NEUTRAL)(driver)
    turned = Retargeter(*(moved(mesh, angle_deg=angle_deg) for mesh in (target, NEUTRAL)))(
        moved(driver, angle_deg=angle_deg)
    )
    np.testing.assert_allclose(turned, moved(straight, angle_deg=angle_deg), atol=5e-3)


@pytest.mark.parametrize("height", [0.4, 1.0, 1.8])
@pytest.mark.parametrize("driver_height", [0.6, 1.0, 1.6])
@pytest.mark.parametrize("left_over", [0.0, 0.24])
def test_closed_eyes_close_whatever_the_eyes_height(height, driver_height, left_over):
    target = posed(shape(seed=4, eyes=(height, height)), angles_deg=(15, -5, 10))
    rest = posed(shape(seed=8, eyes=(driver_height,) * 2), scale=200)
    shut = posed(shape(seed=8, eyes=(left_over * driver_height,) * 2), scale=200)
    drawn = Retargeter(target, rest)(shut)
    for upper, lower in EYES:
        was = np.linalg.norm(target[list(lower)] - target[list(upper)], axis=1).max()
        still = np.linalg.norm(drawn[list(lower)] - drawn[list(upper)], axis=1).max()
        assert still < 0.03 * was


def test_half_closed_eyes_keep_their_share():
    target, rest = posed(shape(eyes=(0.6, 0.6))), posed(shape())
    face = in_mean_pose(Retargeter(target, rest)(posed(shape(eyes=(0.7, 0.7)))))[1]
    # A quarter of the opening remains when closed, so 0.7 of it is (0.7 - 0.25) / 0.75 = 0.6 open.
    for halves in EYES:
        assert gap(face, halves).mean() == pytest.approx(0.6 * gap(in_mean_pose(target)[1], halves).mean(), rel=0.02)


def test_wink_closes_one_eye():
    target, rest = posed(shape(seed=4)), posed(shape())
    face = in_mean_pose(Retargeter(target, rest)(posed(shape(eyes=(1.0, 0.1)))))[1]
    before = in_mean_pose(target)[1]
    open_share, closed_share = (gap(face, halves).mean() / gap(before, halves).mean() for halves in EYES)
    assert open_share > 0.9
    assert closed_share < 0.05


def test_gaze_moves_in_eye_widths():
    target, rest = posed(shape(), scale=150), posed(shape(), scale=50)
    drawn = Retargeter(target, rest)(posed(shape(gaze=0.04), scale=50))
    moved_px = drawn[[468, 473], 0] - target[[468, 473], 0]
    np.testing.assert_allclose(moved_px, 0.04 * 150, rtol=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_lips_never_cross(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        target, rest, driver = (
            shape(seed=int(rng.integers(99)), opening=rng.uniform(-0.06, 0.25), smile=rng.uniform(-0.05, 0.1))
            + rng.normal(0, 0.01, (478, 3))
            for _ in range(3)
        )
        face = transfer_expression(target, rest, driver)
        upper, lower = LIPS
        assert (face[list(lower), 1] - face[list(upper), 1]).min() > -1e-9


def test_mouths_open_by_the_same_amount():
    target = shape(seed=3, opening=-0.06)
    at_rest = gap(target, LIPS).mean()
    face = transfer_expression(target, shape(seed=9), shape(seed=9, opening=0.1))
    added = gap(shape(seed=9, opening=0.1), LIPS).mean() - gap(shape(seed=9), LIPS).mean()
    # All but the eased share of what little the target's mouth is open already.
    assert gap(face, LIPS).mean() - at_rest == pytest.approx(added, rel=0.15)


@pytest.mark.parametrize("opening", [0.05, 0.15, 0.3])
def test_open_mouth_opens_as_the_legs_of_a_right_triangle(opening):
    target, driver = shape(opening=0.1), shape(opening=opening)
    had, at_rest, more = (gap(face, LIPS)[4] for face in (target, shape(), driver))
    face = transfer_expression(target, shape(), driver)
    assert gap(face, LIPS)[4] == pytest.approx(np.hypot(had, more - at_rest), abs=1e-6)


def test_smile_does_not_add_to_a_wider_one():
    smiling, driver = shape(smile=0.08), shape(smile=0.06)
    face = transfer_expression(smiling, shape(), driver)
    assert np.ptp(face[[61, 291], 0]) == pytest.approx(np.ptp(smiling[[61, 291], 0]), abs=1e-3)
    relaxed = transfer_expression(shape(), shape(), driver)
    assert np.ptp(relaxed[[61, 291], 0]) == pytest.approx(np.ptp(driver[[61, 291], 0]), abs=1e-3)


def test_head_turns_by_the_drivers_change(target):
    turn = matrix_from_angles(np.array([14.0, -9.0, 5.0]))
    start = in_mean_pose(NEUTRAL)[0]
    driver = Similarity(np.asarray(start.scale * 1.1), turn @ start.R, start.t).apply(in_mean_pose(NEUTRAL)[1])
    head = in_mean_pose(Retargeter(target, NEUTRAL)(driver.astype(np.float32)))[0]
    target_head = in_mean_pose(target)[0]
    np.testing.assert_allclose(angles_from_matrix(head.R @ target_head.R.T), [14, -9, 5], atol=0.05)
    assert head.scale == pytest.approx(float(target_head.scale) * 1.1, rel=1e-4)
    np.testing.assert_allclose(head.t, target_head.t, atol=0.05)


def test_shift_is_scaled_and_bounded(target):
    target_head, neutral_head = in_mean_pose(target)[0], in_mean_pose(NEUTRAL)[0]
    size = float(target_head.scale / neutral_head.scale)

    def shift_px(by):
        return (in_mean_pose(Retargeter(target, NEUTRAL)(moved(NEUTRAL, shift=by)))[0].t - target_head.t)[:2]

    np.testing.assert_allclose(shift_px((2.0, -1.0)), [2 * size, -size], rtol=0.01)
    far = shift_px((4000.0, 3000.0))
    np.testing.assert_allclose(far / np.linalg.norm(far), [0.8, 0.6], atol=1e-3)
    assert np.linalg.norm(far) <= 0.45 * float(target_head.scale) + 0.01


def test_absolute_puts_the_drivers_shape_at_the_targets_size_and_place(target, driver):
    still = Retargeter(target, NEUTRAL, Transfer.ABSOLUTE)(NEUTRAL)
    head, face = in_mean_pose(still)
    target_head, (neutral_head, neutral_face) = in_mean_pose(target)[0], in_mean_pose(NEUTRAL)
    np.testing.assert_allclose(face, neutral_face, atol=1e-5)
    np.testing.assert_allclose(head.t, target_head.t, atol=1e-2)
    np.testing.assert_allclose(head.R, neutral_head.R, atol=1e-5)
    assert head.scale == pytest.approx(float(target_head.scale), rel=1e-5)

    moving_head, moving_face = in_mean_pose(Retargeter(target, NEUTRAL, Transfer.ABSOLUTE)(driver))
    driver_head, driver_face = in_mean_pose(driver)
    np.testing.assert_allclose(moving_face, driver_face, atol=1e-5)
    np.testing.assert_allclose(moving_head.R, driver_head.R, atol=1e-5)
    assert moving_head.scale / target_head.scale == pytest.approx(
        float(driver_head.scale / neutral_head.scale), rel=1e-4
    )
