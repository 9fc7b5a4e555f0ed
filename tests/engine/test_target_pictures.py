"""A video as target: which frames are taken of it, which one moves, and what is refused."""

from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from factories import head, is_one_sentence, psnr
from reenactor import Options, ReenactError, Reenactor, animate
from reenactor.core import Alignment, MediaError, NoFaceError
from reenactor.engine.cache import FaceCache
from reenactor.engine.shipped import shipped_motions
from reenactor.engine.target_pictures import TargetPictures
from reenactor.face.geometry import Crop, face_crop
from reenactor.face.geometry.looks import looks
from reenactor.media import VideoWriter, read_motion, write_image
from reenactor.models import create_model

TALK, BLINK = (read_motion(shipped_motions()[name]) for name in ("talk", "blink"))
EMPTY, BLURRED = (0, 1, 2), 20
"""Numbers of frames without a face, and from which on frames are blurred."""


@pytest.fixture(scope="module")
def frames():
    """Nothing; somebody who talks; the same blurred."""
    r = Reenactor("warp", size=256)
    r.set_target([head()])
    motion = replace(TALK.between(0.5, 3.0), about={})
    shown = [frame.image for frame, _ in zip(r.drive(motion), range(34), strict=False)][::2]
    nothing = np.full_like(shown[0], 90)
    return [nothing] * len(EMPTY) + shown + [cv2.GaussianBlur(one, (0, 0), 3) for one in shown]


@pytest.fixture(scope="module")
def video(tmp_path_factory, frames):
    return written(tmp_path_factory.mktemp("target") / "me.mp4", frames)


def written(path, frames):
    size = frames[0].shape[1::-1]
    with VideoWriter(path, size=size, time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
        for number, picture in enumerate(frames):
            writer.write(picture, number)
    return path


class Heard:
    def __init__(self):
        self.stages, self.steps, self.ended = [], [], 0

    def start(self, what, done, total):
        self.stages.append(what)

    def step(self, done, total):
        self.steps.append((done, total))

    def end(self):
        self.ended += 1


def read(video, most=32, *, still=None, face=None, max_side=1920, progress=None):
    pictures = TargetPictures(max_side, face, FaceCache(None), progress or Heard())
    return list(pictures([video], most, still=still))


def test_sharp_frames_that_differ(video, frames):
    heard = Heard()
    found = read(video, progress=heard)
    numbers = [one.frame for one in found]
    assert 3 <= len(numbers) == len(set(numbers)) <= len(frames)
    assert len(EMPTY) <= min(numbers)
    assert max(numbers) < BLURRED
    assert numbers[1:] == sorted(numbers[1:])
    for one in found:
        assert psnr(one.pixels, frames[one.frame]) > 28
        assert one.time_s == pytest.approx(one.frame / 25)
    seen = looks(np.stack([one.found.mesh for one in found]))
    apart = np.linalg.norm(seen[:, None] - seen, axis=-1) + 9 * np.eye(len(seen))
    assert apart.min() > 0.4
    assert heard.stages == ["reading me.mp4"]
    assert heard.steps[-1] == (len(frames), len(frames))
    assert heard.ended == 1


def test_fewer_are_the_first_of_more(video):
    all_, some = ({one.frame for one in read(video, most)} for most in (32, 3))
    assert len(some) == 3
    assert some < all_
    assert read(video, 1)[0].frame == read(video)[0].frame


def test_a_chosen_frame_moves(video, frames):
    r = Reenactor("warp", size=128)
    target = r.set_target([video], still=9)
    assert psnr(target.photo, frames[9]) > 28
    assert (target.videos[0].still, target.videos[0].photo) == (9, 1)
    assert target.videos[0].frames == len(target.all_mesh_px) > 2
    assert "me.mp4" in target.videos[0].text(["me.mp4"])
    assert "frame 9 (0.36 s) is the one that moves" in target.videos[0].text(["me.mp4"])
    # Blurred, but asked for.
    assert read(video, still=BLURRED + 2)[0].frame == BLURRED + 2


def test_most_open_eyes_and_the_shut_mouth_at_rest(tmp_path):
    """Of a film of somebody who blinks, it is no frame with closed eyes."""
    r = Reenactor("warp", size=256)
    r.set_target([head()])
    shown = [frame.image for frame in r.drive(BLINK)]
    found = read(written(tmp_path / "blink.mp4", shown))
    lids = looks(np.stack([one.found.mesh for one in found]))[:, 4]
    assert lids[0] > lids.min() + 1
    assert lids[0] > np.median(lids) - 0.5


def test_photos_and_videos_share(video, tmp_path):
    write_image(tmp_path / "a.png", head())
    pictures = TargetPictures(1920, None, FaceCache(None), Heard())
    found = list(pictures([tmp_path / "a.png", video, video], 7))
    assert [one.source for one in found] == [1, 2, 2, 2, 3, 3, 3]
    assert found[0].frame is None
    r = Reenactor("warp", size=128)
    target = r.set_target([tmp_path / "a.png", video])
    assert [one.photo for one in target.videos] == [2]
    assert "moves" not in target.videos[0].text(["a.png", "me.mp4"])
    assert len(target.all_mesh_px) == r.model.needs.video_frames == 8
    assert not target.other_people


class TestSameCrop:
    """Frames of a video are cut where its first one is, so that what is behind the face stays there."""

    @pytest.fixture
    def crop(self, video):
        first = read(video)[0]
        return first, face_crop(first.found.mesh, size=64)

    def test_is_the_first_ones(self, video, crop):
        first, square = crop
        assert all(one.same_crop(first, square) == square for one in read(video))

    def test_of_a_part_of_a_frame_and_of_a_shrunk_first(self, crop):
        first, square = crop
        part = replace(first, pixels=first.pixels[10:, 20:], corner_px=(20, 10))
        moved = part.same_crop(first, square)
        assert (moved.left, moved.top, moved.side) == (square.left - 20, square.top - 10, square.side)
        half = replace(first, zoom=0.5)
        small = Crop(square.left // 2, square.top // 2, square.side // 2, 64)
        again = first.same_crop(half, small)
        assert (
            np.abs(np.subtract((again.left, again.top, again.side), (square.left, square.top, square.side))).max() <= 1
        )

    def test_not_of_a_face_beside_it_nor_of_another_video_or_a_photo(self, crop):
        first, square = crop
        assert first.same_crop(first, replace(square, left=square.left + square.side // 2)) is None
        assert replace(first, source=2).same_crop(first, square) is None
        assert replace(first, corner_px=None).same_crop(first, square) is None

    def test_targets_are_cut_so(self, tmp_path, frames):
        talking = frames[len(EMPTY) : BLURRED]
        path = written(tmp_path / "aside.mp4", [np.roll(one, 2 * i, axis=1) for i, one in enumerate(talking)])
        target = Reenactor("warp", size=128).set_target([path])
        beside = target.all_mesh_px[..., 0].mean(1)
        assert len(beside) > 2
        assert np.ptp(beside) > 8
        assert target.crop.size == 128
        # A model whose faces are aligned sees each in its own crop.
        model = create_model("warp")
        model.needs = replace(model.needs, alignment=Alignment.MEAN_SHAPE)
        beside = Reenactor(model, size=128).set_target([path]).all_mesh_px[:, [33, 263], 0].mean(1)
        assert len(beside) > 2
        assert np.ptp(beside) < 3


def test_shrunk_as_photos_are(video):
    one = read(video, max_side=128)[0]
    assert one.pixels.shape == (128, 128, 3)
    assert one.found.mesh[:, :2].max() < 128


def test_a_gif_is_a_video(tmp_path, frames):
    from PIL import Image

    shown = [Image.fromarray(one) for one in frames[3:10]]
    shown[0].save(tmp_path / "me.gif", save_all=True, append_images=shown[1:], duration=40)
    assert len(read(tmp_path / "me.gif")) > 1


def test_a_job_tells(video, tmp_path):
    write_image(tmp_path / "driver.png", head())
    options = Options(model="warp", size=64, max_side=128, still=5)
    report = animate([video], tmp_path / "driver.png", tmp_path / "o.png", options)
    assert report.videos[0].still == 5
    assert "me.mp4: 8 frames are used; frame 5 (0.20 s) is the one that moves" in report.text()
    assert report.claim is not None
    assert [(one.role, one.name) for one in report.claim.inputs] == [("target", "me.mp4"), ("driver", "driver.png")]


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "error", "says"),
        [
            ({"still": 999}, ReenactError, "has 37 frames, and there is no frame 999; give 0 to 36"),
            ({"still": 1}, NoFaceError, "frame 1"),
            ({"face": 2}, NoFaceError, "no face number 2"),
        ],
    )
    def test_a_frame_or_face_that_is_not_there(self, video, arguments, error, says):
        with pytest.raises(error, match=says) as caught:
            read(video, **arguments)
        assert is_one_sentence(str(caught.value), video)

    def test_a_still_of_a_photo_or_before_the_first(self, video):
        r = Reenactor("warp", size=64)
        with pytest.raises(ReenactError, match="the first target is a photo"):
            r.set_target([head()], still=0)
        with pytest.raises(ReenactError, match="counted from 0"):
            r.set_target([video], still=-1)
        with pytest.raises(ReenactError, match="counted from 0"):
            Options(still=-1)

    def test_no_face_at_all(self, tmp_path, frames):
        with pytest.raises(NoFaceError, match="no face found in any frame"):
            read(written(tmp_path / "empty.mp4", frames[:3] * 2))

    def test_no_video_at_all(self, tmp_path):
        (tmp_path / "broken.mp4").write_bytes(b"nothing")
        with pytest.raises(MediaError):
            read(tmp_path / "broken.mp4")
        with pytest.raises(MediaError):
            read(tmp_path / "missing.mp4")

    def test_transparency(self, video):
        with pytest.raises(ReenactError, match="has no transparency"):
            Reenactor("warp", size=64, alpha=True).set_target([video])

    def test_a_target_that_was_there_stays(self, video):
        r = Reenactor("warp", size=64)
        before = r.set_target([head()])
        with pytest.raises(ReenactError):
            r.set_target([video], still=999)
        assert r.target is before
