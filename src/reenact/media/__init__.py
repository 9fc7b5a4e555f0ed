"""Pixels in and out: pictures, videos with exact timing, their sound, animations. Knows nothing of faces."""

from reenact.media.animation import AnimationWriter
from reenact.media.formats import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image, is_video, open_writer
from reenact.media.images import MAX_SIDE_PX, MIN_SIDE_PX, read_image, write_image
from reenact.media.joining import check_audio_fits, join_segments
from reenact.media.video_reader import VideoFrame, VideoReader
from reenact.media.video_writer import VideoWriter

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_SIDE_PX",
    "MIN_SIDE_PX",
    "VIDEO_SUFFIXES",
    "AnimationWriter",
    "VideoFrame",
    "VideoReader",
    "VideoWriter",
    "check_audio_fits",
    "is_image",
    "is_video",
    "join_segments",
    "open_writer",
    "read_image",
    "write_image",
]
