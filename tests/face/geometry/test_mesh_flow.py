"""The batched flow against the classical warp's NumPy twin, and its flags on faces made for them."""

import numpy as np
import pytest
import torch

from reenactor.face.geometry import face_mesh, inverse_map, matrix_from_angles, mean_face
from reenactor.face.geometry.contours import (
    FACE_OVAL,
    INNER_LIPS,
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE,
    LEFT_EYE_LOWER,
    LEFT_EYE_UPPER,
    RIGHT_EYE,
    RIGHT_EYE_UPPER,
)
from reenactor.face.geometry.face_mesh import face_mesh_triangles
from reenactor.face.geometry.mesh_flow import FLAGS, _mesh_flow_batched, _moved, _surface, mesh_flow
from reenactor.face.geometry.openings import opening
from reenactor.nn import resized

SIDE = 128
TURNS = [(0, 0, 0), (25, 0, 0), (-35, 10, 8), (8, -25, -20)]


def face(angles_deg=(0, 0, 0), *, lips=0.0, shift_px=(0.0, 0.0)):
    """The mean face in a crop, turned; what is below the lips' line is moved down, less so away from the middle."""
    points = mean_face().points.astype(np.float64).copy()
    below = points[:, 1] > points[[13, 14], 1].mean()
    points[:, 1] += lips * below * np.clip(1.3 - np.abs(points[:, 0]) / 0.4, 0, 1)
    R = matrix_from_angles(np.array(angles_deg, float))
    return points @ R.T * (SIDE * 0.3) + np.array([SIDE / 2 + shift_px[0], SIDE * 0.5 + shift_px[1], 0.0])


def flow(photo, target, map_size=SIDE):
    return mesh_flow(torch.tensor(photo[None]).float(), torch.tensor(target[None]).float(), SIDE, map_size)


def mesh_flow_ref(photo_mesh_px, mesh_px, side, map_size):
    """The flow of one photo as the classical warp draws it (`face_mesh`, `inverse_map`: NumPy and OpenCV)."""
    surface = face_mesh(photo_mesh_px, side)
    moved = surface.moved_to(mesh_px)
    scale = map_size / side
    output = (moved[:, :2] + 0.5) * scale - 0.5
    position, _ = inverse_map(surface.points[:, :2], output, moved[:, 2], face_mesh_triangles(), (map_size, map_size))
    start = (np.arange(map_size) + 0.5) / scale - 0.5
    return np.moveaxis(position - np.stack(np.meshgrid(start, start), -1), -1, 0) * (2 / side)


def flag(found, name):
    return found.flags[0, FLAGS.index(name)]


def at(channel, mesh_px, vertices):
    """The channel's value in the middle of some vertices."""
    x, y = np.round(mesh_px[list(vertices), :2].mean(0)).astype(int)
    return float(channel[y, x])


@pytest.mark.parametrize("angles_deg", TURNS)
def test_vertices_are_those_of_face_mesh(angles_deg):
    photo, target = face((5, 3, -4)), face(angles_deg, lips=0.1, shift_px=(6, -4))
    surface = face_mesh(photo, SIDE)
    ours = _surface(torch.tensor(photo[None]), SIDE)
    np.testing.assert_allclose(ours[0].numpy(), surface.points, atol=1e-6)
    moved = _moved(ours, torch.tensor(photo[None]), torch.tensor(target[None]))
    np.testing.assert_allclose(moved[0].numpy(), surface.moved_to(target), atol=1e-6)


@pytest.mark.parametrize(("map_size", "equal"), [(64, 0.9), (128, 0.95)])
@pytest.mark.parametrize("angles_deg", TURNS)
def test_equals_the_classical_warp(angles_deg, map_size, equal):
    # OpenCV also draws pixels whose centres lie just outside of a triangle, so along edges and folds they differ.
    photo, target = face(), face(angles_deg, lips=0.1, shift_px=(5, 3))
    found = flow(photo, target, map_size).flow_ndc[0].numpy()
    off_px = np.abs(found - mesh_flow_ref(photo, target, SIDE, map_size)).max(0) * SIDE / 2
    assert np.median(off_px) < 1e-3
    assert (off_px < 0.25).mean() > equal
    assert (off_px < 1.5).mean() > 0.97


def test_what_is_folded_lies_behind():
    # The lips' inner edges have crossed, and their vertices are the nearest of all.
    target = face(lips=-0.15)
    target[list(INNER_LIPS), 2] -= 50
    assert target[14, 1] < target[13, 1] - 1
    found = flow(face(), target).flow_ndc[0].numpy()
    off_px = np.abs(found - mesh_flow_ref(face(), target, SIDE, SIDE)).max(0) * SIDE / 2
    x, y = np.round(target[[13, 14], :2].mean(0)).astype(int)
    assert np.median(off_px[y - 3 : y + 4, x - 6 : x + 7]) < 0.1


@pytest.mark.parametrize("map_size", [32, 64, 128])
def test_unmoved_is_no_flow_and_no_flag(map_size):
    found = flow(face(), face(), map_size)
    assert found.flow_ndc.abs().max() * SIDE / 2 < 0.02
    assert found.flags[:, : FLAGS.index("beyond")].max() < 1e-3


def test_shift_by_hand():
    # Everything in the face comes from five pixels to the left and two below; the border stays.
    found = flow(face(), face(shift_px=(5, -2))).flow_ndc[0]
    x, y = np.round(face(shift_px=(5, -2))[4, :2]).astype(int)
    np.testing.assert_allclose(found[:, y, x], np.array([-5, 2]) * 2 / SIDE, atol=1e-5)
    border = torch.cat([found[:, 0], found[:, -1], found[:, :, 0], found[:, :, -1]], 1)
    assert border.abs().max() * SIDE / 2 < 0.3


def test_flow_finds_the_photos_landmarks():
    photo, target = face((4, 2, 1)), face((-10, 5, 6), lips=0.08, shift_px=(3, 2))
    found = flow(photo, target).flow_ndc
    # Vertices that nothing covers; the flow is looked up between its pixels.
    seen = [i for i in (1, 4, 5, 10, 50, 61, 152, 168, 195, 280, 291) if i not in INNER_LIPS]
    position = torch.tensor(target[seen, :2]).float()
    grid = ((position + 0.5) * 2 / SIDE - 1)[None, None]
    offset = torch.nn.functional.grid_sample(found, grid, align_corners=False)[0, :, 0].T * SIDE / 2
    np.testing.assert_allclose(position + offset, photo[seen, :2], atol=0.3)


@pytest.mark.parametrize("lids_px", [0.0, -1.0])
@pytest.mark.parametrize("look_px", [2.5, -2.0])
def test_eyes_look_where_they_shall(look_px, lids_px):
    """The irises are found in the photo, along the eyes, whatever the lids do; around the eyes nothing moves."""
    photo, target = face((6, 2, 3)), face((6, 2, 3))
    target[468:, 0] += look_px
    for lid in (RIGHT_EYE_UPPER, LEFT_EYE_UPPER):
        target[list(lid[1:-1]), 1] += lids_px
    found = flow(photo, target).flow_ndc
    for centre, corners in ((468, (33, 133)), (473, (362, 263))):
        axis = photo[corners[1], :2] - photo[corners[0], :2]
        axis /= np.linalg.norm(axis)
        for fraction in (0.0, 0.6, -0.6):
            on_iris = fraction * np.linalg.norm(photo[centre + 1, :2] - photo[centre, :2]) * axis
            position = torch.tensor(target[centre, :2] + on_iris).float()
            grid = ((position + 0.5) * 2 / SIDE - 1)[None, None, None]
            offset = torch.nn.functional.grid_sample(found, grid, align_corners=False)[0, :, 0, 0] * SIDE / 2
            assert (position + offset).numpy() @ axis == pytest.approx((photo[centre, :2] + on_iris) @ axis, abs=0.4)
    moved_px = found[0].abs().amax(0).numpy() * SIDE / 2
    eyes = np.zeros_like(moved_px, bool)
    for lids in (RIGHT_EYE, LEFT_EYE):
        low, high = target[list(lids), :2].min(0) - 1, target[list(lids), :2].max(0) + 2
        eyes[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])] = True
    assert lids_px or moved_px[~eyes].max() < 0.02


@pytest.mark.parametrize("map_size", [32, 64, 97])
def test_one_by_one_equals_together(map_size):
    # Up to profiles, whose far cheeks are covered, folded or missing; some half outside; opened, closed and crossed.
    rng = np.random.default_rng(0)

    def any_face(turned):
        shift = rng.normal(0, SIDE / 12, 2)
        points = face(rng.normal(0, turned, 3), lips=rng.uniform(-0.1, 0.2), shift_px=shift)
        points[468:, :2] += rng.normal(0, 2, 2)
        return (points - SIDE / 2) * rng.uniform(0.5, 1.3) + SIDE / 2 + rng.normal(0, 0.4, points.shape)

    photos, target = (torch.tensor(np.stack([any_face(turned) for _ in range(24)])).float() for turned in (20, 30))
    together = _mesh_flow_batched(photos.double(), target.double(), SIDE, map_size)
    ones = [mesh_flow(photo[None], mesh[None], SIDE, map_size) for photo, mesh in zip(photos, target, strict=True)]
    # Triangles of exactly the same depth may be drawn in either order, and what none covers has any one's flags.
    flow, flags = (torch.cat([getattr(one, name) for one in ones]) for name in ("flow_ndc", "flags"))
    covered = (together.flow_ndc != 0).any(1)
    equal = ((flow - together.flow_ndc).abs().amax(1) < 1e-5) & ((flags - together.flags).abs().amax(1) < 1e-4)
    assert equal[covered].float().mean() > 0.9999
    assert covered.float().mean() > 0.9
    assert torch.equal(flags[:, 0], together.flags[:, 0])
    assert 0.005 < flags[:, 0].mean() < 0.5
    assert flags[:, 2:4].amax() == 1


def test_a_photo_that_changes_is_noticed():
    photo = torch.tensor(face()[None]).float()
    before = mesh_flow(photo, photo.clone(), SIDE, 32).flow_ndc
    target = photo.clone()
    photo += torch.tensor([4.0, 0.0, 0.0])
    after = mesh_flow(photo, target, SIDE, 32).flow_ndc
    assert before.abs().max() * SIDE / 2 < 0.02
    assert after[0, 0, 16, 16] * SIDE / 2 == pytest.approx(4, abs=0.1)


def test_batch_equals_one_by_one():
    photos = np.stack([face(), face((10, 0, 5)), face((-30, 5, 0))])
    target = np.stack([face(turn, lips=0.1) for turn in TURNS[1:]])
    whole = mesh_flow(torch.tensor(photos).float(), torch.tensor(target).float(), SIDE, 64)
    for i, (photo, mesh) in enumerate(zip(photos, target, strict=True)):
        one = flow(photo, mesh, 64)
        assert torch.equal(one.flow_ndc[0], whole.flow_ndc[i])
        assert torch.equal(one.flags[0], whole.flags[i])


@pytest.mark.parametrize(("before", "now", "hole"), [(-0.06, 0.15, 1), (0, 0.01, 0), (0.15, 0.15, 0), (0.15, 0, 0)])
def test_a_mouth_that_the_photo_does_not_show(before, now, hole):
    target = face(lips=now)
    mouth = flag(flow(face(lips=before), target), "mouth")
    assert at(mouth, target, (13, 14)) == pytest.approx(hole, abs=1e-6)
    assert at(mouth, target, (4,)) == 0
    # It is the area between the lips, no more.
    outline = target[list(INNER_LIPS), :2]
    area = 0.5 * abs(
        np.dot(outline[:, 0], np.roll(outline[:, 1], 1)) - np.dot(outline[:, 1], np.roll(outline[:, 0], 1))
    )
    assert float(mouth.sum()) == pytest.approx(hole * area, rel=0.15, abs=1e-6)


def test_teeth_hang_from_the_upper_lip():
    little, much = face(lips=0.1), face(lips=0.2)
    x, top = round(little[13, 0]), little[13, 1]
    shown, target = little[14, 1] - top, much[14, 1] - top
    opened, closed = flow(little, much), flow(much, little)
    for found, bottom in ((opened, min(shown, target)), (closed, shown)):
        for y in range(int(top) + 2, int(top + 0.8 * bottom)):
            # What lies this far below the lip in the photo, not what lies at the same fraction of the way down.
            assert abs(float(found.flow_ndc[0, 1, y, x])) * SIDE / 2 < 0.12 * (y - top) + 0.3
            assert at(flag(found, "mouth"), np.array([[x, y]]), (0,)) < 0.05
    mouth = flag(opened, "mouth")
    assert float(mouth[int(top + 1.2 * shown) + 1 : int(top + target) - 1, x].min()) > 0.95
    assert flag(closed, "mouth").max() == 0
    assert flag(opened, "stretched")[int(top + shown), x] == 0


def test_the_upper_lid_slides_over_the_eye():
    half = face()
    upper, lower = list(LEFT_EYE_UPPER[1:-1]), list(LEFT_EYE_LOWER[1:-1])
    half[upper] = (half[upper] + half[lower]) / 2
    x, y = np.round(half[386] * 0.3 + half[374] * 0.7)[:2].astype(int)
    assert abs(float(flow(face(), half).flow_ndc[0, 1, y, x])) * SIDE / 2 < 0.4


def test_an_eye_that_the_photo_does_not_show():
    shut = face()
    shut[list(LEFT_EYE_LOWER[1:-1])] = shut[list(LEFT_EYE_UPPER[1:-1])] + [0, 0.2, 0]
    eyes = flag(flow(shut, face()), "eyes")
    assert at(eyes, face(), (386, 374)) == 1
    assert at(eyes, face(), (159, 145)) == 0
    assert flag(flow(face(), shut), "eyes").max() == 0


def test_what_the_photo_shows_from_behind_is_occluded():
    photo = face((50, 0, 0))
    occluded = flag(flow(photo, face()), "occluded")
    far, near = ((227, 137, 177), (447, 366, 401))
    ours, theirs = (at(occluded, face(), vertices) for vertices in (far, near))
    assert {ours, theirs} == {0.0, 1.0}
    # Which cheek: the one that is drawn the smaller, or not at all.
    width = {v: np.ptp(photo[[*list(v), 4], 0]) for v in (far, near)}
    assert (ours > theirs) == (width[far] < width[near])


def test_stretching_by_hand():
    # A face drawn twice as large as in the photo: half of the way to a factor of four.
    small = face()
    large = (small - small[4]) * 2 + small[4]
    stretched = flag(flow(small, large), "stretched")
    assert at(stretched, large, (9,)) == pytest.approx(0.5, abs=0.02)
    assert at(flag(flow(large, small), "stretched"), small, (9,)) == 0


def test_beyond_is_outside_of_the_outline():
    target = face((20, 0, 0))
    beyond = flag(flow(face(), target), "beyond").numpy() > 0
    assert not beyond[int(target[4, 1]), int(target[4, 0])]
    assert beyond[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    outline = face()[list(FACE_OVAL), :2]
    area = 0.5 * abs(
        np.dot(outline[:, 0], np.roll(outline[:, 1], 1)) - np.dot(outline[:, 1], np.roll(outline[:, 0], 1))
    )
    straight = flag(flow(face(), face()), "beyond")
    assert SIDE**2 - float(straight.sum()) == pytest.approx(area, rel=0.03)


def test_opening_by_hand():
    mesh = torch.zeros(478, 3)
    mesh[263] = torch.tensor([30.0, 0.0, 40.0])
    mesh[list(INNER_LIPS_LOWER[1:-1]), 1] = 10
    assert opening(mesh, INNER_LIPS_UPPER, INNER_LIPS_LOWER) == pytest.approx(0.2)


def test_enlarged_flow_means_the_same():
    photo, target = face(), face((10, 0, 0))
    coarse, full = flow(photo, target, 64), flow(photo, target)
    off_px = (resized(coarse.flow_ndc, SIDE) - full.flow_ndc).abs().amax(1) * SIDE / 2
    assert off_px.median() < 0.02
    assert (off_px < 0.3).float().mean() > 0.95


def test_a_face_without_extent_gives_no_flow():
    found = mesh_flow(torch.zeros(1, 478, 3), torch.zeros(1, 478, 3), SIDE, 32)
    assert (found.flow_ndc == 0).all()
    assert torch.isfinite(found.flags).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_same_on_a_gpu():
    photos, target = (torch.tensor(np.stack([face(turn) for turn in turns])).float() for turns in (TURNS, TURNS[::-1]))
    here, there = mesh_flow(photos, target, SIDE, 64), mesh_flow(photos.cuda(), target.cuda(), SIDE, 64)
    torch.testing.assert_close(there.flow_ndc.cpu(), here.flow_ndc, atol=1e-4, rtol=0)
