"""What participants said, with 95% intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt

import numpy as np

from reenactor.research.evaluation.study.answers import Answer
from reenactor.research.evaluation.study.plan import QUESTIONS, REAL, RIGHT, Kind
from reenactor.research.evaluation.tables import Table
from reenactor.research.metrics import bootstrap_interval

LEAST_RIGHT = 0.75
"""Share of the checks that must be right for a participant's answers to count."""
_Z = 1.959964
"""Of 95%."""


@dataclass(frozen=True)
class Answers:
    """What counts.

    Args:
        kept: answers that are no checks, of those who passed them.
        participants: how many passed.
        failed: how many did not, and are left out.
        unchecked: how many stopped before the first check of a study that has some; left out too.
    """

    kept: tuple[Answer, ...]
    participants: int
    failed: int
    unchecked: int


@dataclass(frozen=True)
class Ratio:
    """A share of answers.

    Args:
        value: the share.
        low, high: 95%: bootstrap over participants; of a single one Wilson's.
        answers: how many.
        participants: of how many.
        late: how many answers came after the pictures were hidden.
    """

    value: float
    low: float
    high: float
    answers: int
    participants: int
    late: int = 0

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def judged(answers: Sequence[Answer]) -> Answers:
    """Leave out who failed the attention checks, and the checks themselves."""
    any_checks = any(one.check for one in answers)
    kept: list[Answer] = []
    passed = failed = unchecked = 0
    for _, group in groupby(sorted(answers, key=lambda one: one.participant), key=lambda one: one.participant):
        own = list(group)
        checks = [one.choice == RIGHT for one in own if one.check]
        if any_checks and not checks:
            unchecked += 1
        elif checks and sum(checks) < LEAST_RIGHT * len(checks):
            failed += 1
        else:
            passed += 1
            kept += [one for one in own if not one.check]
    return Answers(tuple(kept), passed, failed, unchecked)


def win_ratios(answers: Sequence[Answer]) -> dict[tuple[str, str], dict[str, Ratio]]:
    """Of each two methods: how often the first was chosen, by question."""
    found: dict[tuple[str, str], dict[str, Ratio]] = {}
    pairs = [one for one in answers if one.kind is Kind.PAIR]
    for couple in dict.fromkeys(tuple(sorted(one.options)) for one in pairs):
        some = [one for one in pairs if tuple(sorted(one.options)) == couple]
        by_question = {q: [one for one in some if one.question == q] for q in QUESTIONS[Kind.PAIR]}
        found[couple[0], couple[1]] = {
            q: _ratio(own, [one.choice == couple[0] for one in own]) for q, own in by_question.items() if own
        }
    return found


def deceptions(answers: Sequence[Answer]) -> dict[str, Ratio]:
    """Of each method: how often a photo was taken for the odd one (paper B, table 3; guessing gives two thirds)."""
    odd = [one for one in answers if one.kind is Kind.ODD]
    method_of = {one: next(name for name in one.options if name != REAL) for one in odd}
    found = {}
    for method in dict.fromkeys(method_of.values()):
        own = [one for one in odd if method_of[one] == method]
        found[method] = _ratio(own, [one.choice == REAL for one in own])
    return found


def study_tables(found: Answers) -> list[Table]:
    """For `evaluation.tables.write_tables`."""
    people = f"{found.participants} participant{'' if found.participants == 1 else 's'}"
    notes = [f"{people}; left out: {found.failed} who failed the attention checks, {found.unchecked} who met none."]
    how = "Wilson's for a single participant" if found.participants == 1 else "bootstrap over participants"
    how += " (fewer than 10: too narrow)" if 1 < found.participants < 10 else ""
    questions = list(QUESTIONS[Kind.PAIR])
    rows = []
    for (a, b), ratios in win_ratios(found.kept).items():
        cells = [str(ratios[q]) if q in ratios else "-" for q in questions]
        rows.append([f"{a} over {b}", *cells, str(sum(one.answers for one in ratios.values()))])
    tables = [Table("Win ratios", ["methods", *questions, "answers"], [("", rows)], [f"95% intervals: {how}.", *notes])]
    rows = [[name, str(one), str(one.answers), str(one.late)] for name, one in deceptions(found.kept).items()]
    told = [f"95% intervals: {how}. Guessing gives 0.667.", *notes]
    tables.append(Table("Ratios of deception", ["method", "ratio ↑", "answers", "of them late"], [("", rows)], told))
    return [table for table in tables if table.sections[0][1]]


def wilson(wins: int, count: int) -> tuple[float, float]:
    """95% interval of a share (Wilson 1927)."""
    share, z2 = wins / count, _Z**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _ratio(answers: Sequence[Answer], wins: Sequence[bool]) -> Ratio:
    who = [one.participant for one in answers]
    people, late = len(set(who)), sum(one.late for one in answers)
    if people == 1:
        return Ratio(sum(wins) / len(wins), *wilson(sum(wins), len(wins)), len(wins), people, late)
    found = bootstrap_interval(np.array(wins, float), who, np.random.default_rng(0))
    return Ratio(found.estimate, found.low, found.high, len(wins), people, late)
