"""The One-Euro filter: smooth when slow, prompt when fast.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012, algorithm 1, with real time stamps instead of a fixed rate.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from reenactor.core import MESH_POINTS

Scalars: TypeAlias = "float | np.ndarray"


class OneEuroFilter:
    """Filters every entry of an array on its own.

    Args:
        min_cutoff_hz: cutoff at rest; lower is smoother.
        beta: how much the cutoff rises per unit of speed (Hz per unit per second); higher lags less.
        speed_cutoff_hz: cutoff for the speed itself.
    """

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.0, *, speed_cutoff_hz: float = 1.0) -> None:
        if min_cutoff_hz <= 0 or speed_cutoff_hz <= 0 or beta < 0:
            raise ValueError("the filter's cutoffs must be positive and beta not negative")
        self._min_cutoff_hz = min_cutoff_hz
        self._beta = beta
        self._speed_cutoff_hz = speed_cutoff_hz
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next value passes unchanged."""
        self._time_s: float | None = None
        self._value = np.zeros(())
        self._speed = np.zeros(())

    def __call__(self, value: Float[np.ndarray, "*shape"], time_s: float) -> Float[np.ndarray, "*shape"]:
        """The smoothed value, float64; times in seconds must increase."""
        value = np.asarray(value, dtype=np.float64)
        if self._time_s is None:
            self._time_s, self._value, self._speed = time_s, value, np.zeros_like(value)
            return value.copy()
        step_s = time_s - self._time_s
        if step_s <= 0:
            raise ValueError(f"time must increase: {time_s} s came after {self._time_s} s")
        speed = (value - self._value) / step_s
        self._speed = self._speed + _share(self._speed_cutoff_hz, step_s) * (speed - self._speed)
        cutoff_hz = self._min_cutoff_hz + self._beta * np.abs(self._speed)
        self._value = self._value + _share(cutoff_hz, step_s) * (value - self._value)
        self._time_s = time_s
        return self._value.copy()


class MeshSmoother:
    """One-Euro for landmarks; speeds are in face sizes per second, so that one setting fits every resolution.

    Args:
        min_cutoff_hz, beta: see `OneEuroFilter`.
    """

    def __init__(self, min_cutoff_hz: float = 4.0, beta: float = 20.0) -> None:
        self._filter = OneEuroFilter(min_cutoff_hz, beta, speed_cutoff_hz=4.0)
        self._unit_px = 0.0

    def reset(self) -> None:
        """Call after a gap or a cut."""
        self._filter.reset()
        self._unit_px = 0.0

    def __call__(self, mesh: Float[np.ndarray, "478 3"], time_s: float) -> Float[np.ndarray, "478 3"]:
        """The smoothed mesh (float32), pixels in and out."""
        if mesh.shape != (MESH_POINTS, 3):
            raise ValueError(f"a mesh has shape ({MESH_POINTS}, 3), got {mesh.shape}")
        if self._unit_px == 0.0:  # fixed for the run: a unit that changed would move the filter's memory
            self._unit_px = max(float(np.ptp(mesh[:, :2], axis=0).max()), 1.0)
        return (self._filter(mesh / self._unit_px, time_s) * self._unit_px).astype(np.float32)


def _share(cutoff_hz: Scalars, step_s: float) -> Scalars:
    """How far a low-pass goes toward a new value: 1 / (1 + tau / step) with tau = 1 / (2 pi cutoff)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * step_s))
