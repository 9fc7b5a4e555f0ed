import gc
from fractions import Fraction

import numpy as np
import psutil
import pytest
from PIL import Image

from factories import is_one_sentence, moving, psnr
from reenactor.core import MediaError
from reenactor.media import AnimationWriter, VideoReader, VideoWriter, open_writer

NTSC = Fraction(30000, 1001)


def write(path, frames, times, time_base, end=None):
    height, width = frames[0].shape[:2]
    with AnimationWriter(path, size=(width, height), time_base=time_base, rate_hint=NTSC) as writer:
        for frame, pts in zip(frames, times, strict=True):
            writer.write(frame, pts)
        writer.close(end)
    return path


def read(path):
    """Frames, their lengths in ms, and the loop count (0: for ever), by Pillow."""
    with Image.open(path) as image:
        frames, lengths = [], []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            frames.append(np.array(image.convert("RGB")))
            lengths.append(image.info["duration"])
        return frames, lengths, image.info["loop"]


@pytest.mark.parametrize(("suffix", "quality_db"), [(".gif", 33), (".webp", 33)])
def test_pictures_and_loop(tmp_path, face, suffix, quality_db):
    frames = [moving(face, i) for i in range(20)]
    back, _, loop = read(write(tmp_path / f"a{suffix}", frames, range(20), 1 / NTSC))
    assert min(psnr(a, b) for a, b in zip(back, frames, strict=True)) > quality_db
    assert loop == 0
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(("suffix", "tick_ms"), [(".gif", 10), (".webp", 1)])
def test_rounded_times_add_up(tmp_path, face, suffix, tick_ms):
    frames = [moving(face[:64, :64], i) for i in range(60)]
    _, lengths, _ = read(write(tmp_path / f"a{suffix}", frames, range(60), 1 / NTSC))
    shown = np.cumsum([0, *lengths])
    wanted = [float(i * 1000 / NTSC) for i in range(61)]
    assert np.abs(shown - wanted).max() <= tick_ms / 2 + 1e-9


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_variable_times_and_the_last_frames_length(tmp_path, face, suffix):
    frames = [moving(face[:64, :64], i) for i in range(5)]
    path = write(tmp_path / f"a{suffix}", frames, [0, 10, 50, 57, 100], Fraction(1, 100), end=177)
    assert read(path)[1] == [100, 400, 70, 430, 770]
    one = write(tmp_path / f"one{suffix}", frames[:1], [0], Fraction(1, 100), end=55)
    with Image.open(one) as image:
        assert np.abs(np.array(image.convert("RGB")).astype(int) - frames[0]).mean() < 6


def test_gif_frames_are_never_shorter_than_players_take(tmp_path, face):
    frames = [moving(face[:64, :64], i % 64) for i in range(90)]
    back, lengths, _ = read(write(tmp_path / "a.gif", frames, range(90), Fraction(1, 60)))
    assert min(lengths) >= 20
    assert abs(sum(lengths) - 1500) <= 20
    assert len(back) >= 55


def test_equal_webp_frames_keep_their_time(tmp_path, face):
    path = write(tmp_path / "a.webp", [face] * 10 + [moving(face, 9)] * 10, range(20), Fraction(1, 25), end=20)
    _, lengths, _ = read(path)
    assert sum(lengths) == 800
    assert len(lengths) < 20


def test_a_gif_is_read_as_video(tmp_path, face):
    frames = [moving(face, i) for i in range(10)]
    path = write(tmp_path / "a.gif", frames, range(10), Fraction(1, 10), end=10)
    with VideoReader(path) as reader:
        back = list(reader)
        assert [frame.pts * reader.time_base for frame in back] == [Fraction(i, 10) for i in range(10)]
        assert reader.end_pts * reader.time_base == 1
        assert reader.average_rate == 10
    assert min(psnr(b.image, f) for b, f in zip(back, frames, strict=True)) > 33


def test_the_suffix_chooses_the_writer(tmp_path):
    what = {"size": (64, 64), "time_base": 1 / NTSC, "rate_hint": NTSC}
    for name, kind in {"a.GIF": AnimationWriter, "a.webp": AnimationWriter, "a.mov": VideoWriter}.items():
        writer = open_writer(tmp_path / name, **what)
        assert type(writer) is kind
        writer.discard()
    with pytest.raises(MediaError, match="must end in"):
        open_writer(tmp_path / "a.txt", **what)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_errors_leave_nothing_behind(tmp_path, face, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ValueError, match="increase"):
        write(path, [face, face], [3, 3], 1 / NTSC)
    with pytest.raises(MediaError, match="no frames") as caught:
        AnimationWriter(path, size=(64, 64), time_base=1 / NTSC, rate_hint=NTSC).close()
    assert is_one_sentence(str(caught.value), path)
    missing = tmp_path / "missing" / path.name
    with pytest.raises(MediaError, match="does not exist") as caught:
        AnimationWriter(missing, size=(64, 64), time_base=1 / NTSC, rate_hint=NTSC)
    assert is_one_sentence(str(caught.value), missing)
    with pytest.raises(ValueError, match="uint8"):
        write(path, [face, face[:64]], [0, 1], 1 / NTSC)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path, face, suffix):
    """500 frames of 256 px are 98 MB; what the allocator keeps for encoders' threads varies by some tens."""
    process = psutil.Process()

    def write_many(count):
        frames = [moving(face, i) for i in range(64)]
        with AnimationWriter(tmp_path / f"a{suffix}", size=(256, 256), time_base=1 / NTSC, rate_hint=NTSC) as writer:
            for number in range(count):
                writer.write(frames[number % 64], number)
            peak = process.memory_info().rss
        gc.collect()
        return max(peak, process.memory_info().rss)

    write_many(50)
    short = write_many(50)
    assert write_many(500) - short < 50 * 2**20
