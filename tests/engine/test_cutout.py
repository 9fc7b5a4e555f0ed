"""A cut-out photo stays cut out while its face moves, without fringes and holes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from factories import head
from reenactor import Options, ReenactError, Reenactor
from reenactor.engine.composite import MovingOpacity
from reenactor.engine.cutout import cut_out
from reenactor.face.geometry import turned
from reenactor.face.geometry.mean_face import head_angles

WRONG = np.array([255, 0, 255], np.uint8)
"""A colour that the photo does not have."""


@pytest.fixture(scope="module")
def photo():
    """The astronaut's head, cut out roughly, with a soft edge that still has the colour of what was cut away."""
    face = head()
    outline = np.zeros((256, 256), np.uint8)
    cv2.ellipse(outline, (128, 110), (84, 104), 0, 0, 360, (255,), -1)
    cv2.rectangle(outline, (60, 180), (200, 255), (255,), -1)
    opacity = cv2.GaussianBlur(outline, (0, 0), 1.5)
    part = opacity[..., None] / 255
    return np.dstack([np.rint(part * face + (1 - part) * WRONG).astype(np.uint8), opacity])


@pytest.fixture(scope="module")
def reenactor(photo):
    one = Reenactor("warp", alpha=True)
    one.set_target([Image.fromarray(photo)])
    return one


def fringe(layers):
    """How much of `WRONG` the worst hundredth of the soft edge shows: red and blue over green, 0 and less for faces."""
    colours, part = layers[..., :3].astype(int), layers[..., 3] / 255
    shown = part * (np.minimum(colours[..., 0], colours[..., 2]) - colours[..., 1])
    return np.quantile(shown[(part > 0) & (part < 1)], 0.99)


def test_colours_of_the_opaque_part_are_continued(photo):
    layers = cut_out(Image.fromarray(photo), 1920)
    np.testing.assert_array_equal(layers[..., 3], photo[..., 3])
    whole = photo[..., 3] == 255
    np.testing.assert_array_equal(layers[whole], photo[whole])
    assert fringe(photo) > 60
    assert fringe(layers) < 20


def test_what_is_half_transparent_over_a_wide_area_keeps_its_colours(photo):
    veil = photo.copy()
    veil[..., 3] = np.where(photo[..., 3] == 255, 100, 0)
    inner = cv2.erode(veil[..., 3], np.ones((15, 15), np.uint8)) > 0
    np.testing.assert_array_equal(cut_out(Image.fromarray(veil), 1920)[inner], veil[inner])


def test_a_large_photo_is_shrunk_by_what_is_seen_of_it(photo):
    """A fine pattern of opaque and transparent pixels: the mean of the opaque ones, not of all."""
    pattern = np.zeros((256, 256, 4), np.uint8)
    pattern[::2] = (200, 100, 50, 255)
    small = cut_out(Image.fromarray(pattern), 128)
    assert small.shape == (128, 128, 4)
    np.testing.assert_allclose(small, np.broadcast_to([200.0, 100.0, 50.0, 128.0], small.shape), atol=1)


def test_a_photo_without_transparency_is_refused(photo, tmp_path):
    one = Reenactor("warp", alpha=True)
    face = head()
    Image.fromarray(face).save(tmp_path / "whole.png")
    full = np.dstack([face, np.full((256, 256), 255, np.uint8)])
    for given, name in (
        (face, "photo 1"),
        (Image.fromarray(full), "photo 1"),
        (tmp_path / "whole.png", str(tmp_path / "whole.png")),
    ):
        with pytest.raises(ReenactError) as caught:
            one.set_target([given])
        assert str(caught.value).startswith(f"nothing of {name} is transparent")
        assert "leave out alpha" in str(caught.value)
    # The others may be whole: only the first is shown.
    assert len(one.set_target([Image.fromarray(photo), face]).all_mesh_px) == 2
    with pytest.raises(ReenactError, match="a grid has no transparency"):
        Options(alpha=True, layout="grid")


def test_a_face_at_rest_is_as_transparent_as_the_photo(photo, reenactor):
    target = reenactor.target
    frame = reenactor.frame(target.mesh_px, 0)
    assert frame.image.shape == (256, 256, 4)
    assert frame.face.shape == (target.crop.size, target.crop.size, 4)
    assert np.abs(frame.image[..., 3].astype(int) - photo[..., 3]).max() <= 4


def test_opacity_moves_with_the_face(reenactor):
    """Transparent spots at landmarks are at those landmarks when the head has turned."""
    mesh, side = reenactor.target.mesh_px, reenactor.target.crop.size
    goal = turned(mesh, np.array([10.0, -6.0, 5.0]))
    for point in (1, 151, 205, 425):  # nose, forehead, cheeks
        opacity = np.full((side, side), 255, np.uint8)
        cv2.circle(opacity, np.rint(mesh[point, :2]).astype(int).tolist(), 6, (0,), -1)
        spot = 255 - MovingOpacity(opacity, mesh).at(goal).astype(float)
        centre = np.array([(spot * axis).sum() for axis in np.indices(spot.shape)])[::-1] / spot.sum()
        assert np.abs(centre - goal[point, :2]).max() < 1.5
        assert np.abs(mesh[point, :2] - goal[point, :2]).max() > 2


@pytest.mark.parametrize("model", ["warp", "hybrid"])
def test_no_fringe_shows_on_any_ground(photo, model):
    one = Reenactor(model, alpha=True)
    target = one.set_target([Image.fromarray(photo)])
    face = one.draw(turned(target.mesh_px, np.array([12.0, 5.0, -6.0])))
    assert fringe(face) < 25
    assert ((face[..., 3] > 0) & (face[..., 3] < 255)).sum() > 300


def test_a_cheek_that_the_photo_hides_has_no_hole(reenactor, monkeypatch):
    """The mesh alone is cut out of the photo: what it hides has its place where that is transparent."""
    mesh, side = reenactor.target.mesh_px, reenactor.target.crop.size
    photo = turned(mesh, np.array([22.0 - head_angles(mesh)[0], 0.0, 0.0]))
    goal = turned(photo, np.array([-25.0, 0.0, 0.0]))

    def hull(points):
        mask = np.zeros((side, side), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points[:, :2]).astype(np.int32)), (255,))
        return mask

    opacity = cv2.erode(hull(photo), np.ones((9, 9), np.uint8))
    inside = cv2.erode(hull(goal), np.ones((21, 21), np.uint8)) > 0
    assert MovingOpacity(opacity, photo).at(goal)[inside].min() > 250
    monkeypatch.setattr("reenactor.engine.composite._hides", lambda _: 0.0)
    assert MovingOpacity(opacity, photo).at(goal)[inside].min() < 50


def test_the_outside_of_the_crop_keeps_its_opacity(photo):
    large = np.pad(photo, ((40, 200), (300, 20), (0, 0)))
    large[300:, :100] = (10, 200, 30, 120)
    one = Reenactor("warp", alpha=True)
    crop = one.set_target([Image.fromarray(large)]).crop
    image = one.frame(turned(one.target.mesh_px, np.array([9.0, 0.0, 0.0])), 0).image
    outside = np.ones(large.shape[:2], bool)
    outside[crop.inside(large.shape[1], large.shape[0])] = False
    np.testing.assert_array_equal(image[outside][:, 3], large[outside][:, 3])
    np.testing.assert_array_equal(image[400, 50], large[400, 50])


def test_a_target_that_fails_leaves_the_old_one_whole(photo, monkeypatch):
    one = Reenactor("warp", alpha=True)
    one.set_target([Image.fromarray(photo)])
    before = one.draw(one.target.mesh_px)
    layers = photo.copy()
    layers[: len(layers) // 2, :, 3] //= 2
    monkeypatch.setattr("reenactor.engine.reenactor.Portrait", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.set_target([Image.fromarray(layers)])
    np.testing.assert_array_equal(one.draw(one.target.mesh_px), before)
