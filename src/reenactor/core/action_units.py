"""What estimators of action units give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class ActionUnits:
    """Action units of N frames, from any estimator.

    Args:
        numbers: FACS numbers of the A columns.
        intensity: (N, A) 0 (none) to 5; NaN where the estimator tells only presence.
        presence: (N, A).
        seen: (N,) whether a face was found; where not, the other rows mean nothing.
    """

    numbers: tuple[int, ...]
    intensity: Float[np.ndarray, "n a"]
    presence: Bool[np.ndarray, "n a"]
    seen: Bool[np.ndarray, " n"]

    def __post_init__(self) -> None:
        shape = (len(self.seen), len(self.numbers))
        if self.intensity.shape != shape or self.presence.shape != shape:
            raise ValueError(f"{shape[0]} frames of {shape[1]} AUs, but {self.intensity.shape}, {self.presence.shape}")

    def __len__(self) -> int:
        return len(self.seen)

    def where(self, frames: Bool[np.ndarray, " n"]) -> ActionUnits:
        """Only some frames: `drawn.where(drawn.seen & driver.seen)`."""
        return ActionUnits(self.numbers, self.intensity[frames], self.presence[frames], self.seen[frames])

    def only(self, numbers: tuple[int, ...]) -> ActionUnits:
        """Only some AUs, in the given order.

        Raises:
            ValueError: one of them was not estimated.
        """
        missing = set(numbers) - set(self.numbers)
        if missing:
            raise ValueError(f"AUs {sorted(missing)} were not estimated; there are {self.numbers}")
        columns = [self.numbers.index(number) for number in numbers]
        return ActionUnits(numbers, self.intensity[:, columns], self.presence[:, columns], self.seen)
