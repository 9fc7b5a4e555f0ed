"""What is no part of the person stays where it is, and the face never shows what lies behind it."""

import cv2
import numpy as np
import pytest

from reenactor.core import ReenactError
from reenactor.engine import Reenactor
from reenactor.engine.composite import StillBackground, _repaired
from reenactor.engine.shipped import demo_photo
from reenactor.face.geometry import turned
from reenactor.face.geometry.mean_face import head_angles
from reenactor.face.perception.detection import person_mask


@pytest.fixture(scope="module")
def astronaut():
    """The shipped photo's crop, and its landmarks."""
    reenactor = Reenactor("warp", background="moving")
    target = reenactor.set_target([demo_photo()])
    return target.crop.cut(demo_photo()), target.mesh_px


@pytest.fixture(scope="module")
def checked(astronaut):
    """The same person before a chequered wall."""
    picture, mesh = astronaut
    wall = np.indices(picture.shape[:2]).sum(0) // 16 % 2 * 160 + 40
    person = person_mask(picture)[..., None]
    return (person * picture + (1 - person) * wall[..., None]).astype(np.uint8), mesh


def test_a_person_is_told_from_the_wall(astronaut):
    picture, mesh = astronaut
    share = person_mask(picture)
    assert share.shape == picture.shape[:2]
    x, y = mesh[1, :2].astype(int)
    assert share[y, x] > 0.95
    assert share[:20, :20].max() < 0.05
    # The same at four times the size.
    larger = person_mask(np.repeat(np.repeat(picture, 2, 0), 2, 1))
    assert np.abs(larger[::2, ::2] - share).mean() < 0.02


def test_a_face_that_stays_leaves_the_photo_as_it_is(checked):
    picture, mesh = checked
    off = np.abs(StillBackground(picture, mesh).apply(picture, mesh).astype(int) - picture)
    assert off.mean() < 0.5
    assert (off > 8).mean() < 0.01


def test_the_wall_stays_and_the_person_turns(checked):
    picture, _ = checked
    moving, still = Reenactor("warp", background="moving"), Reenactor("warp")
    results = []
    for reenactor in (moving, still):
        reenactor.set_target([np.ascontiguousarray(picture)])
        own = turned(reenactor.target.mesh_px, np.array([18.0, 0.0, 0.0]))
        results.append((reenactor.target.crop.cut(picture), reenactor.draw(own)))
    (crop, dragged), (_, kept) = results
    # Far enough from both the photo's person and the turned one.
    wall = person_mask(crop) + np.roll(person_mask(crop), 24, 1) + np.roll(person_mask(crop), -24, 1) < 0.02
    assert wall.mean() > 0.1
    assert np.abs(kept.astype(int) - crop)[wall].mean() < 0.3 * np.abs(dragged.astype(int) - crop)[wall].mean()
    middle = slice(len(crop) // 2 - 20, len(crop) // 2 + 20)
    np.testing.assert_array_equal(kept[middle, middle], dragged[middle, middle])


def test_a_torn_face_gets_its_own_colours():
    drawn = np.full((128, 128, 3), (200, 150, 120), np.uint8)
    drawn[40:60, 70:80] = (0, 0, 255)
    torn, skin = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
    torn[20:30, 35:40] = 1
    mended = _repaired(drawn, torn, skin * (1 - torn))
    assert np.abs(mended.astype(int) - (200, 150, 120)).max() < 40
    assert _repaired(drawn, 0.2 * torn, skin) is drawn


def test_where_no_person_is_found_nothing_stays(astronaut, monkeypatch):
    picture, mesh = astronaut
    monkeypatch.setattr("reenactor.engine.composite.person_mask", lambda given: np.zeros(given.shape[:2], np.float32))
    drawn = picture[::-1].copy()
    assert StillBackground(picture, mesh).apply(drawn, mesh) is drawn


def test_only_still_or_moving():
    with pytest.raises(ReenactError, match="still, moving"):
        Reenactor("warp", background="green")


def test_only_a_turned_photo_hides_a_cheek(checked, monkeypatch):
    picture, mesh = checked
    # As if there were no skin but around the nose.
    off = np.abs(np.arange(len(picture)) - mesh[1, 0]) / np.linalg.norm(mesh[263] - mesh[33])
    share = np.broadcast_to(off < 0.45, picture.shape[:2]).astype(np.float32)
    monkeypatch.setattr("reenactor.engine.composite.person_mask", lambda _: share)
    torn = []

    def mended(drawn, where, _):
        torn.append(where.max())
        return drawn

    monkeypatch.setattr("reenactor.engine.composite._repaired", mended)
    for photo_deg, wanted_deg in ((0, 15), (20, -15)):
        # From the front, ears and what is behind them widen as the head turns; they are no part of a hidden cheek.
        photo = turned(mesh, np.array([photo_deg - head_angles(mesh)[0], 0.0, 0.0]))
        StillBackground(picture, photo).apply(picture, turned(photo, np.array([wanted_deg, 0.0, 0.0])))
    assert torn[0] == 0
    assert torn[1] > 0.5


def test_the_rim_is_thin_before_a_pattern_and_wide_before_a_plain_wall(astronaut):
    picture, mesh = astronaut
    share = person_mask(picture)
    lines = np.full(picture.shape[:2], 225, np.uint8)
    lines[::12] = lines[:, ::12] = 40
    person = np.clip((share - 0.3) / 0.4, 0, 1)[..., None]
    lattice = (person * picture + (1 - person) * lines[..., None]).astype(np.uint8)
    grey = (person * picture + (1 - person) * 150).astype(np.uint8)
    widths = {}
    for name, photo in (("lattice", lattice), ("grey", grey)):
        moving = StillBackground(photo, mesh)._around
        moving = cv2.resize(moving, (len(photo), len(photo)))
        beyond = (moving > 0.5) & (share < 0.5)
        distance = cv2.distanceTransform((share < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        widths[name] = float(np.quantile(distance[beyond], 0.95)) / len(photo)
    assert widths["lattice"] < 0.025  # it was 0.05
    assert 0.03 < widths["grey"] < 0.07
