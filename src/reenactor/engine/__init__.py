"""The engine: photos and a driver in, moving pictures out."""

from reenactor.engine.job import Report, animate
from reenactor.engine.live import LiveSession, LiveStatistics
from reenactor.engine.person import make_person
from reenactor.engine.recording import Recording, other_origin
from reenactor.engine.reenactor import MAX_TARGETS, LiveDriver, Reenactor, ResultFrame, Target
from reenactor.engine.track import Track, TrackFolder

__all__ = [
    "MAX_TARGETS",
    "LiveDriver",
    "LiveSession",
    "LiveStatistics",
    "Recording",
    "Reenactor",
    "Report",
    "ResultFrame",
    "Target",
    "Track",
    "TrackFolder",
    "animate",
    "make_person",
    "other_origin",
]
