"""A grey photo stays grey, a drawing keeps its colours, and a photo in colour is left alone."""

import cv2
import numpy as np
import pytest

from factories import CASES
from reenactor.engine import Reenactor
from reenactor.engine.colours import OwnColours
from reenactor.engine.shipped import demo_photo
from reenactor.media import read_image


@pytest.fixture(scope="module")
def astronaut():
    target = Reenactor("warp").set_target([demo_photo()])
    return target.crop.cut(demo_photo()), target.mesh_px


def as_jpeg(picture, quality=90):
    stored = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])


def reddened(picture, mesh):
    """As a network draws lips."""
    x, y = mesh[13, :2].astype(int)
    drawn = picture.copy()
    drawn[y - 8 : y + 8, x - 15 : x + 15] = (190, 60, 70)
    return drawn, (slice(y - 8, y + 8), slice(x - 15, x + 15))


def test_a_photo_in_colour_is_left_alone(astronaut):
    picture, mesh = astronaut
    drawn, _ = reddened(picture, mesh)
    assert OwnColours(picture, mesh).apply(drawn) is drawn
    faded = as_jpeg((picture * 0.6 + picture.mean(axis=2, keepdims=True) * 0.4).astype(np.uint8))
    assert OwnColours(faded, mesh).apply(drawn) is drawn


def test_a_grey_photo_stays_grey(astronaut):
    picture, mesh = astronaut
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    drawn, lips = reddened(grey, mesh)
    made = OwnColours(as_jpeg(grey), mesh).apply(drawn).astype(int)
    assert np.ptp(made, axis=2).max() <= 4
    assert made[lips].mean() == pytest.approx(drawn[lips].mean(), abs=6)
    # Where nothing was painted it looks as before.
    assert np.abs(made - drawn)[: lips[0].start - 5].max() <= 6


def test_a_photo_of_one_tone_keeps_it(astronaut):
    picture, mesh = astronaut
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    sepia = np.clip(grey * np.array([1.0, 0.85, 0.65]) + (10, 5, 0), 0, 255).astype(np.uint8)
    drawn, lips = reddened(sepia, mesh)
    made = OwnColours(sepia, mesh).apply(drawn).astype(int)[lips]
    np.testing.assert_allclose(made[..., 1] - 5, 0.85 * (made[..., 0] - 10), atol=6)
    np.testing.assert_allclose(made[..., 2], 0.65 * (made[..., 0] - 10), atol=6)


def test_a_drawing_keeps_its_colours(astronaut):
    _, mesh = astronaut
    side = 256
    picture = np.full((side, side, 3), (180, 220, 255), np.uint8)
    hull = cv2.convexHull(mesh[:, :2].astype(np.float32)).astype(np.int32)
    cv2.fillConvexPoly(picture, hull, (255, 215, 180), cv2.LINE_AA)
    for x, y in mesh[[33, 263, 13], :2].astype(int):
        cv2.circle(picture, (int(x), int(y)), 6, (160, 30, 30), -1, cv2.LINE_AA)
    haze = (picture * 0.8 + np.array([60, 60, 60]) * 0.2).astype(np.uint8)
    made = OwnColours(picture, mesh, drawing=True).apply(haze)
    own = np.unique(picture.reshape(-1, 3), axis=0).astype(int)
    away = np.abs(made.reshape(-1, 1, 3)[::37].astype(int) - own).max(axis=2).min(axis=1)
    assert away.max() <= 8


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not here")
@pytest.mark.parametrize("name", ["photo_grey.jpg", "drawn_face.png"])
def test_the_cases_are_drawn_in_their_own_colours(name):
    photo = read_image(CASES / name)
    reenactor = Reenactor("hybrid", size=256, cache=False)
    target = reenactor.set_target([photo])
    wide = target.mesh_px.copy()
    wide[[14, 87, 317, 178, 402], 1] += 20
    drawn = reenactor.draw(wide)
    own = np.unique(target.crop.cut(photo).reshape(-1, 3) // 8, axis=0).astype(int) * 8 + 4
    away = np.abs(drawn[128:].reshape(-1, 1, 3)[::29].astype(int) - own).max(axis=2).min(axis=1)
    assert np.quantile(away, 0.99) <= 8
