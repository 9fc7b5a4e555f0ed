"""Targets and jobs in SQLite with their files in folders, so that they survive a killed server."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from reenactor.core.errors import ReenactError
from reenactor.server.uploads import PHOTO_SUFFIXES, Upload

_VERSION = 1
INCOMING = "incoming"
_DATABASE = "reenactor.sqlite"
PERSON = "person"
"""The driver and the format of a job that makes a person file."""
_BUSY_S = 1.0
"""Another program that locks the database, or a thread that waits for it, is waited for so long."""
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


class State(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class Target:
    """Photos, videos and person files of one person.

    Args:
        id: 32 hexadecimal digits.
        owner: from the API key.
        created, used: Unix times, `used` of the last use.
        photos: {"name" (of the file), "width", "height", "seconds"} of each; those stored by earlier releases, which
            took no videos, lack "seconds".
    """

    id: str
    owner: str
    created: float
    used: float
    photos: list[dict[str, Any]]

    @property
    def begins_with_video(self) -> bool:
        """Whether the picture that moves is a frame of a video or an animation."""
        first = self.photos[0]
        return not first["name"].endswith((*PHOTO_SUFFIXES, ".person")) or first.get("seconds", 0) > 0

    @property
    def persons(self) -> list[int]:
        """Numbers of those that are person files, from 1."""
        return [i for i, one in enumerate(self.photos, start=1) if one["name"].endswith(".person")]


@dataclass(frozen=True)
class Job:
    """One animation, one person file, or a finished recording of a live session.

    Args:
        driver: name of a file in the job's folder, "motion:NAME" for a motion that ships, "live", or `PERSON`.
        options: as `records.JobOptions` has them, or `records.PersonOptions` with the format `PERSON`.
        attempts: how often work on it was started and not stopped in order.
        created, started, finished: Unix times.
        facts: about the result, see `records.Result`.
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
        """File name of the result in the job's folder."""
        return f"result.{self.options['format']}"


class QueueFullError(ReenactError):
    """The queue is full."""


def disk_trouble(error: BaseException | None) -> tuple[int, str] | None:
    """HTTP status and sentence for an error of the disk or the database; None for any other error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
        return 507, "the server's disk is full; try again later"
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in str(error) or "busy" in str(error):
            return 503, "the server's database is busy; try again in a moment"
        return 507, "the server's disk is full or cannot be written; try again later"
    return None


def check_folder(folder: Path) -> None:
    """Refuse a folder of something else: much of what lies in a server's folder is deleted when it starts.

    Raises:
        ReenactError: it has files, and not those of a server.
    """
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if found - {"in-use"} and _DATABASE not in found:
        raise ReenactError(
            f"{folder} holds other files, and the server would delete them; choose a new folder as --data"
        )


class Store:
    """Targets and jobs with their folders; thread-safe.

    Args:
        folder: created if missing, readable by its owner alone.

    Raises:
        ReenactError: the folder cannot be written, or was made by another release.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._turns: dict[str, int] = {}
        try:
            check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._db, self._reader = (
                sqlite3.connect(folder / _DATABASE, _BUSY_S, check_same_thread=False, isolation_level=None)
                for _ in range(2)
            )
            self._db.row_factory = self._reader.row_factory = sqlite3.Row
            # Survives a killed server; after a power failure the last changes may be lost, never half-written.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            # Deleted rows are overwritten in the file.
            self._db.execute("PRAGMA secure_delete=ON")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={_VERSION};COMMIT;")
            if version in (0, _VERSION):
                self._empty()
        except (OSError, sqlite3.Error) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise ReenactError(f"cannot keep the server's data in {folder}: {reason}; choose another --data") from error
        if version not in (0, _VERSION):
            raise ReenactError(f"the data in {folder} are of another release; choose another --data")

    @property
    def incoming(self) -> Path:
        """Folder of uploads that are not checked yet; emptied at the start."""
        return self.folder / INCOMING

    @property
    def uploads(self) -> Path:
        """Folder of the page's uploads; emptied at the start."""
        return self.folder / "uploads"

    def upload_folder(self, owner: str) -> Path:
        """Folder of the uploads to the page with one key."""
        return self.uploads / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def new_upload(self) -> Path:
        """A free path in `incoming`."""
        return self.incoming / new_id()

    def target_folder(self, target: str) -> Path:
        """Folder of a target's photos."""
        return self.folder / "targets" / target

    def job_folder(self, job: str) -> Path:
        """Folder of a job's driver and result."""
        return self.folder / "jobs" / job

    def new_result(self, job: Job) -> Path:
        """Create the folder of a job that is not stored yet and return the path of its result."""
        self.job_folder(job.id).mkdir()
        return self.job_folder(job.id) / job.result_name

    def add_target(self, owner: str, photos: list[tuple[Path, Upload]]) -> Target:
        """Store checked photos and videos; the files are moved."""
        now = time.time()
        target = Target(new_id(), owner, now, now, [])
        folder = self.target_folder(target.id)
        folder.mkdir()
        try:
            for number, (path, one) in enumerate(photos, start=1):
                name = f"photo{number}{one.suffix}"
                path.replace(folder / name)
                about = {"name": name, "width": one.width, "height": one.height, "seconds": one.seconds}
                target.photos.append(about)
            with self._transaction() as db:
                row = (target.id, owner, now, now, json.dumps(target.photos))
                db.execute("INSERT INTO targets VALUES (?, ?, ?, ?, ?)", row)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return target

    def target(self, owner: str, identity: str) -> Target | None:
        """The owner's target of that id; None if there is none."""
        with self._read() as db:
            row = db.execute("SELECT * FROM targets WHERE id = ? AND owner = ?", (identity, owner)).fetchone()
        return None if row is None else Target(**{**dict(row), "photos": json.loads(row["photos"])})

    def use_target(self, identity: str) -> None:
        """Restart the time until a target is deleted."""
        with self._transaction() as db:
            db.execute("UPDATE targets SET used = ? WHERE id = ?", (time.time(), identity))

    def remove_target(self, identity: str) -> bool:
        """Delete a target and its photos; False if unfinished jobs still need them."""
        with self._transaction() as db:
            unfinished = "SELECT 1 FROM jobs WHERE target = ? AND state IN ('queued', 'running')"
            if db.execute(unfinished, (identity,)).fetchone():
                return False
            db.execute("DELETE FROM targets WHERE id = ?", (identity,))
        shutil.rmtree(self.target_folder(identity), ignore_errors=True)
        self._forget()
        return True

    def add_job(self, job: Job, driver: Path | None, most_queued: int, most_of_owner: int | None = None) -> None:
        """Queue a job, or store a finished one; the driver's file is moved.

        Args:
            job: without a row yet.
            driver: becomes the file `job.driver`; None if there is none.
            most_queued: limit on queued jobs.
            most_of_owner: limit on those of its owner; None for the same.

        Raises:
            QueueFullError: so many are queued already.
            KeyError: its target was deleted meanwhile.
        """
        folder = self.job_folder(job.id)
        folder.mkdir(exist_ok=True)
        try:
            if driver is not None:
                driver.replace(folder / job.driver)
            with self._transaction() as db:
                if job.state is State.QUEUED and (
                    _queued(db) >= most_queued or _queued(db, job.owner) >= (most_of_owner or most_queued)
                ):
                    raise QueueFullError
                if not db.execute("SELECT 1 FROM targets WHERE id = ?", (job.target,)).fetchone():
                    raise KeyError(job.target)
                db.execute("UPDATE targets SET used = ? WHERE id = ?", (time.time(), job.target))
                row = _row(job)
                db.execute(f"INSERT INTO jobs ({', '.join(row)}) VALUES (:{', :'.join(row)})", row)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def job(self, owner: str, identity: str) -> Job | None:
        """The owner's job of that id; None if there is none."""
        with self._read() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ? AND owner = ?", (identity, owner)).fetchone()
        return None if row is None else _job(row)

    def jobs_of(self, owner: str, target: str) -> list[Job]:
        """The owner's jobs of a target."""
        with self._read() as db:
            rows = db.execute("SELECT * FROM jobs WHERE owner = ? AND target = ?", (owner, target)).fetchall()
        return [_job(row) for row in rows]

    def photos(self, target: Target) -> list[Path]:
        """The files of a target's photos and videos."""
        return [self.target_folder(target.id) / photo["name"] for photo in target.photos]

    def queued(self, owner: str | None = None) -> int:
        """Number of queued jobs, of one owner or of all."""
        with self._read() as db:
            return _queued(db, owner)

    def waiting_before(self, job: Job) -> int:
        """Number of queued jobs before this one: the owner's earlier ones, and as many and one of every other's."""
        with self._read() as db:
            earlier = "state = 'queued' AND owner = ? AND rowid < (SELECT rowid FROM jobs WHERE id = ?)"
            own = db.execute(f"SELECT COUNT(*) FROM jobs WHERE {earlier}", (job.owner, job.id)).fetchone()[0]
            others = "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND owner != ? GROUP BY owner"
            return own + sum(min(row[0], own + 1) for row in db.execute(others, (job.owner,)))

    def bytes_of(self, owner: str) -> int:
        """Size of all files of an owner."""
        folders = [self.upload_folder(owner)]
        with self._read() as db:
            for table in ("targets", "jobs"):
                rows = db.execute(f"SELECT id FROM {table} WHERE owner = ?", (owner,)).fetchall()
                folders += [self.folder / table / row[0] for row in rows]
        return sum(size_of(folder) for folder in folders)

    def begin_next(self) -> Job | None:
        """Take the oldest queued job of the owner whose last one began longest ago; None if none is queued.

        One who queues a hundred jobs delays another's by one of them. The clock, which may jump, decides nothing.
        """
        if not self.queued():
            return None
        with self._transaction() as db:
            # A row's number says which came first.
            query = "SELECT *, MIN(rowid) AS number FROM jobs WHERE state = 'queued' GROUP BY owner"
            oldest = db.execute(query).fetchall()
            if not oldest:
                return None
            row = min(oldest, key=lambda one: (self._turns.get(one["owner"], 0), one["number"]))
            self._turns[row["owner"]] = max(self._turns.values(), default=0) + 1
            begin = "UPDATE jobs SET state = 'running', attempts = attempts + 1, started = ? WHERE id = ?"
            db.execute(begin, (time.time(), row["id"]))
            return _job(db.execute("SELECT * FROM jobs WHERE id = ?", (row["id"],)).fetchone())

    def end(self, job: Job, state: State, *, error: str | None = None, facts: dict[str, Any] | None = None) -> None:
        """Store how a job ended; of its files only the result stays."""
        if state is not State.DONE:  # first, as this makes room on a full disk
            shutil.rmtree(self.job_folder(job.id), ignore_errors=True)
        with self._transaction() as db:
            change = "UPDATE jobs SET state = ?, finished = ?, error = ?, facts = ? WHERE id = ?"
            db.execute(change, (state.value, time.time(), error, json.dumps(facts or {}), job.id))
            db.execute("UPDATE targets SET used = ? WHERE id = ?", (time.time(), job.target))
        if state is State.DONE:
            (self.job_folder(job.id) / job.driver).unlink(missing_ok=True)

    def cancel_queued(self, identity: str) -> bool:
        """Cancel a job that is queued; False if it is not."""
        with self._read() as db:
            if not db.execute("SELECT 1 FROM jobs WHERE id = ? AND state = 'queued'", (identity,)).fetchone():
                return False
        with self._transaction() as db:
            cancel = "UPDATE jobs SET state = 'cancelled', finished = ? WHERE id = ? AND state = 'queued'"
            done = db.execute(cancel, (time.time(), identity)).rowcount == 1
        if done:
            shutil.rmtree(self.job_folder(identity), ignore_errors=True)
        return done

    def queue_again(self, job: Job, *, in_order: bool) -> None:
        """Queue a job that was stopped at its old position; `in_order` if it was not the job's fault."""
        with self._transaction() as db:
            again = "UPDATE jobs SET state = 'queued', attempts = attempts - ? WHERE id = ?"
            db.execute(again, (int(in_order), job.id))

    def remove_job(self, identity: str) -> None:
        """Delete a job that is over, and its files."""
        with self._transaction() as db:
            db.execute("DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", (identity,))
        shutil.rmtree(self.job_folder(identity), ignore_errors=True)
        self._forget()

    def queue_unfinished(self) -> int:
        """At the start: queue the jobs a killed server was running, not by their fault. Returns their number."""
        with self._transaction() as db:
            again = "UPDATE jobs SET state = 'queued', attempts = attempts - 1 WHERE state = 'running'"
            return db.execute(again).rowcount

    def expire(self, keep_s: float) -> int:
        """Delete targets, jobs and uploads last used or ended longer ago; returns the number of targets and jobs."""
        before = time.time() - keep_s
        with self._read() as db:
            jobs = [row[0] for row in db.execute("SELECT id FROM jobs WHERE finished < ?", (before,))]
            targets = [row[0] for row in db.execute("SELECT id FROM targets WHERE used < ?", (before,))]
        for job in jobs:
            self.remove_job(job)
        for path in self.uploads.rglob("*"):
            if path.is_file() and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        return len(jobs) + sum(self.remove_target(target) for target in targets)

    def close(self) -> None:
        """Close the database."""
        with self._lock, self._reading:
            self._reader.close()
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction that may write."""
        if not self._lock.acquire(timeout=_BUSY_S):
            raise sqlite3.OperationalError("database is locked")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk can end the transaction by itself.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        finally:
            self._lock.release()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Reading waits for nobody who writes: also the event loop may."""
        with self._reading:
            yield self._reader

    def _forget(self) -> None:
        """Take deleted rows out of the log, too; where it is in use, the next deletion does."""
        with suppress(sqlite3.OperationalError), self._lock:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _empty(self) -> None:
        """Make the folders; delete uploads, and folders without a row: the server was killed before it made that."""
        for name in (self.incoming, self.uploads):
            shutil.rmtree(name, ignore_errors=True)
            name.mkdir(exist_ok=True)
        for table in ("targets", "jobs"):
            (self.folder / table).mkdir(exist_ok=True)
            with self._read() as db:
                known = {row[0] for row in db.execute(f"SELECT id FROM {table}")}
            for folder in (self.folder / table).iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)


def new_id() -> str:
    """An identifier that cannot be guessed: 32 hexadecimal digits."""
    return secrets.token_hex(16)


def size_of(folder: Path) -> int:
    """Size of the files in a folder; what is deleted meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _queued(db: sqlite3.Connection, owner: str | None = None) -> int:
    query = "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND (?1 IS NULL OR owner = ?1)"
    return db.execute(query, (owner,)).fetchone()[0]


def _row(job: Job) -> dict[str, Any]:
    return {**asdict(job), "state": job.state.value, "options": json.dumps(job.options), "facts": json.dumps(job.facts)}


def _job(row: sqlite3.Row) -> Job:
    facts = {name: json.loads(row[name]) for name in ("options", "facts")}
    return Job(**{**dict(row), **facts, "state": State(row["state"])})
