"""Where the target's head goes when the driver's moves; the same for every way to carry over expressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reenactor.face.geometry.similarity import Similarity

_FREE_EYE_DISTANCES, _FARTHEST_EYE_DISTANCES = 0.25, 0.4
"""Head translation up to the first, in inter-ocular distances, is followed as it is; beyond, it is bent smoothly to
stay under the second: the photo has no more to show, and necks stretch."""


@dataclass(frozen=True)
class HeadMovement:
    """Applies the driver's head movement since its neutral frame to the target's head.

    Args:
        target: mean face -> the target's photo (`geometry.fit_head`).
        neutral: mean face -> the driver's neutral frame.
        absolute: take the driver's angles as they are, not their change.
    """

    target: Similarity
    neutral: Similarity
    absolute: bool = False

    def __call__(self, driver: Similarity) -> Similarity:
        """Mean face -> the pixels of the target's crop."""
        turn = driver.R if self.absolute else driver.R @ self.neutral.R.T @ self.target.R
        enlargement = self.target.scale / self.neutral.scale
        shift = _soft_limit((driver.t - self.neutral.t)[:2] * enlargement, float(self.target.scale))
        return Similarity(scale=np.asarray(driver.scale * enlargement), R=turn, t=self.target.t + np.append(shift, 0.0))


def _soft_limit(shift: Float[np.ndarray, "2"], unit: float) -> Float[np.ndarray, "2"]:
    """Shorten a vector that is longer than `_FREE_EYE_DISTANCES` units, so that it stays under the farthest."""
    length = float(np.linalg.norm(shift)) / unit
    if length <= _FREE_EYE_DISTANCES:
        return shift
    room = _FARTHEST_EYE_DISTANCES - _FREE_EYE_DISTANCES
    return shift * ((_FREE_EYE_DISTANCES + room * np.tanh((length - _FREE_EYE_DISTANCES) / room)) / length)
