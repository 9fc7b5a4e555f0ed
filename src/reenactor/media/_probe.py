"""What a video file says of itself: times, rate, length, and how its frames are to be turned."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.stream import Disposition
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.core.files import check_readable

# FFmpeg also "plays" text files (tty) and single pictures.
_NOT_VIDEO = ("tty", "image2")
_CONVERT = "convert it to an MP4 file (H.264) first"
_EXACT_RATES = [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)] + [Fraction(n) for n in range(1, 241)]


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
    # Where a container keeps no times (AVI), PyAV asks FFmpeg to invent them, which misorders B-frames.
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
    """The frame's own time, by decoding time where a container (AVI) keeps no other."""
    return frame.pts if frame.pts is not None else frame.dts


def time_base(stream: av.VideoStream) -> Fraction:
    """Seconds per unit of time."""
    assert stream.time_base is not None  # every demuxer sets it
    return stream.time_base


def average_rate(stream: av.VideoStream) -> Fraction:
    """Mean frames per second; within 1e-4 of a common rate it is that rate (23.976 and 24 differ by 1e-3)."""
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25)
    nearest = min(_EXACT_RATES, key=lambda exact: abs(exact - rate))
    return nearest if abs(nearest - rate) <= rate / 10_000 else rate


def header_end_s(stream: av.VideoStream, start_s: Fraction) -> Fraction | None:
    """From the first frame to the end in seconds, as the header has it; None when it does not tell."""
    if stream.duration:
        return stream.duration * time_base(stream)
    try:
        # Matroska: 00:01:02.003000000, on the file's own clock.
        hours, minutes, seconds = (Fraction(part) for part in stream.metadata.get("DURATION", "").split(":"))
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds - start_s


def duration_s(container: InputContainer, end_s: Fraction | None) -> float | None:
    """Length in seconds; that of the whole file when the video stream does not tell its own."""
    if end_s:
        return float(end_s)
    return container.duration / av.time_base if container.duration else None


def frame_count(stream: av.VideoStream, seconds: float | None) -> int | None:
    """How many frames to expect."""
    if stream.frames:
        return stream.frames
    return max(1, round(seconds * float(average_rate(stream)))) if seconds else None


def square_pixel_size(stream: av.VideoStream, frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height of the stored frame once its pixels are square."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return max(1, round(frame.width * aspect)), frame.height


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to turn and mirror a picture: transpose first, then flip."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Turn:
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
        """Turn a picture; the result is contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)
