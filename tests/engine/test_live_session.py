"""Live driving in a thread: nothing waits, nothing piles up, and what is recorded stays."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from factories import head
from reenactor import ReenactError, Reenactor
from reenactor.core import MediaError
from reenactor.engine import LiveSession, Recording
from reenactor.engine.reenactor import ResultFrame
from reenactor.media import SourceFile, VideoReader, read_provenance
from reenactor.models.warp import Warp


@pytest.fixture(scope="module")
def photo():
    return head()


@pytest.fixture(scope="module")
def reenactor(photo):
    one = Reenactor("warp", size=64, max_side=128)
    one.set_target([photo])
    return one


class Gate:
    """A driver that draws a picture whenever it is told to, and says which."""

    mirror = False
    ready = True

    def __init__(self):
        self.go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.closed = False

    def step(self, picture, time_s):
        self.begun.release()
        assert self.go.acquire(timeout=10)
        if picture[0, 0, 0] == 13:
            raise MediaError("that number is unlucky")
        return ResultFrame(picture, picture, np.zeros((478, 3), np.float32), time_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True


class Stub(Reenactor):
    """As much of a reenactor as a session needs."""

    def __init__(self, driver, model):
        self.driver, self.model = driver, model

    def live(self, **_):
        return self.driver


@pytest.fixture
def gate():
    return Gate()


def picture(number):
    return np.full((64, 64, 3), number, np.uint8)


def numbers(results):
    return [int(result.image[0, 0, 0]) for result in results]


def test_the_newest_picture_wins(gate):
    with LiveSession(Stub(gate, Warp())) as session:
        session.submit(picture(0), 0.0)
        assert gate.begun.acquire(timeout=10)  # 0 is being drawn
        for number in range(1, 6):
            session.submit(picture(number), number / 10)
        session.submit(picture(6), 0.45)  # late
        gate.go.release(2)
        session.finish()
        assert numbers(session.results()) == [0, 5]
        with pytest.raises(ReenactError, match="has ended"):
            session.submit(picture(7), 7.0)
        told = session.statistics()
    assert (told.frames, told.dropped) == (2, 5)
    assert gate.closed
    assert not session.running


def test_results_that_nobody_takes_are_dropped(gate):
    with LiveSession(Stub(gate, Warp())) as session:
        for number in range(5):
            session.submit(picture(number), number)
            assert gate.begun.acquire(timeout=10)
            gate.go.release()
        session.finish()
        while session.statistics().frames < 5:
            time.sleep(0.001)
        assert numbers(session.results()) == [3, 4]


def test_speed_and_latency(gate):
    with LiveSession(Stub(gate, Warp())) as session:
        assert session.statistics().text() == "no frames, 0 pictures dropped"
        for number in range(3):
            session.submit(picture(number), number)
            time.sleep(0.05)
            gate.go.release()
            assert session.next_result(10) is not None
        told = session.statistics()
        assert 50 <= told.latency_ms <= told.latency_95_ms
        assert 0 < told.fps <= 20
        assert "3 frames" in told.text()
        assert session.next_result(0.01) is None


def test_an_error_reaches_the_taker_and_the_giver(gate):
    with LiveSession(Stub(gate, Warp())) as session:
        session.submit(picture(13), 0.0)
        gate.go.release()
        with pytest.raises(MediaError, match="unlucky"):
            next(session.results())
        with pytest.raises(MediaError, match="unlucky"):
            session.submit(picture(1), 1.0)
    assert gate.closed


def test_closing_ends_the_thread_and_drops_what_waits(gate):
    session = LiveSession(Stub(gate, Warp()))
    session.submit(picture(0), 0.0)
    assert gate.begun.acquire(timeout=10)
    session.submit(picture(1), 1.0)
    threading.Timer(0.05, gate.go.release).start()
    session.close()
    assert session.statistics().frames == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "live session"]


def test_a_real_target_is_driven_and_recorded(reenactor, photo, tmp_path):
    """Stopped properly, the recording is an ordinary, signed file."""
    film = tmp_path / "film.mp4"
    with LiveSession(reenactor) as session:
        session.record(film, inputs=[SourceFile("target", "photo.png", "0" * 64)])
        for number in range(5):
            session.submit(np.roll(photo, 3 * number, axis=1), number * 0.04)
            assert session.next_result(20).driver_seen
        recording = session.stop_recording()
        assert recording.frames == 5
        session.submit(photo, 9.0)
        assert session.next_result(20) is not None
        assert session.stop_recording() is None
    with VideoReader(film) as reader:
        assert reader.size == (128, 128)
        times_s = [round(float(frame.pts * reader.time_base), 3) for frame in reader]
    assert times_s == [0.0, 0.04, 0.08, 0.12, 0.16]
    said = read_provenance(film)
    assert said.valid
    assert said.synthetic
    assert [one.role for one in said.inputs] == ["target"]


_RECORD_AND_DIE = """
import os, sys
import numpy as np
from reenactor.engine import Recording
from reenactor.models.warp import Warp
recording = Recording(sys.argv[1], model=Warp(), provenance=False)
noise = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3), np.uint8)
for number, picture in enumerate(noise):
    recording.write(picture, 5 + number / 20)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_recording_survives_a_kill(tmp_path, suffix):
    film = tmp_path / f"film{suffix}"
    subprocess.run([sys.executable, "-c", _RECORD_AND_DIE, str(film)], check=False, env=os.environ)
    with VideoReader(film) as reader:
        times_s = [float(frame.pts * reader.time_base) for frame in reader]
        assert not reader.truncated
    assert len(times_s) >= 45
    np.testing.assert_allclose(times_s, np.arange(len(times_s)) / 20, atol=1e-3)


def test_recordings_that_cannot_be(tmp_path):
    (tmp_path / "there.mp4").write_bytes(b"precious")
    for name, reason in (
        ("there.mp4", "already"),
        ("a.gif", "must end in"),
        ("a.mkv", "signature"),
        ("no/a.mp4", "folder"),
    ):
        with pytest.raises(MediaError, match=reason):
            Recording(tmp_path / name, model=Warp())
    assert (tmp_path / "there.mp4").read_bytes() == b"precious"
    empty = Recording(tmp_path / "empty.mp4", model=Warp(), provenance=False)
    assert not empty.close()
    assert not empty.path.exists()
