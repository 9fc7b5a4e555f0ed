"""What a file is, told by its suffix."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from reenact.media.animation import ANIMATIONS, AnimationWriter
from reenact.media.video_writer import VideoWriter

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
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
)
"""`.gif` counts as a video: its frames are read by `VideoReader` (`read_image` reads its first)."""


def is_image(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a still picture."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def open_writer(
    path: str | os.PathLike[str], *, size: tuple[int, int], time_base: Fraction, rate_hint: Fraction
) -> VideoWriter | AnimationWriter:
    """Open the writer that the suffix asks for: .gif and .webp an animation, else a video.

    Raises:
        MediaError: the place cannot be written, or the suffix is unknown.
    """
    if Path(path).suffix.lower() in ANIMATIONS:
        return AnimationWriter(path, size=size, time_base=time_base, rate_hint=rate_hint)
    return VideoWriter(path, size=size, time_base=time_base, rate_hint=rate_hint)
