"""Does the result's head turn as the driver's? Angles are yaw, pitch, roll in degrees (docs/conventions.md)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from reenactor.research.metrics.functional._sums import Sums


def angle_errors(drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """`drawn - driver`, the shorter way round the circle: (N, 3) in [-180, 180) degrees."""
    return (drawn_deg.astype(np.float64) - driver_deg + 180) % 360 - 180


def prmse(drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> float:
    """Root of the mean squared error over all frames and the three angles, in degrees (paper B, tables 1 and 2).

    Args:
        drawn_deg: (N, 3) of the results; a row with NaN (no face was found) is left out.
        driver_deg: (N, 3) of the driver's frames.

    Returns:
        Degrees; 0 is ideal. Paper B's angles are OpenFace's; `geometry.head_angles` differs from those by 4.9, 3.1 and
        1.5 degrees (RMS), so take both sides from one estimator, and compare only numbers of one.
    """
    return prmse_compute(prmse_update(drawn_deg, driver_deg))


def pose_mae(drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Mean absolute error of yaw, pitch and roll in degrees (paper A, table 1: the mean over frames).

    Args:
        drawn_deg: (N, 3) of the results; NaN where no face was found.
        driver_deg: (N, 3) of the driver's frames.

    Returns:
        (N,) of each frame; 0 is ideal.
    """
    return np.abs(angle_errors(drawn_deg, driver_deg)).mean(axis=1)


def prmse_update(drawn_deg: Float[np.ndarray, "n 3"], driver_deg: Float[np.ndarray, "n 3"]) -> Sums:
    """What a batch adds to `prmse`."""
    squared = (angle_errors(drawn_deg, driver_deg) ** 2).mean(axis=1)
    known = ~np.isnan(squared)
    return {
        "squared_deg2": squared[known].sum(),
        "count": known.sum(dtype=np.float64),
        "left_out": (~known).sum(dtype=np.float64),
    }


def prmse_compute(sums: Sums) -> float:
    """`prmse` of all that was added."""
    return float(np.sqrt(sums["squared_deg2"] / sums["count"])) if sums["count"] > 0 else float("nan")
