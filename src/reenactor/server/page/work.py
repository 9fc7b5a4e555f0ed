"""Long work in a thread of its own: how far it is, and how to stop it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from reenactor.core import ReenactError
from reenactor.core.progress import Progress

_Result = TypeVar("_Result")
_LOOK_S = 0.25


class CancelledError(ReenactError):
    """The person stopped it."""


class Work(Generic[_Result]):
    """Runs `job` at once in a thread; itself the `Progress` that the job tells how it goes.

    Args:
        job: what to do.
    """

    def __init__(self, job: Callable[[Progress], _Result]) -> None:
        self._stop = threading.Event()
        self._stage: tuple[str, int, int | None] = ("getting ready", 0, None)
        self._from = (0, time.monotonic())
        self._results: list[_Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(job,), name="web work", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stop at the next frame."""
        self._stop.set()

    def watch(self) -> Iterator[tuple[str, float | None]]:
        """What is being done and what share of it, several times a second until it is over."""
        while self._thread.is_alive():
            yield self._told()
            self._thread.join(_LOOK_S)

    def result(self) -> _Result:
        """What the job gave; waits for it.

        Raises:
            BaseException: what the job raised; CancelledError if it was stopped.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins."""
        self._check()
        self._stage, self._from = (what, done, total), (done, time.monotonic())

    def step(self, done: int, total: int | None) -> None:
        """So much of the stage is done."""
        self._check()
        self._stage = (self._stage[0], done, total)

    def end(self) -> None:
        """The stage is over."""

    def _run(self, job: Callable[[Progress], _Result]) -> None:
        try:
            self._results.append(job(self))
        except BaseException as error:  # handed over to the one who asks for the result
            self._error = error

    def _check(self) -> None:
        if self._stop.is_set():
            raise CancelledError("stopped")

    def _told(self) -> tuple[str, float | None]:
        if self._stop.is_set():
            return "stopping", None
        what, done, total = self._stage
        began, since = self._from
        if total is None:
            return (f"{what}: {done}" if done else what), None
        seconds = time.monotonic() - since
        left = "" if done <= began else f", {remaining((total - done) * seconds / (done - began))} left"
        return f"{what}: {done} of {total}{left}", done / max(total, 1)


def remaining(seconds: float) -> str:
    """As people say it."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"
