"""Photos and a driver in, moving pictures out."""

from reenactor.core.progress import Progress
from reenactor.engine.job import animate
from reenactor.engine.live import LiveDriver
from reenactor.engine.recording import Recording
from reenactor.engine.reenactor import MAX_TARGETS, Reenactor, ResultFrame, Target
from reenactor.engine.report import Report
from reenactor.engine.session import LiveSession, LiveStatistics
from reenactor.engine.track import Track, TrackFolder

__all__ = [
    "MAX_TARGETS",
    "LiveDriver",
    "LiveSession",
    "LiveStatistics",
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
