"""Encodes and decodes the pictures in shards: clips as MP4, photos as JPEG, in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import ReenactError
from reenactor.face.geometry import resize
from reenactor.media.video_reader import to_rgb
from reenactor.media.video_writer import tag_bt709, to_bt709

KEYFRAME_EVERY = 24
"""Frames from one keyframe to the next. To read a frame, 12 are decoded on average."""


class ClipEncoder:
    """Encodes a clip as H.264 in MP4, in memory: yuv420p, BT.709, a keyframe at least every 24 frames.

    It uses one thread, so that the same frames give the same bytes on any machine.

    Args:
        size: side of the square frames, even.
        time_base: seconds per unit of the times given to `write`.
        rate_hint: approximate frames per second; steers the encoder's quality.
        crf: x264's constant rate factor.
        preset: x264's preset: speed against file size.
    """

    def __init__(self, size: int, *, time_base: Fraction, rate_hint: Fraction, crf: float, preset: str) -> None:
        self._time_base = time_base
        self._buffer = io.BytesIO()
        clock = time_base.denominator
        while clock < 10_000:  # as FFmpeg does with the stream's own clock
            clock *= 2
        container_options = {"movie_timescale": str(clock), "fflags": "+bitexact"}
        self._container = av.open(self._buffer, "w", format="mp4", container_options=container_options)
        options = {"crf": str(crf), "preset": preset, "threads": "1", "g": str(KEYFRAME_EVERY), "bf": "2"}
        stream = self._container.add_stream("libx264", rate=rate_hint, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        tag_bt709(stream.codec_context)
        self._stream = stream
        self._pts: list[int] = []
        self._packets: list[Packet] = []

    def write(self, image: UInt8[np.ndarray, "s s 3"], pts: int) -> None:
        """Append an RGB frame; times begin at 0 and increase."""
        frame = to_bt709(image)
        frame.pts = pts
        frame.time_base = self._time_base
        self._pts.append(pts)
        self._packets += self._stream.encode(frame)

    def close(self, end_pts: int) -> bytes:
        """Finish and return the file.

        Args:
            end_pts: when the last frame ends.

        Raises:
            ValueError: no frames, or times that do not increase.
        """
        self._packets += self._stream.encode(None)
        self._time_packets(end_pts)
        for packet in self._packets:
            self._container.mux_one(packet)
        self._container.close()
        return self._buffer.getvalue()

    def _time_packets(self, end_pts: int) -> None:
        """Give each packet the duration of its frame.

        MP4 stores durations as the steps between decoding times, and B-frames are decoded out of order. So decoding
        times advance by the durations, and begin early enough that no frame is decoded after it is shown.
        """
        spans = list(pairwise([*self._pts, end_pts]))
        if not spans or any(end <= start for start, end in spans):
            raise ValueError(f"a clip needs frames, and times that increase: {[*self._pts, end_pts]}")
        durations = {start: end - start for start, end in spans}
        shown = [packet.pts for packet in self._packets if packet.pts is not None]
        steps = [0, *accumulate(durations[pts] for pts in shown[:-1])]
        # x264's own first time is kept if it is early enough, as it is at a steady rate.
        first = min(self._packets[0].dts or 0, *(pts - step for pts, step in zip(shown, steps, strict=True)))
        for packet, pts, step in zip(self._packets, shown, steps, strict=True):
            packet.dts, packet.duration = first + step, durations[pts]


def decode_frames(
    mp4: bytes, numbers: Sequence[int] | None = None, *, size: int | None = None
) -> UInt8[np.ndarray, "n s s 3"]:
    """Decode frames of a clip, in one thread. Only groups of pictures with such a frame are decoded.

    Args:
        mp4: the file's bytes.
        numbers: frame numbers, in any order, also repeated; None for all frames.
        size: side of the result; None for the clip's own.

    Returns:
        (N, s, s, 3) RGB uint8, in the order of `numbers`.

    Raises:
        ReenactError: the bytes are not a clip, or damaged.
        ValueError: a frame number outside the clip.
    """
    try:
        with av.open(io.BytesIO(mp4), "r") as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            times = sorted(packet.pts for packet in packets if packet.pts is not None)
            numbers = range(len(times)) if numbers is None else numbers
            if len(numbers) and not 0 <= min(numbers) <= max(numbers) < len(times):
                raise ValueError(f"the clip has the frames 0 to {len(times) - 1}, not {min(numbers)} to {max(numbers)}")
            side = size or stream.width
            outputs: dict[int, list[int]] = {}
            for i, number in enumerate(numbers):
                outputs.setdefault(times[number], []).append(i)
            images = np.empty((len(numbers), side, side, 3), np.uint8)
            stream.codec_context.thread_count = 1
            for frame in _decode_groups(stream.codec_context, packets, set(outputs)):
                assert frame.pts is not None
                # swscale's fast chroma is 1 level too dark, and its precise one is slow if it also resamples.
                native = to_rgb(frame, (frame.width, frame.height), precise=True)
                images[outputs.pop(frame.pts)] = resize(native, side)
            if outputs:
                raise ReenactError("this clip is damaged; prepare the data again")
            return images
    except (FFmpegError, IndexError) as error:
        raise ReenactError("this clip cannot be decoded; prepare the data again") from error


def _decode_groups(codec: av.VideoCodecContext, packets: list[Packet], times: set[int]) -> Iterator[av.VideoFrame]:
    """The frames at these times; groups of pictures without such a frame are not decoded."""
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe] + [len(packets)]
    for start, stop in pairwise(keys):
        group = packets[start:stop]
        missing = {packet.pts for packet in group} & times
        if not missing:
            continue
        for packet in [*group, None]:
            for frame in codec.decode(packet):
                if frame.pts in missing:
                    missing.remove(frame.pts)
                    yield frame
            if not missing:
                break
        codec.flush_buffers()


def encode_photo(image: UInt8[np.ndarray, "s s 3"], *, quality: int, full_colour: bool) -> bytes:
    """Encode RGB as JPEG of this quality (1 to 95); `full_colour` keeps chroma at full resolution."""
    buffer = io.BytesIO()
    options = {"quality": quality, "subsampling": 0 if full_colour else 2, "optimize": True, "progressive": True}
    Image.fromarray(image).save(buffer, format="JPEG", **options)
    return buffer.getvalue()


def decode_photo(jpeg: bytes, *, size: int | None = None) -> UInt8[np.ndarray, "s s 3"]:
    """Decode JPEG to RGB, resampled to `size` if given.

    Raises:
        ReenactError: the bytes are not a JPEG, or damaged.
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            if size is not None:
                image.draft(
                    "RGB", (size, size)
                )  # decoding at a half or a quarter of the size takes a third of the time
            picture = image.convert("RGB")
            if size is not None and size != picture.width:
                picture = picture.resize((size, size), Image.Resampling.LANCZOS)
            return np.array(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise ReenactError("this picture cannot be decoded; prepare the data again") from error
