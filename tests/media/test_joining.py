import gc
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest

from factories import is_one_sentence, moving, psnr, stored_times, write_raw
from reenactor.core import MediaError
from reenactor.media import VideoReader, VideoWriter, check_audio_fits, join_segments

NTSC = Fraction(30000, 1001)


def segments(folder, face, times, time_base, end, *, lengths=10, size=96, **options):
    """Write the frames as segments of `lengths` frames whose times count on."""
    paths = []
    for first in range(0, len(times), lengths):
        path = folder / f"segment{first:05d}.mp4"
        with VideoWriter(path, size=(size, size), time_base=time_base, rate_hint=NTSC, **options) as writer:
            for number in range(first, min(first + lengths, len(times))):
                writer.write(moving(face, number % 64)[:size, :size], times[number])
            writer.close(times[first + lengths] if first + lengths < len(times) else end)
        paths.append(path)
    return paths


def audio_packets(path):
    """(bytes, time in seconds) of every sound packet."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(audio=0) if p.pts is not None]
        return [bytes(p) for p in packets], [p.pts * p.time_base for p in packets]


def decoded_audio(path):
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[:1] for frame in container.decode(audio=0)], 1)


@pytest.fixture(scope="module")
def driver(tmp_path_factory, face):
    """3 s of 29.97 pictures and of AAC sound."""
    frames = [moving(face[:64, :64], i % 64) for i in range(90)]
    return write_raw(tmp_path_factory.mktemp("driver") / "a.mp4", frames, rate=NTSC, audio=("aac", 3, 0))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied_and_times_stay(tmp_path, face, driver, suffix):
    with VideoReader(driver) as reader:
        assert reader.has_audio
        times, time_base = [frame.pts for frame in reader], reader.time_base
        end = reader.end_pts
    output = tmp_path / f"joined{suffix}"
    join_segments(segments(tmp_path, face, times, time_base, end, lengths=25), output, audio_from=driver)
    stored, stored_end = stored_times(output)
    wanted = [i / NTSC for i in range(90)]
    tolerance = Fraction(1, 2000) if suffix == ".mkv" else 0
    shift = stored[0]  # Matroska has no negative times: pictures wait for the sound's priming
    assert shift == 0 or (suffix == ".mkv" and shift < Fraction(1, 20))
    assert max(abs(a - shift - b) for a, b in zip(stored, wanted, strict=True)) <= 2 * tolerance
    if suffix != ".mkv":
        assert stored_end == 90 / NTSC
    before, before_s = audio_packets(driver)
    after, after_s = audio_packets(output)
    # Sound that starts after the last picture is left out.
    assert before[: len(after)] == after
    assert len(after) == sum(s < 90 / NTSC for s in before_s)
    assert max(abs(a - shift - b) for a, b in zip(after_s, before_s, strict=False)) <= 2 * tolerance
    length = min(decoded_audio(driver).shape[1], decoded_audio(output).shape[1])
    if suffix == ".mp4":
        assert length > 2.9 * 48000
        assert np.array_equal(decoded_audio(driver)[:, :length], decoded_audio(output)[:, :length])
    if suffix != ".mkv":
        data = output.read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")
    assert sorted(p.suffix for p in tmp_path.iterdir() if not p.name.startswith("segment")) == [suffix]


def test_joined_pictures_are_those_of_the_segments(tmp_path, face):
    times = [0, 3, 700, 1001, 5000, 5001, 9000, 9100, 9200, 9300, 20_000]
    parts = segments(tmp_path, face, times, Fraction(1, 30000), 22_222, lengths=4)
    output = tmp_path / "joined.mp4"
    join_segments(parts, output)
    stored, end = stored_times(output)
    assert stored == [Fraction(t, 30000) for t in times]
    assert end == Fraction(22_222, 30000)
    alone = [frame.image for part in parts for frame in VideoReader(part)]
    with VideoReader(output) as reader:
        assert not reader.has_audio
        joined = [frame.image for frame in reader]
    assert all(np.array_equal(a, b) for a, b in zip(alone, joined, strict=True))
    assert psnr(joined[-1], moving(face, 10)[:96, :96]) > 33


@pytest.mark.parametrize("late_s", [0.25, -0.2])
def test_sound_that_starts_late_or_early_keeps_its_place(tmp_path, face, late_s):
    """In the source, sound and picture start apart; what was heard with a picture is heard with it again."""

    def starts_late(path):
        # Matroska keeps both clocks as they are.
        frames = [moving(face[:64, :64], i) for i in range(60)]
        return write_raw(path, frames, rate=Fraction(30), audio=("aac", 3, late_s), options={})

    source = starts_late(tmp_path / "source.mkv")
    with VideoReader(source) as reader:
        start_s = reader.start_s
    before, before_s = audio_packets(source)
    parts = segments(tmp_path, face, list(range(60)), Fraction(1, 30), 60, lengths=30)
    for suffix in (".mp4", ".mkv"):
        output = tmp_path / f"joined{suffix}"
        join_segments(parts, output, audio_from=source)
        with VideoReader(output) as reader:
            output_start_s = reader.start_s
        after, after_s = audio_packets(output)
        at = before.index(after[5]), 5
        offset_s = (after_s[at[1]] - output_start_s) - (before_s[at[0]] - start_s)
        assert abs(offset_s) <= Fraction(1, 500)
        assert after_s[-1] - output_start_s < 2


def test_a_moment_of_the_source_can_be_the_start(tmp_path, face, driver):
    parts = segments(tmp_path, face, list(range(30)), 1 / NTSC, 30)
    join_segments(parts, tmp_path / "joined.mp4", audio_from=driver, audio_start_s=Fraction(1))
    before, before_s = audio_packets(driver)
    after, after_s = audio_packets(tmp_path / "joined.mp4")
    at = before.index(after[20])
    assert abs(after_s[20] - (before_s[at] - 1)) <= Fraction(1, 48000)
    assert after_s[-1] < 30 / NTSC
    assert after_s[0] < 0 < after_s[20]


def test_sound_shorter_than_the_video(tmp_path, face):
    source = write_raw(tmp_path / "a.mp4", [face[:64, :64]] * 10, audio=("aac", 0.3, 0))
    parts = segments(tmp_path, face, list(range(60)), 1 / NTSC, 60)
    join_segments(parts, tmp_path / "joined.mp4", audio_from=source)
    assert audio_packets(tmp_path / "joined.mp4")[0] == audio_packets(source)[0]
    assert len(stored_times(tmp_path / "joined.mp4")[0]) == 60


def test_a_source_without_sound_gives_none(tmp_path, face):
    source = write_raw(tmp_path / "a.mp4", [face[:64, :64]] * 10)
    parts = segments(tmp_path, face, list(range(10)), 1 / NTSC, 10)
    join_segments(parts, tmp_path / "joined.mp4", audio_from=source)
    assert not VideoReader(tmp_path / "joined.mp4").has_audio


@pytest.mark.parametrize(
    ("codec", "suffix", "better"),
    [
        ("pcm_s16le", ".mp4", ".mov or .mkv"),
        ("pcm_s16le", ".mov", None),
        ("pcm_s16le", ".mkv", None),
        ("libopus", ".mp4", None),
        ("libopus", ".mov", ".mkv"),
        ("libopus", ".mkv", None),
    ],
)
def test_containers_that_cannot_hold_the_sound(tmp_path, face, codec, suffix, better):
    source = write_raw(tmp_path / "a.mkv", [face[:64, :64]] * 10, audio=(codec, 0.4, 0), options={})
    parts = segments(tmp_path, face, list(range(10)), 1 / NTSC, 10)
    output = tmp_path / f"joined{suffix}"
    if better is None:
        join_segments(parts, output, audio_from=source)
        after, before = audio_packets(output)[0], audio_packets(source)[0]
        assert b"".join(after) == b"".join(before)[: len(b"".join(after))]
        assert after
        return
    for act in (
        lambda: check_audio_fits(output, source),
        lambda: join_segments(parts, output, audio_from=source),
    ):
        with pytest.raises(MediaError, match=f"end the name in {better}") as caught:
            act()
        assert is_one_sentence(str(caught.value), output)
        assert not output.exists()


def test_segments_that_do_not_fit_together(tmp_path, face):
    first = segments(tmp_path, face, list(range(10)), 1 / NTSC, 10)
    (tmp_path / "b").mkdir()
    smaller = segments(tmp_path / "b", face, list(range(10, 20)), 1 / NTSC, 20, size=64)
    for parts, words in (
        (first + smaller, "other settings"),
        (first + first, "overlaps"),
        ([], "no segments"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            join_segments(parts, tmp_path / "joined.mp4")
        assert is_one_sentence(str(caught.value), parts[-1] if parts else tmp_path / "joined.mp4")
    with pytest.raises(MediaError, match="does not exist"):
        join_segments([*first, tmp_path / "lost.mp4"], tmp_path / "joined.mp4")
    with pytest.raises(MediaError, match="does not exist"):
        join_segments(first, tmp_path / "missing" / "joined.mp4")
    assert not [p for p in tmp_path.iterdir() if "joined" in p.name]


def test_memory_does_not_grow_with_length(tmp_path, face):
    """Sound of 10 minutes as PCM is 110 MB, and passes through."""
    source = tmp_path / "long.mov"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=48000)
        block = np.zeros((1, 2 * 48000), np.int16)
        for second in range(600):
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, second * 48000, Fraction(1, 48000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    parts = segments(tmp_path, face, list(range(600)), Fraction(1), 600, lengths=200, size=32)
    gc.collect()
    before = psutil.Process().memory_info().rss
    join_segments(parts, tmp_path / "joined.mov", audio_from=source)
    assert psutil.Process().memory_info().rss - before < 25 * 2**20
    assert (tmp_path / "joined.mov").stat().st_size > 100 * 2**20
    (tmp_path / "joined.mov").unlink()
    source.unlink()
