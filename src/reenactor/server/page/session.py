"""Visitors of the page: what each has chosen, and their jobs, which run like those of the API."""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from reenactor.core.errors import ReenactError
from reenactor.server.page.previews import PhotoFaces, Previews
from reenactor.server.records import JobOptions, JobRecord, PersonOptions
from reenactor.server.state import AppState, Driver
from reenactor.server.store import Job, State, Target, new_id

_POLL_S = 0.25
_MAX_VISITORS, _MAX_SESSIONS = 200, 50
"""Visitors with one key, and pages that each has open; more push out the oldest, whose files expire."""
OWN_DRIVER = "my file"
"""The choice among the movements that stands for an uploaded driver."""


class StoppedByVisitorError(ReenactError):
    """The visitor pressed Cancel."""


@dataclass
class Visitor:
    """One browser.

    Attributes:
        id: made here, and known to that browser alone.
        owner: of targets and jobs, from the API key.
        folder: of its uploads; deleted with its last page.
        sessions: its open pages, by the names that the browser chose; those names are never part of a path.
    """

    id: str
    owner: str
    folder: Path
    sessions: dict[str, Session] = field(default_factory=dict)

    def new_path(self, name: str) -> Path:
        """A free path for an upload, whose name keeps its letters."""
        name = re.sub(r"[^\w.() -]", "_", name.replace("\\", "/").rpartition("/")[2])[-80:].strip(". ")
        path = self.folder / new_id() / (name or "upload")
        path.parent.mkdir(parents=True)
        return path

    def uploaded(self, path: str) -> None:
        """Refuse whatever is no file that this visitor uploaded.

        Raises:
            ReenactError: it is something else.
        """
        try:
            is_own = self.folder in Path(path).resolve().parents and stat.S_ISREG(Path(path).lstat().st_mode)
        except (OSError, ValueError, RuntimeError):
            is_own = False
        if not is_own:
            raise ReenactError("that file was not uploaded here, or is deleted by now; choose it again")


@dataclass
class Session:
    """One open page.

    Attributes:
        visitor: whose it is.
        targets: ids of all targets that the visitor made; the last is the chosen one.
        faces: in its photos; empty as long as none are chosen.
        jobs: ids by tab.
        comparison: token of the last comparison.
    """

    visitor: Visitor
    targets: list[str] = field(default_factory=list)
    faces: list[PhotoFaces] = field(default_factory=list)
    jobs: dict[str, list[str]] = field(default_factory=dict)
    comparison: str | None = None

    @property
    def owner(self) -> str:
        """Of targets and jobs, from the API key."""
        return self.visitor.owner


class Sessions:
    """All visitors and their open pages; `gate.Gate` makes them.

    Args:
        state: of the server.
        previews: of the page.
    """

    def __init__(self, state: AppState, previews: Previews) -> None:
        self.state, self.previews = state, previews
        self._visitors: dict[str, Visitor] = {}
        self._sessions: dict[str, Session] = {}

    def welcome(self, owner: str) -> Visitor:
        """A new visitor."""
        known = [one for one in self._visitors.values() if one.owner == owner]
        for visitor in known[: max(0, len(known) + 1 - _MAX_VISITORS)]:
            for name in list(visitor.sessions):
                self._forget(name)
            del self._visitors[visitor.id]
        identity = new_id()
        self._visitors[identity] = Visitor(identity, owner, self.state.store.upload_folder(owner).resolve() / new_id())
        return self._visitors[identity]

    def visitor(self, identity: str | None, owner: str) -> Visitor | None:
        """The visitor with a key of that id; None if there is none."""
        visitor = self._visitors.get(identity or "")
        return visitor if visitor is not None and visitor.owner == owner else None

    def claim(self, visitor: Visitor, name: str) -> None:
        """Open a page of the visitor; whoever names a session first has it.

        Raises:
            ReenactError: it is another visitor's.
        """
        session = self._sessions.get(name)
        if session is None:
            if len(visitor.sessions) >= _MAX_SESSIONS:
                self._forget(next(iter(visitor.sessions)))
            self._sessions[name] = visitor.sessions[name] = Session(visitor)
        elif session.visitor is not visitor:
            raise ReenactError("this session is of another page; load the page again")

    def of(self, request: gr.Request) -> Session:
        """The session of the page that sent a request."""
        session = self._sessions.get(str(request.session_hash))
        if session is None:
            raise ReenactError("this request belongs to no page; load the page again")
        return session

    def _forget(self, name: str) -> Session | None:
        session = self._sessions.pop(name, None)
        if session is not None:
            session.visitor.sessions.pop(name, None)
        return session

    async def leave(self, request: gr.Request) -> None:
        """Delete what a visitor sent and made: the page was closed."""
        session = self._forget(str(request.session_hash))
        if session is not None:
            await asyncio.to_thread(self._delete, session)

    async def choose(self, session: Session, paths: list[str]) -> list[PhotoFaces]:
        """Check and store uploaded photos as the visitor's target, and find their faces.

        Raises:
            RefusalError: too many or too large photos.
            ReenactError: one is refused or shows no face.
        """
        session.faces = []
        files = [Path(path) for path in paths]
        names = [file.name for file in files]
        opened = [file.open("rb") for file in files]
        try:
            target = await self.state.add_target(session.owner, list(zip(opened, names, strict=True)))
        finally:
            for file in opened:
                file.close()
        session.targets.append(target.id)
        session.faces = await self.previews.faces(self.state.store.photos(target), names)
        return session.faces

    def target(self, session: Session) -> Target:
        """The target that the visitor chose.

        Raises:
            ReenactError: none was chosen.
        """
        if not session.faces:
            raise ReenactError("there is no photo yet; add one at the top of the page, or take the example")
        return self.state.target(session.owner, session.targets[-1])

    @asynccontextmanager
    async def driver(self, session: Session, motion: str, upload: str | None) -> AsyncIterator[Driver]:
        """The driver that the visitor chose: a movement that ships, or an upload. Its file is deleted at the end.

        Raises:
            ReenactError: it is to be an upload, and there is none, or it is refused.
        """
        if motion != OWN_DRIVER:
            found = await self.state.driver(session.owner, motion, None)
        elif not upload:
            raise ReenactError("there is no driver yet; add a video, a motion file or a photo, or choose a movement")
        else:
            with Path(upload).open("rb") as file:
                found = await self.state.driver(session.owner, None, file)
        try:
            yield found
        finally:
            found.discard()

    async def read_edits(self, session: Session, upload: str) -> list[float]:
        """The sliders nearest to an uploaded motion file.

        Raises:
            ReenactError: it is refused, or shows no face.
        """
        async with self.driver(session, OWN_DRIVER, upload) as motion:
            if not motion.name.endswith(".motion"):
                raise ReenactError("this is no motion file; choose one")
            return await self.previews.edits_of(motion.file)

    async def example(self, session: Session) -> Path:
        """The photo that ships, as an upload of the visitor."""
        path = session.visitor.new_path("astronaut.png")
        await self.previews.example(path)
        return path

    async def submit(self, session: Session, tab: str, driver: Driver, **options: Any) -> Job:
        """Queue a job for the visitor's target.

        Args:
            session: of the visitor.
            tab: that the job belongs to.
            driver: from `driver`.
            options: fields of `JobOptions`.

        Raises:
            RefusalError: the options do not fit, or there is no room.
        """
        job = await self.state.add_job(session.owner, self.target(session).id, JobOptions(**options), driver)
        session.jobs.setdefault(tab, []).append(job.id)
        return job

    async def make_person(self, session: Session, face: int | None, minutes: float) -> Job:
        """Queue the making of a person file from the visitor's target; errors as from `AppState.add_person`."""
        job = await self.state.add_person(
            session.owner, self.target(session).id, PersonOptions(face=face, tune=minutes)
        )
        session.jobs.setdefault("person", []).append(job.id)
        return job

    async def person_file(self, session: Session, job: Job) -> Path:
        """The person file that a job made, as an upload of the visitor."""
        made = self.state.result(self.state.job(session.owner, job.id))
        path = session.visitor.new_path("me.person")
        await asyncio.to_thread(shutil.copyfile, made, path)
        return path

    async def follow(self, session: Session, job: Job) -> AsyncIterator[JobRecord]:
        """The job's records, several a second until it is done.

        Raises:
            StoppedByVisitorError: it was cancelled.
            ReenactError: it failed.
        """
        over = False
        try:
            while not over:
                record = await asyncio.to_thread(lambda: self.state.record(self.state.job(session.owner, job.id)))
                over = record.state.over
                yield record
                if not over:
                    await asyncio.sleep(_POLL_S)
        finally:
            if not over:  # nobody waits for it any more
                await asyncio.to_thread(self.state.workers.cancel, job)
        if record.state is State.CANCELLED:
            raise StoppedByVisitorError("Stopped. Nothing was kept.")
        if record.state is State.FAILED:
            raise ReenactError(record.error or "the job failed")

    async def clear(self, session: Session, tab: str) -> None:
        """Stop a tab's jobs and delete their results, as new ones follow."""
        for identity in session.jobs.pop(tab, []):
            job = self.state.store.job(session.owner, identity)
            if job is not None:
                await asyncio.to_thread(self.state.delete_job, job)

    async def cancel(self, session: Session, tab: str) -> None:
        """Stop a tab's jobs."""
        for identity in session.jobs.get(tab, []):
            job = self.state.store.job(session.owner, identity)
            if job is not None:
                await asyncio.to_thread(self.state.workers.cancel, job)

    def _delete(self, session: Session) -> None:
        for target in session.targets:
            for job in self.state.store.jobs_of(session.owner, target):
                self.state.delete_job(job)
            self.state.store.remove_target(target)
        if not session.visitor.sessions:
            shutil.rmtree(session.visitor.folder, ignore_errors=True)
