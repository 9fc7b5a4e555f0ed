"""A job that is stopped continues, and its result is the one that an unstopped job gives."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from factories import FRAMES, decoded, sound_packets, stored_times, write_clip
from reenactor.core import Layout, MediaError, Options
from reenactor.engine import TrackFolder, animate, job

SEGMENT = 8
FAST = Options(model="warp", size=64, max_side=128, provenance=False)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(job, "SEGMENT_FRAMES", SEGMENT)


class StopAt:
    """Ctrl-C once so many frames of a stage are done."""

    def __init__(self, stage, frames):
        self.stage, self.frames = stage, frames
        self.now = ""
        self.first = {}

    def start(self, what, done, total):
        self.now = what
        self.first[what] = done

    def step(self, done, total):
        if self.now == self.stage and done >= self.frames:
            raise KeyboardInterrupt

    def end(self):
        pass


READING, ANIMATING = "reading the driver", "animating"


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory, photo, clip):
    """Frames, times and sound of jobs that nobody stops, by options."""
    known = {}

    def of(options):
        if options not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(job, "SEGMENT_FRAMES", SEGMENT)
                path = tmp_path_factory.mktemp("unstopped") / "o.mp4"
                animate([photo], clip, path, options)
            known[options] = facts(path)
        return known[options]

    return of


def facts(path):
    return decoded(path), stored_times(path), sound_packets(path)


def assert_same(path, wanted):
    frames, times, sound = facts(path)
    np.testing.assert_array_equal(frames, wanted[0])
    assert times == wanted[1]
    assert sound == wanted[2]


@pytest.mark.parametrize(
    ("stage", "frames", "options"),
    [
        pytest.param(READING, 1, FAST, marks=pytest.mark.slow),
        (READING, 17, FAST),
        pytest.param(READING, FRAMES, FAST, marks=pytest.mark.slow),
        pytest.param(ANIMATING, 1, FAST, marks=pytest.mark.slow),
        pytest.param(ANIMATING, SEGMENT, FAST, marks=pytest.mark.slow),
        (ANIMATING, 3 * SEGMENT + 3, FAST),
        pytest.param(ANIMATING, FRAMES, FAST, marks=pytest.mark.slow),
        pytest.param(
            ANIMATING,
            20,
            Options(size=64, layout=Layout.GRID, smooth=True, provenance=False),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_stopped_job_continues(tmp_path, photo, clip, unstopped, stage, frames, options):
    output = tmp_path / "o.mp4"
    with pytest.raises(KeyboardInterrupt):
        animate([photo], clip, output, options, progress=StopAt(stage, frames))
    assert not output.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["o.mp4.reenactor-job"]
    again = StopAt("never", 0)
    report = animate([photo], clip, output, options, progress=again)
    assert_same(output, unstopped(options))
    assert os.listdir(tmp_path) == ["o.mp4"]
    if stage == READING:
        assert again.first[READING] == frames
    else:
        # The segment under way is drawn anew; those before it are kept.
        kept = (frames - 1) // SEGMENT * SEGMENT
        assert again.first[READING] == FRAMES
        assert again.first[ANIMATING] == kept
        assert report.frames_made == FRAMES - kept


@pytest.mark.slow
def test_stopped_again_and_again(tmp_path, photo, clip, unstopped):
    output = tmp_path / "o.mp4"
    for stop in ((READING, 5), (READING, 6), (READING, 30), (ANIMATING, 9), (ANIMATING, 30)):
        with pytest.raises(KeyboardInterrupt):
            animate([photo], clip, output, FAST, progress=StopAt(*stop))
    animate([photo], clip, output, FAST)
    assert_same(output, unstopped(FAST))


def test_tracker_keeps_to_its_person(tmp_path, drawn):
    """Two people: the one followed is not the largest after the stop, and still the one to follow."""
    rng = np.random.default_rng(3)
    frames = []
    for i, face in enumerate(drawn):
        canvas = rng.integers(100, 110, (256, 560, 3), np.uint8)
        canvas[:, :256] = face
        if i >= 8:
            larger = np.kron(drawn[0][20:180, 40:200], np.ones((2, 2, 1), np.uint8))[:256, :300]
            canvas[:, 260:] = larger
        frames.append(canvas)
    driver = tmp_path / "two.mp4"
    write_clip(driver, frames, list(range(FRAMES)), Fraction(1, 25))
    whole = TrackFolder(tmp_path / "whole", driver).fill().read(0, FRAMES)

    def stop(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TrackFolder(tmp_path / "stopped", driver).fill(stop)
    assert TrackFolder(tmp_path / "stopped", driver).done == 20
    np.testing.assert_array_equal(TrackFolder(tmp_path / "stopped", driver).fill().read(0, FRAMES), whole)
    assert whole[:, :, 0].mean(1).max() < 256


@pytest.mark.parametrize(
    "changed",
    [replace(FAST, size=96), pytest.param(replace(FAST, driver_face=1), marks=pytest.mark.slow)],
)
def test_changed_options_start_anew(tmp_path, photo, clip, unstopped, changed):
    output = tmp_path / "o.mp4"
    with pytest.raises(KeyboardInterrupt):
        animate([photo], clip, output, FAST, progress=StopAt(ANIMATING, 20))
    again = StopAt("never", 0)
    assert animate([photo], clip, output, changed, progress=again).frames_made == FRAMES
    assert again.first[READING] == 0
    assert_same(output, unstopped(changed))


def test_changed_driver_starts_anew(tmp_path, photo, clip, motion):
    driver, output = tmp_path / "driver.mp4", tmp_path / "o.mp4"
    driver.write_bytes(clip.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        animate([photo], driver, output, FAST, progress=StopAt(ANIMATING, 20))
    driver.write_bytes(clip.read_bytes() + b"\0\0\0\x10free\0\0\0\0\0\0\0\0")
    again = StopAt("never", 0)
    animate([photo], driver, output, FAST, progress=again)
    assert again.first[READING] == 0


@pytest.mark.slow
def test_torn_and_missing_pieces(tmp_path, photo, clip, unstopped):
    """What a power failure leaves: a record torn in the middle, landmarks that are gone, a segment cut short."""
    output, folder = tmp_path / "o.mp4", tmp_path / "o.mp4.reenactor-job"
    with pytest.raises(KeyboardInterrupt):
        animate([photo], clip, output, FAST, progress=StopAt(READING, 20))
    with (folder / "track.bin").open("ab") as file:
        file.write(b"half a record")
    with pytest.raises(KeyboardInterrupt):
        animate([photo], clip, output, FAST, progress=StopAt(ANIMATING, 20))
    (folder / "track.bin").unlink()
    animate([photo], clip, output, FAST)
    assert_same(output, unstopped(FAST))
    folder.mkdir()
    (folder / "segment00000.mp4").write_text("rubbish")
    animate([photo], clip, output, FAST)
    assert_same(output, unstopped(FAST))


def test_a_damaged_segment_is_drawn_again(tmp_path, photo, clip, unstopped):
    output, folder = tmp_path / "o.mp4", tmp_path / "o.mp4.reenactor-job"
    with pytest.raises(KeyboardInterrupt):
        animate([photo], clip, output, FAST, progress=StopAt(ANIMATING, 20))
    (folder / "segment00001.mp4").write_text("rubbish")
    assert animate([photo], clip, output, FAST).frames_made == FRAMES - SEGMENT
    assert_same(output, unstopped(FAST))


def test_a_file_in_the_way_of_the_folder(tmp_path, photo, motion):
    (tmp_path / "o.mp4.reenactor-job").write_text("somebody's")
    with pytest.raises(MediaError, match=r"o\.mp4"):
        animate([photo], motion, tmp_path / "o.mp4", FAST)
    assert (tmp_path / "o.mp4.reenactor-job").read_text() == "somebody's"


COMMAND = """
import signal, sys, time
from reenactor.cli.main import main
from reenactor.cli.progress import Bar
from reenactor.engine import job
job.SEGMENT_FRAMES = 8
# A shell that runs tests in its background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
waits, start, step = sys.argv[1:3], Bar.start, Bar.step
def started(self, what, done, total):
    self.what = what
    start(self, what, done, total)
def waiting(self, done, total):
    step(self, done, total)
    if [self.what, str(done)] == waits:
        time.sleep(600)
Bar.start, Bar.step = started, waiting
sys.exit(main(sys.argv[3:]))
"""
"""Waits at a frame of a stage to be stopped: however busy the machine is, it is not done before."""


def until(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_real_signals(kill, tmp_path, photo, clip, unstopped, reenactor):
    """Stopped while reading, stopped again while animating, then left to finish."""
    output, folder = tmp_path / "o.mp4", tmp_path / "o.mp4.reenactor-job"
    # fmt: off
    arguments = ["animate", "--target", photo, "--driver", clip, "-o", output,
                 "--model", "warp", "--size", 64, "--max-side", 128, "--no-provenance"]
    # fmt: on
    track, segment = folder / "track.bin", folder / "segment00001.mp4"

    def size():
        return track.stat().st_size if track.exists() else 0

    for stage, condition in ((READING, lambda: size() > 20_000), (ANIMATING, segment.exists)):
        command = [sys.executable, "-c", COMMAND, stage, "30", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(condition, process)
        process.send_signal(kill)
        out, err = process.communicate(timeout=30)
        assert out == ""
        if kill == signal.SIGINT:
            assert process.returncode == 130
            assert err.strip() == "reenactor: stopped; the same command continues where it stopped"
        assert not output.exists()
    code, said, err = reenactor(*arguments)
    assert (code, err) == (0, "")
    assert "new frames" in said
    assert_same(output, unstopped(FAST))
    assert os.listdir(tmp_path) == ["o.mp4"]


def test_other_verbs_promise_nothing(tmp_path, clip, reenactor, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrackFolder, "fill", stopped)
    code, out, err = reenactor("motion", "extract", clip, "-o", tmp_path / "o.motion")
    assert (code, out, err) == (130, "", "\nreenactor: stopped\n")
    assert not list(tmp_path.iterdir())


def test_files_may_be_moved(tmp_path, photo, clip, unstopped):
    """What identifies a job: content, not paths or dates."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    moved = [shutil.copy(path, before) for path in (photo, clip)]
    with pytest.raises(KeyboardInterrupt):
        animate(moved[:1], moved[1], before / "o.mp4", FAST, progress=StopAt(ANIMATING, 20))
    before.rename(after)
    again = animate([after / photo.name], after / clip.name, after / "o.mp4", FAST)
    assert again.frames_made == FRAMES - 2 * SEGMENT
    assert_same(after / "o.mp4", unstopped(FAST))
