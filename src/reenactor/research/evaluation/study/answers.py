"""Answers as they come, in SQLite."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.evaluation.study.plan import Kind, Step, Study

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


@dataclass(frozen=True)
class Answer:
    """One answer.

    Args:
        participant: number.
        trial: its id.
        kind: what sort of choice.
        question: key of `plan.QUESTIONS`.
        options: names from left to right.
        chosen: which of them.
        check: whether it only tells if somebody was looking.
        late: after the pictures were hidden.
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
        """Name of what was chosen."""
        return self.options[self.chosen]


class AnswerBook:
    """A file of answers to one study. May be used by several threads.

    Args:
        path: may not exist, unless it is only read.
        study: whose answers; None only to read.

    Raises:
        ReenactError: missing, no such file, or of another study.
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
        """A new participant: the token to come back with."""
        token = secrets.token_urlsafe(12)
        with self._open() as db:
            db.execute(
                "INSERT INTO participants SELECT COALESCE(MAX(number) + 1, 0), ?, ? FROM participants",
                (token, time.time()),
            )
        return token

    def number(self, token: str) -> int | None:
        """Whose token it is; None for nobody's."""
        with self._open() as db:
            row = db.execute("SELECT number FROM participants WHERE token = ?", (token,)).fetchone()
        return None if row is None else row[0]

    def next_step(self, number: int) -> int:
        """The first question without an answer; they are answered in order."""
        with self._open() as db:
            return db.execute("SELECT COUNT(*) FROM answers WHERE number = ?", (number,)).fetchone()[0]

    def show(self, number: int, step: int) -> float:
        """Seconds since a question's pictures were first shown; from the first call on they count as shown."""
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
        """Keep an answer; a second one to the same question changes nothing."""
        row = (number, index, step.trial.id, step.trial.kind.value, step.question, json.dumps(step.names), chosen)
        with self._open() as db:
            db.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, step.trial.check, late, took_ms, time.time()),
            )

    def answers(self) -> list[Answer]:
        """All of them."""
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
        # One connection a call: connections belong to threads, and each request has its own.
        with closing(sqlite3.connect(self._path, timeout=10)) as db, db:
            yield db
