"""What the server knows of targets and jobs: SQLite, so that a server that is killed knows it still."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from reenactor.core.errors import ReenactError

_VERSION = 1
_TABLES = """
CREATE TABLE targets (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, used REAL NOT NULL, photos TEXT NOT NULL
);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, target TEXT NOT NULL, driver TEXT NOT NULL, options TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, created REAL NOT NULL, started REAL, finished REAL,
    error TEXT, facts TEXT NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, created);
"""


class State(str, Enum):
    """Of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Nothing more will happen."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Target:
    """Photos of one person. `photos` holds of each its file's name, width and height; times are Unix times."""

    id: str
    owner: str
    created: float
    used: float
    photos: list[dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One animation.

    Args:
        driver: a file in the job's folder, or "motion:NAME" for a motion that ships.
        attempts: how often work on it began without the server's ending it in order.
        facts: about the result.
    """

    id: str
    owner: str
    target: str
    driver: str
    options: dict[str, Any]
    state: State = State.QUEUED
    attempts: int = 0
    created: float = field(default_factory=time.time)
    started: float | None = None
    finished: float | None = None
    error: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def result_name(self) -> str:
        """The name of its result in its folder."""
        return f"result.{self.options['format']}"


class QueueFullError(ReenactError):
    """No further job is taken for now."""


class Store:
    """Targets and jobs with their folders; for any number of threads.

    Args:
        folder: made if missing, readable by its owner alone.

    Raises:
        ReenactError: the folder cannot be written, or was made by another release.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            for name in ("targets", "jobs"):
                (folder / name).mkdir(exist_ok=True)
            shutil.rmtree(self.incoming, ignore_errors=True)
            self.incoming.mkdir()
            self._db = sqlite3.connect(folder / "reenactor.sqlite", check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            # Survives a killed server; after a power failure the last moments may be forgotten, never half-known.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # Nothing of what was deleted stays in the file.
            self._db.execute("PRAGMA secure_delete=ON")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={_VERSION};COMMIT;")
        except (OSError, sqlite3.Error) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise ReenactError(f"cannot keep the server's data in {folder}: {reason}; choose another --data") from error
        if version not in (0, _VERSION):
            raise ReenactError(f"the data in {folder} are of another release; choose another --data")
        self._remove_strays()

    @property
    def incoming(self) -> Path:
        """Where uploads lie until they are checked."""
        return self.folder / "incoming"

    def new_upload(self) -> Path:
        """A place for an upload."""
        return self.incoming / secrets.token_hex(16)

    def target_folder(self, target: str) -> Path:
        """Where a target's photos are."""
        return self.folder / "targets" / target

    def job_folder(self, job: str) -> Path:
        """Where a job's driver and result are."""
        return self.folder / "jobs" / job

    def add_target(self, owner: str, photos: list[tuple[Path, str, int, int]]) -> Target:
        """Keep checked photos: (file, suffix, width, height) each; the files are moved."""
        now = time.time()
        target = Target(secrets.token_hex(16), owner, now, now, [])
        folder = self.target_folder(target.id)
        folder.mkdir()
        for number, (path, suffix, width, height) in enumerate(photos, start=1):
            name = f"photo{number}{suffix}"
            path.replace(folder / name)
            target.photos.append({"name": name, "width": width, "height": height})
        with self._changing() as db:
            row = (target.id, owner, now, now, json.dumps(target.photos))
            db.execute("INSERT INTO targets VALUES (?, ?, ?, ?, ?)", row)
        return target

    def target(self, owner: str, identity: str) -> Target | None:
        """The owner's target of that id."""
        with self._changing() as db:
            row = db.execute("SELECT * FROM targets WHERE id = ? AND owner = ?", (identity, owner)).fetchone()
        return None if row is None else Target(**{**dict(row), "photos": json.loads(row["photos"])})

    def use_target(self, identity: str) -> None:
        """Its time until deletion begins anew."""
        with self._changing() as db:
            db.execute("UPDATE targets SET used = ? WHERE id = ?", (time.time(), identity))

    def remove_target(self, identity: str) -> bool:
        """Delete a target and its photos, unless jobs still need them; tells whether."""
        with self._changing() as db:
            unfinished = "SELECT 1 FROM jobs WHERE target = ? AND state IN ('queued', 'running')"
            if db.execute(unfinished, (identity,)).fetchone():
                return False
            db.execute("DELETE FROM targets WHERE id = ?", (identity,))
        shutil.rmtree(self.target_folder(identity), ignore_errors=True)
        return True

    def add_job(self, job: Job, driver: Path | None, most_queued: int) -> None:
        """Queue a job; the driver's file is moved.

        Raises:
            QueueFullError: so many wait already.
            KeyError: its target was deleted meanwhile.
        """
        folder = self.job_folder(job.id)
        folder.mkdir()
        try:
            if driver is not None:
                driver.replace(folder / job.driver)
            with self._changing() as db:
                if _queued(db) >= most_queued:
                    raise QueueFullError
                if not db.execute("SELECT 1 FROM targets WHERE id = ?", (job.target,)).fetchone():
                    raise KeyError(job.target)
                db.execute("UPDATE targets SET used = ? WHERE id = ?", (time.time(), job.target))
                db.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * 12)})", _row(job))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def job(self, owner: str, identity: str) -> Job | None:
        """The owner's job of that id."""
        with self._changing() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ? AND owner = ?", (identity, owner)).fetchone()
        return None if row is None else _job(row)

    def photos_of(self, job: Job) -> list[Path]:
        """The photos a job needs."""
        with self._changing() as db:
            row = db.execute("SELECT photos FROM targets WHERE id = ?", (job.target,)).fetchone()
        return [self.target_folder(job.target) / photo["name"] for photo in json.loads(row["photos"])]

    def queued(self) -> int:
        """How many jobs wait."""
        with self._changing() as db:
            return _queued(db)

    def waiting_before(self, job: Job) -> int:
        """How many jobs come first."""
        with self._changing() as db:
            query = "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND created < ?"
            return db.execute(query, (job.created,)).fetchone()[0]

    def begin_next(self) -> Job | None:
        """Take the job that has waited longest."""
        with self._changing() as db:
            row = db.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY created LIMIT 1").fetchone()
            if row is None:
                return None
            begin = "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ? WHERE id = ?"
            db.execute(begin, (time.time(), row["id"]))
            return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone())

    def end(self, job: Job, state: State, *, error: str | None = None, facts: dict[str, Any] | None = None) -> None:
        """Note how a job ended, and keep of its files the result alone."""
        with self._changing() as db:
            change = "UPDATE jobs SET state = ?, finished = ?, error = ?, facts = ? WHERE id = ?"
            db.execute(change, (state.value, time.time(), error, json.dumps(facts or {}), job.id))
            db.execute("UPDATE targets SET used = ? WHERE id = ?", (time.time(), job.target))
        if state is not State.DONE:
            shutil.rmtree(self.job_folder(job.id), ignore_errors=True)
        else:
            (self.job_folder(job.id) / job.driver).unlink(missing_ok=True)

    def cancel_queued(self, identity: str) -> bool:
        """Cancel a job that has not begun; tells whether."""
        with self._changing() as db:
            cancel = "UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ? AND state = 'queued'"
            done = db.execute(cancel, (time.time(), identity)).rowcount == 1
        if done:
            shutil.rmtree(self.job_folder(identity), ignore_errors=True)
        return done

    def queue_again(self, job: Job, *, in_order: bool) -> None:
        """Let a job that was stopped wait at its old place; `in_order` if nothing went wrong with it."""
        with self._changing() as db:
            again = "UPDATE jobs SET state = 'queued', attempts = attempts - ? WHERE id = ?"
            db.execute(again, (int(in_order), job.id))

    def remove_job(self, identity: str) -> None:
        """Forget a job that is over, and delete its files."""
        with self._changing() as db:
            db.execute("DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", (identity,))
        shutil.rmtree(self.job_folder(identity), ignore_errors=True)

    def queue_unfinished(self) -> int:
        """At the start: what a killed server had begun waits again. Tells how many."""
        with self._changing() as db:
            return db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'").rowcount

    def expire(self, keep_s: float) -> int:
        """Delete what is older than that; tells how many targets and jobs."""
        before = time.time() - keep_s
        with self._changing() as db:
            jobs = [row[0] for row in db.execute("SELECT id FROM jobs WHERE finished < ?", (before,))]
            targets = [row[0] for row in db.execute("SELECT id FROM targets WHERE used < ?", (before,))]
        for job in jobs:
            self.remove_job(job)
        return len(jobs) + sum(self.remove_target(target) for target in targets)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _remove_strays(self) -> None:
        """Folders of which nothing is known: the server was killed between making a folder and noting it."""
        for table in ("targets", "jobs"):
            with self._changing() as db:
                known = {row[0] for row in db.execute(f"SELECT id FROM {table}")}
            for folder in (self.folder / table).iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)


def _queued(db: sqlite3.Connection) -> int:
    return db.execute("SELECT COUNT(*) FROM jobs WHERE state = 'queued'").fetchone()[0]


def _row(job: Job) -> tuple[Any, ...]:
    return (
        job.id,
        job.owner,
        job.target,
        job.driver,
        json.dumps(job.options),
        job.state.value,
        job.attempts,
        job.created,
        job.started,
        job.finished,
        job.error,
        json.dumps(job.facts),
    )


def _job(row: sqlite3.Row) -> Job:
    facts = {name: json.loads(row[name]) for name in ("options", "facts")}
    return Job(**{**dict(row), **facts, "state": State(row["state"])})
