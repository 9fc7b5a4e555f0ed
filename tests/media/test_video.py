import errno
import gc
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from factories import is_one_sentence, moving, psnr, stored_times, tone, write_raw
from reenactor.core import MediaError
from reenactor.media import VideoReader, VideoWriter

NTSC = Fraction(30000, 1001)
PALETTE = np.array(
    [[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 180, 40], [230, 190, 170], [128, 128, 128]], np.uint8
)


def bars(width=240, height=64):
    return np.ascontiguousarray(np.repeat(np.repeat(PALETTE[None], height, 0), width // len(PALETTE), 1))


def write(path, frames, times, time_base, rate=NTSC, end=None, **options):
    height, width = frames[0].shape[:2]
    with VideoWriter(path, size=(width, height), time_base=time_base, rate_hint=rate, **options) as writer:
        for frame, pts in zip(frames, times, strict=True):
            writer.write(frame, pts)
        writer.close(end)
    return path


def refuses(path, words):
    with pytest.raises(MediaError) as caught:
        VideoReader(path)
    assert is_one_sentence(str(caught.value), path), caught.value
    assert words in str(caught.value)


TIMINGS = {
    "ntsc": (Fraction(1001, 30000), list(range(24)), 24),
    "ntsc in ticks": (Fraction(1, 30000), [1001 * i for i in range(24)], 24 * 1001),
    "variable": (Fraction(1, 90000), [0, 1, 2999, 3003, 40000, 90001], 123_457),
    "gif clock": (Fraction(1, 100), [0, 7, 13, 21], 30),
    "microseconds": (Fraction(1, 1_000_000), [0, 33_333, 66_667, 100_000], 133_337),
    "global clock of a later segment": (Fraction(1001, 30000), list(range(301, 325)), 325),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("name", TIMINGS)
def test_times_are_exact(tmp_path, face, name, suffix):
    time_base, times, end = TIMINGS[name]
    frames = [moving(face[:64, :64], i) for i in range(len(times))]
    path = write(tmp_path / f"a{suffix}", frames, times, time_base, end=end)
    stored, stored_end = stored_times(path)
    assert stored == [pts * time_base for pts in times]
    assert stored_end == end * time_base
    with VideoReader(path) as reader:
        read = [frame.pts * reader.time_base for frame in reader]
        assert read == [(pts - times[0]) * time_base for pts in times]
        assert reader.end_pts * reader.time_base == (end - times[0]) * time_base
        assert not reader.truncated
        assert reader.frame_count == len(times)


def test_ntsc_stays_ntsc(tmp_path, face):
    for suffix in (".mp4", ".mkv"):
        path = write(tmp_path / f"a{suffix}", [moving(face, i) for i in range(30)], range(30), 1 / NTSC)
        with VideoReader(path) as reader:
            assert reader.average_rate == NTSC
            assert reader.frame_count == 30
            assert reader.duration_s == pytest.approx(1.001, abs=0.001)
            assert not reader.has_audio


def test_the_rate_of_a_recording_by_a_browser(tmp_path):
    """Its header says neither rate nor number of frames, and its frames are 30 to 36 ms apart."""
    path = tmp_path / "a.webm"
    times = np.cumsum(np.random.default_rng(0).choice([30, 32, 33, 34, 36], 200)).tolist()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width = stream.height = 64
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8), "rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    data = path.read_bytes()
    at = data.index(b"\x23\xe3\x83\x83")  # the default duration of a frame, becomes a void of as many bytes
    path.write_bytes(data[:at] + b"\xec\x85" + bytes(5) + data[at + 7 :])
    with VideoReader(path) as reader:
        assert float(reader.average_rate) == pytest.approx(30.3, rel=0.02)
        assert reader.frame_count == pytest.approx(200, rel=0.02)
        assert [frame.pts for frame in reader] == [time - times[0] for time in times]


def test_matroska_rounds_to_milliseconds_without_drift(tmp_path, face):
    path = write(tmp_path / "a.mkv", [moving(face[:32, :32], i % 64) for i in range(300)], range(300), 1 / NTSC)
    stored, _ = stored_times(path)
    assert max(abs(s - i / NTSC) for i, s in enumerate(stored)) <= Fraction(1, 2000)


def test_the_last_frame_lasts_as_the_rate_says(tmp_path, face):
    path = write(tmp_path / "a.mp4", [face, moving(face, 1)], [0, 10], Fraction(1, 600), rate=Fraction(30))
    assert stored_times(path)[1] == Fraction(30, 600)


def test_pictures_survive_upright_and_in_order(tmp_path, face):
    frames = [moving(face, i) for i in range(12)]
    path = write(tmp_path / "a.mp4", frames, range(12), 1 / NTSC)
    with VideoReader(path) as reader:
        assert reader.size == (256, 256)
        back = [frame.image for frame in reader]
        assert min(psnr(a, b) for a, b in zip(back, frames, strict=True)) > 33
        assert np.mean([psnr(frames[i], back[(i + 1) % 12]) for i in range(12)]) < 28
        assert all(np.array_equal(f.image, b) for f, b in zip(reader.frames(5), back[5:], strict=True))
        assert [f.pts for f in reader.frames(10)] == [10 * 1001, 11 * 1001]
        assert list(reader.frames(12)) == []


def test_no_b_frames_and_tagged_bt709(tmp_path, face):
    path = write(tmp_path / "a.mp4", [moving(face, i) for i in range(20)], range(20), 1 / NTSC)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.pts is not None]
        assert all(p.pts == p.dts for p in packets)
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1, 1, 1, 1)
        assert codec.pix_fmt == "yuv420p"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path, face):
    path = write(tmp_path / "a.mp4", [face[:63, :101]] * 2, [0, 1], 1 / NTSC)
    with VideoReader(path) as reader:
        image = next(iter(reader)).image
    assert image.shape == (64, 102, 3)
    assert psnr(image[:63, :101], face[:63, :101]) > 33
    assert np.abs(image[62].astype(int) - image[63]).mean() < 6


# What the numbers of YCbCr mean, from the standards' own formula.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593)}


def to_ycbcr(rgb, kr, kb):
    r, g, b = (rgb[..., i] / 255.0 for i in range(3))
    y = kr * r + (1 - kr - kb) * g + kb * b
    return np.stack([16 + 219 * y, 128 + 112 * (b - y) / (1 - kb), 128 + 112 * (r - y) / (1 - kr)], -1)


def test_the_writer_uses_the_bt709_formula(tmp_path):
    path = write(tmp_path / "a.mp4", [bars()] * 2, [0, 1], 1 / NTSC, crf=4)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    expected = to_ycbcr(PALETTE, *WEIGHTS[1])
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        centres = rows[plane.height // 2, plane.width // 12 :: plane.width // 6]
        assert np.abs(centres - expected[:, index]).max() <= 1.5


@pytest.mark.parametrize(
    ("tag", "size", "matrix"),
    [(1, (240, 64), 1), (5, (240, 64), 5), (9, (240, 64), 9), (2, (240, 64), 5), (2, (240, 720), 1)],
)
def test_the_reader_follows_tag_or_size(tmp_path, tag, size, matrix):
    """Tag 2 is "unspecified": BT.601 for small pictures, BT.709 for high definition."""
    width, height = size
    values = np.round(to_ycbcr(bars(width, height), *WEIGHTS[matrix])).astype(np.uint8)
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, samples in zip(frame.planes, (values[..., 0], values[::2, ::2, 1], values[::2, ::2, 2]), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows[:, : plane.width] = samples
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"qp": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.colorspace = frame.colorspace = tag
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    for precise, error in ((True, 2), (False, 4)):
        with VideoReader(path, precise=precise) as reader:
            image = next(iter(reader)).image
        centres = image[height // 2, width // 12 :: width // 6].astype(int)
        assert np.abs(centres - PALETTE).max() <= error


def test_colours_have_no_bias(tmp_path, face):
    path = write(tmp_path / "a.mp4", [face] * 2, [0, 1], 1 / NTSC, crf=4)
    with VideoReader(path) as reader:
        image = next(iter(reader)).image
    assert np.abs((image.astype(float) - face).mean((0, 1))).max() < 0.3


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotation_and_mirror_come_out_upright(tmp_path, face, degrees, flip):
    """FFmpeg: shown = stored picture turned counter-clockwise by `degrees`, then mirrored."""
    stored = face[:128, :96]
    path = write_raw(
        tmp_path / "a.mp4",
        [stored] * 2,
        setup=lambda stream: stream.set_display_rotation(degrees, hflip=flip),
    )
    shown = np.rot90(stored, degrees // 90)
    shown = shown[:, ::-1] if flip else shown
    with VideoReader(path) as reader:
        image = next(iter(reader)).image
        assert reader.size == (shown.shape[1], shown.shape[0])
    assert psnr(image, shown) > 30


def test_pixels_become_square(tmp_path, face):
    path = write_raw(tmp_path / "a.mp4", [face[:, ::2]] * 2, sample_aspect_ratio=Fraction(2, 1))
    with VideoReader(path) as reader:
        assert reader.size == (256, 256)
        assert psnr(next(iter(reader)).image, face) > 24


def test_ten_bits_become_eight(tmp_path, face):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx265" if "libx265" in av.codecs_available else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p10le"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(face).reformat(format="yuv420p10le")))
        output.mux(stream.encode())
    with VideoReader(path) as reader:
        image = next(iter(reader)).image
    assert image.dtype == np.uint8
    assert psnr(image, face) > 28


def test_a_late_start_is_subtracted_and_repeated_times_are_dropped(tmp_path, face):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pts in (500, 540, 540, 580):
            codec = av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 64, "yuvj420p", Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(face[:64, :64]).reformat(format="yuvj420p")
            for packet in codec.encode(frame):
                packet.pts = packet.dts = pts
                packet.time_base, packet.stream = Fraction(1, 1000), stream
                output.mux_one(packet)
    with VideoReader(path) as reader:
        assert reader.start_s == Fraction(1, 2)
        assert [frame.pts for frame in reader] == [0, 40, 80]


@pytest.fixture(scope="module")
def four_seconds(tmp_path_factory, face):
    return write_raw(tmp_path_factory.mktemp("whole") / "a.mp4", [moving(face, i % 64) for i in range(100)])


@pytest.mark.parametrize("kind", ["cut.mp4", "cut.mkv", "noise.mp4"])
def test_damage_ends_the_video_and_is_told(tmp_path, face, four_seconds, kind):
    path = tmp_path / kind
    if kind == "cut.mkv":
        source = write_raw(tmp_path / "whole.mkv", [moving(face, i % 64) for i in range(100)], options={})
    else:
        source = four_seconds
    data = bytearray(source.read_bytes())
    middle = len(data) * 6 // 10
    if kind.startswith("cut"):
        del data[middle:]
    else:
        data[middle : middle + 30_000] = np.random.default_rng(0).bytes(30_000)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        frames = [frame.image for frame in reader]
        assert reader.truncated
        assert reader.end_pts is not None
    with VideoReader(source) as reader:
        whole = [frame.image for frame in reader]
        assert len(whole) == 100
        assert not reader.truncated
    assert 20 < len(frames) < 90
    assert all(np.array_equal(a, b) for a, b in zip(frames[:20], whole[:20], strict=True))


def test_what_is_no_readable_video(tmp_path, face):
    refuses(tmp_path / "none.mp4", "does not exist")
    refuses(tmp_path, "is a folder")
    (tmp_path / "empty.mp4").touch()
    refuses(tmp_path / "empty.mp4", "is empty")
    for name in ("text.mp4", "text.txt"):
        (tmp_path / name).write_text("no video at all, " * 100)
        refuses(tmp_path / name, "is not a video")
    slow = write_raw(tmp_path / "slow.mp4", [moving(face, i) for i in range(20)], options={})
    (tmp_path / "nomoov.mp4").write_bytes(slow.read_bytes()[: slow.stat().st_size // 2])
    refuses(tmp_path / "nomoov.mp4", "damaged")
    for name, words in {"zero.mp4": "no video stream", "zero.avi": "no frames"}.items():
        with av.open(str(tmp_path / name), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.width = stream.height = 64
            output.start_encoding()
        refuses(tmp_path / name, words)
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        tone(output, stream, 0.5, 0)
    refuses(tmp_path / "sound.mp4", "no video stream")


def test_an_unknown_codec(tmp_path, face):
    known = write_raw(tmp_path / "known.mp4", [face] * 3).read_bytes()
    path = tmp_path / "unknown.mp4"
    path.write_bytes(known.replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC"))
    refuses(path, "codec that is not supported")


def test_closing_ends_iterations(tmp_path, face):
    path = write(tmp_path / "a.mp4", [moving(face, i) for i in range(20)], range(20), 1 / NTSC)
    with VideoReader(path) as reader:
        frames = iter(reader)
        next(frames)
    assert list(frames) == []
    assert len(list(reader)) == 20  # a new iteration opens the file again


def test_frames_without_times_of_their_own_stay_in_order(tmp_path, face):
    """AVI keeps no times, and has B-frames here."""
    frames = [moving(face[:64, :64], i) for i in range(40)]
    path = write_raw(tmp_path / "a.avi", frames, options={}, max_b_frames=3)
    with VideoReader(path) as reader:
        back = list(reader)
    assert [frame.pts for frame in back] == list(range(40))
    assert min(psnr(b.image, f) for b, f in zip(back, frames, strict=True)) > 28


def test_a_size_that_changes_on_the_way(tmp_path, face):
    path = tmp_path / "a.ts"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25)
        stream.width = stream.height = 256
        for half, picture in enumerate((face, face[:128, :128])):
            codec = av.CodecContext.create("mpeg2video", "w")
            codec.width = codec.height = len(picture)
            codec.pix_fmt, codec.time_base, codec.bit_rate = "yuv420p", Fraction(1, 25), 8_000_000
            packets = []
            for number in range(5):
                frame = av.VideoFrame.from_ndarray(picture).reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                packets += codec.encode(frame)
            for packet in packets + codec.encode(None):
                packet.pts, packet.dts, packet.time_base = (
                    packet.pts + 5 * half,
                    packet.pts + 5 * half,
                    Fraction(1, 25),
                )
                packet.stream = stream
                output.mux_one(packet)
    with VideoReader(path) as reader:
        shapes = {frame.image.shape for frame in reader}
        assert not reader.truncated
        assert reader.end_pts == 10 * 3600
    assert shapes == {(256, 256, 3)}


def test_names_that_look_like_protocols(tmp_path, face, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(Path("12:30 talk #1 %d.mp4"), [face] * 3, range(3), 1 / NTSC)
    with VideoReader(path) as reader:
        assert len(list(reader)) == 3


def test_an_error_leaves_no_file_and_keeps_the_old_one(tmp_path, face):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"kept")
    with pytest.raises(ValueError, match="increase"):
        write(path, [face] * 20, [*range(19), 18], 1 / NTSC)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.mp4", b"kept")]
    with pytest.raises(ValueError, match="uint8"):
        write(path, [face, face[:64]], [0, 1], 1 / NTSC)
    with pytest.raises(MediaError, match="no frames") as caught:
        write_nothing(path)
    assert is_one_sentence(str(caught.value), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.mp4", b"kept")]


def write_nothing(path):
    with VideoWriter(path, size=(64, 64), time_base=1 / NTSC, rate_hint=NTSC):
        pass


def test_writing_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    places = {
        tmp_path / "a.avi": "must end in",
        tmp_path / "missing" / "a.mp4": "does not exist",
        tmp_path / "file" / "a.mp4": "is not a folder",
        Path("/proc/nowhere/a.mp4"): "does not exist",
    }
    (tmp_path / "folder.mp4").mkdir()
    places[tmp_path / "folder.mp4"] = "is a folder"
    for path, words in places.items():
        with pytest.raises(MediaError, match=words) as caught:
            write_nothing(path)
        assert is_one_sentence(str(caught.value), path)


def test_a_disk_that_fills_up_is_told(tmp_path):
    """A limit on file sizes makes the system's own writes fail half-way, as a full disk does."""
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3), np.uint8)
    path = tmp_path / "a.mp4"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(MediaError, match="disk is full") as caught:
            write(path, [noise[i % 8] for i in range(60)], range(60), 1 / NTSC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert is_one_sentence(str(caught.value), path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_at_the_very_end_is_told(tmp_path, face, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MediaError, match="disk is full"):
        write(tmp_path / "a.mp4", [face] * 3, range(3), 1 / NTSC)
    assert list(tmp_path.iterdir()) == []


def resident_mb():
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path, face):
    """1500 frames of 96 px are 40 MB; 10 MB tolerance."""

    def write_and_read(count):
        frames = (moving(face[:96, :96], i % 64) for i in range(count))
        with VideoWriter(tmp_path / "a.mp4", size=(96, 96), time_base=1 / NTSC, rate_hint=NTSC) as writer:
            for number, frame in enumerate(frames):
                writer.write(frame, number)
            peak = resident_mb()
        with VideoReader(tmp_path / "a.mp4") as reader:
            for frame in reader:
                if frame.pts == (count - 1) * 1001:
                    peak = max(peak, resident_mb())
        return peak

    write_and_read(100)
    short = write_and_read(100)
    assert write_and_read(1500) - short < 10


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_growing_file_plays_at_any_moment(tmp_path, face, suffix):
    """Read while it is written, after giving up, and after a proper end."""
    path, tick = tmp_path / f"a{suffix}", Fraction(1, 1000)
    frames = [moving(face[:64, :64], i) for i in range(60)]
    writer = VideoWriter(path, size=(64, 64), time_base=tick, rate_hint=NTSC, growing=True)
    for number, frame in enumerate(frames):
        writer.write(frame, 33 * number)
    with VideoReader(path) as reader:
        early = [frame.pts * reader.time_base for frame in reader]
    writer.discard()
    # Two seconds, of which half a one may be on its way.
    assert len(early) >= 40
    assert early == [33 * number * tick for number in range(len(early))]
    assert len(stored_times(path)[0]) >= len(early)
    write(path, frames[:5], [0, 33, 66, 99, 132], tick, end=165, growing=True)
    assert stored_times(path) == ([33 * number * tick for number in range(5)], 165 * tick)


def test_a_growing_file_without_a_frame_is_none(tmp_path):
    path = tmp_path / "a.mp4"
    VideoWriter(path, size=(64, 64), time_base=Fraction(1, 25), rate_hint=NTSC, growing=True).discard()
    assert not path.exists()
