"""Asking people, as paper B does (section "User Study", table 3): which of two results is better, and which of three
pictures is not the person's (docs/evaluation.md)."""

from reenactor.research.evaluation.study.analysis import (
    Answers,
    Ratio,
    deceptions,
    judged,
    study_tables,
    wilson,
    win_ratios,
)
from reenactor.research.evaluation.study.answers import AnswerBook
from reenactor.research.evaluation.study.making import make_study
from reenactor.research.evaluation.study.plan import Kind, Step, Study, Trial, read_study, session
from reenactor.research.evaluation.study.server import StudyServer

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
