"""User study as in paper B (section "User Study", table 3): which of two results is better, which of three pictures
shows another person (docs/evaluation.md)."""

from reenactor.research.evaluation.study.answers import (
    AnswerBook,
    Ratio,
    ValidAnswers,
    deceptions,
    study_tables,
    valid_answers,
    wilson,
    win_ratio,
    win_ratios,
)
from reenactor.research.evaluation.study.plan import Kind, Step, Study, Trial, make_study, read_study, session
from reenactor.research.evaluation.study.server import StudyServer

__all__ = [
    "AnswerBook",
    "Kind",
    "Ratio",
    "Step",
    "Study",
    "StudyServer",
    "Trial",
    "ValidAnswers",
    "deceptions",
    "make_study",
    "read_study",
    "session",
    "study_tables",
    "valid_answers",
    "wilson",
    "win_ratio",
    "win_ratios",
]
