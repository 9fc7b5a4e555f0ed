"""Timing pieces of work so that they compare fairly on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_FEWEST = 3


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"]) -> Spread:
        """Of all values that are not NaN."""
        low, median, high = np.nanpercentile(values, [10, 50, 90])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True)
class Times:
    """One piece of work, round by round; NaN in rounds that were skipped.

    Args:
        wall_ms: (R,) by the clock.
        cpu_ms: (R,) of all threads together. What waits in a loop for its own threads counts as work too.
    """

    wall_ms: Float[np.ndarray, " r"]
    cpu_ms: Float[np.ndarray, " r"]

    @property
    def wall(self) -> Spread:
        """By the clock, ms."""
        return Spread.of(self.wall_ms)

    @property
    def cpu(self) -> Spread:
        """Of all threads together, ms."""
        return Spread.of(self.cpu_ms)

    @property
    def runs(self) -> int:
        """Rounds that were not skipped."""
        return int(np.isfinite(self.wall_ms).sum())

    def ratio(self, other: Times, *, cpu: bool = False) -> Spread:
        """How many times as long as `other` this takes, round by round: what slows a round slows both."""
        mine, theirs = (one.cpu_ms if cpu else one.wall_ms for one in (self, other))
        return Spread.of(mine / theirs)


def interleaved(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds_each: float,
    finish: Callable[[], None] = lambda: None,
) -> dict[str, Times]:
    """Time pieces of work in turn, each once a round, so that a busy moment slows all of them equally.

    Args:
        works: each is run once before, unmeasured.
        rounds: at most.
        seconds_each: a piece that has taken this long is skipped from then on, once it has had 3 rounds.
        finish: waits for what runs elsewhere (a GPU).
    """
    for work in works.values():
        work()
    finish()
    times = {name: np.full((rounds, 2), np.nan) for name in works}
    for number in range(rounds):
        for name, work in works.items():
            if number >= _FEWEST and np.nansum(times[name][:, 0]) > 1000 * seconds_each:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            finish()
            times[name][number] = 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)
    return {name: Times(both[:, 0], both[:, 1]) for name, both in times.items()}
