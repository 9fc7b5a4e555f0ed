"""Photos and a driver in, moving pictures out."""

from reenact.inference.job import Layout, Options, Progress, animate
from reenact.inference.live import LiveDriver
from reenact.inference.recording import Recording
from reenact.inference.reenactor import MAX_TARGETS, Reenactor, ResultFrame, Target
from reenact.inference.report import Report
from reenact.inference.session import LiveSession, LiveStatistics
from reenact.inference.track import Track, TrackFolder

__all__ = [
    "MAX_TARGETS",
    "Layout",
    "LiveDriver",
    "LiveSession",
    "LiveStatistics",
    "Options",
    "Progress",
    "Recording",
    "Reenactor",
    "Report",
    "ResultFrame",
    "Target",
    "Track",
    "TrackFolder",
    "animate",
]
