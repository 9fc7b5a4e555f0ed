"""Parts of the page, without a browser."""

import asyncio
import base64
import io
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factories import write_raw
from reenactor.core import ReenactError
from reenactor.core.options import Layout
from reenactor.engine.person import described
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.media import read_motion, read_person, write_image
from reenactor.server import Limits, Settings
from reenactor.server.guard import RefusalError
from reenactor.server.page.edits import clipped
from reenactor.server.page.html import capital, note, problem, progress, remaining, sentence_of
from reenactor.server.page.previews import Previews, _pictures
from reenactor.server.records import JobOptions


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "about 1 s"), (45.4, "about 45 s"), (150, "about 2 min")])
def test_remaining_time(seconds, text):
    assert remaining(seconds) == text


def test_sentences():
    assert sentence_of(ReenactError("no face found; use another")) == "No face found; use another."
    assert sentence_of(RefusalError(422, "me.png is odd")) == "me.png is odd."
    assert capital("me.png is odd") == "me.png is odd."


def test_other_errors_are_told_in_the_terminal(capsys):
    said = sentence_of(KeyError("secret"))
    assert "secret" not in said
    assert "KeyError: 'secret'" in capsys.readouterr().err


def test_names_of_files_are_no_html():
    for made in (note("<b>x"), problem("<b>x"), progress("<b>x", 0.5)):
        assert "<b>" not in made
        assert "&lt;b&gt;x" in made
    assert 'aria-valuenow="50"' in progress("x", 0.5)


@pytest.fixture(scope="module")
def previews(tmp_path_factory):
    one = Previews(Settings(data=tmp_path_factory.mktemp("data"), threads=1))
    yield one
    one.close()


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory):
    face = demo_photo()[:256, 100:356]
    path = tmp_path_factory.mktemp("two") / "two.png"
    write_image(path, np.ascontiguousarray(np.concatenate([face, face[:, ::-1]], axis=1)))
    return path


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))


def test_faces_are_numbered_from_the_left(previews, two_faces):
    (found,) = asyncio.run(previews.faces([two_faces], ["two.png"]))
    assert (found.width, found.height) == (512, 256)
    (left, top, right, bottom), (left_2, *_) = found.boxes
    assert 0 <= left < right < left_2
    assert 0 <= top < bottom <= 256
    assert found.largest in (1, 2)
    one, two = (decoded(crop) for crop in found.crops)
    assert one.shape == two.shape == (128, 128, 3)
    assert np.abs(one.astype(int) - two).mean() > 10


def test_photos_without_a_face_are_refused(previews, tmp_path):
    write_image(tmp_path / "grey.png", np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(ReenactError, match=r"no face found in mine\.png"):
        asyncio.run(previews.faces([tmp_path / "grey.png"], ["mine.png"]))


def test_the_first_frame_of_a_video_that_shows_a_face(previews, face, grey_film, tmp_path):
    grey = np.full_like(face, 128)
    mp4 = write_raw(tmp_path / "mine.mp4", [grey] * 10 + [face] * 10 + [face[::-1]] * 10)
    webp = tmp_path / "mine.webp"
    frames = [Image.fromarray(one) for one in (grey, grey, face, face[::-1])]
    frames[0].save(webp, save_all=True, append_images=frames[1:], duration=40, lossless=True)
    for path in (mp4, webp):
        (found,) = asyncio.run(previews.faces([path], [path.name]))
        assert np.abs(decoded(found.picture).astype(int) - face).mean() < 5
        assert len(found.boxes) == len(found.crops) == 1
    with pytest.raises(ReenactError, match=r"no face found in mine\.mp4"):
        asyncio.run(previews.faces([grey_film], ["mine.mp4"]))


def test_a_long_video_is_looked_at_here_and_there(face, tmp_path):
    grey, small = np.zeros((64, 64, 3), np.uint8), np.ascontiguousarray(face[::4, ::4])
    pictures = list(_pictures(write_raw(tmp_path / "long.mp4", [grey] * 250 + [small] * 250)))
    assert len(pictures) == 24
    assert [bool(one.mean() > 50) for one in pictures] == [False] * 12 + [True] * 12


def origins_of(previews, target, token, folder):
    """The stages that finding a target's origins reports."""
    stages = set()
    request = {"token": token, "photos": [str(target)], "face": None, "driver": str(shipped_motions()["blink"])}
    variants = {"mine": {"model": "hybrid", "transfer": "relative", "size": 64}}

    def reported(stage, *_):
        stages.add(stage)
        return True

    asyncio.run(previews.origins({**request, "variants": variants, "folder": str(folder)}, reported))
    return stages


def test_a_video_is_edited_and_compared(previews, film, tmp_path):
    options = JobOptions(model="warp", layout=Layout.CROP, max_side=256)
    assert decoded(asyncio.run(previews.edited([film], options, [0.0] * 10))).shape == (256, 256, 3)
    with pytest.raises(ReenactError, match="no face number 2 from the left found in any frame of photo 1;") as refused:
        asyncio.run(previews.edited([film], replace(options, face=2), [0.0] * 10))
    assert "/" not in str(refused.value)
    stages = origins_of(previews, film, "film", tmp_path / "t")
    assert "video 1" in asyncio.run(previews.origins_at("film", 0))
    assert "reading me.mp4" in stages


def test_a_person_file_is_shown_edited_and_compared(previews, person, film, tmp_path):
    (found,) = asyncio.run(previews.faces([person], ["me.person"]))
    known = read_person(person)
    assert found.about == described(known)
    assert np.array_equal(decoded(found.picture).shape, known.pictures[0].pixels().shape)
    assert len(found.boxes) == len(found.crops) == found.largest == 1
    options = JobOptions(model="warp", layout=Layout.CROP, max_side=256)
    assert decoded(asyncio.run(previews.edited([person], options, [0.0] * 10))).shape == (256, 256, 3)
    stages = origins_of(previews, person, "person", tmp_path / "p")
    assert "person 1" in asyncio.run(previews.origins_at("person", 0))
    # No video was read again.
    assert not [stage for stage in stages if stage.startswith("reading")]


def test_edits_are_drawn_and_saved(previews, photo, tmp_path):
    options = JobOptions(model="warp", layout=Layout.CROP, max_side=256)
    rest, turned = ([0.0] * 10, [20.0] + [0.0] * 9)
    pictures = [decoded(asyncio.run(previews.edited([photo], options, one))).astype(int) for one in (rest, turned)]
    assert np.abs(pictures[0] - pictures[1]).mean() > 2
    path = tmp_path / "edit.motion"
    for still, frames in ((True, 1), (False, 65)):
        path.write_bytes(asyncio.run(previews.motion(turned, still=still)))
        assert len(read_motion(path)) == frames
        assert asyncio.run(previews.edits_of(path))[0] == pytest.approx(20, abs=0.3)


def test_values_beyond_the_sliders_are_clipped():
    assert astuple(clipped([1e9, float("nan"), *[-1e9] * 8]))[:3] == (30, 0, -25)


def test_comparisons_tell_where_pictures_come_from(previews, photo, tmp_path):
    reports = []

    def ask(token, model, going=True):
        variants = {"mine": {"model": model, "transfer": "relative", "size": 64}}
        driver = shipped_motions()["blink"]
        request = {"token": token, "photos": [str(photo)], "face": None, "variants": variants, "driver": str(driver)}

        def reported(*progress):
            reports.append(progress)
            return going

        return asyncio.run(previews.origins({**request, "folder": str(tmp_path / token)}, reported))

    assert ask("none", "warp") is None
    times_s = ask("some", "hybrid")
    assert len(times_s) == 120
    shown = asyncio.run(previews.origins_at("some", times_s[60]))
    assert "<h3>mine</h3>" in shown
    assert shown.count("<img") == 2
    with pytest.raises(ReenactError, match="Compare again"):
        asyncio.run(previews.origins_at("none", 0))


@pytest.mark.parametrize(
    "settings", [{"port": 70000}, {"live": -1}, {"sign_cert": Path("a")}, {"limits": Limits(photo_mib=0)}]
)
def test_settings_that_cannot_be(settings, tmp_path):
    with pytest.raises(ReenactError):
        Settings(data=tmp_path, **settings).check()
