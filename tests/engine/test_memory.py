"""The longest driver takes no more memory than a short one."""

import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context

import av
import cv2
import numpy as np
import psutil
import pytest

from factories import head
from reenactor import Reenactor
from reenactor.core import Options
from reenactor.engine import LiveSession, animate
from reenactor.engine.shipped import shipped_motions
from reenactor.media import write_image


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    write_image(path, head())
    return path


@pytest.fixture(scope="module")
def pictures(photo):
    """15 pictures of a talking head."""
    reenactor = Reenactor()
    reenactor.set_target([photo])
    return [frame.image for frame, _ in zip(reenactor.drive(shipped_motions()["talk"]), range(15), strict=False)]


def looped(path, pictures, frames, *, sound=False):
    """A film of that many frames, 30 a second, that repeats one encoded second for as long as wanted."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=30, options={"preset": "ultrafast", "bf": "0"})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = output.add_stream("aac", rate=48000) if sound else None
        packets = []
        for picture in pictures:
            packets += video.encode(av.VideoFrame.from_ndarray(picture))
        packets += video.encode(None)
        contents = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for number in range(frames):
            content, key = contents[number % len(contents)]
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.time_base, packet.duration = Fraction(1, 30), 1
            packet.stream, packet.is_keyframe = video, key
            output.mux(packet)
        if audio:
            for block in range(frames * 1600 // 1024):
                wave = np.sin((np.arange(1024) + block * 1024) * 440 * 2 * np.pi / 48000).astype(np.float32)
                sample = av.AudioFrame.from_ndarray(np.repeat(wave[None], 2, 0), format="fltp", layout="stereo")
                sample.sample_rate, sample.pts = 48000, block * 1024
                output.mux(audio.encode(sample))
            output.mux(audio.encode(None))
    return path


def resident_mib():
    return psutil.Process().memory_info().rss / 2**20


def growth_mib(sizes):
    """From the first third to the last, each its median: the working arrays of one frame come and go, up to 35 MiB."""
    third = len(sizes) // 3
    return np.median(sizes[-third:]) - np.median(sizes[:third])


class Watch:
    """Resident size, MiB: the largest seen at any frame, and the most it grew within a step."""

    def __init__(self):
        self.peak_mib = self.growth_mib = 0.0
        self.sizes = []

    def start(self, what, done, total):
        self.sizes = []

    def step(self, done, total):
        self.sizes.append(resident_mib())
        self.peak_mib = max(self.peak_mib, self.sizes[-1])

    def end(self):
        if len(self.sizes) >= 30:
            self.growth_mib = max(self.growth_mib, growth_mib(self.sizes))


def watched(folder, photo, pictures, lengths):
    """One job after the other."""
    options = Options(size=64, max_side=128, provenance=False)
    watches = []
    for frames in lengths:
        watches.append(Watch())
        driver = looped(folder / "driver.mp4", pictures, frames)
        report = animate([photo], driver, folder / "o.mp4", options, progress=watches[-1])
        assert report.frames == frames
    return watches


@pytest.mark.slow
def test_fifteen_times_the_frames_no_more_memory(tmp_path, photo, pictures):
    # In a fresh process: after a thousand other tests the allocator alone adds up to 50 MiB.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        # The first run loads what is loaded once.
        _, short, long = pool.submit(watched, tmp_path, photo, pictures, (30, 30, 450)).result()
    # 300 pictures of 256 x 256 would be 56 MiB; each job's threads add a few.
    assert long.growth_mib < 10
    assert long.peak_mib - short.peak_mib < 25


@pytest.mark.slow
def test_job_after_job_no_more_memory(tmp_path, photo, pictures):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        jobs = pool.submit(watched, tmp_path, photo, pictures, [30] * 12).result()
    # Without `frugal` it is 70 to 100.
    assert jobs[-1].peak_mib - jobs[1].peak_mib < 40, [job.peak_mib for job in jobs]


@pytest.mark.slow
def test_one_minute_of_720p_against_ten_seconds(tmp_path, photo, pictures):
    wide = [np.pad(cv2.resize(p, (720, 720)), ((0, 0), (280, 280), (0, 0)), mode="edge") for p in pictures]
    peaks = []
    for seconds in (10, 60):
        driver = looped(tmp_path / f"{seconds}.mp4", wide, 30 * seconds, sound=True)
        command = ["animate", "--target", photo, "--driver", driver, "-o", tmp_path / f"{seconds}-o.mp4"]
        done = subprocess.run(
            [sys.executable, "-m", "reenactor", *map(str, command)], capture_output=True, text=True, check=True
        )
        peaks.append(int(re.search(r"peak memory (\d+) MiB", done.stdout)[1]))
    assert peaks[1] < 1.1 * peaks[0], peaks


def session_growth_mib(film, photo, pictures, frames):
    """How much more memory a session takes after its 30th picture, drawing and recording."""
    reenactor = Reenactor(size=64, max_side=128)
    reenactor.set_target([photo])
    sizes = []
    with LiveSession(reenactor) as session:
        session.record(film, provenance=False)
        for i in range(frames):
            # A fresh picture each: kept ones would show.
            session.submit(pictures[i % len(pictures)].copy(), i / 30)
            assert session.next_result(60) is not None
            sizes.append(resident_mib())
        assert session.stop_recording().frames == frames
    return growth_mib(sizes[30:])


@pytest.mark.slow
@pytest.mark.parametrize("frames", [230, 6_000])
def test_a_live_session_does_not_grow(frames, tmp_path, photo, pictures):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        grown = pool.submit(session_growth_mib, tmp_path / "film.mp4", photo, pictures, frames).result()
    # 130 pictures of 256 x 256 would be 25 MiB; 1,500 pictures grow by 1 MiB.
    assert grown < 10


def test_pictures_faster_than_they_are_drawn(photo, pictures):
    """A thousand at once: no more than the newest waits."""
    reenactor = Reenactor(size=64, max_side=128)
    reenactor.set_target([photo])
    with LiveSession(reenactor) as session:
        for i in range(1000):
            session.submit(pictures[i % len(pictures)], i / 30)
        session.finish()
        last = list(session.results())[-1]
        told = session.statistics()
    assert last.time_s == pytest.approx(999 / 30)
    assert told.frames + told.dropped == 1000
    assert told.dropped > 500
