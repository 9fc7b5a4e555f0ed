"""How long work tells that it goes on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told how long work goes on, in frames or items; `total` is None where it cannot be known."""

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins, `done` of it being there already."""
        ...

    def step(self, done: int, total: int | None) -> None:
        """So much of the stage is done."""
        ...

    def end(self) -> None:
        """The stage is complete, or the work has stopped."""
        ...


class Silent:
    """No progress shown."""

    def start(self, what: str, done: int, total: int | None) -> None:
        """Nothing."""

    def step(self, done: int, total: int | None) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
