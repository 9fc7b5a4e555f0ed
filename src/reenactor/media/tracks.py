"""Carry sound and subtitles of one file into another: copied where its format can hold them, else encoded again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import InputContainer, OutputContainer
from av.error import BlockingIOError as NotYetError
from av.error import EOFError as EndError
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

Timed = tuple[Fraction, int, Packet]
"""Time in seconds; 0 for pictures, 1 for other tracks, which come after pictures of the same time; the packet."""

# What players expect; FFmpeg alone would also write combinations that few of them open.
_AUDIO = {
    ".mp4": ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac"),
    ".mov": ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "pcm_"),
    ".mkv": ("",),
    ".webm": ("opus", "libopus", "vorbis"),
}
"""Beginnings of codecs' names."""
_TEXT = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
"""What subtitles of text become where they cannot be copied."""
_PREROLL_S = {".mp4": Fraction(1, 4), ".mov": Fraction(1, 4), ".mkv": Fraction(1, 30), ".webm": Fraction(1, 30)}
"""Sound before the first frame to keep: AAC primes its decoder with 21-48 ms, Opus with 80 ms; but Matroska begins with
the first packet of all, so that the pictures come later by as much."""
_ENCODERS = {".webm": "libopus"}
"""What sound becomes where it cannot be copied; elsewhere AAC."""
_KBITS_PER_CHANNEL = (96, 48)
"""Of both: for the first two channels, and for each further one."""
_LAYOUTS = {1: "mono", 6: "5.1"}
"""By number of channels; others become stereo."""
_GAP_S = 0.01
"""Larger gaps in sound that is encoded again are filled with silence; Matroska's times are rounded to 1 ms."""


@dataclass(frozen=True)
class Span:
    """The part of a source that is carried over.

    Args:
        start_s: its beginning on the source's clock.
        end_s: its end, counted from there.
    """

    start_s: Fraction
    end_s: Fraction


@dataclass(frozen=True)
class CarriedTracks:
    """What became of a source's sound and subtitles.

    Args:
        audio: there is sound.
        left_out: what was left out and why, a line for each kind of track.
    """

    audio: bool = False
    left_out: tuple[str, ...] = ()


class Track(ABC):
    """A track that is carried from a source to a target.

    Args:
        stream: of the source.
        out: the stream in the target; it gets the source's language, title and flags.
        span: the part to carry over.
    """

    def __init__(self, stream: Stream, out: Stream, span: Span) -> None:
        self._stream, self._out, self._span = stream, out, span
        out.metadata.update({name: stream.metadata[name] for name in ("language", "title") if name in stream.metadata})
        out.disposition = stream.disposition

    @abstractmethod
    def take(self, packet: Packet) -> Iterator[Timed]:
        """The target's packets that a packet of the source gives."""

    def finish(self) -> Iterator[Timed]:
        """The packets that were held back until the source's end."""
        yield from ()

    def _moved(self, packet: Packet) -> Packet:
        """Count a packet's times from the start of the span."""
        shift = round(self._span.start_s / packet.time_base)
        assert packet.dts is not None
        packet.dts -= shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        return packet


class _CopiedAudio(Track):
    """Bit for bit, from so many seconds before the span's start."""

    def __init__(self, stream: AudioStream, target: OutputContainer, span: Span, preroll_s: Fraction) -> None:
        super().__init__(stream, target.add_stream_from_template(stream), span)
        self._preroll_s = preroll_s

    def take(self, packet: Packet) -> Iterator[Timed]:
        start_s, end_s = _times_s(self._moved(packet))
        if end_s >= -self._preroll_s and start_s < self._span.end_s:
            packet.stream = cast(AudioStream, self._out)
            yield start_s, 1, packet


class _EncodedAudio(Track):
    """Decoded, and encoded again; gaps become silence, and nothing lies before 0 but the encoder's priming."""

    def __init__(self, stream: AudioStream, target: OutputContainer, span: Span, name: str) -> None:
        codec = stream.codec_context
        rates = Codec(name, "w").audio_rates or []
        self._rate = codec.sample_rate if codec.sample_rate in rates else 48_000
        self._layout = _LAYOUTS.get(codec.layout.nb_channels, "stereo")
        encoder = cast(AudioStream, target.add_stream(name, rate=self._rate, layout=self._layout))
        first, further = _KBITS_PER_CHANNEL
        channels = encoder.layout.nb_channels
        encoder.bit_rate = 1000 * (first * min(channels, 2) + further * max(0, channels - 2))
        super().__init__(stream, encoder, span)
        self._decoder, self._encoder = codec, encoder
        self._graph: Graph | None = None
        self._form: tuple[object, ...] = ()
        self._samples = 0

    def take(self, packet: Packet) -> Iterator[Timed]:
        yield from self._encoded(self._moved(packet))

    def finish(self) -> Iterator[Timed]:
        yield from self._encoded(None)
        if self._graph is not None:
            yield from self._pushed(None)
        yield from self._packets(None)

    def _encoded(self, packet: Packet | None) -> Iterator[Timed]:
        frames: list[av.AudioFrame] = []
        with suppress(FFmpegError):  # a damaged packet leaves a gap
            frames = self._decoder.decode(packet)
        for frame in frames:
            if frame.pts is None or frame.time_base is None or frame.pts * frame.time_base >= self._span.end_s:
                continue
            form = frame.sample_rate, frame.format.name, frame.layout.name
            if form != self._form:
                if self._graph is not None:
                    yield from self._pushed(None)
                self._graph, self._form = self._converter(frame), form
            # Long gaps are filled second by second: the filter would hold all their silence at once.
            while frame.pts * frame.time_base - Fraction(self._samples, self._rate) > 2:
                yield from self._pushed(_silence(frame, Fraction(self._samples, self._rate)))
            yield from self._pushed(frame)

    def _converter(self, frame: av.AudioFrame) -> Graph:
        """From sound like the frame's to the encoder's, sample after sample without gaps, to the end of the span."""
        graph = Graph()
        # FFmpeg says that it counts output samples there, but it counts the input's.
        first = round(Fraction(self._samples, self._rate) * frame.sample_rate)
        chain = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout, time_base=frame.time_base
            ),
            graph.add("aresample", f"{self._rate}:async=1:min_hard_comp={_GAP_S}:first_pts={first}"),
            graph.add("aformat", f"sample_fmts={self._encoder.format.name}:channel_layouts={self._layout}"),
            graph.add("atrim", f"end_sample={round(self._span.end_s * self._rate)}"),
            graph.add("abuffersink"),
        ]
        graph.link_nodes(*chain).configure()
        return graph

    def _pushed(self, frame: av.AudioFrame | None) -> Iterator[Timed]:
        assert self._graph is not None
        with suppress(EndError):  # after the end of the span
            self._graph.push(frame)
        with suppress(NotYetError, EndError):
            while True:
                converted = cast(av.AudioFrame, self._graph.pull())
                converted.pts = self._samples
                self._samples += converted.samples
                yield from self._packets(converted)

    def _packets(self, frame: av.AudioFrame | None) -> Iterator[Timed]:
        for packet in self._encoder.encode(frame):
            yield _times_s(packet)[0], 1, packet


class _Subtitles(Track):
    """Cut to the span, and bit for bit or, with an encoder, as its kind of text."""

    def __init__(self, stream: SubtitleStream, target: OutputContainer, span: Span, encoder: str | None) -> None:
        self._encodes = encoder is not None
        if encoder is None:
            super().__init__(stream, target.add_stream_from_template(stream), span)
            return
        out = cast(SubtitleStream, target.add_stream(encoder))
        # Subtitles pass between codecs as ASS, whose styles stand in a header.
        stream.codec_context.open(strict=False)
        out.codec_context.subtitle_header = stream.codec_context.subtitle_header
        super().__init__(stream, out, span)

    def take(self, packet: Packet) -> Iterator[Timed]:
        start_s, end_s = _times_s(self._moved(packet))
        start_s, end_s = max(start_s, Fraction(0)), min(end_s, self._span.end_s)
        if start_s >= self._span.end_s or (packet.duration and end_s <= start_s):
            return
        base = packet.time_base
        if self._encodes:
            text = None
            with suppress(FFmpegError):
                text = cast(SubtitleStream, self._stream).codec_context.decode2(packet)
            if text is None:
                return
            packet = cast(SubtitleStream, self._out).codec_context.encode_subtitle(text)
            packet.time_base = base
            packet.duration = 1
        packet.pts = packet.dts = round(start_s / base)
        if packet.duration:
            packet.duration = round((end_s - start_s) / base)
        packet.stream = cast(SubtitleStream, self._out)
        yield start_s, 1, packet


class Carried:
    """Sound and subtitles on their way from a source to a target; made by `carry_tracks`.

    Args:
        source: opened for reading.
        tracks: by their number in the source.
        left_out: what is left out before a packet is read.
    """

    def __init__(self, source: InputContainer, tracks: dict[int, Track], left_out: list[str]) -> None:
        self._source, self._tracks, self._left_out = source, tracks, left_out
        self._written: set[int] = set()

    def packets(self) -> Iterator[Timed]:
        """The target's packets, not muxed yet."""
        if not self._tracks:
            return
        for packet in self._source.demux(*(self._source.streams[index] for index in self._tracks)):
            if packet.dts is not None:  # the demuxer's last, empty packets have none
                yield from self._noted(packet.stream.index, self._tracks[packet.stream.index].take(packet))
        for index, track in self._tracks.items():
            yield from self._noted(index, track.finish())

    def _noted(self, index: int, packets: Iterator[Timed]) -> Iterator[Timed]:
        for timed in packets:
            if timed[2].size:
                self._written.add(index)
            yield timed

    def result(self) -> CarriedTracks:
        """What became of them, once all packets are muxed."""
        sound = {index for index, track in self._tracks.items() if not isinstance(track, _Subtitles)}
        silent = "sound was left out: none of it can be read, or all of it is before or after the pictures"
        lost = [silent] if sound and not sound & self._written else []
        return CarriedTracks(bool(sound & self._written), (*lost, *self._left_out))


def carry_tracks(
    source: InputContainer, target: OutputContainer, suffix: str, span: Span, *, copies: bool = True
) -> Carried:
    """Add a source's sound and subtitles to a target.

    Args:
        source: opened for reading.
        target: opened for writing; the streams are added to it.
        suffix: .mp4, .mov, .mkv or .webm, of the target.
        span: the part to carry over.
        copies: sound that the target can hold is copied; if not, all of it is encoded.
    """
    tracks: dict[int, Track] = {}
    unknown, unfit = False, []
    can_hold = target.supported_codecs
    for stream in source.streams.audio:
        if stream.codec_context is None:
            unknown = True
            continue
        codec = stream.codec_context.name
        if copies and codec in can_hold and codec.startswith(_AUDIO[suffix]):
            tracks[stream.index] = _CopiedAudio(stream, target, span, _PREROLL_S[suffix])
        else:
            tracks[stream.index] = _EncodedAudio(stream, target, span, _ENCODERS.get(suffix, "aac"))
    for stream in source.streams.subtitles:
        codec = None if stream.codec_context is None else stream.codec_context.codec
        if codec is not None and codec.name in can_hold:
            tracks[stream.index] = _Subtitles(stream, target, span, None)
        elif codec is not None and codec.text_sub:
            tracks[stream.index] = _Subtitles(stream, target, span, _TEXT[suffix])
        else:
            unfit.append("their codec" if codec is None else codec.canonical_name.removesuffix("_subtitle"))
    left_out = ["sound was left out: its codec is not supported"] if unknown else []
    if unfit:
        left_out.append(f"subtitles were left out: a {suffix} cannot hold {', '.join(sorted(set(unfit)))}")
    return Carried(source, tracks, left_out)


def _times_s(packet: Packet) -> tuple[Fraction, Fraction]:
    """When a packet starts and ends."""
    assert packet.pts is not None
    return packet.pts * packet.time_base, (packet.pts + (packet.duration or 0)) * packet.time_base


def _silence(like: av.AudioFrame, start_s: Fraction) -> av.AudioFrame:
    """A second of silence in the form of another frame."""
    assert like.time_base is not None
    frame = av.AudioFrame(like.format.name, like.layout.name, like.sample_rate)
    frame.sample_rate, frame.time_base = like.sample_rate, like.time_base
    frame.pts = round(start_s / like.time_base)
    for plane in frame.planes:
        plane.update(bytes([0x80 if like.format.name.startswith("u8") else 0]) * plane.buffer_size)
    return frame
