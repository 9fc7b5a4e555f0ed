"""Photos and a driver in, moving pictures out."""

from reenact.inference.job import Layout, Options, Progress, animate
from reenact.inference.reenactor import MAX_TARGETS, Reenactor, ResultFrame, Target
from reenact.inference.report import Report
from reenact.inference.track import Track, TrackFolder

__all__ = [
    "MAX_TARGETS",
    "Layout",
    "Options",
    "Progress",
    "Reenactor",
    "Report",
    "ResultFrame",
    "Target",
    "Track",
    "TrackFolder",
    "animate",
]
