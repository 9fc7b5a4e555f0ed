import gc
import re
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest
from av.codec import CodecContext
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

from factories import is_one_sentence, moving, psnr, stored_times, tone, write_raw
from reenactor.core import MediaError
from reenactor.media import VideoReader, VideoWriter, join_segments
from reenactor.media.tracks import CarriedTracks

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
    join_segments(segments(tmp_path, face, times, time_base, end, lengths=25), output, tracks_from=driver)
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
        join_segments(parts, output, tracks_from=source)
        with VideoReader(output) as reader:
            output_start_s = reader.start_s
        after, after_s = audio_packets(output)
        at = before.index(after[5]), 5
        offset_s = (after_s[at[1]] - output_start_s) - (before_s[at[0]] - start_s)
        assert abs(offset_s) <= Fraction(1, 500)
        assert after_s[-1] - output_start_s < 2


def test_a_moment_of_the_source_can_be_the_start(tmp_path, face, driver):
    parts = segments(tmp_path, face, list(range(30)), 1 / NTSC, 30)
    join_segments(parts, tmp_path / "joined.mp4", tracks_from=driver, start_s=Fraction(1))
    before, before_s = audio_packets(driver)
    after, after_s = audio_packets(tmp_path / "joined.mp4")
    at = before.index(after[20])
    assert abs(after_s[20] - (before_s[at] - 1)) <= Fraction(1, 48000)
    assert after_s[-1] < 30 / NTSC
    assert after_s[0] < 0 < after_s[20]


def test_sound_shorter_than_the_video(tmp_path, face):
    source = write_raw(tmp_path / "a.mp4", [face[:64, :64]] * 10, audio=("aac", 0.3, 0))
    parts = segments(tmp_path, face, list(range(60)), 1 / NTSC, 60)
    join_segments(parts, tmp_path / "joined.mp4", tracks_from=source)
    assert audio_packets(tmp_path / "joined.mp4")[0] == audio_packets(source)[0]
    assert len(stored_times(tmp_path / "joined.mp4")[0]) == 60


def test_a_source_without_sound_gives_none(tmp_path, face):
    source = write_raw(tmp_path / "a.mp4", [face[:64, :64]] * 10)
    parts = segments(tmp_path, face, list(range(10)), 1 / NTSC, 10)
    join_segments(parts, tmp_path / "joined.mp4", tracks_from=source)
    assert not VideoReader(tmp_path / "joined.mp4").has_audio


@pytest.mark.parametrize(
    ("codec", "suffix", "kept"),
    [
        ("pcm_s16le", ".mp4", False),
        ("pcm_s16le", ".mov", True),
        ("pcm_s16le", ".mkv", True),
        ("libopus", ".mp4", True),
        ("libopus", ".mov", False),
        ("libopus", ".mkv", True),
    ],
)
def test_sound_that_the_container_cannot_hold_becomes_aac(tmp_path, face, codec, suffix, kept):
    source = write_raw(tmp_path / "a.mkv", [face[:64, :64]] * 10, audio=(codec, 0.4, 0), options={})
    parts = segments(tmp_path, face, list(range(10)), 1 / NTSC, 10)
    output = tmp_path / f"joined{suffix}"
    assert join_segments(parts, output, tracks_from=source) == CarriedTracks(audio=True)
    if kept:
        after, before = audio_packets(output)[0], audio_packets(source)[0]
        assert b"".join(after) == b"".join(before)[: len(b"".join(after))]
        assert after
        return
    with av.open(str(output)) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "aac"
        assert sound.codec_context.sample_rate == 48000
        loudest = np.abs(np.fft.rfft(decoded_audio(output)[0, 4800:14400])).argmax()
        assert loudest * 48000 / 9600 == 440


CLICKS_S = (0.5, 1.25)


def clicking(path, *, rate=48000, layout="stereo", codec="pcm_s16le", start_s=0.0, gap=None):
    """2 s of pictures and of silence with two clicks 1 ms long, which are heard 0.5 s and 1.25 s after `start_s`."""
    samples = np.zeros(2 * rate, np.int16)
    for click_s in CLICKS_S:
        samples[round(click_s * rate) :][: rate // 1000] = 30_000
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream(codec, rate=rate, layout=layout)
        for _ in range(50):
            output.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(stream.encode(None))
        for at in range(0, len(samples), rate // 50):
            if gap and gap[0] <= at / rate < gap[1]:
                continue
            planes = np.repeat(samples[at : at + rate // 50], sound.layout.nb_channels)[None]
            frame = av.AudioFrame.from_ndarray(planes, format="s16", layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), at + round(start_s * rate)
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return path


def heard_s(path):
    """When clicks are heard, and when the sound ends, counted from the first picture."""
    with av.open(str(path)) as container:
        first_s = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    loud = []
    for frame in frames:
        wave = frame.to_ndarray()[0, :: 1 if frame.format.is_planar else frame.layout.nb_channels].astype(float)
        top = {"u8": 128, "s16": 2**15, "s16p": 2**15}.get(frame.format.name, 1)
        wave = wave / top - (frame.format.name == "u8")
        loud += [frame.time + i / frame.sample_rate for i in np.flatnonzero(np.abs(wave) > 0.3)]
    clicks = [time_s - first_s for i, time_s in enumerate(loud) if i == 0 or time_s - loud[i - 1] > 0.1]
    return clicks, frames[-1].time + frames[-1].samples / frames[-1].sample_rate - first_s


ABOUT = [
    ("mkv", {}),
    ("mkv", {"rate": 44_100}),
    ("mkv", {"rate": 22_050, "layout": "mono"}),
    ("mkv", {"layout": "5.1"}),
    ("mkv", {"start_s": 0.3}),
    ("mkv", {"gap": (0.6, 1.1)}),
    ("mkv", {"codec": "flac", "start_s": -0.2}),
    ("mov", {"codec": "pcm_u8"}),
    ("ts", {"codec": "mp2"}),
]


@pytest.mark.parametrize(
    ("container", "about", "suffix"),
    # PCM that is copied into .mov has no times, so that gaps are lost.
    [(*one, suffix) for one in ABOUT for suffix in (".mp4", ".mov", ".mkv") if suffix != ".mov" or "gap" not in one[1]],
)
def test_encoded_sound_keeps_its_time(tmp_path, face, container, about, suffix):
    """A click is heard within 1 ms of where it was, and the sound ends with the video, within one packet."""
    source = clicking(tmp_path / f"source.{container}", **about)
    parts = segments(tmp_path, face, list(range(45)), Fraction(1, 25), 45, lengths=45)
    output = tmp_path / f"joined{suffix}"
    join_segments(parts, output, tracks_from=source)
    wanted = [click_s + about.get("start_s", 0) for click_s in CLICKS_S]
    found, end_s = heard_s(output)
    assert np.abs(np.subtract(found, wanted)).max() <= 0.001
    assert 1.75 <= end_s < 1.8 + 1024 / about.get("rate", 48000) + 0.001


def test_a_long_wait_for_sound_is_silent(tmp_path, face):
    source = clicking(tmp_path / "source.mkv", codec="pcm_u8", start_s=4)
    parts = segments(tmp_path, face, list(range(150)), Fraction(1, 25), 150, lengths=150)
    join_segments(parts, tmp_path / "joined.mp4", tracks_from=source)
    found, _ = heard_s(tmp_path / "joined.mp4")
    assert np.abs(np.subtract(found, [4.5, 5.25])).max() <= 0.001
    assert np.abs(decoded_audio(tmp_path / "joined.mp4")[0, : 4 * 48000]).max() < 0.02


def test_sound_may_change_its_rate_on_the_way(tmp_path, face):
    """As broadcasts do between programmes."""
    source = tmp_path / "source.ts"
    with av.open(str(source), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = output.add_stream("mp2", rate=48000, layout="stereo")
        for _ in range(100):
            output.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(video.encode(None))
        for number, rate in enumerate((48000, 32000)):
            encoder = CodecContext.create("mp2", "w")
            encoder.sample_rate, encoder.layout, encoder.format = rate, "stereo", "s16"
            wave = np.zeros((1, 2 * 2 * rate), np.int16)
            wave[0, rate : rate + 64] = 30_000  # after half a second, as there are two channels
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
            for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                packet.stream = sound
                packet.pts = packet.dts = packet.pts + 2 * number * rate
                output.mux(packet)
    parts = segments(tmp_path, face, list(range(100)), Fraction(1, 25), 100, lengths=100)
    join_segments(parts, tmp_path / "joined.mp4", tracks_from=source)
    wanted, _ = heard_s(source)
    found, end_s = heard_s(tmp_path / "joined.mp4")
    assert len(found) == len(wanted) == 2
    assert np.abs(np.subtract(found, wanted)).max() <= 0.002
    assert abs(end_s - 4) < 0.03


def test_all_tracks_are_kept_with_their_languages_and_flags(tmp_path, face):
    source = tmp_path / "source.mkv"
    with av.open(str(source), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sounds = [output.add_stream(codec, rate=48000) for codec in ("aac", "pcm_s16le")]
        texts = [output.add_stream(codec) for codec in ("subrip", "ass", "webvtt")]
        pictures = output.add_stream("dvbsub")
        languages = ("eng", "fra", "ita", "spa", "jpn", "nld")
        for stream, language in zip([*sounds, *texts, pictures], languages, strict=True):
            stream.metadata["language"] = language
        sounds[1].disposition = texts[0].disposition = Disposition.default
        texts[1].disposition = Disposition.forced
        for stream in [*texts, pictures]:
            stream.codec_context.subtitle_header = b"[Script Info]\n"
        for _ in range(50):
            output.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        output.mux(video.encode(None))
        for text in texts:
            for start_ms, words in ((-0, b"one"), (600, b"{\\i1}two{\\i0}\\Nlines"), (1900, b"late")):
                said = SubtitleSet.create(b"0,0,Default,,0,0,0,," + words, 0, 500)
                packet = text.codec_context.encode_subtitle(said)
                packet.stream, packet.time_base, packet.duration = text, Fraction(1, 1000), 500
                packet.pts = packet.dts = start_ms
                output.mux(packet)
        for sound in sounds:
            tone(output, sound, 2, 0)
    parts = segments(tmp_path, face, list(range(30)), Fraction(1, 25), 30, lengths=45)
    for suffix in (".mp4", ".mov", ".mkv"):
        # The second half: what was said before is gone, what is said meanwhile begins at once.
        carried = join_segments(parts, tmp_path / f"joined{suffix}", tracks_from=source, start_s=Fraction(4, 5))
        held = suffix == ".mkv"
        said = () if held else (f"subtitles were left out: a {suffix} cannot hold dvb",)
        assert carried == CarriedTracks(audio=True, left_out=said)
        first_s = stored_times(tmp_path / f"joined{suffix}")[0][0]
        with av.open(str(tmp_path / f"joined{suffix}")) as container:
            assert [stream.language for stream in container.streams.audio] == ["eng", "fra"]
            subtitles = container.streams.subtitles
            assert [stream.language for stream in subtitles] == ["ita", "spa", "jpn", *(["nld"] if held else [])]
            others = [*container.streams.audio, *subtitles]
            assert [one.language for one in others if one.disposition & Disposition.default] == ["fra", "ita"]
            assert suffix == ".mov" or subtitles[1].disposition & Disposition.forced
            names = [stream.codec_context.name for stream in subtitles]
            assert names == (["srt", "ssa", "webvtt", "dvbsub"] if held else ["mov_text"] * 3)
            said = {stream.index: [] for stream in subtitles}
            for packet in container.demux(*subtitles):
                if packet.pts is not None and (text := packet.stream.codec_context.decode2(packet)):
                    words = text[0].ass.decode().split(",")[-1]
                    start_s = packet.pts * packet.time_base - first_s
                    times = start_s, start_s + packet.duration * packet.time_base
                    said[packet.stream.index].append((words, *(round(float(time_s), 2) for time_s in times)))
            for stream in subtitles[:3]:
                (two, *when), late = said[stream.index]
                assert re.sub("{.*?}", "", two) == "two\\Nlines"
                assert when == [0, 0.3]
                assert late == ("late", 1.1, 1.2)


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
    join_segments(parts, tmp_path / "joined.mov", tracks_from=source)
    assert psutil.Process().memory_info().rss - before < 25 * 2**20
    assert (tmp_path / "joined.mov").stat().st_size > 100 * 2**20
    (tmp_path / "joined.mov").unlink()
    source.unlink()


@pytest.mark.parametrize("codec", ["pcm_s16le", "libopus"])
def test_webm_gets_opus(tmp_path, face, codec):
    source = clicking(tmp_path / "source.mkv", codec=codec)
    part = tmp_path / "part.webm"
    with VideoWriter(part, size=(64, 64), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
        for number in range(45):
            writer.write(np.ascontiguousarray(face[:64, :64]), number)
    join_segments([part], tmp_path / "joined.webm", tracks_from=source)
    with av.open(str(tmp_path / "joined.webm")) as container:
        assert container.streams.audio[0].codec_context.name == "opus"
    found, end_s = heard_s(tmp_path / "joined.webm")
    assert np.abs(np.subtract(found, CLICKS_S)).max() <= 0.004  # Opus smears a click of 1 ms
    assert 1.75 <= end_s < 1.83


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_damaged_sound_does_not_lose_the_pictures(tmp_path, face, suffix):
    """MP4 looks into packets of AC-3, and refuses damaged ones; encoded anew they leave gaps."""
    with (
        av.open(str(clicking(tmp_path / "whole.mkv", codec="ac3"))) as whole,
        av.open(str(tmp_path / "a.mkv"), "w") as o,
    ):
        streams = {one.index: o.add_stream_from_template(one) for one in whole.streams}
        for number, packet in enumerate(whole.demux()):
            if packet.dts is None:
                continue
            if packet.stream.type == "audio" and number % 3 == 0:
                packet.update(b"\x5a" * packet.size)
            packet.stream = streams[packet.stream.index]
            o.mux_one(packet)
    parts = segments(tmp_path, face, list(range(45)), Fraction(1, 25), 45, lengths=45)
    carried = join_segments(parts, tmp_path / f"joined{suffix}", tracks_from=tmp_path / "a.mkv")
    assert carried == CarriedTracks(audio=True)
    with av.open(str(tmp_path / f"joined{suffix}")) as container:
        assert len(list(container.decode(video=0))) == 45
    assert decoded_audio(tmp_path / f"joined{suffix}").shape[1] > 30_000


def test_sound_that_is_not_there_is_said(tmp_path, face):
    source = clicking(tmp_path / "late.mkv", codec="flac", start_s=50)
    parts = segments(tmp_path, face, list(range(45)), Fraction(1, 25), 45, lengths=45)
    carried = join_segments(parts, tmp_path / "joined.mp4", tracks_from=source)
    assert not carried.audio
    assert "sound was left out" in carried.left_out[0]


def test_sound_that_leads_does_not_move_the_pictures(tmp_path, face):
    source = clicking(tmp_path / "early.mkv", codec="libopus", start_s=-0.3)
    parts = segments(tmp_path, face, list(range(45)), Fraction(1, 25), 45, lengths=45)
    join_segments(parts, tmp_path / "joined.mkv", tracks_from=source)
    with av.open(str(tmp_path / "joined.mkv")) as container:
        assert next(container.decode(video=0)).time <= 0.06  # a packet of 20 ms that begins before the preroll
    assert np.abs(np.subtract(heard_s(tmp_path / "joined.mkv")[0], [0.2, 0.95])).max() <= 0.004
