"""Read pictures that are the frames of a video like a video: data sets are published so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from jaxtyping import UInt8

from reenactor.media.images import read_image
from reenactor.media.video_reader import FrameReader


class FrameFilesReader(FrameReader[Path]):
    """Picture files as a stream of frames, see `FrameReader`; the last is shown as long as most others.

    A picture of another size is resampled to the first one's: crops that follow a face differ in size.

    Args:
        paths: the files, in the order of time; at least one.
        numbers: their frame numbers, increasing.
        fps: frame numbers a second.

    Raises:
        MediaError: the first file is missing or no picture; while reading, also for any other.
    """

    def __init__(self, paths: Sequence[Path], numbers: Sequence[int], fps: int) -> None:
        super().__init__(paths[0].parent)
        self._paths, self._pts = list(paths), [number - numbers[0] for number in numbers]
        first = read_image(paths[0])
        self.size = (first.shape[1], first.shape[0])
        self.time_base = Fraction(1, fps)
        self.frame_count = len(paths)
        usual = round(median([after - before for before, after in pairwise(numbers)] or [1]))
        end_pts = self._pts[-1] + usual
        self.average_rate = Fraction(len(paths) * fps, end_pts)
        self.duration_s = end_pts / fps
        self._last_pts = end_pts

    def _timed(self) -> Iterator[tuple[Path, int]]:
        yield from zip(self._paths, self._pts, strict=True)
        self.end_pts = self._last_pts

    def _picture(self, decoded: Path) -> UInt8[np.ndarray, "h w 3"]:
        image = read_image(decoded)
        if image.shape[:2] == self.size[::-1]:
            return image
        smaller = image.shape[0] > self.size[1]
        return cv2.resize(image, self.size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
