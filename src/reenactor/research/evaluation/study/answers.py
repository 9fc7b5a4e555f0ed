"""Answers: stored in SQLite as they come, and what they say, with 95% intervals."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from pathlib import Path

import numpy as np

from reenactor.core import ReenactError
from reenactor.research.evaluation.study.plan import QUESTIONS, REAL, RIGHT, Kind, Step, Study
from reenactor.research.evaluation.tables import Table
from reenactor.research.metrics import bootstrap_interval

_TABLES = """
CREATE TABLE IF NOT EXISTS study (digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS participants (number INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL, began_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS shown (
    number INTEGER NOT NULL, step INTEGER NOT NULL, at_s REAL NOT NULL, PRIMARY KEY (number, step));
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER NOT NULL, step INTEGER NOT NULL, trial TEXT NOT NULL, kind TEXT NOT NULL, question TEXT NOT NULL,
    options TEXT NOT NULL, chosen INTEGER NOT NULL, is_check INTEGER NOT NULL, late INTEGER NOT NULL,
    took_ms INTEGER NOT NULL, at_s REAL NOT NULL, PRIMARY KEY (number, step));
"""
LEAST_RIGHT = 0.75
"""Fraction of the attention checks that a participant must answer correctly to count."""
_Z = 1.959964
"""Normal quantile of 95%."""


@dataclass(frozen=True)
class Answer:
    """One answer.

    Args:
        participant: number of the participant.
        trial: id of the trial.
        kind: kind of choice.
        question: key in `plan.QUESTIONS`.
        options: names of the options from left to right.
        chosen: number of the chosen option.
        check: whether it is an attention check.
        late: whether it came after the pictures were hidden.
    """

    participant: int
    trial: str
    kind: Kind
    question: str
    options: tuple[str, ...]
    chosen: int
    check: bool
    late: bool

    @property
    def choice(self) -> str:
        """Name of the chosen option."""
        return self.options[self.chosen]


class AnswerBook:
    """A SQLite file of answers to one study, usable by several threads.

    Args:
        path: the file; created if a study is given.
        study: the study that is answered; None to read only.

    Raises:
        ReenactError: the file is missing, damaged, or holds answers to another study.
    """

    def __init__(self, path: Path, study: Study | None = None) -> None:
        self._path = path
        if study is None and not path.is_file():
            raise ReenactError(f"{path} is missing; 'reenactor study serve --db' writes it")
        try:
            with self._open() as db:
                if study is not None:
                    db.executescript(_TABLES)
                known = db.execute("SELECT digest FROM study").fetchone()
                if study is not None and known is None:
                    db.execute("INSERT INTO study VALUES (?)", (study.digest,))
        except sqlite3.Error as error:
            raise ReenactError(f"{path} holds no answers ({error}); choose another --db") from error
        if study is not None and known is not None and known[0] != study.digest:
            raise ReenactError(f"{path} holds answers to another study; choose another --db")

    def join(self) -> str:
        """Add a participant; returns the token that identifies them."""
        token = secrets.token_urlsafe(12)
        with self._open() as db:
            db.execute(
                "INSERT INTO participants SELECT COALESCE(MAX(number) + 1, 0), ?, ? FROM participants",
                (token, time.time()),
            )
        return token

    def number(self, token: str) -> int | None:
        """Number of the participant with this token; None if there is none."""
        with self._open() as db:
            row = db.execute("SELECT number FROM participants WHERE token = ?", (token,)).fetchone()
        return None if row is None else row[0]

    def next_step(self, number: int) -> int:
        """Number of the first question without an answer; questions are answered in order."""
        with self._open() as db:
            return db.execute("SELECT COUNT(*) FROM answers WHERE number = ?", (number,)).fetchone()[0]

    def show(self, number: int, step: int) -> float:
        """Seconds since a question's pictures were first shown; the first call marks them as shown."""
        now = time.time()
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO shown VALUES (?, ?, ?)", (number, step, now))
            return now - self._shown(db, number, step, now)

    def shown_for(self, number: int, step: int) -> float | None:
        """Seconds since `show` was first called; None if it was not."""
        now = time.time()
        with self._open() as db:
            began = self._shown(db, number, step, float("nan"))
        return None if began != began else now - began

    def put(self, number: int, index: int, step: Step, chosen: int, *, late: bool, took_ms: int) -> None:
        """Store an answer; a second one to the same question changes nothing."""
        row = (number, index, step.trial.id, step.trial.kind.value, step.question, json.dumps(step.names), chosen)
        with self._open() as db:
            db.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, step.trial.check, late, took_ms, time.time()),
            )

    def answers(self) -> list[Answer]:
        """All answers, ordered by participant."""
        with self._open() as db:
            rows = db.execute(
                "SELECT number, trial, kind, question, options, chosen, is_check, late FROM answers "
                "ORDER BY number, step"
            ).fetchall()
        return [
            Answer(number, trial, Kind(kind), question, tuple(json.loads(options)), chosen, bool(check), bool(late))
            for number, trial, kind, question, options, chosen, check, late in rows
        ]

    @staticmethod
    def _shown(db: sqlite3.Connection, number: int, step: int, otherwise: float) -> float:
        row = db.execute("SELECT at_s FROM shown WHERE number = ? AND step = ?", (number, step)).fetchone()
        return otherwise if row is None else row[0]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # One connection a call: connections belong to threads, and each request has its own thread.
        with closing(sqlite3.connect(self._path, timeout=10)) as db, db:
            yield db


@dataclass(frozen=True)
class ValidAnswers:
    """Answers of the participants who passed the attention checks.

    Args:
        kept: the answers, without the checks.
        participants: number of those who passed.
        failed: number of those who did not, and are left out.
        unchecked: number of those who stopped before the first check, and are left out.
    """

    kept: tuple[Answer, ...]
    participants: int
    failed: int
    unchecked: int


@dataclass(frozen=True)
class Ratio:
    """A fraction of answers.

    Args:
        value: the fraction.
        low, high: 95% interval: bootstrap over participants; Wilson's for a single one.
        answers: number of answers.
        participants: number of participants.
        late: number of answers that came after the pictures were hidden.
    """

    value: float
    low: float
    high: float
    answers: int
    participants: int
    late: int = 0

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def valid_answers(answers: Sequence[Answer]) -> ValidAnswers:
    """Leave out participants who failed the attention checks, and the checks themselves."""
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
    return ValidAnswers(tuple(kept), passed, failed, unchecked)


def win_ratios(answers: Sequence[Answer]) -> dict[tuple[str, str], dict[str, Ratio]]:
    """How often the first of two methods was chosen: for each pair of methods, by question."""
    found: dict[tuple[str, str], dict[str, Ratio]] = {}
    pairs = [one for one in answers if one.kind is Kind.PAIR]
    for couple in dict.fromkeys(tuple(sorted(one.options)) for one in pairs):
        some = [one for one in pairs if tuple(sorted(one.options)) == couple]
        by_question = {q: [one for one in some if one.question == q] for q in QUESTIONS[Kind.PAIR]}
        found[couple[0], couple[1]] = {
            q: _ratio(own, [one.choice == couple[0] for one in own]) for q, own in by_question.items() if own
        }
    return found


def win_ratio(answers: Sequence[Answer], winner: str, loser: str) -> Ratio | None:
    """How often the one was chosen before the other, all questions together; None if they were never compared."""
    some = [one for one in answers if one.kind is Kind.PAIR and set(one.options) == {winner, loser}]
    return _ratio(some, [one.choice == winner for one in some]) if some else None


def deceptions(answers: Sequence[Answer]) -> dict[str, Ratio]:
    """How often a real photo was taken for the odd one, by method (paper B, table 3; guessing gives two thirds)."""
    odd = [one for one in answers if one.kind is Kind.ODD]
    method_of = {one: next(name for name in one.options if name != REAL) for one in odd}
    found = {}
    for method in dict.fromkeys(method_of.values()):
        own = [one for one in odd if method_of[one] == method]
        found[method] = _ratio(own, [one.choice == REAL for one in own])
    return found


def study_tables(found: ValidAnswers) -> list[Table]:
    """Tables of win ratios and of deception, for `evaluation.tables.write_tables`."""
    people = f"{found.participants} participant{'' if found.participants == 1 else 's'}"
    notes = [f"{people}; left out: {found.failed} who failed the attention checks, {found.unchecked} who saw none."]
    how = "Wilson's for a single participant" if found.participants == 1 else "bootstrap over participants"
    how += " (fewer than 10: too narrow)" if 1 < found.participants < 10 else ""
    questions = list(QUESTIONS[Kind.PAIR])
    rows = []
    for (a, b), ratios in win_ratios(found.kept).items():
        cells = [str(ratios[q]) if q in ratios else "-" for q in questions]
        rows.append([f"{a} over {b}", *cells, str(sum(one.answers for one in ratios.values()))])
    tables = [Table("Win ratios", ["methods", *questions, "answers"], [("", rows)], [f"95% intervals: {how}.", *notes])]
    rows = [[name, str(one), str(one.answers), str(one.late)] for name, one in deceptions(found.kept).items()]
    notes = [f"95% intervals: {how}. Guessing gives 0.667.", *notes]
    tables.append(Table("Ratios of deception", ["method", "ratio ↑", "answers", "of them late"], [("", rows)], notes))
    return [table for table in tables if table.sections[0][1]]


def wilson(wins: int, count: int) -> tuple[float, float]:
    """95% interval of a fraction (Wilson 1927)."""
    fraction, z2 = wins / count, _Z**2
    middle = (fraction + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * sqrt(fraction * (1 - fraction) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def _ratio(answers: Sequence[Answer], wins: Sequence[bool]) -> Ratio:
    participants = [one.participant for one in answers]
    people, late = len(set(participants)), sum(one.late for one in answers)
    if people == 1:
        return Ratio(sum(wins) / len(wins), *wilson(sum(wins), len(wins)), len(wins), people, late)
    found = bootstrap_interval(np.array(wins, float), participants, np.random.default_rng(0))
    return Ratio(found.estimate, found.low, found.high, len(wins), people, late)
