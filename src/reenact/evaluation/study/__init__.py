"""Asking people, as paper B does (section "User Study", table 3): which of two results is better, and which of three
pictures is not the person's (docs/evaluation.md)."""

from reenact.evaluation.study.analysis import Answers, Ratio, deceptions, judged, study_tables, wilson, win_ratios
from reenact.evaluation.study.answers import AnswerBook
from reenact.evaluation.study.making import make_study
from reenact.evaluation.study.plan import Kind, Step, Study, Trial, read_study, session
from reenact.evaluation.study.server import StudyServer

__all__ = [
    "AnswerBook",
    "Answers",
    "Kind",
    "Ratio",
    "Step",
    "Study",
    "StudyServer",
    "Trial",
    "deceptions",
    "judged",
    "make_study",
    "read_study",
    "session",
    "study_tables",
    "wilson",
    "win_ratios",
]
