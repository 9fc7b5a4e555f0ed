"""Visitors of the page: what each has chosen, and their jobs, which run like those of the API."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from reenactor.core.errors import ReenactError
from reenactor.server.page.previews import PhotoFaces, Previews
from reenactor.server.records import JobOptions, JobRecord
from reenactor.server.state import AppState, Driver
from reenactor.server.store import Job, State, Target

_POLL_S = 0.25
_MAX_SESSIONS = 1000
OWN_DRIVER = "my file"
"""The choice among the movements that stands for an uploaded driver."""


class StoppedByVisitorError(ReenactError):
    """The visitor pressed Cancel."""


@dataclass
class Session:
    """One visitor.

    Attributes:
        owner: of targets and jobs, from the API key.
        targets: ids of all targets that the visitor made; the last is the chosen one.
        faces: in its photos; empty as long as none are chosen.
        jobs: ids by tab.
        comparison: token of the last comparison.
    """

    owner: str
    targets: list[str] = field(default_factory=list)
    faces: list[PhotoFaces] = field(default_factory=list)
    jobs: dict[str, list[str]] = field(default_factory=dict)
    comparison: str | None = None


class Sessions:
    """All visitors, by key and by the session's name that their browser chose; that name is never part of a path.

    Args:
        state: of the server.
        previews: of the page.
        uploads: folder of Gradio's uploads.
    """

    def __init__(self, state: AppState, previews: Previews, uploads: Path) -> None:
        self.state, self.previews, self._uploads = state, previews, uploads
        self._sessions: dict[tuple[str, str], Session] = {}

    def of(self, request: gr.Request) -> Session:
        """The session of the visitor who sent a request."""
        key = _key(request)
        if key not in self._sessions and len(self._sessions) >= _MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))  # the oldest; its files expire
        return self._sessions.setdefault(key, Session(key[0]))

    async def leave(self, request: gr.Request) -> None:
        """Delete what a visitor sent and made: the page was closed."""
        session = self._sessions.pop(_key(request), None)
        if session is not None:
            await asyncio.to_thread(self._delete, session)

    def uploaded(self, path: str) -> Path:
        """The uploaded file of a path that came from the page; the only way from such a path to a file.

        Raises:
            ReenactError: it is no upload.
        """
        found = Path(path).resolve()
        try:
            is_upload = self._uploads in found.parents and stat.S_ISREG(found.lstat().st_mode)
        except OSError:
            is_upload = False
        if not is_upload:
            raise ReenactError("that file was not uploaded here, or is deleted by now; choose it again")
        return found

    async def choose(self, session: Session, paths: list[str]) -> list[PhotoFaces]:
        """Check and store uploaded photos as the visitor's target, and find their faces.

        Raises:
            RefusalError: too many or too large photos.
            ReenactError: one is refused or shows no face.
        """
        session.faces = []
        files = [self.uploaded(path) for path in paths]
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
    async def driver(self, motion: str, upload: str | None) -> AsyncIterator[Driver]:
        """The driver that the visitor chose: a movement that ships, or an upload. Its file is deleted at the end.

        Raises:
            ReenactError: it is to be an upload, and there is none, or it is refused.
        """
        if motion != OWN_DRIVER:
            found = await self.state.driver(motion, None)
        elif not upload:
            raise ReenactError("there is no driver yet; add a video, a motion file or a photo, or choose a movement")
        else:
            with self.uploaded(upload).open("rb") as file:
                found = await self.state.driver(None, file)
        try:
            yield found
        finally:
            found.discard()

    async def read_edits(self, upload: str) -> list[float]:
        """The sliders nearest to an uploaded motion file.

        Raises:
            ReenactError: it is refused, or shows no face.
        """
        async with self.driver(OWN_DRIVER, upload) as motion:
            if not motion.name.endswith(".motion"):
                raise ReenactError("this is no motion file; choose one")
            return await self.previews.edits_of(motion.file)

    async def example(self) -> Path:
        """The photo that ships, as an upload."""
        path = self._uploads / "example" / "astronaut.png"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
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


def _key(request: gr.Request) -> tuple[str, str]:
    if request.request is None or not request.session_hash:
        raise ReenactError("this request belongs to no page; load the page again")
    return request.request.scope["state"]["owner"], str(request.session_hash)
