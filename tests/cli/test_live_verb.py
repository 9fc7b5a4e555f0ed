"""`reenactor live`, with a film for a camera and no window."""

import cv2
import numpy as np
import pytest

from reenactor.cli.live import obey, with_text
from reenactor.core import MediaError
from reenactor.engine import LiveSession, live
from reenactor.media import VideoReader, read_provenance

SMALL = ("--size", 64, "--max-side", 128)


def test_a_film_is_the_camera(reenactor, photo, clip, drawn, tmp_path):
    film = tmp_path / "film.mp4"
    code, said, told = reenactor("live", photo, "--source", clip, "--no-window", "--record", film, *SMALL)
    assert code == 0, told
    assert told == "photo 1 (astronaut.png): the face is small and will be soft; use a photo with a larger face\n"
    assert "frames, " in said
    assert "latency" in said
    assert f"{film}: " in said
    with VideoReader(film) as reader:
        assert reader.size == (128, 128)
        times_s = [float(frame.pts * reader.time_base) for frame in reader]
    # At its own pace; on a busy machine most pictures are dropped.
    assert 1 <= len(times_s) <= len(drawn)
    assert times_s[-1] <= (len(drawn) - 1) * 1001 / 30000 + 0.001
    assert read_provenance(film).valid


def test_seconds_end_it(reenactor, photo, clip, tmp_path):
    film = tmp_path / "film.mkv"
    options = ("--seconds", 0.05, "--no-window", "--no-provenance", "--record", film, "--size", 64)
    code, said, told = reenactor("live", photo, "--source", clip, *options)
    assert (code, told) == (0, "")
    assert "dropped" in said


def test_ctrl_c_ends_it_well(reenactor, photo, clip, tmp_path, monkeypatch):
    def pressed(self, timeout_s=None):
        result = waited(self, 20)
        raise KeyboardInterrupt if result is not None else AssertionError

    waited = LiveSession.next_result
    monkeypatch.setattr(LiveSession, "next_result", pressed)
    film = tmp_path / "film.mp4"
    code, said, told = reenactor("live", photo, "--source", clip, "--no-window", "--record", film, *SMALL)
    assert code == 0, told
    assert f"{film}: " in said
    assert read_provenance(film).valid


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--camera", 63), "no camera 63"),
        (("--source", "nothing.mp4"), "does not exist"),
        (("--source", "CLIP", "--record", "CLIP"), "already"),
        (("--source", "CLIP", "--seconds", 0), "more than 0"),
        (("--source", "CLIP", "--record", "a.mkv"), "cannot carry a signature"),
        (("--source", "CLIP", "--driver-face", 0), "from 1"),
    ],
)
def test_one_sentence(reenactor, photo, clip, options, reason):
    options = [clip if option == "CLIP" else option for option in options]
    code, _, told = reenactor("live", photo, "--no-window", *options, "--size", 64)
    assert code == 2
    assert reason in told
    assert told.count("\n") == 1


def test_no_display(reenactor, photo, clip, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code, _, told = reenactor("live", photo, "--source", clip)
    assert code == 2
    assert "pass --no-window" in told


class Told:
    """Session and recorder in one, that say what they were told."""

    mirror = False

    def __init__(self):
        self.heard = []

    def set_neutral(self):
        self.heard.append("neutral")

    def toggle(self):
        self.heard.append("record")


def test_keys():
    told = Told()
    assert all(obey(ord(key), told, told) for key in "nmrrx")
    assert told.heard == ["neutral", "record", "record"]
    assert told.mirror
    assert not obey(ord("q"), told, told)
    assert not obey(27, told, told)


def test_text_shows_on_any_ground():
    for grey in (0, 128, 255):
        ground = np.full((64, 256, 3), grey, np.uint8)
        shown = with_text(ground.copy(), "25 fps")
        assert np.ptp(shown) > 200
        assert (shown[32:] == ground[32:]).all()


@pytest.mark.usefixtures("unchecked")
def test_a_camera_is_read_in_rgb(monkeypatch):
    class Webcam:
        left = 2

        def __init__(self, source):
            assert source == 0

        def isOpened(self):  # noqa: N802
            return True

        def set(self, *_):
            return True

        def read(self):
            self.left -= 1
            return self.left >= 0, np.full((8, 8, 3), (255, 0, 0), np.uint8)

        def release(self):
            Webcam.left = -9

    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    pictures = live.camera_pictures(0)
    (first, a_s), (_, b_s) = next(pictures), next(pictures)
    assert first[0, 0].tolist() == [0, 0, 255]
    assert 0 <= a_s <= b_s
    with pytest.raises(MediaError, match="no more pictures"):
        next(pictures)
    assert Webcam.left == -9
