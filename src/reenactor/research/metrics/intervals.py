"""Confidence intervals of means: bootstrap over identities.

Frames of one person are correlated, so people are resampled with replacement, each with all of their frames (cluster
bootstrap; Efron and Tibshirani 1993, percentile intervals). Resampling single frames gives too narrow intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

Statistic: TypeAlias = Callable[[np.ndarray], "float | np.floating"]
"""Values (N, ...) -> a number. It must handle NaN: `numpy.nanmean` leaves them out."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval.

    Args:
        estimate: the statistic of all data.
        low: lower end.
        high: upper end.
        identities: number of people; with fewer than about 10 the interval is too narrow.
    """

    estimate: float
    low: float
    high: float
    identities: int

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"


def bootstrap_interval(
    values: Float[np.ndarray, "n *shape"],
    identities: Sequence[object],
    generator: np.random.Generator,
    *,
    statistic: Statistic = np.nanmean,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Interval of a statistic of per-frame values.

    Args:
        values: (N, ...) of each frame, say (N,) SSIM, or (N, 3) angle errors with a root mean square as statistic.
        identities: N names; for pairs of two people the name of the target.
        generator: source of randomness.
        statistic: the mean by default.
        level: confidence level.
        resamples: 2000 give the ends a standard error of 1.5% of the interval's width.
    """
    return _interval(lambda rows: float(statistic(values[rows])), len(values), identities, generator, level, resamples)


def paired_difference(
    ours: Float[np.ndarray, "n *shape"],
    theirs: Float[np.ndarray, "n *shape"],
    identities: Sequence[object],
    generator: np.random.Generator,
    *,
    statistic: Statistic = np.nanmean,
    their_statistic: Statistic | None = None,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Interval of `statistic(ours) - statistic(theirs)` for two methods on the same frames.

    Both are resampled together, so what is common to both methods cancels out: the interval is much narrower than those
    of the methods, and a difference is significant if it excludes 0. Frames that one method lacks are left out.

    Args:
        ours: (N, ...) values of one method.
        theirs: (N, ...) values of the other method on the same frames.
        identities: N names.
        generator: source of randomness.
        statistic: the mean by default.
        their_statistic: of the other method, where a statistic knows more than the values; None for the same.
        level: confidence level.
        resamples: 2000 give the ends a standard error of 1.5% of the interval's width.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"methods can be compared on the same frames only, not {ours.shape} and {theirs.shape}")
    lacking = np.isnan(ours) | np.isnan(theirs)
    ours, theirs = np.where(lacking, np.nan, ours), np.where(lacking, np.nan, theirs)

    of_theirs = their_statistic or statistic

    def difference(rows: np.ndarray) -> float:
        return float(statistic(ours[rows]) - of_theirs(theirs[rows]))

    return _interval(difference, len(ours), identities, generator, level, resamples)


def _interval(
    measure: Callable[[np.ndarray], float],
    count: int,
    identities: Sequence[object],
    generator: np.random.Generator,
    level: float,
    resamples: int,
) -> Interval:
    if len(identities) != count or count == 0:
        raise ValueError(f"{count} values, but {len(identities)} identities; give one for each value")
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, not {level}")
    people: dict[object, list[int]] = {}
    for row, name in enumerate(identities):
        people.setdefault(name, []).append(row)
    groups = [np.array(rows) for rows in people.values()]
    drawn = generator.integers(len(groups), size=(resamples, len(groups)))
    results = [measure(np.concatenate([groups[i] for i in choice])) for choice in drawn]
    low, high = np.nanquantile(results, [(1 - level) / 2, (1 + level) / 2])
    return Interval(measure(np.arange(count)), float(low), float(high), len(groups))
