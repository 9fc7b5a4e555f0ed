"""Read animated WebP, PNG and AVIF like a video; FFmpeg decodes no such WebP, and loses the transparency of AVIF."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import MediaError
from reenactor.core.files import check_readable
from reenactor.media.images import animation_format, check_size, damaged, decode, frame_numbers, open_image
from reenactor.media.video_reader import FrameReader, VideoReader

_CLOCK_HZ = 90_000
"""MPEG's clock: whole milliseconds and the usual fractions of a second (1/24, 1001/30000) are exact."""
_LONGEST_DENOMINATOR = 65_535
"""Of a PNG frame's duration, which Pillow gives as a float."""
_UNTIMED_S = Fraction(1, 10)
"""How long browsers show a frame whose duration is 0."""
_LONGEST_S = 3600
"""Of a frame: longer ones are mistakes, and no video holds them."""


def open_reader(path: str | os.PathLike[str], *, precise: bool = True) -> FrameReader:
    """Open a file with pictures that move: an `AnimationReader` for animated WebP, PNG and AVIF, else a `VideoReader`.

    The content counts, not the name.

    Args:
        path: a local file.
        precise: as for `VideoReader`.

    Raises:
        MediaError: the file is missing, a still picture, no video at all, or has no frame that can be decoded.
    """
    if animation_format(path) in (None, "GIF"):
        return VideoReader(path, precise=precise)
    return AnimationReader(path)


class AnimationReader(FrameReader[Image.Image]):
    """An animated WebP, PNG or AVIF as a stream of frames, each as `read_image` would show it; see `FrameReader`.

    Times are exact (AVIF: to 1 ms). A frame without duration lasts 0.1 s. A PNG's picture for programs that know no
    animations is left out.

    Args:
        path: the file.

    Raises:
        MediaError: the file is missing, no picture, too small, too large, or its first frame is damaged.
    """

    time_base = Fraction(1, _CLOCK_HZ)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        check_readable(self.path, "a video")
        with open_image(self.path) as image:
            check_size(image, str(self.path))
            numbers = frame_numbers(image)
            self.frame_count = len(numbers)
            try:
                image.seek(numbers[0])
            except Exception as error:  # as in `read_image`
                raise damaged(str(self.path)) from error
            first = decode(image, str(self.path))
            self.size = (first.shape[1], first.shape[0])
            self.average_rate = 1 / (_duration_s(image) or _UNTIMED_S)

    def _picture(self, decoded: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
        return decode(decoded, str(self.path))

    def _timed(self) -> Iterator[tuple[Image.Image, int]]:
        self.truncated = False
        end_s = added_s = Fraction(0)
        last = -1
        with open_image(self.path) as image:
            for number in frame_numbers(image):
                try:
                    image.seek(number)
                    image.load()
                except MemoryError:
                    raise
                except Exception:  # damaged from here on
                    self.truncated = True
                    break
                # Summed durations would drift: those of AVIF are rounded to 1 ms.
                stored_ms = image.info.get("timestamp")
                start_s = end_s if stored_ms is None else Fraction(stored_ms, 1000)
                pts = round((start_s + added_s) * _CLOCK_HZ)
                if (duration_s := _duration_s(image)) > _LONGEST_S:
                    shown = f"{self.path} shows a picture for {float(duration_s):.0f} s"
                    raise MediaError(f"{shown}; give an animation whose pictures are shown for less than an hour")
                if not duration_s:
                    added_s += _UNTIMED_S
                end_s = start_s + duration_s
                if pts > last:
                    last = pts
                    yield image, pts
        self.end_pts = round((end_s + added_s) * _CLOCK_HZ)


def _duration_s(image: Image.Image) -> Fraction:
    """Of the frame that was loaded last."""
    return Fraction(image.info.get("duration", 0) / 1000).limit_denominator(_LONGEST_DENOMINATOR)
