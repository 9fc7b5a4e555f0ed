"""Write video whose frames keep the exact times they were given: H.264, VP9, and ProRes where it is transparent."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.core.files import cannot_write, discard, temporary_beside

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
TRANSPARENT = (".mov", ".webm")
"""Of these, those that can hold transparency."""
_FRAGMENT_US = 500_000
"""The last part of a growing file that may be lost."""


def open_output(path: Path, temporary: Path, time_base: Fraction, *, growing: bool = False) -> OutputContainer:
    """Open `temporary` for writing in the format that the suffix of `path` names.

    MP4 and MOV keep multiples of `time_base` exactly; Matroska and WebM round every time to 1 ms (without drift).

    Args:
        path: the final name.
        temporary: the file to write.
        time_base: seconds per unit of the times to come.
        growing: the file can be played from about the first second on, while it is still being written.
    """
    container_format = CONTAINERS[path.suffix.lower()]
    options = {}
    if container_format in ("mp4", "mov"):
        # FFmpeg doubles the stream's clock until it is at least 10 kHz. The file's own clock (1 kHz by default)
        # times the start of each track: give it the same one.
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
    """Raise MediaError unless `path` ends in .mp4, .mov, .mkv or .webm."""
    if path.suffix.lower() not in CONTAINERS:
        raise MediaError(f"cannot write {path}: the name of a video must end in {', '.join(CONTAINERS)}")


def check_holds_alpha(path: Path, fitting: Sequence[str] = TRANSPARENT) -> None:
    """Raise MediaError unless `path` ends in one of the suffixes `fitting`, which hold transparency."""
    if path.suffix.lower() not in fitting:
        suffix = path.suffix.lower() or "such a"
        names = f"{', '.join(fitting[:-1])} or {fitting[-1]}" if len(fitting) > 1 else fitting[0]
        raise MediaError(f"cannot write {path}: a {suffix} file holds no soft transparency; end the name in {names}")


_W = TypeVar("_W", bound="FrameWriter")


class FrameWriter(ABC):
    """A file of frames with exact times; the base of `VideoWriter` and `AnimationWriter`.

    In a `with` block the file appears when the block ends, and not at all if it fails.

    Args:
        path: the file; an earlier one is replaced.
        size: (width, height) of the images.
        time_base: seconds per unit of the times given to `write`.
        rate_hint: approximate frames per second; gives the last frame its length.
        alpha: images have a fourth channel, opacity; colours are not multiplied by it ("straight").

    Raises:
        MediaError: the file cannot be written, or its format holds no transparency.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        size: tuple[int, int],
        time_base: Fraction,
        rate_hint: Fraction,
        alpha: bool = False,
    ) -> None:
        self.path = Path(path)
        self.size = size
        self.alpha = alpha
        self.time_base = Fraction(time_base)
        self.rate_hint = Fraction(rate_hint)
        self._last_pts: int | None = None
        self._open = True
        self._temporary = temporary_beside(self.path)

    def __enter__(self: _W) -> _W:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def write(self, image: UInt8[np.ndarray, "h w c"], pts: int) -> None:
        """Append an image of the writer's size.

        Args:
            image: (H, W, 3) RGB; with `alpha` (H, W, 4), the fourth channel from 0 (transparent) to 255.
            pts: when it is shown, in units of `time_base`; later than the image before.

        Raises:
            MediaError: the disk is full, or the file is gone.
            ValueError: another size or type, or times that do not increase.
        """
        width, height = self.size
        expected = (height, width, 4 if self.alpha else 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ValueError(f"expected {expected} uint8, got {image.shape} {image.dtype}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"times must increase: {pts} after {self._last_pts}")
        assert self._open, "written to after it was closed"
        self._last_pts = int(pts)
        try:
            self._append(image, self._last_pts)
        except (OSError, FFmpegError) as error:
            self.discard()
            raise cannot_write(self.path, error) from error

    def close(self, end_pts: int | None = None) -> None:
        """Finish the file and move it to its path; a second call does nothing.

        Args:
            end_pts: when the last frame ends; by default from `rate_hint`.

        Raises:
            MediaError: no frame was written, or the disk is full.
        """
        if not self._open:
            return
        if self._last_pts is None:
            self.discard()
            raise MediaError(f"there are no frames to write to {self.path}; check the input")
        if end_pts is None:
            end_pts = self._last_pts + max(1, round(1 / self.rate_hint / self.time_base))
        if end_pts <= self._last_pts:
            raise ValueError(f"the end must come after the last frame: {end_pts} after {self._last_pts}")
        try:
            self._finish(end_pts)
            if self._temporary != self.path:
                os.replace(self._temporary, self.path)
        except (OSError, FFmpegError) as error:
            raise cannot_write(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up: remove the unfinished file and keep an earlier one at `path`. A growing file keeps its frames."""
        self._open = False
        self._release()
        if self._temporary != self.path or self._last_pts is None:
            discard(self._temporary)

    @abstractmethod
    def _append(self, image: UInt8[np.ndarray, "h w c"], pts: int) -> None:
        """Encode an image."""

    @abstractmethod
    def _finish(self, end_pts: int) -> None:
        """Write what is still held back, and close the file."""

    @abstractmethod
    def _release(self) -> None:
        """Close what is open; may be called twice, and raises nothing."""


class VideoWriter(FrameWriter):
    """H.264, yuv420p, BT.709, no B-frames (so that segments can be joined without encoding them again).

    WebM files hold VP9 instead; with `alpha` MOV files hold ProRes 4444, which video editors read. An odd side is
    padded by one row or column that repeats the last.

    Args:
        path: ends in .mp4, .mov, .mkv or .webm; with `alpha` in .mov or .webm.
        size: (width, height) of the images.
        time_base: seconds per unit of the times given to `write`.
        rate_hint: approximate frames per second; gives the last frame its length and steers the encoder's quality.
        crf: constant rate factor of x264 and VP9: 18 is visually lossless, larger gives smaller files.
        preset: x264's preset: speed against file size.
        growing: for live recordings: the file is written under its own name from the start, replacing an earlier one,
            and can be played up to about half a second before the end, whatever ends the writing.
        alpha: images have a fourth channel, opacity.

    Raises:
        MediaError: the file cannot be written, or has another suffix.
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
        alpha: bool = False,
    ) -> None:
        check_suffix(Path(path))
        if alpha:
            check_holds_alpha(Path(path))
        super().__init__(path, size=size, time_base=time_base, rate_hint=rate_hint, alpha=alpha)
        if growing:
            os.replace(self._temporary, self.path)
            self._temporary = self.path
        self._held: Packet | None = None
        self._container = open_output(self.path, self._temporary, self.time_base, growing=growing)
        if self.path.suffix.lower() == ".webm":
            # Frames that are coded ahead and never shown cannot carry transparency.
            options = {"crf": str(crf), "b": "0", "cpu-used": "5", "row-mt": "1", "auto-alt-ref": "0"}
            codec, pixels, options = "libvpx-vp9", "yuva420p" if alpha else "yuv420p", {**options, "lag-in-frames": "0"}
        elif alpha:
            options = {"profile": "4444", "vendor": "apl0", "alpha_bits": "8"}
            codec, pixels = "prores_ks", "yuva444p10le"
        else:
            # Without "zerolatency" the encoder holds back up to 40 frames.
            options = {"crf": str(crf), "preset": preset, "bf": "0"} | ({"tune": "zerolatency"} if growing else {})
            codec, pixels = "libx264", "yuv420p"
        self._stream = self._container.add_stream(codec, rate=self.rate_hint, options=options)
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt = pixels
        self._stream.time_base = self.time_base
        self._stream.codec_context.time_base = self.time_base
        tag_bt709(self._stream.codec_context)

    def _append(self, image: UInt8[np.ndarray, "h w c"], pts: int) -> None:
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = to_bt709(image, self._stream.pix_fmt)
        frame.pts, frame.time_base = pts, self.time_base
        self._encode(frame)

    def _finish(self, end_pts: int) -> None:
        self._encode(None)
        assert self._last_pts is not None
        self._mux_held(end_pts - self._last_pts)
        self._container.close()

    def _release(self) -> None:
        close_quietly(self._container)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            # One packet is held back: only the next one tells how long its frame lasts.
            if self._held is not None:
                assert packet.pts is not None
                assert self._held.pts is not None
                self._mux_held(packet.pts - self._held.pts)
            self._held = packet

    def _mux_held(self, duration: int) -> None:
        assert self._held is not None
        self._held.duration = duration
        self._container.mux_one(self._held)


def to_bt709(image: UInt8[np.ndarray, "h w c"], pixel_format: str | None = "yuv420p") -> av.VideoFrame:
    """RGB, or RGBA, of even size -> limited-range BT.709."""
    return frame_of(image).reformat(
        format=pixel_format,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
    )


def frame_of(image: UInt8[np.ndarray, "h w c"]) -> av.VideoFrame:
    """A frame of an RGB or RGBA image."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba" if image.shape[2] == 4 else "rgb24")


def tag_bt709(codec: av.VideoCodecContext) -> None:
    """Write into the stream what `to_bt709` did; players guess differently about untagged video."""
    codec.colorspace = Colorspace.ITU709
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709
    codec.color_range = ColorRange.MPEG


def close_quietly(container: OutputContainer) -> None:
    """Close a file that will be removed, ignoring errors."""
    with suppress(OSError, FFmpegError):
        container.close()
