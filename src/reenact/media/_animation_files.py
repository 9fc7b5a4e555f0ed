"""The two formats behind `AnimationWriter`, on a clock of the format's own ticks.

A GIF with one palette for all frames is less than half the size of one with a palette for every 32 frames
(the encoder can then store only what changed), does not flicker, and looks as good: 37 dB on a talking head,
dithered. The palette is known only at the end, so the frames wait in a lossless temporary video.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.filter.context import FilterContext
from jaxtyping import UInt8

from reenact.media._files import discard

_CENTISECOND = Fraction(1, 100)
_MILLISECOND = Fraction(1, 1000)
_GRAPHIC_CONTROL = b"\x21\xf9\x04"


class GifFile:
    """Frames wait in a lossless video while their palette is gathered; `finish` then writes the GIF."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path = path
        self._size = size
        self._waiting = path.with_suffix(".mkv")
        self._spool = av.open(f"file:{self._waiting}", "w", format="matroska")
        options = {"qp": "0", "preset": "ultrafast"}
        self._stream = self._spool.add_stream("libx264rgb", rate=25, options=options)
        _describe(self._stream, size, "rgb24", _MILLISECOND)
        self._palette = Graph()
        self._colours = self._palette.add_buffer(
            width=size[0], height=size[1], format=av.VideoFormat("rgb24"), time_base=_CENTISECOND
        )
        self._palette.link_nodes(
            self._colours,
            self._palette.add("palettegen", "reserve_transparent=1"),
            self._palette.add("buffersink"),
        ).configure()

    def write(self, image: UInt8[np.ndarray, "h w 3"], ticks: int) -> None:
        """Append a picture, shown from `ticks` hundredths of a second on."""
        self._colours.push(_frame(image, ticks, _CENTISECOND))
        self._spool.mux(self._stream.encode(_frame(image, ticks * 10, _MILLISECOND)))

    def finish(self, end_ticks: int) -> None:
        """Write the GIF."""
        self._spool.mux(self._stream.encode(None))
        self._spool.close()
        self._colours.push(None)
        palette = self._palette.vpull()
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
        """Remove the waiting frames."""
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


class WebpFile:
    """libwebp's own animation encoder: it stores only what changed, and merges frames that are equal."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._output = av.open(f"file:{path}", "w", format="webp", container_options={"loop": "0"})
        self._stream = self._output.add_stream("libwebp_anim", rate=25, options={"quality": "80"})
        # RGB in: libwebp's own conversion is better than a subsampled picture it has to take apart again.
        _describe(self._stream, size, "bgra", _MILLISECOND)
        self._held: av.VideoFrame | None = None

    def write(self, image: UInt8[np.ndarray, "h w 3"], ticks: int) -> None:
        """Append a picture, shown from `ticks` milliseconds on."""
        frame = _frame(image, ticks, _MILLISECOND).reformat(format="bgra")
        if self._held is not None:
            self._encode_held(ticks)
        self._held = frame

    def finish(self, end_ticks: int) -> None:
        """Write the file."""
        self._encode_held(end_ticks)
        self._output.mux(self._stream.encode(None))
        self._output.close()

    def discard(self) -> None:
        """Close the file."""
        with suppress(OSError, FFmpegError):
            self._output.close()

    def _encode_held(self, end_ticks: int) -> None:
        assert self._held is not None
        assert self._held.pts is not None
        self._held.duration = end_ticks - self._held.pts
        self._output.mux(self._stream.encode(self._held))


def _describe(stream: av.VideoStream, size: tuple[int, int], pixel_format: str, time_base: Fraction) -> None:
    stream.width, stream.height = size
    stream.pix_fmt = pixel_format
    stream.codec_context.time_base = time_base


def _frame(image: UInt8[np.ndarray, "h w 3"], ticks: int, time_base: Fraction) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame.pts, frame.time_base = ticks, time_base
    return frame


def _pulled(sink: FilterContext) -> Iterator[av.VideoFrame]:
    """What a filter graph has ready."""
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
