"""Boundaries, gaze, parsing map and weights: positions, closed eyes, the authors' recipe by OpenCV, sums by hand."""

import cv2
import numpy as np
import pytest
import torch

from reenactor.face import maps
from reenactor.face.geometry import contours, matrix_from_angles, mean_face
from reenactor.face.maps import _curves

RIGHT_IRIS, LEFT_IRIS = 468, 473


def at(plane, xy):
    """The plane's value at the pixel nearest to a point."""
    x, y = np.round(np.asarray(xy)[:2]).astype(int)
    return float(plane[y, x])


@pytest.fixture
def face(posed):
    """(478, 3) float64: the mean face at 256 pixels."""
    return posed(scale=110.0, at=(128.0, 130.0))


def test_boundaries_lie_on_their_landmarks(face):
    heat = maps.boundary_maps(torch.tensor(face)[None], 256)[0]
    assert len(maps.BOUNDARY_CHANNELS) == len(heat) == 17
    on = {
        "contour": (152, 172, 454),
        "image_left_brow_upper": (105,),
        "image_right_brow_lower": (282,),
        "nose_bridge": (168, 4),
        "nose_tip": (2, 102, 331),
        "image_left_eye_upper": (159, 33),
        "image_left_eye_lower": (145,),
        "image_right_eye_upper": (386, 263),
        "upper_lip_upper": (0,),
        "upper_lip_lower": (13,),
        "lower_lip_upper": (14,),
        "lower_lip_lower": (17,),
        "image_left_gaze": (RIGHT_IRIS,),
        "image_right_gaze": (LEFT_IRIS,),
    }
    for name, vertices in on.items():
        for vertex in vertices:
            # A pixel's centre is at most 0.71 px away: exp(-0.5 (0.71 / 2)^2) = 0.94.
            assert at(heat[maps.BOUNDARY_CHANNELS.index(name)], face[vertex]) > 0.93, (name, vertex)
    assert 0 <= heat.min() <= heat.max() <= 1


def test_a_boundarys_profile_is_a_bell():
    """Across a level jaw: exp(-d^2 / 2 sigma^2), sigma 4 at 512 px, nothing from 12 px on."""
    points = torch.full((1, 478, 2), -1000.0, dtype=torch.float64)
    jaw = list(_curves.JAW)
    points[0, jaw, 0], points[0, jaw, 1] = torch.linspace(20, 480, len(jaw)).double(), 256.0
    column = maps.boundary_maps(points, 512)[0, 0, :, 200]
    d = torch.arange(512) - 256.0
    torch.testing.assert_close(column, torch.where(d.abs() < 12, torch.exp(-(d**2) / 32), 0.0).double())


@pytest.mark.parametrize("roll", [0.0, 60.0, 180.0])
@pytest.mark.parametrize("gap", [0.0, 0.05, -0.1])
def test_closed_eyes_show_no_gaze(roll, gap):
    """Lids together, 0.05 eye widths apart as MediaPipe has them in a blink, and crossed."""
    points = mean_face().points.copy()
    for upper, lower in (
        (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
        (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
    ):
        width = np.linalg.norm(points[upper[0], :2] - points[upper[-1], :2])
        inner = slice(1, -1)
        points[list(lower[inner])] = points[list(upper[inner])] + [0, gap * width, 0]
    mesh = torch.tensor(points @ matrix_from_angles(np.array([0, 0, roll])).T * 90 + [128, 128, 0])[None]
    assert (maps.gaze_maps(mesh, 256) == 0).all()
    assert (maps.parsing_map(mesh, 256)[:, maps.PARSING_CHANNELS.index("gaze")] == 0).all()
    assert (maps.landmark_raster(mesh, 256, irises=True) == maps.landmark_raster(mesh, 256)).all()


def test_gaze_follows_the_iris_and_stays_between_the_lids(face):
    looking = face.copy()
    looking[RIGHT_IRIS:] += [3.0, 0.0, 0.0]
    straight, aside = (maps.gaze_maps(torch.tensor(mesh)[None], 256)[0] for mesh in (face, looking))
    x = torch.arange(256.0).double()
    for before, after in zip(straight, aside, strict=True):
        moved = (after.sum(0) @ x) / after.sum() - (before.sum(0) @ x) / before.sum()
        # The lids, and the soft edge beyond the iris, hold some of it back.
        assert 1.5 < moved.item() <= 3
    looking[RIGHT_IRIS:] += [80.0, 0.0, 0.0]
    assert (maps.gaze_maps(torch.tensor(looking)[None], 256)[:, 0] == 0).all()


def test_parsing_is_the_authors_recipe_by_opencv(face):
    """Polygon fill, 3 x 3 dilation, 3 x 3 blur with sigma 3, at 256 px. Theirs is rounded to whole pixels, so
    they differ along edges."""

    def recipe(chains):
        canvas = np.zeros((256, 256))
        outline = np.concatenate([face[list(chain), :2] for chain in chains]).round().astype(np.int32)
        cv2.fillPoly(canvas, [outline], (1.0,))
        return cv2.GaussianBlur(cv2.dilate(canvas, np.ones((3, 3), np.uint8)), (3, 3), 3)

    left = (_curves.IMAGE_LEFT_BROW_UPPER, _curves.IMAGE_LEFT_BROW_LOWER[::-1])
    right = (_curves.IMAGE_RIGHT_BROW_UPPER, _curves.IMAGE_RIGHT_BROW_LOWER[::-1])
    theirs = {
        "face": recipe([left[0], right[0], _curves.JAW[::-1]]),
        "brows": recipe(left) + recipe(right),
        "eyes": recipe([contours.RIGHT_EYE]) + recipe([contours.LEFT_EYE]),
        "nose": recipe([_curves.NOSE_BRIDGE[:1], _curves.NOSE_TIP[::-1]]),
        "upper_lip": recipe([contours.OUTER_LIPS_UPPER, contours.INNER_LIPS_UPPER[::-1]]),
        "lower_lip": recipe([contours.INNER_LIPS_LOWER, contours.OUTER_LIPS_LOWER[::-1]]),
        "teeth": recipe([contours.INNER_LIPS]),
    }
    ours = dict(zip(maps.PARSING_CHANNELS, maps.parsing_map(torch.tensor(face)[None], 256)[0].numpy(), strict=True))
    for name, plane in theirs.items():
        both = np.minimum(plane, ours[name]).sum() / np.maximum(plane, ours[name]).sum()
        assert both > 0.9, (name, both)
        assert ours[name].sum() == pytest.approx(plane.sum(), rel=0.1), name
    bridge = np.zeros((256, 256), np.uint8)
    cv2.polylines(bridge, [face[list(_curves.NOSE_BRIDGE), :2].round().astype(np.int32)], False, (255,), 3)
    bridge = cv2.dilate(cv2.GaussianBlur(bridge, (3, 3), 3), np.ones((4, 4), np.uint8)) / 255
    # A 4 x 4 kernel has no middle: theirs lies half a pixel off.
    assert np.minimum(bridge, ours["nose_bridge"]).sum() / np.maximum(bridge, ours["nose_bridge"]).sum() > 0.8
    assert ours["nose_bridge"].sum() == pytest.approx(bridge.sum(), rel=0.1)


def test_parts_are_where_they_are(face):
    parsing = maps.parsing_map(torch.tensor(face)[None], 256)[0]
    assert len(parsing) == len(maps.PARSING_CHANNELS) == 9

    def parts_at(*vertices):
        covered = parsing[(slice(None), *np.round(face[list(vertices), :2].mean(0)).astype(int)[::-1])]
        return {name for name, value in zip(maps.PARSING_CHANNELS, covered, strict=True) if value > 0.9}

    assert parts_at(RIGHT_IRIS) == parts_at(LEFT_IRIS) == {"face", "eyes", "gaze"}
    assert parts_at(63, 52) == parts_at(293, 282) == {"face", "brows"}
    assert parts_at(4) == {"face", "nose", "nose_bridge"}
    assert parts_at(13, 14) == {"face", "teeth"}
    assert parts_at(0, 13) == {"face", "upper_lip"}
    assert parts_at(14, 17) == {"face", "lower_lip"}
    assert parts_at(50) == parts_at(199) == {"face"}
    assert parts_at(10) == parts_at(151) == set()


@pytest.mark.parametrize("yaw", [-70.0, -45.0, 30.0, 55.0])
def test_turned_heads_keep_their_face(posed, yaw):
    """Nose and mouth lie on the face, and it has no holes along the profile line."""
    mesh = posed(yaw=yaw, scale=110.0, at=(128.0, 130.0))
    parsing = maps.parsing_map(torch.tensor(mesh)[None], 256)
    face, hull = parsing[0, 0], maps.hull_mask(torch.tensor(mesh)[None], 256)[0, 0]
    for vertex in (6, 195, 2, 0, 13, 17, 200):
        assert at(face, mesh[vertex] - [np.sign(yaw), 0, 0]) > 0.6, vertex
    assert face.sum() / hull.sum() > 0.93
    solid = face.numpy() > 0.99
    filled = cv2.morphologyEx(solid.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    assert (filled > solid).sum() < 25


def test_part_weights_add_up(face):
    """0.5 everywhere + face 1 + brows 2, eyes 3 + gaze 4, nose 2 + its bridge 1, lips 3, teeth 2."""
    weights = maps.part_weights(torch.eye(9)[:, :, None, None])[:, 0, 0, 0]
    assert weights.tolist() == [1.5, 2.5, 3.5, 4.5, 2.5, 3.5, 3.5, 2.5, 1.5]
    drawn = maps.part_weights(maps.parsing_map(torch.tensor(face)[None], 256))[0, 0]
    assert at(drawn, (2, 2)) == 0.5
    assert at(drawn, face[50]) == 1.5
    assert at(drawn, face[RIGHT_IRIS]) == pytest.approx(8.5)


def test_hull_of_a_hand_computed_square():
    points = torch.full((2, 68, 2), 4.0)
    points[:, :4] = torch.tensor([[1.5, 1.5], [5.5, 5.5], [5.5, 1.5], [1.5, 5.5]])
    points[1] += 1
    expected = torch.zeros(2, 1, 9, 9)
    expected[0, 0, 2:6, 2:6] = expected[1, 0, 3:7, 3:7] = 1
    torch.testing.assert_close(maps.hull_mask(points, 9), expected)


def test_face_mask_holds_the_face(posed):
    face = posed(yaw=50.0, scale=110.0, at=(128.0, 130.0))
    mesh = torch.tensor(face)[None]
    mask = maps.face_mask(mesh, 256)[0, 0]
    assert at(mask, face[197]) == at(mask, face[151]) == at(mask, face[50]) == at(mask, face[1] - [2, 0, 0]) == 1
    assert (mask[:10] == 0).all()
    assert ((mask > 0) & (mask < 1)).float().mean() < 0.02
