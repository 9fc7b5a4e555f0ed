"""Animated WebP, PNG and AVIF are read like videos; written here by Pillow, independently of the code under test."""

import gc
import struct
import zlib
from fractions import Fraction

import numpy as np
import psutil
import pytest
from PIL import Image

from factories import is_one_sentence, moving, psnr
from reenactor.core import MediaError
from reenactor.media import AnimationReader, VideoReader, is_still, open_reader, read_image

QUALITY = {"webp": {"lossless": True}, "png": {}, "avif": {"quality": 95, "subsampling": "4:4:4"}}
SUFFIXES = list(QUALITY)


def write(path, frames, durations_ms, **options):
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=durations_ms, **options)
    return path


def times_ms(reader):
    return [frame.pts * reader.time_base * 1000 for frame in reader] + [reader.end_pts * reader.time_base * 1000]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pictures_and_times(tmp_path, face, suffix):
    frames = [moving(face, 9 * i) for i in range(6)]
    path = write(tmp_path / f"a.{suffix}", frames, [40, 100, 15, 33, 250, 7], **QUALITY[suffix])
    assert not is_still(path)
    with open_reader(path) as reader:
        assert isinstance(reader, AnimationReader)
        assert (reader.size, reader.frame_count, reader.has_audio, reader.end_pts) == ((256, 256), 6, False, None)
        back = [frame.image for frame in reader]
        assert min(psnr(a, b) for a, b in zip(back, frames, strict=True)) > 38
        assert times_ms(reader) == [0, 40, 140, 155, 188, 438, 445]
        assert not reader.truncated
        rest = list(reader.frames(4))
        assert len(rest) == 2
        np.testing.assert_array_equal(rest[0].image, back[4])


def test_a_frame_without_duration_is_shown_as_long_as_in_browsers(tmp_path, face):
    frames = [moving(face, i) for i in range(4)]
    for suffix in ("webp", "png"):
        path = write(tmp_path / f"a.{suffix}", frames, [0, 40, 0, 20], **QUALITY[suffix])
        with open_reader(path) as reader:
            assert times_ms(reader) == [0, 100, 140, 240, 260]


def test_the_fractions_of_a_png_are_exact(tmp_path, face):
    path = write(tmp_path / "a.png", [moving(face[:32, :32], i) for i in range(40)], 1000 / 30)
    with open_reader(path) as reader:
        assert times_ms(reader) == [Fraction(1000 * i, 30) for i in range(41)]
        assert reader.average_rate == 30


def test_times_of_avif_do_not_drift(tmp_path, face):
    """FFmpeg writes the exact times, which Pillow cannot; each is rounded to 1 ms by itself."""
    import av

    path = tmp_path / "a.avif"
    with av.open(str(path), "w", format="avif") as output:
        stream = output.add_stream("libsvtav1", rate=Fraction(30000, 1001), options={"preset": "12"})
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for i in range(60):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(moving(face, i))))
        output.mux(stream.encode(None))
    with open_reader(path) as reader:
        shown = times_ms(reader)
    assert len(shown) == 61
    assert max(abs(time - i * Fraction(1001, 30)) for i, time in enumerate(shown)) <= 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_transparency_is_white(tmp_path, face, suffix):
    half = np.dstack([face, np.full(face.shape[:2], 255, np.uint8)])
    half[:, :128, 3] = 0
    frames = [half, half[::-1].copy()]
    path = write(tmp_path / f"a.{suffix}", frames, 40, **QUALITY[suffix])
    with open_reader(path) as reader:
        back = [frame.image for frame in reader]
    for frame, flip in zip(back, (1, -1), strict=True):
        assert frame[:, :120].min() >= 250
        assert psnr(frame[:, 136:], face[::flip, 136:]) > 35
    np.testing.assert_array_equal(back[0], read_image(path))


def test_orientation_turns_every_frame(tmp_path, face):
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [np.ascontiguousarray(np.rot90(moving(face, i)[:, :200])) for i in range(3)]
    path = write(tmp_path / "a.webp", frames, 40, lossless=True, exif=exif)
    with open_reader(path) as reader:
        assert reader.size == (200, 256)
        for i, frame in enumerate(reader):
            np.testing.assert_array_equal(frame.image, moving(face, i)[:, :200])


def test_a_picture_for_older_programs_is_no_frame(tmp_path, face):
    frames = [moving(face, i) for i in range(3)]
    path = write(tmp_path / "a.png", [frames[2], *frames], 40, default_image=True)
    with open_reader(path) as reader:
        assert reader.frame_count == 3
        assert [np.array_equal(frame.image, frames[i]) for i, frame in enumerate(reader)] == [True] * 3
    alone = write(tmp_path / "alone.png", [frames[2], frames[0]], 40, default_image=True)
    assert is_still(alone)


def test_the_content_says_what_moves(tmp_path, face):
    frames = [moving(face, i) for i in range(3)]
    for suffix in SUFFIXES:
        single = write(tmp_path / f"single.{suffix}", frames[:1], 40)
        assert is_still(single)
    for suffix in ("webp", "png"):
        with pytest.raises(MediaError, match="is not a video"):
            open_reader(tmp_path / f"single.{suffix}")
    renamed = write(tmp_path / "a.webp", frames, 40).rename(tmp_path / "renamed.mp4")
    with open_reader(renamed) as reader:
        assert len(list(reader)) == 3
    gif = write(tmp_path / "a.gif", frames, 40).rename(tmp_path / "gif.png")
    assert not is_still(gif)
    with open_reader(gif) as reader:
        assert isinstance(reader, VideoReader)
        assert len(list(reader)) == 3
    assert is_still(tmp_path / "missing.png")
    assert not is_still(tmp_path / "missing.mp4")


def test_a_png_that_ends_early_gives_what_is_there(tmp_path, face):
    path = write(tmp_path / "a.png", [moving(face, i) for i in range(6)], 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_reader(path) as reader:
        assert len(list(reader)) == 3
        assert reader.truncated
        assert reader.end_pts * reader.time_base == Fraction(12, 100)


def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, face):
    whole = {suffix: write(tmp_path / f"a.{suffix}", [face, face[::-1].copy()], 40).read_bytes() for suffix in SUFFIXES}
    for name, content, words in (
        ("cut.webp", whole["webp"][:2000], "not a video"),
        ("cut.avif", whole["avif"][:2000], "can be decoded"),
        ("cut.png", whole["png"][:2000], "damaged"),
        ("wide.png", (80_000, 16), "megapixels"),
        ("huge.png", whole["png"][:12] + claimed(11_000, 11_000) + whole["png"][33:], "megapixels"),
        ("tiny.png", (8, 8), "only 8 x 8 pixels"),
        ("strip.png", (60_000, 20), "a strip of"),
        ("empty.webp", b"", "is empty"),
        ("text.webp", b"no picture" * 100, "not a video"),
    ):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write(path, [np.full((content[1], content[0], 3), shade, np.uint8) for shade in (0, 99)], 40)
        with pytest.raises(MediaError, match=words) as caught:
            open_reader(path)
        assert is_one_sentence(str(caught.value), path), caught.value
    with pytest.raises(MediaError, match="does not exist"):
        open_reader(tmp_path / "missing.webp")


def claimed(width, height):
    """The header of an RGB PNG of that size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_does_not_grow_with_the_length_of_an_animation(tmp_path, face, suffix):
    """300 frames of 512 px are 236 MB."""
    large = np.repeat(np.repeat(face, 2, 0), 2, 1)
    options = {"speed": 10} if suffix == "avif" else {"compress_level": 1} if suffix == "png" else {"method": 0}
    path = write(tmp_path / f"a.{suffix}", [moving(large, i % 64) for i in range(300)], 40, **options)
    size = path.stat().st_size
    gc.collect()
    before = psutil.Process().memory_info().rss
    with open_reader(path) as reader:
        peak = max(psutil.Process().memory_info().rss for _ in reader)
    assert peak - before < size + 40 * 2**20


def test_a_picture_shown_for_an_hour_is_a_mistake(tmp_path):
    frames = [Image.new("RGB", (32, 32), (40 * i, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=4_000_000)
    with open_reader(tmp_path / "a.png") as reader, pytest.raises(MediaError, match="shows a picture for 4000 s"):
        list(reader)
