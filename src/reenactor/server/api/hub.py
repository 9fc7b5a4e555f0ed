"""All that one server holds, and how an upload becomes a checked file."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastapi import UploadFile

from reenactor.server.api.gate import RefusalError
from reenactor.server.api.jobs import Janitor, Workers
from reenactor.server.api.live import Places
from reenactor.server.api.measures import Measures
from reenactor.server.api.records import JobRecord
from reenactor.server.api.settings import Settings
from reenactor.server.api.store import Job, State, Store
from reenactor.server.api.uploads import Checker, Upload

_PIECE = 2**20


class Hub:
    """All that one server holds.

    Args:
        settings: checked.

    Raises:
        ReenactError: the data folder cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.data)
        self.measures = Measures()
        self.workers = Workers(self.store, settings, self.measures)
        self.janitor = Janitor(self.store, self.keep_s)
        self.places = Places(settings)
        self.checker = Checker(settings.limits)
        # One thread, one process: a flood of uploads waits here, while everything else is answered.
        self.checking = ThreadPoolExecutor(1, "reenactor-checks")
        for name, text, value in (
            ("jobs_waiting", "Jobs in the queue", self.store.queued),
            ("live_sessions", "People who drive live", self.places.taken),
            ("worker_memory_bytes", "Memory of the processes that animate", self.workers.memory_bytes),
            ("live_memory_bytes", "Memory of the processes for live driving", self.places.memory_bytes),
            ("checker_memory_bytes", "Memory of the process that looks at uploads", self.checker.memory_bytes),
        ):
            self.measures.gauge(name, text, value)

    @property
    def keep_s(self) -> float:
        """How long things are kept."""
        return 3600 * self.settings.keep_hours

    def start(self) -> None:
        """Begin to work."""
        self.workers.start()
        self.janitor.start()

    def stop(self) -> None:
        """End in order."""
        self.janitor.stop()
        self.workers.stop()
        self.places.close()
        self.checking.shutdown(cancel_futures=True)
        self.checker.close()
        self.store.close()

    async def take(self, upload: UploadFile, what: str, most_mib: int, *, driver: bool) -> tuple[Path, Upload]:
        """Lay an upload in the incoming folder and look at it; it is gone if it is refused.

        Its name is never used: what it is, its content tells.
        """
        path = self.store.new_upload()
        try:
            await asyncio.to_thread(_copy, upload, path, what, most_mib)
            loop = asyncio.get_running_loop()
            checked = await loop.run_in_executor(
                self.checking, lambda: self.checker.check(path, what=what, driver=driver)
            )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path, checked

    def record(self, job: Job) -> JobRecord:
        """What is told of a job."""
        result = self.store.job_folder(job.id) / job.result_name
        size = result.stat().st_size if job.state is State.DONE and result.exists() else 0
        record = JobRecord.of(job, self.keep_s, size)
        running = self.workers.running(job.id) if job.state is State.RUNNING else None
        if running is not None:
            eta_s = running.eta_s()
            return record.model_copy(
                update={
                    "stage": running.stage,
                    "progress": round(running.share, 4),
                    "frames_done": running.done,
                    "frames_total": running.total,
                    "eta_s": None if eta_s is None else round(eta_s, 1),
                }
            )
        if job.state is State.QUEUED:
            before = self.store.waiting_before(job)
            return record.model_copy(update={"jobs_before": before, "eta_s": round(self.workers.wait_s(before + 1), 1)})
        return record


def _copy(upload: UploadFile, path: Path, what: str, most_mib: int) -> None:
    left = most_mib * 2**20
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        while piece := upload.file.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise RefusalError(413, f"{what} is larger than the {most_mib} MiB allowed; send a smaller file")
            out.write(piece)
