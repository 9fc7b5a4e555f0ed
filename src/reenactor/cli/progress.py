"""A progress bar with speed and time left."""

from __future__ import annotations

from tqdm import tqdm


class Bar:
    """Shows `inference.Progress` on the terminal.

    Args:
        unit: what is counted.
    """

    def __init__(self, *, unit: str = "frame") -> None:
        self._unit = unit
        self._bar: tqdm | None = None

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins."""
        # disable=None: shown on a terminal only, so that logs hold no bar.
        self._bar = tqdm(
            desc=what, initial=done, total=total, unit=self._unit, mininterval=0.2, dynamic_ncols=True, disable=None
        )

    def step(self, done: int, total: int | None) -> None:
        """So many are done."""
        assert self._bar is not None
        if total is not None and self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def end(self) -> None:
        """The stage is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
