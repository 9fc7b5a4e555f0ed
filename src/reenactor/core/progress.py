"""Progress reporting for long jobs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of a long job, in frames or items."""

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage called `what` begins; `done` of its items exist already, `total` is None if unknown."""
        ...

    def step(self, done: int, total: int | None) -> None:
        """`done` of the stage's items exist now."""
        ...

    def end(self) -> None:
        """The stage is complete, or the job has stopped."""
        ...


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, what: str, done: int, total: int | None) -> None:
        """Do nothing."""

    def step(self, done: int, total: int | None) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""
