"""A driver whose pictures come one by one."""

import cv2
import numpy as np
import pytest
from PIL import Image

from factories import head
from reenactor import ReenactError, Reenactor
from reenactor.core import NoFaceError
from reenactor.engine.live import film_pictures
from reenactor.face.geometry import mirrored_mesh as mirrored
from reenactor.face.geometry import turned
from reenactor.face.geometry.mean_face import head_angles


@pytest.fixture(scope="module")
def photo():
    return head()


@pytest.fixture(scope="module")
def reenactor(photo):
    one = Reenactor("warp", size=128, transfer="relative")
    one.set_target([photo])
    return one


@pytest.fixture(scope="module")
def pictures(reenactor):
    """A head that turns."""
    mesh = reenactor.target.mesh_px
    return [reenactor.frame(turned(mesh, np.array([2.0 * i, 0, 0])), 0.0).image for i in range(8)]


def run(live, pictures):
    return [live.step(picture, i / 25) for i, picture in enumerate(pictures)]


def test_the_first_face_is_at_rest(reenactor, pictures):
    wall = np.full_like(pictures[0], 90)
    with reenactor.live() as live:
        assert not live.ready
        before = live.step(wall, 0.0)
        assert not before.driver_seen
        assert not live.ready
        np.testing.assert_array_equal(before.mesh_px, reenactor.target.mesh_px)
        first = live.step(pictures[-1], 0.1)
        assert first.driver_seen
        assert live.ready
        np.testing.assert_allclose(first.mesh_px, reenactor.target.mesh_px, atol=0.6)
        held = live.step(wall, 0.2)
        assert (held.driver_seen, held.time_s) == (False, 0.2)
        assert held.image is first.image


def test_neutral_is_taken_anew(reenactor, pictures):
    with reenactor.live(smooth=False, neutral=pictures[0]) as live:
        turned = live.step(pictures[-1], 0.0)
        assert np.abs(turned.mesh_px - reenactor.target.mesh_px).max() > 3
        live.set_neutral()
        rest = live.step(pictures[-1], 0.1)
        np.testing.assert_allclose(rest.mesh_px, reenactor.target.mesh_px, atol=0.6)


def test_with_parts_the_heads_turn_counts_from_the_first_face_or_the_neutral_one(photo, pictures):
    one = Reenactor("warp", size=128)
    one.set_target([photo])
    at_rest = head_angles(one.target.mesh_px)
    with one.live(smooth=False) as live:
        first = live.step(pictures[0], 0.0)
        np.testing.assert_allclose(head_angles(first.mesh_px), at_rest, atol=1)
        turned = live.step(pictures[-1], 0.1)
        assert abs(head_angles(turned.mesh_px)[0] - at_rest[0]) > 8
        live.set_neutral()
        np.testing.assert_allclose(head_angles(live.step(pictures[-1], 0.2).mesh_px), at_rest, atol=1)


def test_mirrored_the_head_turns_the_other_way(reenactor, pictures):
    """Truth: a driver whose pictures are mirrored before they are handed over."""
    flipped = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
    with (
        reenactor.live(neutral=pictures[0]) as plain,
        reenactor.live(neutral=flipped[0]) as truth,
        reenactor.live(neutral=pictures[0], mirror=True) as live,
    ):
        a, b, c = (run(one, p)[-1].mesh_px for one, p in ((plain, pictures), (truth, flipped), (live, pictures)))
        live.mirror = False
        d = live.step(pictures[-1], 99.0).mesh_px
    rest_deg = head_angles(reenactor.target.mesh_px)[0]
    turns_deg = [head_angles(mesh)[0] - rest_deg for mesh in (a, b, c, d)]
    assert abs(turns_deg[0]) > 4
    assert turns_deg[1] == pytest.approx(-turns_deg[0], abs=2)
    assert turns_deg[2] == pytest.approx(turns_deg[1], abs=2)
    assert turns_deg[3] == pytest.approx(turns_deg[0], abs=1)
    assert np.abs(c - b)[:, :2].mean() < 0.5


def test_mirroring_twice_changes_nothing(reenactor):
    mesh = reenactor.target.mesh_px
    np.testing.assert_allclose(mirrored(mirrored(mesh, 200), 200), mesh, atol=1e-4)
    assert mirrored(mesh, 200)[33, 0] == pytest.approx(199 - mesh[263, 0])


@pytest.mark.parametrize("mirror", [False, True])
def test_after_a_cut_the_target_eases_to_its_own_pose(reenactor, pictures, mirror):
    """The camera changes: the head is smaller, and turned as it is now."""
    after = np.full_like(pictures[0], 250)
    small = cv2.resize(pictures[-1], None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    after[-len(small) :, -len(small) :] = small
    with reenactor.live(neutral=pictures[0], mirror=mirror) as live:
        before = run(live, pictures)[-1].mesh_px
        meshes = [before, *(live.step(after, (8 + i) / 25).mesh_px for i in range(12))]
    photo = reenactor.target.mesh_px
    apart = np.abs(before - photo).max()
    assert apart > 3
    assert np.abs(np.diff(meshes, axis=0)).max() < 0.35 * apart
    assert head_angles(meshes[-1])[0] == pytest.approx(head_angles(photo)[0], abs=1.5)
    assert np.ptp(meshes[-1][:, 0]) == pytest.approx(np.ptp(photo[:, 0]), rel=0.05)


def test_what_cannot_be(reenactor, photo, pictures, unchecked):
    with pytest.raises(ReenactError, match="no target yet"):
        Reenactor("warp").live()
    with pytest.raises(ReenactError, match="from 1"):
        reenactor.live(face=0)
    with pytest.raises(NoFaceError, match="neutral"):
        reenactor.live(neutral=np.zeros((64, 64, 3), np.uint8))
    with reenactor.live() as live:
        live.step(pictures[0], 1.0)
        with pytest.raises(ValueError, match="times must increase"):
            live.step(pictures[1], 1.0)
        with pytest.raises(ValueError, match="uint8"):
            live.step(pictures[1][..., 0], 2.0)


def test_a_film_may_be_an_animation(tmp_path, pictures):
    path = tmp_path / "film.webp"
    first, *rest = (Image.fromarray(picture) for picture in pictures)
    first.save(path, save_all=True, append_images=rest, duration=10, lossless=True)
    shown = list(film_pictures(path))
    assert [time_s for _, time_s in shown] == pytest.approx([i / 100 for i in range(8)])
    assert all(np.array_equal(picture, one) for (picture, _), one in zip(shown, pictures, strict=True))
