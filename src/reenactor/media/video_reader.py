"""Read a video frame by frame, upright, with exact times, in bounded memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar
from weakref import WeakSet

import av
import numpy as np
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.core.files import check_readable
from reenactor.media.hdr import TRANSFERS, tone_mapped

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".mkv",
    ".m4v",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".wmv",
    ".flv",
    ".gif",
    ".apng",
)
"""`.gif` and `.apng` count as videos (`read_image` reads the first frame)."""
_CUT_TOLERANCE_S = 0.5
"""Headers are this vague about the end of a video; most cuts also show by an incomplete packet."""
_NOT_VIDEO = ("tty", "image2")
"""FFmpeg also "plays" text files and single images."""
_CONVERT = "convert it to an MP4 file (H.264) first"
_EXACT_RATES = [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)] + [Fraction(n) for n in range(1, 241)]
_MEASURED = 100
"""Packets whose times tell the rate of a file that does not."""
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_ALPHA_FORMATS = ("rgba", "bgra", "argb", "abgr", "yuva", "gbrap", "ya8", "ya16", "pal8")


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame.

    Args:
        image: (H, W, 3) RGB.
        pts: when it is shown, in the reader's `time_base`; the first frame is at 0.
    """

    image: UInt8[np.ndarray, "h w 3"]
    pts: int


_Decoded = TypeVar("_Decoded")
_R = TypeVar("_R", bound="FrameReader")


class FrameReader(ABC, Generic[_Decoded]):
    """A file as a stream of frames: `with open_reader(path) as reader: for frame in reader: ...`.

    The base of `VideoReader` and `AnimationReader`. Frames are upright, 8-bit RGB, all of one size. Times strictly
    increase; a frame whose time does not is dropped. Each iteration starts at the beginning.

    Attributes:
        size: (width, height) of the frames.
        time_base: seconds per unit of `pts`.
        average_rate: mean frames per second, exact if the file is (30000/1001); of an animation, by its first frame.
        frame_count: expected number of frames, or None if the file does not say.
        duration_s: length in seconds, or None if the file does not say.
        has_audio: whether there is a sound track.
        end_pts: when the last frame ends; None until an iteration has reached the end.
        truncated: an iteration met damaged data or a missing end, and stopped there.
    """

    size: tuple[int, int]
    time_base: Fraction
    average_rate: Fraction
    frame_count: int | None = None
    duration_s: float | None = None
    has_audio = False

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.end_pts: int | None = None
        self.truncated = False
        self._running: WeakSet[Generator[VideoFrame]] = WeakSet()

    def __enter__(self: _R) -> _R:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all running iterations, which closes the file."""
        for iteration in list(self._running):
            iteration.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        return self.frames()

    def frames(self, start: int = 0) -> Iterator[VideoFrame]:
        """Iterate from frame number `start`; earlier frames are decoded and dropped, so counting is exact."""
        iteration = self._frames(start)
        self._running.add(iteration)
        return iteration

    def _frames(self, start: int) -> Generator[VideoFrame]:
        for number, (decoded, pts) in enumerate(self._timed()):
            if number >= start:
                yield VideoFrame(self._picture(decoded), pts)

    @abstractmethod
    def _timed(self) -> Iterator[tuple[_Decoded, int]]:
        """Decoded frames with strictly increasing times; sets `end_pts` and `truncated` at the end."""

    @abstractmethod
    def _picture(self, decoded: _Decoded) -> UInt8[np.ndarray, "h w 3"]:
        """A decoded frame as it is meant to be seen."""


class VideoReader(FrameReader[av.VideoFrame]):
    """A video file as a stream of frames; of a file that may be an animation, `open_reader` opens the right reader.

    Frames are turned as the display matrix says, and have square pixels. Matroska and WebM keep times to 1 ms only.

    Args:
        path: any local file that FFmpeg decodes, animated GIF included.
        precise: exact colours; `False` saves 7 ms a frame at 720p and is 1 level too dark: fine for tracking.

    Attributes:
        start_s: the first frame's time in the file's own clock, which its sound track shares.

    Raises:
        MediaError: the file is missing, not a video, of an unknown codec, or has no frame that can be decoded.
    """

    def __init__(self, path: str | os.PathLike[str], *, precise: bool = True) -> None:
        super().__init__(path)
        self._precise = precise
        with open_video(self.path) as container:
            first = first_frame(container, self.path)
            stream = container.streams.video[0]
            self.time_base = time_base(stream)
            self.average_rate = _average_rate(container, stream)
            self._start_pts = frame_pts(first) or 0
            self.start_s = self._start_pts * self.time_base
            self._header_end_s = _header_end_s(stream, self.start_s)
            self.duration_s = _duration_s(container, self._header_end_s)
            self.frame_count = _frame_count(stream, self.duration_s, self.average_rate)
            self.has_audio = bool(container.streams.audio)
            self._turn = _Turn.of(first)
            self._stored_size = _square_pixel_size(stream, first)
            self.size = self._turn.size(self._stored_size)

    def _picture(self, decoded: av.VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        return self._turn.apply(to_rgb(decoded, self._stored_size, precise=self._precise))

    def _timed(self) -> Iterator[tuple[av.VideoFrame, int]]:
        self.truncated = False
        nominal = max(1, round(1 / self.average_rate / self.time_base))
        end = 0  # the time of a frame that has none of its own
        last = -1
        for decoded in self._decoded():
            stored = frame_pts(decoded)
            pts = end if stored is None else stored - self._start_pts
            if pts > last:
                last, end = pts, pts + (decoded.duration or nominal)
                yield decoded, pts
        self.end_pts = end
        if self._header_end_s is not None:
            missing_s = self._header_end_s - end * self.time_base
            self.truncated |= missing_s > max(_CUT_TOLERANCE_S, 2 / self.average_rate)

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decode until the end or the first damage, then what the decoder still holds."""
        with open_video(self.path) as container:
            stream = container.streams.video[0]
            try:
                for packet in container.demux(stream):
                    if packet.is_corrupt:
                        self.truncated = True
                        break
                    yield from packet.decode()
            except FFmpegError:
                self.truncated = True
            if self.truncated:
                with suppress(FFmpegError):
                    yield from stream.decode(None)


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading, local files only.

    Raises:
        MediaError: missing, empty, or in no format that FFmpeg knows.
    """
    check_readable(path, "a video")
    try:
        # "file:" keeps names such as "12:30.mp4" from being taken for a protocol, the whitelist keeps
        # playlists from reaching the network.
        container = av.open(f"file:{path}", container_options={"protocol_whitelist": "file"})
    except (FFmpegError, OSError) as error:
        raise MediaError(
            f"{path} is not a video that can be read, or is damaged; check that it plays, or {_CONVERT}"
        ) from error
    # If a container keeps no times (AVI), PyAV asks FFmpeg to invent them, which misorders B-frames.
    container.flags &= ~Flags.gen_pts.value
    return container


def open_video(path: Path) -> InputContainer:
    """Open a file whose first video stream can be decoded: `container.streams.video[0]`.

    Raises:
        MediaError: not a video, or of an unknown codec.
    """
    container = open_container(path)
    problem = _problem(container)
    if problem:
        container.close()
        raise MediaError(f"{path} {problem}")
    container.streams.video[0].thread_type = "AUTO"
    return container


def _problem(container: InputContainer) -> str | None:
    name = container.format.name
    if name.startswith(_NOT_VIDEO) or name.endswith("_pipe"):
        return "is not a video; give a video file"
    videos = container.streams.video
    if not videos or videos[0].disposition & Disposition.attached_pic:
        return "has no video stream; give a video file"
    if videos[0].codec_context is None:
        return f"uses a video codec that is not supported; {_CONVERT}"
    return None


def first_frame(container: InputContainer, path: Path) -> av.VideoFrame:
    """Decode the first frame.

    Raises:
        MediaError: there is none, or it is damaged.
    """
    try:
        for frame in container.decode(video=0):
            return frame
    except (FFmpegError, OSError) as error:
        raise MediaError(f"no frame of {path} can be decoded; check that it plays, or {_CONVERT}") from error
    raise MediaError(f"{path} contains no frames; give a video that plays")


def frame_pts(frame: av.VideoFrame) -> int | None:
    """Presentation time; decoding time if the container (AVI) keeps no other."""
    return frame.pts if frame.pts is not None else frame.dts


def time_base(stream: av.VideoStream) -> Fraction:
    """Seconds per unit of time."""
    assert stream.time_base is not None  # every demuxer sets it
    return stream.time_base


def _average_rate(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """Mean frames per second; within 1e-4 of a common rate it is that rate (23.976 and 24 differ by 1e-3)."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    if not stream.average_rate and rate * time_base(stream) >= 1:
        # A browser's WebM says nothing; FFmpeg takes its clock, of 1000 a second, for the rate.
        rate = _measured_rate(container, stream) or rate
    nearest = min(_EXACT_RATES, key=lambda exact: abs(exact - rate))
    return nearest if abs(nearest - rate) <= rate / 10_000 else rate


def _measured_rate(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Frames per second of the next packets; None if that cannot be told."""
    with suppress(FFmpegError):
        times = [packet.pts for packet in islice(container.demux(stream), _MEASURED) if packet.pts is not None]
        if len(set(times)) > 1:
            return Fraction(len(times) - 1) / ((max(times) - min(times)) * time_base(stream))
    return None


def _header_end_s(stream: av.VideoStream, start_s: Fraction) -> Fraction | None:
    """Seconds from the first frame to the end by the header; None if it does not say."""
    if stream.duration:
        return stream.duration * time_base(stream)
    try:
        # Matroska: 00:01:02.003000000, on the file's own clock.
        hours, minutes, seconds = (Fraction(part) for part in stream.metadata.get("DURATION", "").split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds - start_s


def _duration_s(container: InputContainer, end_s: Fraction | None) -> float | None:
    """Length in seconds; that of the whole file if the video stream does not say."""
    if end_s:
        return float(end_s)
    return container.duration / av.time_base if container.duration else None


def _frame_count(stream: av.VideoStream, seconds: float | None, rate: Fraction) -> int | None:
    """Expected number of frames."""
    if stream.frames:
        return stream.frames
    return max(1, round(seconds * float(rate))) if seconds else None


def _square_pixel_size(stream: av.VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the stored frame once its pixels are square."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return max(1, round(frame.width * aspect)), frame.height


@dataclass(frozen=True)
class _Turn:
    """One of the eight ways to turn and mirror an image: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> _Turn:
        """Read the display matrix: a stored pixel (x, y) is shown at (a x + c y, b x + d y), shifted."""
        data = frame.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def size(self, stored: tuple[int, int]) -> tuple[int, int]:
        """Width and height after the turn."""
        return (stored[1], stored[0]) if self.transpose else stored

    def apply(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        """Turn an image; the result is contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


def to_rgb(frame: av.VideoFrame, size: tuple[int, int], *, precise: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Decoded frame of any format -> 8-bit RGB of `size` (width, height), transparency on white.

    Untagged YCbCr follows the players' rule: BT.709 for high definition, BT.601 below (swscale would take BT.601
    always). HDR (HLG, PQ) is brought to the range of other video. `precise=False` is swscale's own path, 10 times
    faster: it darkens every channel by 1 level and repeats chroma instead of interpolating it (42.8 dB against 47.6 dB
    on a 720p round trip).
    """
    width, height = size
    flags = Interpolation.BILINEAR
    if precise:
        flags |= Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
    source = None
    if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
        source = Colorspace.ITU709 if frame.width >= 1280 or frame.height > 576 else Colorspace.ITU601
    pixel_format = "rgba" if frame.format.name.startswith(_ALPHA_FORMATS) else "rgb24"
    image = frame.to_ndarray(
        width=width, height=height, format=pixel_format, src_colorspace=source, interpolation=flags
    )
    if pixel_format == "rgb24":
        transfer = TRANSFERS.get(frame.color_trc)
        return image if transfer is None else tone_mapped(image, transfer)
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
