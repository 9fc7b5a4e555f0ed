"""Jobs: who works on which, how far it is, and what happens when something ends early."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reenactor.server.api.animating import animate_jobs
from reenactor.server.api.helpers import Helper, HelperDiedError
from reenactor.server.api.measures import Measures
from reenactor.server.api.motions import motion_path
from reenactor.server.api.settings import Settings
from reenactor.server.api.store import Job, State, Store

_LOOK_S = 0.1
"""How soon a worker hears of a new job, of cancelling and of the server's end."""
_GRACE_S = 5.0
"""A worker that was told to stop and does not, is ended after this."""
_MOST_ATTEMPTS = 3
_READING = "reading the driver"
_READING_SHARE = 0.4
"""Of the work on a video driver; drawing is the rest."""
_FIRST_GUESS_S = 10.0
"""How long a job takes, before one was done."""


@dataclass
class Running:
    """How far a job is that is worked on."""

    job: Job
    began: float
    stage: str = "starting"
    done: int = 0
    total: int | None = None
    was_read: bool = False
    resumed_from: float = 0.0
    told: bool = False
    cancelled: bool = False

    @property
    def share(self) -> float:
        """From 0 to 1."""
        if not self.total:
            return 0.0
        part = min(1.0, self.done / self.total)
        if self.stage == _READING:
            return _READING_SHARE * part
        return _READING_SHARE + (1 - _READING_SHARE) * part if self.was_read else part

    def eta_s(self) -> float | None:
        """Seconds left, if this can be told yet."""
        made = self.share - self.resumed_from
        return (time.monotonic() - self.began) * (1 - self.share) / made if made > 0.02 else None


class Workers:
    """Threads with a process each that take jobs from the store and work on them.

    Args:
        store: where jobs are.
        settings: of the server.
        measures: told what happens.
    """

    def __init__(self, store: Store, settings: Settings, measures: Measures) -> None:
        self._store, self._settings, self._measures = store, settings, measures
        self._running: dict[str, Running] = {}
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._mean_s = _FIRST_GUESS_S
        self._helpers = [Helper("reenactor-worker", animate_jobs, settings) for _ in range(settings.workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(helper,), name="reenactor-jobs", daemon=True)
            for helper in self._helpers
        ]

    def start(self) -> None:
        """Begin, with what an earlier server left."""
        self._store.queue_unfinished()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the work in order: jobs under way are continued by the next server."""
        self._stopping.set()
        self._news.set()
        for thread in self._threads:
            thread.join()

    def wake(self) -> None:
        """There is a new job."""
        self._news.set()

    def running(self, identity: str) -> Running | None:
        """How far a job is, if it is worked on."""
        return self._running.get(identity)

    def cancel(self, job: Job) -> None:
        """Stop a job, and wait until it has stopped; one that is over stays as it is."""
        while not self._store.cancel_queued(job.id):
            # It may be on its way from the queue to a worker; then it is here the next time.
            if (running := self._running.get(job.id)) is not None:
                running.cancelled = True
            now = self._store.job(job.owner, job.id)
            if now is None or now.state.over or self._stopping.is_set():
                return
            time.sleep(_LOOK_S / 2)
        self._measures.job_ended(State.CANCELLED, None)

    def wait_s(self, jobs_before: int) -> float:
        """How long until so many jobs are done, as far as can be told."""
        left = [running.eta_s() for running in list(self._running.values())]
        under_way = sum(self._mean_s / 2 if eta is None else eta for eta in left)
        return (under_way + jobs_before * self._mean_s) / self._settings.workers

    def memory_bytes(self) -> int:
        """Of the processes."""
        return sum(helper.memory_bytes() for helper in self._helpers)

    def _work(self, helper: Helper) -> None:
        while not self._stopping.is_set():
            job = None
            try:
                job = self._store.begin_next()
                if job is not None:
                    self._run(helper, job)
                    continue
                self._news.wait(_LOOK_S)
                self._news.clear()
            except Exception as error:  # one job's bad luck, or a full disk, must not end the others' worker
                print(f"reenactor: job {job and job.id}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                helper.kill()
                if job is not None:
                    with suppress(Exception):
                        self._end(job, State.FAILED, error="the server failed at this job; send it again later")
                self._stopping.wait(1)
        helper.close()

    def _run(self, helper: Helper, job: Job) -> None:
        folder = self._store.job_folder(job.id)
        motion = job.driver.removeprefix("motion:")
        driver = folder / job.driver if motion == job.driver else motion_path(motion)
        running = Running(job, time.monotonic())
        self._running[job.id] = running
        try:
            if job.attempts > _MOST_ATTEMPTS:
                raise HelperDiedError
            self._converse(helper, running, driver, folder / job.result_name)
        except HelperDiedError:
            if running.cancelled:
                self._end(job, State.CANCELLED)
            elif self._stopping.is_set():
                self._store.queue_again(job, in_order=True)
            elif job.attempts < _MOST_ATTEMPTS:
                self._store.queue_again(job, in_order=False)
            else:
                error = f"the work on this job broke off {_MOST_ATTEMPTS} times; try another driver or other photos"
                self._end(job, State.FAILED, error=error)
        finally:
            del self._running[job.id]

    def _converse(self, helper: Helper, running: Running, driver: Path, output: Path) -> None:
        job = running.job
        photos = [str(photo) for photo in self._store.photos_of(job)]
        helper.send({"photos": photos, "driver": str(driver), "output": str(output), "options": job.options})
        last = running.began + 60 * self._settings.job_minutes
        first = True
        while True:
            if (running.cancelled or self._stopping.is_set()) and not running.told:
                running.told = True
                last = min(last, time.monotonic() + _GRACE_S)
                helper.send({"stop": True})
            if time.monotonic() > last:
                helper.kill()
                if running.told:
                    raise HelperDiedError
                error = f"this took longer than the {self._settings.job_minutes:g} minutes allowed; cut the driver"
                self._end(job, State.FAILED, error=error)
                return
            try:
                message = helper.receive(_LOOK_S)
            except TimeoutError:
                continue
            if "stage" in message:
                running.stage, running.done, running.total = message["stage"], message["done"], message["total"]
                running.was_read |= running.stage == _READING
                if first:
                    running.resumed_from, first = running.share, False
            elif "facts" in message:
                self._done(running, message["facts"])
                return
            elif "error" in message:
                self._end(job, State.FAILED, error=message["error"])
                return
            elif "stopped" in message:
                raise HelperDiedError

    def _done(self, running: Running, facts: dict) -> None:
        took = time.monotonic() - running.began
        self._mean_s = 0.8 * self._mean_s + 0.2 * took
        self._store.end(running.job, State.DONE, facts=facts)
        self._measures.job_ended(State.DONE, took)

    def _end(self, job: Job, state: State, *, error: str | None = None) -> None:
        self._store.end(job, state, error=error)
        self._measures.job_ended(state, None)


class Janitor:
    """Deletes what is past its time, in a thread.

    Args:
        store: where it is.
        keep_s: how long things are kept.
    """

    def __init__(self, store: Store, keep_s: float) -> None:
        self._store, self._keep_s = store, keep_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reenactor-janitor", daemon=True)

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
                self._store.expire(self._keep_s)
            except Exception as error:  # a full disk passes, and then there is all the more to delete
                print(f"reenactor: deleting: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
