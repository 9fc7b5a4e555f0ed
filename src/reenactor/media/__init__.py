"""Images, videos with exact times, sound, animations, motion files and provenance. Knows nothing about faces."""

from reenactor.media.animation import AnimationWriter, open_writer
from reenactor.media.animation_reader import AnimationReader, open_reader
from reenactor.media.certificates import Credentials, load_credentials, own_credentials
from reenactor.media.frame_files import FrameFilesReader
from reenactor.media.images import (
    IMAGE_SUFFIXES,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    is_image,
    is_still,
    read_image,
    read_rgba,
    write_image,
)
from reenactor.media.joining import join_segments
from reenactor.media.motion_file import MOTION_SUFFIX, is_motion, read_motion, write_motion
from reenactor.media.person_file import PERSON_SUFFIX, Person, is_person, read_person, write_person
from reenactor.media.provenance import Claim, ProvenanceReport, SourceFile, Synthesis
from reenactor.media.provenance import read as read_provenance
from reenactor.media.provenance import render as render_provenance
from reenactor.media.provenance import sign as sign_provenance
from reenactor.media.provenance import supports as supports_provenance
from reenactor.media.video_reader import VIDEO_SUFFIXES, FrameReader, VideoFrame, VideoReader, is_video
from reenactor.media.video_writer import FrameWriter, VideoWriter

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_SIDE_PX",
    "MIN_SIDE_PX",
    "MOTION_SUFFIX",
    "PERSON_SUFFIX",
    "VIDEO_SUFFIXES",
    "AnimationReader",
    "AnimationWriter",
    "Claim",
    "Credentials",
    "FrameFilesReader",
    "FrameReader",
    "FrameWriter",
    "Person",
    "ProvenanceReport",
    "SourceFile",
    "Synthesis",
    "VideoFrame",
    "VideoReader",
    "VideoWriter",
    "is_image",
    "is_motion",
    "is_person",
    "is_still",
    "is_video",
    "join_segments",
    "load_credentials",
    "open_reader",
    "open_writer",
    "own_credentials",
    "read_image",
    "read_motion",
    "read_person",
    "read_provenance",
    "read_rgba",
    "render_provenance",
    "sign_provenance",
    "supports_provenance",
    "write_image",
    "write_motion",
    "write_person",
]
