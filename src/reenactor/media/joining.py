"""Join video segments, without encoding them again, with the sound and the subtitles of another file."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream
from av.video.stream import VideoStream

from reenactor.core import MediaError
from reenactor.core.files import replacing
from reenactor.media.tracks import CarriedTracks, Span, Timed, carry_tracks
from reenactor.media.video_reader import first_frame, frame_pts, open_container, open_video, time_base
from reenactor.media.video_writer import check_suffix, close_quietly, open_output


def join_segments(
    segments: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    tracks_from: str | os.PathLike[str] | None = None,
    start_s: Fraction = Fraction(0),
) -> CarriedTracks:
    """Join segments made by `VideoWriter` into one file, with the sound and subtitles of another.

    The segments' times count from the start of the whole video, and each was closed with the next one's first
    time as `end_pts`. Pictures are copied bit for bit, and so is sound that the output can hold; other sound is
    encoded as AAC. Both keep their time relative to the frames of `tracks_from` to within one tick of its clock, and
    end with the video. Subtitles of text that the output cannot hold become its own kind of text, those made of
    pictures are left out. A source without sound gives none.

    Args:
        segments: in order; all of one size and made with the same encoder settings.
        output: ends in .mp4, .mov, .mkv or .webm.
        tracks_from: a file with sound or subtitles, usually the driver.
        start_s: which moment of `tracks_from`, counted from its first frame, is the output's time 0.

    Returns:
        What was carried over, and what was left out.

    Raises:
        MediaError: a file cannot be read or written, or segments do not match.
    """
    output = Path(output)
    paths = [Path(segment) for segment in segments]
    check_suffix(output)
    if not paths:
        raise MediaError(f"there are no segments to join into {output}; check the input")
    with replacing(output) as temporary:
        failed: FFmpegError | None = None
        # Damaged packets, which some formats refuse, are lost in encoding; what cannot even be decoded is left out.
        for copies in (True, False, None) if tracks_from is not None else (None,):
            source = None if tracks_from is None or copies is None else Path(tracks_from)
            try:
                carried = _join(paths, output, temporary, source, start_s, copies=bool(copies))
            except FFmpegError as error:
                if isinstance(error, OSError):
                    raise  # `replacing` reports full disks
                failed = error
            else:
                lost = "sound and subtitles were left out: they are damaged"
                return carried if failed is None or source is not None else CarriedTracks(left_out=(lost,))
        assert failed is not None
        raise MediaError(f"cannot join the segments of {output}: {failed.strerror}; render them again") from failed


def _join(
    paths: list[Path], output: Path, temporary: Path, tracks_from: Path | None, start_s: Fraction, *, copies: bool
) -> CarriedTracks:
    with ExitStack() as files:
        template = files.enter_context(open_video(paths[0])).streams.video[0]
        target = open_output(output, temporary, time_base(template))
        try:
            video = target.add_stream_from_template(template)
            # Kept, or players take ProRes 4444 for 422 and show nothing of VP9's transparency.
            video.codec_context.codec_tag = template.codec_context.codec_tag
            video.metadata.update({name: text for name, text in template.metadata.items() if name == "alpha_mode"})
            packets: list[Iterator[Timed]] = [_video_packets(paths, template, video)]
            carried = None
            if tracks_from is not None:
                source = files.enter_context(open_container(tracks_from))
                if source.streams.audio or source.streams.subtitles:
                    span = Span(_first_frame_s(tracks_from) + start_s, _end_s(paths[-1]))
                    carried = carry_tracks(source, target, output.suffix.lower(), span, copies=copies)
                    packets.append(carried.packets())
            _mux(target, packets)
            target.close()
            return CarriedTracks() if carried is None else carried.result()
        finally:
            close_quietly(target)


def _mux(target: OutputContainer, packets: list[Iterator[Timed]]) -> None:
    """Write packets in the order of their times, so that the muxer's interleaving queue stays short."""
    for _, _, packet in heapq.merge(*packets, key=lambda timed: timed[:2]):
        target.mux_one(packet)


def _video_packets(paths: list[Path], template: VideoStream, video: Stream) -> Iterator[Timed]:
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
