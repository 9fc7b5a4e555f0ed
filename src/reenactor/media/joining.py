"""Join video segments and a sound track without encoding anything again."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from reenactor.core import MediaError
from reenactor.core.files import replacing
from reenactor.media.video_reader import first_frame, frame_pts, open_container, open_video, time_base
from reenactor.media.video_writer import check_suffix, close_quietly, open_output

# What players expect; FFmpeg alone would also write combinations that few of them open.
_MP4_AUDIO = {"aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac"}
_MOV_AUDIO = {"aac", "mp3", "mp3float", "ac3", "eac3", "alac"}
_WEBM_AUDIO = {"opus", "libopus", "vorbis"}

_PREROLL_S = Fraction(1, 4)
"""Sound before the first frame to keep (AAC primes its decoder with 21-48 ms, Opus with 80 ms)."""

_Timed = tuple[Fraction, int, Packet]


def check_audio_fits(output: str | os.PathLike[str], audio_from: str | os.PathLike[str]) -> None:
    """Refuse an output that cannot hold the sound of `audio_from` as it is; call it before long work.

    Raises:
        MediaError: the message says which suffix can hold it.
    """
    output = Path(output)
    check_suffix(output)
    with open_container(Path(audio_from)) as source:
        if source.streams.audio:
            _check_codec(output, Path(audio_from), source.streams.audio[0])


def _check_codec(output: Path, audio_from: Path, stream: AudioStream) -> None:
    codec = stream.codec_context.name
    in_mov = codec in _MOV_AUDIO or codec.startswith("pcm_")
    suffix = output.suffix.lower()
    in_webm = codec in _WEBM_AUDIO
    if (
        (suffix == ".mp4" and codec not in _MP4_AUDIO)
        or (suffix == ".mov" and not in_mov)
        or (suffix == ".webm" and not in_webm)
    ):
        better = ".mov or .mkv" if in_mov and suffix in (".mp4", ".webm") else ".mkv"
        raise MediaError(
            f"cannot write {output}: a {suffix} file cannot hold the {codec} sound of {audio_from}; "
            f"end the name in {better} instead"
        )


def join_segments(
    segments: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    audio_from: str | os.PathLike[str] | None = None,
    audio_start_s: Fraction = Fraction(0),
) -> None:
    """Join segments made by `VideoWriter` into one file, with the sound of another, packet by packet.

    The segments' times count from the start of the whole video, and each was closed with the next one's first
    time as `end_pts`. Sound packets are copied bit for bit. They keep their time relative to the frames of
    `audio_from` to within one tick of its clock, and end with the video. A source without sound gives none.

    Args:
        segments: in order; all of one size and made with the same encoder settings.
        output: ends in .mp4, .mov, .mkv or .webm.
        audio_from: a file with a sound track, usually the driver.
        audio_start_s: which moment of `audio_from`, counted from its first frame, is the output's time 0.

    Raises:
        MediaError: a file cannot be read or written, the output cannot hold the sound, or segments do not
            match.
    """
    output = Path(output)
    paths = [Path(segment) for segment in segments]
    check_suffix(output)
    if audio_from is not None:
        check_audio_fits(output, audio_from)
    if not paths:
        raise MediaError(f"there are no segments to join into {output}; check the input")
    with replacing(output) as temporary:
        try:
            _join(paths, output, temporary, None if audio_from is None else Path(audio_from), audio_start_s)
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise  # `replacing` reports full disks
            raise MediaError(f"cannot join the segments of {output}: {error.strerror}; render them again") from error


def _join(paths: list[Path], output: Path, temporary: Path, audio_from: Path | None, start_s: Fraction) -> None:
    with ExitStack() as files:
        template = files.enter_context(open_video(paths[0])).streams.video[0]
        target = open_output(output, temporary, time_base(template))
        try:
            video = target.add_stream_from_template(template)
            # Kept, or players take ProRes 4444 for 422 and show nothing of VP9's transparency.
            video.codec_context.codec_tag = template.codec_context.codec_tag
            video.metadata.update({name: text for name, text in template.metadata.items() if name == "alpha_mode"})
            packets: list[Iterator[_Timed]] = [_video_packets(paths, template, video)]
            source = files.enter_context(open_container(audio_from)) if audio_from else None
            if source and audio_from and source.streams.audio:
                stream = source.streams.audio[0]
                shift_s = _first_frame_s(audio_from) + start_s
                audio = target.add_stream_from_template(stream)
                packets.append(_audio_packets(source, audio, shift_s, _end_s(paths[-1])))
            _mux(target, packets)
            target.close()
        finally:
            close_quietly(target)


def _mux(target: OutputContainer, packets: list[Iterator[_Timed]]) -> None:
    """Write packets in the order of their times, so that the muxer's interleaving queue stays short."""
    for _, _, packet in heapq.merge(*packets, key=lambda timed: timed[:2]):
        target.mux_one(packet)


def _video_packets(paths: list[Path], template: VideoStream, video: Stream) -> Iterator[_Timed]:
    last_s = Fraction(-1)
    for path in paths:
        with open_video(path) as container:
            stream = container.streams.video[0]
            if stream.codec_context.extradata != template.codec_context.extradata:
                raise MediaError(f"{path} was made with other settings than {paths[0]}; remove it and render it again")
            for packet in container.demux(stream):
                if packet.dts is None:  # the demuxer's last, empty packet
                    continue
                time_s = packet.dts * packet.time_base
                if time_s <= last_s:
                    raise MediaError(f"{path} overlaps the segment before it; remove it and render it again")
                last_s = time_s
                packet.stream = cast(VideoStream, video)
                yield time_s, 0, packet


def _audio_packets(source: InputContainer, audio: Stream, shift_s: Fraction, end_s: Fraction) -> Iterator[_Timed]:
    stream = source.streams.audio[0]
    assert stream.time_base is not None
    shift = round(shift_s / stream.time_base)
    for packet in source.demux(stream):
        if packet.dts is None:
            continue
        packet.dts -= shift
        packet.pts = packet.dts if packet.pts is None else packet.pts - shift
        start_s = packet.pts * packet.time_base
        if start_s >= end_s:
            return
        if start_s + (packet.duration or 0) * packet.time_base >= -_PREROLL_S:
            packet.stream = cast(AudioStream, audio)
            yield start_s, 1, packet


def _first_frame_s(path: Path) -> Fraction:
    """Time of the first frame in the file's own clock; 0 for a file with sound only."""
    with open_container(path) as container:
        if not container.streams.video:
            return Fraction(0)
        frame = first_frame(container, path)
        return (frame_pts(frame) or 0) * time_base(container.streams.video[0])


def _end_s(path: Path) -> Fraction:
    """When the last frame of a segment ends."""
    with open_video(path) as container:
        return max(
            (packet.pts + (packet.duration or 0)) * packet.time_base
            for packet in container.demux(video=0)
            if packet.pts is not None
        )
