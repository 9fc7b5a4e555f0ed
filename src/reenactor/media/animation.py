"""Write animated GIF and WebP, for places that show no video."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.core.files import cannot_write, discard, temporary_beside
from reenactor.media._animation_files import GifFile, WebpFile

ANIMATIONS = (".gif", ".webp")

_TICKS_PER_S = {".gif": 100, ".webp": 1000}
_SHORTEST_TICKS = {".gif": 2, ".webp": 1}
"""Players show a GIF frame of less than 20 ms for 100 ms, so that GIF ends at 50 frames a second."""


class AnimationWriter:
    """A looping GIF or WebP; used like `VideoWriter`.

    Times are rounded each for itself (GIF 10 ms, WebP 1 ms), so the whole keeps its length; a frame that
    would be shown for less than 20 ms in a GIF is dropped. A GIF's 256 colours are chosen for the whole of
    it: its frames are kept losslessly in a temporary file beside `path` until `close`. WebP (quality 80)
    keeps its compressed frames in memory until then, about 2 KB each at 256 px.

    Args:
        path: ends in .gif or .webp.
        size: (width, height) of the pictures.
        time_base: seconds per unit of the times given to `write`.
        rate_hint: about how many frames a second; times the last frame.

    Raises:
        MediaError: the place cannot be written, or the suffix is another.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, size: tuple[int, int], time_base: Fraction, rate_hint: Fraction
    ) -> None:
        self.path = Path(path)
        self.size = size
        self.time_base = Fraction(time_base)
        self.rate_hint = Fraction(rate_hint)
        suffix = self.path.suffix.lower()
        if suffix not in ANIMATIONS:
            raise MediaError(f"cannot write {self.path}: the name of an animation must end in {', '.join(ANIMATIONS)}")
        self._ticks_per_s, self._shortest = _TICKS_PER_S[suffix], _SHORTEST_TICKS[suffix]
        self._last_pts = self._last_ticks = -1
        self._temporary = temporary_beside(self.path)
        make = GifFile if suffix == ".gif" else WebpFile
        self._file: GifFile | WebpFile | None = make(self._temporary, size)

    def __enter__(self) -> AnimationWriter:
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
        if pts <= self._last_pts:
            raise ValueError(f"times must increase: {pts} after {self._last_pts}")
        assert self._file is not None, "written to after it was closed"
        self._last_pts = int(pts)
        ticks = self._ticks(self._last_pts)
        if self._last_ticks >= 0 and ticks - self._last_ticks < self._shortest:
            return
        try:
            self._file.write(image, ticks)
        except (OSError, FFmpegError) as error:
            self.discard()
            raise cannot_write(self.path, error) from error
        self._last_ticks = ticks

    def close(self, end_pts: int | None = None) -> None:
        """Finish the file and put it in its place; nothing happens if that was done before.

        Args:
            end_pts: when the last frame ends; by default it lasts as long as `rate_hint` says.

        Raises:
            MediaError: no frame was written, or the disk is full.
        """
        if self._file is None:
            return
        if self._last_pts < 0:
            self.discard()
            raise MediaError(f"there are no frames to write to {self.path}; check the input")
        if end_pts is None:
            end_pts = self._last_pts + max(1, round(1 / self.rate_hint / self.time_base))
        try:
            self._file.finish(max(self._ticks(end_pts), self._last_ticks + self._shortest))
            os.replace(self._temporary, self.path)
        except (OSError, FFmpegError) as error:
            raise cannot_write(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up: leave no file behind, and an earlier one at `path` as it was."""
        file, self._file = self._file, None
        if file is not None:
            file.discard()
        discard(self._temporary)

    def _ticks(self, pts: int) -> int:
        return round(pts * self.time_base * self._ticks_per_s)
