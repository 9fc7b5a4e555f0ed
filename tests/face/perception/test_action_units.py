"""Action units: one facial movement at a time on the mean face, and the motions that ship."""

from importlib import resources

import numpy as np
import pytest

from factories import posed
from reenactor.face.geometry import contours, mean_face
from reenactor.face.perception.action_units import AU_NUMBERS, action_units, measure, rest_of
from reenactor.media import read_motion
from reenactor.research.metrics import au_intensity_correlation, aucon


def moved(*changes):
    """The mean face with vertices moved; lengths in eye distances, y down."""
    points = mean_face().points.astype(np.float64)
    for vertices, by in changes:
        points[list(vertices)] += by
    return points


INNER_BROWS, OUTER_BROWS = (107, 55, 336, 285), (70, 63, 46, 53, 300, 293, 276, 283)
UPPER_LIDS = contours.RIGHT_EYE_UPPER[1:-1] + contours.LEFT_EYE_UPPER[1:-1]
UPPER_LIPS = (*contours.OUTER_LIPS_UPPER, *contours.INNER_LIPS_UPPER)
LOWER_LIPS = (146, 91, 181, 84, 17, 314, 405, 321, 375, *contours.INNER_LIPS_LOWER[1:-1])
CHIN = (152, 148, 377, 176, 400)
MOVEMENTS = {
    1: [(INNER_BROWS, (0, -0.05, 0))],
    2: [(OUTER_BROWS, (0, -0.05, 0))],
    5: [(UPPER_LIDS, (0, -0.02, 0))],
    9: [((129, 64, 358, 294), (0, -0.05, 0))],
    10: [(UPPER_LIPS[1:10], (0, -0.05, 0))],
    12: [((61,), (-0.04, -0.05, 0)), ((291,), (0.04, -0.05, 0))],
    14: [((61,), (-0.08, 0.03, 0)), ((291,), (0.08, 0.03, 0))],
    25: [(LOWER_LIPS, (0, 0.06, 0))],
    26: [(CHIN, (0, 0.06, 0))],
    45: [(UPPER_LIDS, (0, 0.06, 0))],
}
ALONGSIDE = {12: {14}, 14: {12}, 45: set(), 5: set()}
"""Units that such a movement may show too."""


@pytest.mark.parametrize("number", AU_NUMBERS)
@pytest.mark.parametrize("angles_deg", [(0, 0, 0), (25, -10, 15)])
def test_each_movement_shows_its_unit(number, angles_deg):
    rest = rest_of(posed(moved())[None])
    found = action_units(posed(moved(*MOVEMENTS[number]), angles_deg, scale=140)[None], rest)
    shown = {n for n, present in zip(AU_NUMBERS, found.presence[0], strict=True) if present}
    assert number in shown
    assert shown - {number} <= ALONGSIDE.get(number, set())
    column = AU_NUMBERS.index(number)
    half = [(v, np.array(by) / 2) for v, by in MOVEMENTS[number]]
    weaker = action_units(posed(moved(*half), angles_deg)[None], rest)
    assert 0 < weaker.intensity[0, column] < found.intensity[0, column] <= 5


def test_a_face_at_rest_shows_nothing_in_any_pose():
    rest = rest_of(posed(moved())[None])
    turned = np.stack(
        [posed(moved(), angles, scale=scale) for angles in ((40, 0, 0), (0, 25, -30)) for scale in (50, 200)]
    )
    found = action_units(turned, rest)
    assert not found.presence.any()
    np.testing.assert_allclose(found.intensity, 0, atol=1e-3)


def test_rest_is_the_persons_own():
    # Someone with high brows and narrow eyes, at rest, is not surprised; closing those eyes is a whole blink.
    own = [(INNER_BROWS + OUTER_BROWS, (0, -0.08, 0)), (UPPER_LIDS, (0, 0.03, 0))]
    rest = rest_of(posed(moved(*own))[None])
    gap = -rest[AU_NUMBERS.index(45)]
    faces = np.stack([posed(moved(*own)), posed(moved(*own, (UPPER_LIDS, (0, gap / 2, 0))))])
    found = action_units(faces, rest)
    assert not found.presence[0].any()
    # The mean over the lid's inner points halves too.
    assert found.intensity[1, AU_NUMBERS.index(45)] == pytest.approx(5 * 0.5 / 0.9463, abs=0.15)


def test_rest_of_a_clip_ignores_speech_and_blinks():
    talking = [posed(moved(*MOVEMENTS[25], *MOVEMENTS[26])) if i % 5 else posed(moved()) for i in range(40)]
    blinking = [posed(moved(*MOVEMENTS[45])) if i % 3 == 0 else posed(moved()) for i in range(40)]
    for clip in (talking, blinking):
        np.testing.assert_allclose(rest_of(np.stack(clip)), measure(posed(moved())[None])[0], atol=2e-3)


def test_unseen_frames_hold_nothing():
    meshes = np.stack([posed(moved(*MOVEMENTS[25])), np.full((478, 3), np.nan, np.float32)])
    found = action_units(meshes, rest_of(posed(moved())[None]), np.array([True, False]))
    assert found.seen.tolist() == [True, False]
    assert found.presence[0].any()
    assert not found.presence[1].any()


@pytest.mark.parametrize(
    ("name", "strong", "weak"), [("blink", {45}, {12, 14}), ("smile", {12, 14}, set()), ("talk", {26}, {1, 2, 12, 14})]
)
def test_real_motions(name, strong, weak):
    file = resources.files("reenactor") / "assets" / "motions" / f"{name}.motion"
    with resources.as_file(file) as path:
        meshes = read_motion(path).mesh_px
    found = action_units(meshes, rest_of(meshes))
    top = dict(zip(AU_NUMBERS, np.percentile(found.intensity, 97, axis=0), strict=True))
    assert all(top[number] > 4 for number in strong)
    assert all(top[number] < 2 for number in weak)
    # The mirrored track shows the same units.
    mirrored = meshes[:, mean_face().mirror] * np.array([-1, 1, 1], np.float32)
    other = action_units(mirrored, rest_of(mirrored))
    assert aucon(found.presence, other.presence) > 0.999
    r = au_intensity_correlation(found.intensity, other.intensity)
    assert np.nanmin(r) > 0.9999
