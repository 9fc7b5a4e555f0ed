"""Write H.264 video whose frames keep the exact times they were given."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.core.files import cannot_write, discard, temporary_beside
from reenactor.media._colour import tag_bt709, to_bt709

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_FRAGMENT_US = 500_000
"""What of a growing file may be lost."""


def open_output(path: Path, temporary: Path, time_base: Fraction, *, growing: bool = False) -> OutputContainer:
    """Open `temporary` for writing in the format that the suffix of `path` names.

    MP4 and MOV keep multiples of `time_base` exactly; Matroska rounds every time to 1 ms (without drift).

    Args:
        path: the file's name in the end.
        temporary: where it is written.
        time_base: seconds per unit of the times to come.
        growing: playable from about the first second on, while it is still written.
    """
    container_format = CONTAINERS[path.suffix.lower()]
    options = {}
    if container_format != "matroska":
        # FFmpeg doubles the stream's clock until it is at least 10 kHz. The file's own clock, 1 kHz unless
        # told, times the start of each track: give it the same one.
        clock = time_base.denominator
        while clock < 10_000:
            clock *= 2
        options = {"movflags": "+faststart", "movie_timescale": str(clock)}
        if growing:
            options |= {"movflags": "+empty_moov+default_base_moof+frag_keyframe", "frag_duration": str(_FRAGMENT_US)}
    elif growing:
        options = {"cluster_time_limit": str(_FRAGMENT_US // 1000)}
    if growing:
        options["flush_packets"] = "1"
    return av.open(f"file:{temporary}", "w", format=container_format, container_options=options)


def check_suffix(path: Path) -> None:
    """Refuse what is not an .mp4, .mov or .mkv.

    Raises:
        MediaError: another suffix.
    """
    if path.suffix.lower() not in CONTAINERS:
        raise MediaError(f"cannot write {path}: the name of a video must end in {', '.join(CONTAINERS)}")


class VideoWriter:
    """H.264, yuv420p, BT.709, no B-frames (so that segments can be joined without re-encoding).

    In a `with` block the file appears when the block ends, and not at all when it fails. An odd side is
    padded by one row or column that repeats the last.

    Args:
        path: ends in .mp4, .mov or .mkv.
        size: (width, height) of the pictures.
        time_base: seconds per unit of the times given to `write`.
        rate_hint: about how many frames a second; times the last frame and steers the encoder's quality.
        crf: x264's constant rate factor: 18 is visually lossless, larger is smaller.
        preset: x264's preset, a trade of speed for file size.
        growing: for what is recorded live: written under its own name from the start, and whatever ends the writing,
            it plays up to about half a second before that. A file of that name is replaced at once.

    Raises:
        MediaError: the place cannot be written, or the suffix is another.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        time_base: Fraction,
        rate_hint: Fraction,
        crf: int = 18,
        preset: str = "veryfast",
        growing: bool = False,
    ) -> None:
        self.path = Path(path)
        self.size = size
        self.time_base = Fraction(time_base)
        self.rate_hint = Fraction(rate_hint)
        self._last_pts: int | None = None
        self._held: Packet | None = None
        check_suffix(self.path)
        self._growing = growing
        self._temporary = temporary_beside(self.path)
        if growing:
            os.replace(self._temporary, self.path)
            self._temporary = self.path
        self._container: OutputContainer | None = open_output(
            self.path, self._temporary, self.time_base, growing=growing
        )
        options = {"crf": str(crf), "preset": preset, "bf": "0"}
        if growing:
            options["tune"] = "zerolatency"  # else the encoder holds up to 40 frames back
        self._stream = self._container.add_stream("libx264", rate=self.rate_hint, options=options)
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self.time_base
        self._stream.codec_context.time_base = self.time_base
        tag_bt709(self._stream.codec_context)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, image: UInt8[np.ndarray, "h w 3"], pts: int) -> None:
        """Append a picture of the writer's size, shown from `pts` on (greater than the one before).

        Raises:
            MediaError: the disk is full, or the file went away.
        """
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"expected ({height}, {width}, 3) uint8, got {image.shape} {image.dtype}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"times must increase: {pts} after {self._last_pts}")
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = to_bt709(image)
        frame.pts = self._last_pts = int(pts)
        frame.time_base = self.time_base
        self._encode(frame)

    def close(self, end_pts: int | None = None) -> None:
        """Finish the file and put it in its place; nothing happens if that was done before.

        Args:
            end_pts: when the last frame ends; by default it lasts as long as `rate_hint` says.

        Raises:
            MediaError: no frame was written, or the disk is full.
        """
        if self._container is None:
            return
        if self._last_pts is None:
            self.discard()
            raise MediaError(f"there are no frames to write to {self.path}; check the input")
        if end_pts is None:
            end_pts = self._last_pts + max(1, round(1 / self.rate_hint / self.time_base))
        if end_pts <= self._last_pts:
            raise ValueError(f"the end must come after the last frame: {end_pts} after {self._last_pts}")
        self._encode(None)
        try:
            assert self._held is not None
            self._mux_held(end_pts - self._last_pts)
            self._container.close()
            if not self._growing:
                os.replace(self._temporary, self.path)
        except (OSError, FFmpegError) as error:
            raise cannot_write(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up: leave no file behind, and an earlier one at `path` as it was. A growing file keeps its frames."""
        container, self._container = self._container, None
        if container is not None:
            close_quietly(container)
        if not self._growing or self._last_pts is None:
            discard(self._temporary)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                # One packet is held back: only the next one tells how long its frame lasts.
                if self._held is not None:
                    assert packet.pts is not None
                    assert self._held.pts is not None
                    self._mux_held(packet.pts - self._held.pts)
                self._held = packet
        except (OSError, FFmpegError) as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def _mux_held(self, duration: int) -> None:
        assert self._held is not None
        assert self._container is not None
        self._held.duration = duration
        self._container.mux_one(self._held)


def close_quietly(container: OutputContainer) -> None:
    """Close a file that is about to be thrown away; that its end cannot be written does not matter."""
    with suppress(OSError, FFmpegError):
        container.close()
