"""A progress bar with speed and time left."""

from __future__ import annotations

from tqdm import tqdm


class Bar:
    """A `core.progress.Progress` that draws a bar on the terminal, and nothing where there is none.

    Args:
        unit: what is counted, in the singular.
    """

    def __init__(self, *, unit: str = "frame") -> None:
        self._unit = unit
        self._bar: tqdm | None = None

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins; `total` is None if it is not known."""
        # disable=None: shown on a terminal only, so that logs hold no bar.
        self._bar = tqdm(
            desc=what, initial=done, total=total, unit=self._unit, mininterval=0.2, dynamic_ncols=True, disable=None
        )

    def step(self, done: int, total: int | None) -> None:
        """`done` of `total` are finished."""
        assert self._bar is not None
        if total is not None and self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)

    def end(self) -> None:
        """The stage is finished; its bar stays."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
