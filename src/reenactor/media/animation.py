"""Write animated GIF and WebP, for sites that show no video, on a clock of the format's own ticks."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import av.error
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.filter.context import FilterContext
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.core.files import discard
from reenactor.media.video_writer import FrameWriter, VideoWriter, check_holds_alpha, frame_of

ANIMATIONS = (".gif", ".webp")

_TICKS_PER_S = {".gif": 100, ".webp": 1000}
_SHORTEST_TICKS = {".gif": 2, ".webp": 1}
"""Players show a GIF frame of less than 20 ms for 100 ms, so a GIF has at most 50 frames a second."""
_CENTISECOND = Fraction(1, 100)
_MILLISECOND = Fraction(1, 1000)
_GRAPHIC_CONTROL = b"\x21\xf9\x04"


def open_writer(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    time_base: Fraction,
    rate_hint: Fraction,
    alpha: bool = False,
) -> FrameWriter:
    """Open the writer that the suffix asks for: an `AnimationWriter` for .gif and .webp, else a `VideoWriter`.

    Raises:
        MediaError: the file cannot be written, or the suffix is unknown.
    """
    writer = AnimationWriter if Path(path).suffix.lower() in ANIMATIONS else VideoWriter
    return writer(path, size=size, time_base=time_base, rate_hint=rate_hint, alpha=alpha)


class AnimationWriter(FrameWriter):
    """A looping GIF or WebP.

    Each time is rounded by itself (GIF 10 ms, WebP 1 ms), so the total length is kept; a GIF frame that would be
    shown for less than 20 ms is dropped. The 256 colours of a GIF are chosen for all frames together: they wait in a
    lossless temporary file beside `path` until `close`. WebP (quality 80) keeps its compressed frames in memory until
    then, about 2 KB each at 256 px.

    Args:
        path: ends in .gif or .webp.
        size: (width, height) of the images.
        time_base: seconds per unit of the times given to `write`.
        rate_hint: approximate frames per second; gives the last frame its length.
        alpha: images have a fourth channel, opacity; for .webp only, as a GIF's pixels are transparent or not.

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
        alpha: bool = False,
    ) -> None:
        suffix = Path(path).suffix.lower()
        if suffix not in ANIMATIONS:
            raise MediaError(f"cannot write {path}: the name of an animation must end in {', '.join(ANIMATIONS)}")
        if alpha:
            check_holds_alpha(Path(path), (".webp",))
        super().__init__(path, size=size, time_base=time_base, rate_hint=rate_hint, alpha=alpha)
        self._ticks_per_s, self._shortest = _TICKS_PER_S[suffix], _SHORTEST_TICKS[suffix]
        self._last_ticks = -1
        self._file = _Gif(self._temporary, size) if suffix == ".gif" else _Webp(self._temporary, size)

    def _append(self, image: UInt8[np.ndarray, "h w c"], pts: int) -> None:
        ticks = self._ticks(pts)
        if self._last_ticks < 0 or ticks - self._last_ticks >= self._shortest:
            self._file.write(image, ticks)
            self._last_ticks = ticks

    def _finish(self, end_pts: int) -> None:
        self._file.finish(max(self._ticks(end_pts), self._last_ticks + self._shortest))

    def _release(self) -> None:
        self._file.discard()

    def _ticks(self, pts: int) -> int:
        return round(pts * self.time_base * self._ticks_per_s)


class _Gif:
    """A GIF with one palette for all frames.

    That is less than half the size of one with a palette for every 32 frames (the encoder can then store only what
    changed), does not flicker, and looks as good: 37 dB on a talking head, dithered. The palette is known only at the
    end, so the frames wait in a lossless temporary video.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path = path
        self._size = size
        self._waiting = path.with_suffix(".mkv")
        self._spool = av.open(f"file:{self._waiting}", "w", format="matroska")
        options = {"qp": "0", "preset": "ultrafast"}
        self._stream = self._spool.add_stream("libx264rgb", rate=25, options=options)
        _describe(self._stream, size, "rgb24", _MILLISECOND)
        self._graph = Graph()  # kept: its filters do not keep it alive themselves
        self._colours = self._graph.add_buffer(
            width=size[0], height=size[1], format=av.VideoFormat("rgb24"), time_base=_CENTISECOND
        )
        self._palette = self._graph.add("buffersink")
        self._graph.link_nodes(self._colours, self._graph.add("palettegen"), self._palette).configure()

    def write(self, image: UInt8[np.ndarray, "h w 3"], ticks: int) -> None:
        """Append an image that is shown from `ticks` hundredths of a second."""
        self._colours.push(_frame(image, ticks, _CENTISECOND))
        # Filters work on demand; without this the frames would queue up.
        assert not list(_pulled(self._palette))
        self._spool.mux(self._stream.encode(_frame(image, ticks * 10, _MILLISECOND)))

    def finish(self, end_ticks: int) -> None:
        """Write the GIF."""
        self._spool.mux(self._stream.encode(None))
        self._spool.close()
        self._colours.push(None)
        palette = next(_pulled(self._palette))
        with av.open(f"file:{self._path}", "w", format="gif", container_options={"loop": "0"}) as output:
            stream = output.add_stream("gif", rate=25)
            _describe(stream, self._size, "pal8", _CENTISECOND)
            last_size, last_ticks = 0, 0
            for frame in self._paletted(palette):
                last_ticks = frame.pts or 0
                for packet in stream.encode(frame):
                    last_size = packet.size
                    output.mux_one(packet)
            for packet in stream.encode(None):
                last_size = packet.size
                output.mux_one(packet)
        _set_last_delay(self._path, last_size, end_ticks - last_ticks)

    def discard(self) -> None:
        """Remove the temporary video."""
        with suppress(OSError, FFmpegError):
            self._spool.close()
        discard(self._waiting)

    def _paletted(self, palette: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """The waiting frames with 256 colours, one at a time."""
        graph = Graph()
        width, height = self._size
        rgb = av.VideoFormat("rgb24")
        pictures = graph.add_buffer(width=width, height=height, format=rgb, time_base=_CENTISECOND)
        colours = graph.add_buffer(
            width=palette.width, height=palette.height, format=palette.format, time_base=_CENTISECOND
        )
        use = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle")
        sink = graph.add("buffersink")
        pictures.link_to(use, 0, 0)
        colours.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        palette.pts = 0
        colours.push(palette)
        colours.push(None)
        with av.open(f"file:{self._waiting}") as spool:
            for stored in spool.decode(video=0):
                assert stored.pts is not None
                assert stored.time_base is not None
                ticks = round(stored.pts * stored.time_base / _CENTISECOND)
                pictures.push(_frame(stored.to_ndarray(format="rgb24"), ticks, _CENTISECOND))
                yield from _pulled(sink)
        pictures.push(None)
        yield from _pulled(sink)


class _Webp:
    """libwebp's animation encoder: it stores only what changed, and merges equal frames."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path = path
        self._output = av.open(f"file:{path}", "w", format="webp", container_options={"loop": "0"})
        self._stream = self._output.add_stream("libwebp_anim", rate=25, options={"quality": "80"})
        # RGB in: libwebp's own conversion is better than a subsampled image.
        _describe(self._stream, size, "bgra", _MILLISECOND)
        self._first_ticks: int | None = None

    def write(self, image: UInt8[np.ndarray, "h w c"], ticks: int) -> None:
        """Append an image that is shown from `ticks` milliseconds."""
        if self._first_ticks is None:
            self._first_ticks = ticks
        frame = _frame(image, ticks, _MILLISECOND).reformat(format="bgra")
        self._output.mux(self._stream.encode(frame))

    def finish(self, end_ticks: int) -> None:
        """Write the file."""
        assert self._first_ticks is not None
        self._output.mux(self._stream.encode(None))
        self._output.close()
        _set_total_length(self._path, end_ticks - self._first_ticks)

    def discard(self) -> None:
        """Close the file."""
        with suppress(OSError, FFmpegError):
            self._output.close()


def _describe(stream: av.VideoStream, size: tuple[int, int], pixel_format: str, time_base: Fraction) -> None:
    stream.width, stream.height = size
    stream.pix_fmt = pixel_format
    stream.codec_context.time_base = time_base


def _frame(image: UInt8[np.ndarray, "h w c"], ticks: int, time_base: Fraction) -> av.VideoFrame:
    frame = frame_of(image)
    frame.pts, frame.time_base = ticks, time_base
    return frame


def _pulled(sink: FilterContext) -> Iterator[av.VideoFrame]:
    """Frames that a filter graph has ready."""
    with suppress(av.error.BlockingIOError, av.error.EOFError):
        while True:
            yield cast(av.VideoFrame, sink.pull())


def _set_last_delay(path: Path, last_packet_bytes: int, ticks: int) -> None:
    """Correct the last frame's delay, which FFmpeg's GIF muxer takes from the frame before.

    The file ends with the last packet and one byte of trailer; a packet starts with its graphic control
    extension, the first one after header and palette.
    """
    with path.open("r+b") as file:
        start = file.seek(0, 2) - 1 - last_packet_bytes
        file.seek(max(0, start))
        at = max(0, start) + file.read().index(_GRAPHIC_CONTROL)
        file.seek(at + len(_GRAPHIC_CONTROL) + 1)
        file.write(struct.pack("<H", min(ticks, 0xFFFF)))


def _set_total_length(path: Path, ticks: int) -> None:
    """Correct the last frame's duration, which FFmpeg leaves at the mean of the others.

    A WebP file is a list of chunks (name, size, content of even length); an animation has one ANMF chunk a
    frame, with a 24-bit duration in milliseconds after 12 bytes of position and size.
    """
    with path.open("r+b") as file:
        file.seek(12)
        last, before = None, 0
        while len(head := file.read(8)) == 8:
            start, (name, size) = file.tell(), struct.unpack("<4sI", head)
            if name == b"ANMF":
                before += 0 if last is None else _duration(file, last)
                last = start + 12
            file.seek(start + size + size % 2)
        if last is not None:
            file.seek(last)
            file.write(struct.pack("<I", min(ticks - before, 0xFFFFFF))[:3])


def _duration(file: BinaryIO, at: int) -> int:
    file.seek(at)
    return int.from_bytes(file.read(3), "little")
