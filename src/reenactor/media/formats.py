"""What a file is, told by its suffix, and whether a picture moves."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from PIL import Image

from reenactor.core import MediaError
from reenactor.media.animation import ANIMATIONS, AnimationWriter
from reenactor.media.video_writer import VideoWriter

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


def check_not_animated(path: str | os.PathLike[str]) -> None:
    """Refuse a picture, readable by `read_image`, of which that would give the first frame of several.

    Raises:
        MediaError: it is an animated WebP or PNG, whatever its name says.
    """
    with Image.open(path) as image:
        # Pages of a TIFF, and the second picture some telephones put into a JPEG, are no movement.
        if image.format in ("WEBP", "PNG", "GIF") and getattr(image, "n_frames", 1) > 1:
            raise MediaError(f"{path} is an animation that cannot be read as one; save it as .gif or .mp4")


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
