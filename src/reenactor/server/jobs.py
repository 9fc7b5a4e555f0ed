"""The job system: threads that take jobs from the store and give them to worker processes, and the expiry task."""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reenactor.server.guard import RefusalError
from reenactor.server.metrics import Metrics
from reenactor.server.processes import ChildProcess, ProcessDiedError
from reenactor.server.records import motion_path
from reenactor.server.settings import Settings
from reenactor.server.signing import Signer
from reenactor.server.store import PERSON, Job, State, Store
from reenactor.server.worker import run_jobs

_POLL_S = 0.1
"""How soon a worker notices a new job, a cancellation and the server's end."""
_GRACE_S = 5.0
"""A worker that was asked to stop is killed after this."""
_CANCEL_S = 30.0
"""A cancelled job has ended after this, unless its end cannot be stored."""
_AGAIN_S = 1.0
"""Until what a full or locked disk refused is tried again."""
_MAX_ATTEMPTS = 3
_READING, _READING_DRIVER = "reading ", "reading the driver"
_DRIVER_FRACTION, _TARGET_FRACTION = 0.4, 0.1
"""Of the work that is left: to read a video driver, and to read a video of the person. Drawing is the rest."""
_PERSON_FRACTION = 0.9
"""The same, to read a video for a person file that is not tuned. Writing its pictures is the rest."""
_FIRST_GUESS_S = 10.0
"""Assumed time of a job before one was done."""


@dataclass
class Running:
    """Progress of a job that a worker runs.

    Attributes:
        began: monotonic time.
        stage, done, total: what is being done, and how many frames of it.
        before, share: `fraction` at the beginning of the stage, and what the whole stage adds.
        given: of `fraction`, what an earlier run had done.
        stop_sent: the worker was asked to stop.
        cancelled: by the owner.
    """

    job: Job
    began: float
    stage: str = "starting"
    done: int = 0
    total: int | None = None
    before: float = 0.0
    share: float = 0.0
    given: float = 0.0
    stop_sent: bool = False
    cancelled: bool = False

    @property
    def fraction(self) -> float:
        """Done so far, from 0 to 1."""
        return self.before + self.share * (min(1.0, self.done / self.total) if self.total else 0.0)

    def report(self, stage: str, done: int, total: int | None) -> None:
        """What the worker says that it is doing."""
        begins = stage != self.stage
        if begins:
            self.before += self.share
            of_rest = _DRIVER_FRACTION if stage == _READING_DRIVER else _TARGET_FRACTION
            if self.job.driver == PERSON:
                of_rest = _TARGET_FRACTION if self.job.options.get("tune") else _PERSON_FRACTION
            self.share = (1 - self.before) * (of_rest if stage.startswith(_READING) else 1)
        self.stage, self.done, self.total = stage, done, total
        if begins:
            self.given += self.fraction - self.before

    def eta_s(self) -> float | None:
        """Seconds left; None as long as that cannot be estimated."""
        made = self.fraction - self.given
        return (time.monotonic() - self.began) * (1 - self.fraction) / made if made > 0.02 else None


class Workers:
    """Threads with a process each that run the store's jobs.

    Args:
        store: of the jobs.
        settings: of the server.
        metrics: counts ended jobs.
    """

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._running: dict[str, Running] = {}
        self._stopping = threading.Event()
        self._new_job = threading.Event()
        self._mean_s = _FIRST_GUESS_S
        self._processes = [
            ChildProcess("reenactor-worker", run_jobs, settings, confinement=settings.confinement())
            for _ in range(settings.workers)
        ]
        self.signer = Signer(settings)
        self._threads = [
            threading.Thread(target=self._work, args=(process,), name="reenactor-jobs", daemon=True)
            for process in self._processes
        ]

    def start(self) -> None:
        """Begin, with the jobs that an earlier server left unfinished."""
        self._store.queue_unfinished()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End in order; running jobs are continued by the next server."""
        self._stopping.set()
        self._new_job.set()
        for thread in self._threads:
            thread.join()
        self.signer.close()

    def wake(self) -> None:
        """Look for a new job now."""
        self._new_job.set()

    def running(self, identity: str) -> Running | None:
        """Progress of a job; None if no worker runs it."""
        return self._running.get(identity)

    def cancel(self, job: Job) -> None:
        """Stop a job and wait until it has stopped; a job that is over stays as it is.

        Raises:
            RefusalError: it stops, but its end cannot be stored yet.
        """
        deadline = time.monotonic() + _CANCEL_S
        while not self._store.cancel_queued(job.id):
            # It may be between the queue and a worker; then it is here the next time.
            if (running := self._running.get(job.id)) is not None:
                running.cancelled = True
            now = self._store.job(job.owner, job.id)
            if now is None or now.state.over or self._stopping.is_set():
                return
            if time.monotonic() > deadline:
                raise RefusalError(503, "the job stops, but that cannot be stored yet; ask again later")
            time.sleep(_POLL_S / 2)
        self._metrics.job_ended(State.CANCELLED, None)

    def wait_s(self, jobs_before: int) -> float:
        """Estimated seconds until so many queued jobs are done."""
        left = [running.eta_s() for running in list(self._running.values())]
        running_s = sum(self._mean_s / 2 if eta is None else eta for eta in left)
        return (running_s + jobs_before * self._mean_s) / self._settings.workers

    def memory_bytes(self) -> int:
        """Resident memory of the processes."""
        return sum(process.memory_bytes() for process in self._processes)

    def _work(self, process: ChildProcess) -> None:
        said = ""
        while not self._stopping.is_set():
            job = None
            try:
                job = self._store.begin_next()
                if job is not None:
                    self._run(process, job)
                    continue
                self._new_job.wait(_POLL_S)
                self._new_job.clear()
            except Exception as error:  # one broken job, or a full disk, must not end the worker
                said = self._say(f"job {job and job.id}: {type(error).__name__}: {error}", said)
                process.kill()
                if job is not None:
                    self._end(job, State.FAILED, error="the server failed at this job; send it again later")
                self._stopping.wait(_AGAIN_S)
        process.kill()

    def _run(self, process: ChildProcess, job: Job) -> None:
        folder = self._store.job_folder(job.id)
        motion = job.driver.removeprefix("motion:")
        driver = folder / job.driver if motion == job.driver else motion_path(motion)
        if job.driver == PERSON:
            driver = None
        running = Running(job, time.monotonic())
        self._running[job.id] = running
        try:
            if job.attempts > _MAX_ATTEMPTS:
                raise ProcessDiedError
            self._follow(process, running, driver, folder / job.result_name)
        except ProcessDiedError:
            if running.cancelled:
                self._end(job, State.CANCELLED)
            elif self._stopping.is_set():
                self._store.queue_again(job, in_order=True)
            elif job.attempts < _MAX_ATTEMPTS:
                self._surely(lambda: self._store.queue_again(job, in_order=False))
            else:
                error = f"the work on this job broke off {_MAX_ATTEMPTS} times; try another driver or other photos"
                self._end(job, State.FAILED, error=error)
        finally:
            del self._running[job.id]

    def _follow(self, process: ChildProcess, running: Running, driver: Path | None, output: Path) -> None:
        """Send a job to a worker process and follow it to its end."""
        job = running.job
        target = self._store.target(job.owner, job.target)
        assert target is not None  # not deleted while a job needs it
        photos = [str(photo) for photo in self._store.photos(target)]
        of_driver = None if driver is None else str(driver)
        process.send({"photos": photos, "driver": of_driver, "output": str(output), "options": job.options})
        deadline = running.began + 60 * self._settings.job_minutes
        first = True
        while True:
            if (running.cancelled or self._stopping.is_set()) and not running.stop_sent:
                running.stop_sent = True
                # One that is still loading its networks has nothing to lose, and would not hear.
                loading = self._stopping.is_set() and first
                deadline = min(deadline, time.monotonic() + (0 if loading else _GRACE_S))
                process.send({"stop": True})
            if time.monotonic() > deadline:
                process.kill()
                if running.stop_sent:
                    raise ProcessDiedError
                error = f"this took longer than the {self._settings.job_minutes:g} minutes allowed; cut the video"
                self._end(job, State.FAILED, error=error)
                return
            try:
                message = process.receive(_POLL_S)
            except TimeoutError:
                continue
            if "stage" in message:
                running.report(message["stage"], message["done"], message["total"])
                first = False
            elif "facts" in message:
                if message["facts"]["signed"]:
                    error = self.signer.sign(output, message["model"], [Path(photo) for photo in photos], driver)
                    if error is not None:
                        self._end(job, State.FAILED, error=error)
                        return
                took_s = time.monotonic() - running.began
                self._mean_s = 0.8 * self._mean_s + 0.2 * took_s
                self._end(job, State.DONE, facts=message["facts"], took_s=took_s)
                return
            elif "error" in message:
                self._end(job, State.FAILED, error=message["error"])
                return
            elif "stopped" in message:
                raise ProcessDiedError

    def _end(
        self,
        job: Job,
        state: State,
        *,
        error: str | None = None,
        facts: dict[str, Any] | None = None,
        took_s: float | None = None,
    ) -> None:
        self._surely(lambda: self._store.end(job, state, error=error, facts=facts))
        self._metrics.job_ended(state, took_s)

    def _surely(self, store: Callable[[], None]) -> None:
        """Store something until it is stored: a full disk must not leave a job running for ever."""
        said = ""
        while True:
            try:
                return store()
            except (sqlite3.Error, OSError) as error:
                said = self._say(f"the end of a job cannot be stored yet: {type(error).__name__}: {error}", said)
            if self._stopping.wait(_AGAIN_S):
                return None  # the next server runs the job again

    def _say(self, text: str, said: str) -> str:
        """Tell the operator something once, however often it is tried."""
        if text != said:
            print(f"reenactor: {text}", file=sys.stderr, flush=True)
        return text


class ExpiryTask:
    """A thread that deletes expired targets, jobs and files.

    Args:
        expire: deletes what is older than so many seconds.
        keep_s: that age.
    """

    def __init__(self, expire: Callable[[float], object], keep_s: float) -> None:
        self._expire, self._keep_s = expire, keep_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reenactor-expiry", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(min(60.0, self._keep_s / 4)):
            try:
                self._expire(self._keep_s)
            except Exception as error:  # such as a full disk; the next round deletes the more
                print(f"reenactor: deleting: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
