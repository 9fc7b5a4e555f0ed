"""Running results: sums over what was seen, so that those of several processes merge by addition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, NamedTuple, ParamSpec, final

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from reenactor.research.metrics.functional._sums import Sums
from reenactor.research.metrics.functional.action_units import (
    aucon,
    aucon_chance,
    correlation_compute,
    correlation_update,
)
from reenactor.research.metrics.functional.features import FeatureVectors, fid_compute, fid_update
from reenactor.research.metrics.functional.pose import prmse_compute, prmse_update

P = ParamSpec("P")


class Metric(ABC):
    """Abstract. Subclasses add to the sums in their `update` and read them in `compute`."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray | np.floating] = {}

    @property
    def state(self) -> Sums:
        """The sums: small arrays to send to another process (`pickle`, `gather_object`) or to store."""
        return dict(self._sums)

    def merge(self, state: Sums) -> None:
        """Add what another one of the same kind has seen."""
        for name, value in state.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def reset(self) -> None:
        """Forget everything."""
        self._sums = {}

    @abstractmethod
    def compute(self) -> object:
        """The result of all that was seen."""


@final
class Average(Metric, Generic[P]):
    """The running twin of a function that gives a value per picture, frame or clip: `Average(ssim)`.

    Values that are NaN (no face found, empty mask) are left out of the mean, and counted.

    Args:
        function: what is averaged; `update` takes its arguments. Fix settings with `functools.partial`.
    """

    def __init__(self, function: Callable[P, Tensor | np.ndarray | float]) -> None:
        super().__init__()
        self._function = function

    def update(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """See one more batch (or clip)."""
        values = self._function(*args, **kwargs)
        values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        values = np.asarray(values, np.float64).reshape(-1)
        known = ~np.isnan(values)
        self.merge(
            {
                "total": values[known].sum(),
                "count": known.sum(dtype=np.float64),
                "left_out": (~known).sum(dtype=np.float64),
            }
        )

    @property
    def count(self) -> int:
        """How many values the mean has."""
        return int(self._sums.get("count", 0))

    @property
    def left_out(self) -> int:
        """How many were NaN. Say it with the result: a method may look better for failing altogether."""
        return int(self._sums.get("left_out", 0))

    def compute(self) -> float:
        """The mean; NaN of nothing."""
        return float(self._sums["total"] / self.count) if self.count else float("nan")


@final
class PRMSE(Metric):
    """`prmse` over all frames seen."""

    def update(self, drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> None:
        """See one more batch."""
        self.merge(prmse_update(drawn_deg, driver_deg))

    @property
    def left_out(self) -> int:
        """How many frames had no pose."""
        return int(self._sums.get("left_out", 0))

    def compute(self) -> float:
        """Degrees; NaN of nothing."""
        return prmse_compute(self._sums) if self._sums else float("nan")


class AUCONScores(NamedTuple):
    """AUCON with what it must be read against, each in [0, 1].

    Args:
        aucon: of the results.
        chance: of the results with their frames shuffled within each clip.
        ceiling: of a second reading of the driver's own frames; NaN if none was given.
    """

    aucon: float
    chance: float
    ceiling: float


@final
class AUCON(Metric):
    """`aucon` over all frames seen, with its chance level and ceiling."""

    def update(
        self,
        drawn: Bool[np.ndarray, "n a"],
        driver: Bool[np.ndarray, "n a"],
        driver_again: Bool[np.ndarray, "n a"] | None = None,
    ) -> None:
        """See one more clip.

        Args:
            drawn: (N, A) presence in the results.
            driver: (N, A) in the driver's frames.
            driver_again: (N, A) estimated anew from the driver's frames after a change that does not matter: mirrored
                and recompressed, say.
        """
        if not drawn.size:
            return
        entries = np.float64(drawn.size)
        self.merge(
            {
                "entries": entries,
                "same": entries * aucon(drawn, driver),
                "chance": entries * aucon_chance(drawn, driver),
            }
        )
        if driver_again is not None:
            self.merge({"entries_again": entries, "same_again": entries * aucon(driver_again, driver)})

    def compute(self) -> AUCONScores:
        """The three shares; NaN of nothing."""
        pairs = (("same", "entries"), ("chance", "entries"), ("same_again", "entries_again"))
        return AUCONScores(
            *(float(self._sums[a] / self._sums[b]) if b in self._sums else float("nan") for a, b in pairs)
        )


@final
class AUIntensityCorrelation(Metric):
    """`au_intensity_correlation` over all frames seen, people pooled."""

    def update(self, drawn: Float[np.ndarray, "n a"], driver: Float[np.ndarray, "n a"]) -> None:
        """See one more batch."""
        self.merge(correlation_update(drawn, driver))

    def compute(self) -> Float[np.ndarray, " a"]:
        """(A,) Pearson's r of each AU; empty of nothing."""
        return correlation_compute(self._sums) if self._sums else np.empty(0)


@final
class FID(Metric):
    """`fid` of all pictures seen; the sums have the size of the features squared.

    Args:
        network: pictures -> (B, D) features.
    """

    def __init__(self, network: FeatureVectors) -> None:
        super().__init__()
        self._network = network

    def update(self, drawn: Tensor | None = None, truth: Tensor | None = None) -> None:
        """See more pictures of one or both sides, as the network takes them; sides need not go in step."""
        for side, pictures in (("drawn", drawn), ("truth", truth)):
            if pictures is not None:
                self.merge(fid_update(self._network(pictures), side))

    def compute(self) -> float:
        """The distance; `ValueError` with fewer than two pictures on a side."""
        return fid_compute({"drawn_count": np.float64(0), "truth_count": np.float64(0)} | self._sums)
