"""Whether the result shows the driver's expression: action units (AUs) of both; rows are frames, columns are AUs.

Take both sides from one estimator. Leave out frames in which either face was not found, and
report how many.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

_STILL = 1e-10
"""Variance, in intensities squared, up to which an AU counts as not moving."""


def aucon(drawn: Bool[np.ndarray, "n a"], driver: Bool[np.ndarray, "n a"]) -> float:
    """AUCON: the fraction of identical presence values, over frames and AUs (paper B, tables 1 and 2).

    Chance is high: on the data pack's validation clips, with our estimator, shuffled frames of a clip score 0.69 (0.59
    to 0.82), and a second measurement of the same frames (mirrored and recompressed) 0.91 (0.85 to 0.96).

    Args:
        drawn: (N, A) which AUs the results show.
        driver: (N, A) of the driver's frames.

    Returns:
        In [0, 1]; 1 is ideal, NaN without frames.
    """
    return float((drawn == driver).mean()) if drawn.size else float("nan")


def aucon_chance(drawn: Bool[np.ndarray, "n a"], driver: Bool[np.ndarray, "n a"]) -> float:
    """Mean `aucon` over all orders in which the frames can be shuffled: `mean_a p q + (1 - p) (1 - q)`.

    Args:
        drawn: (N, A) of the results, one clip.
        driver: (N, A) of the driver's frames; p and q are how often each AU is present.

    Returns:
        In [0, 1]: the score of a result that shows the right AUs as often as the driver, at the wrong times.
    """
    if not drawn.size:
        return float("nan")
    p, q = drawn.mean(axis=0), driver.mean(axis=0)
    return float((p * q + (1 - p) * (1 - q)).mean())


def au_intensity_correlation(
    drawn: Float[np.ndarray, "n a"], driver: Float[np.ndarray, "n a"]
) -> Float[np.ndarray, " a"]:
    """Pearson's r of each AU's intensity over the frames.

    Args:
        drawn: (N, A) intensities of the results.
        driver: (N, A) of the driver's frames.

    Returns:
        (A,) in [-1, 1]; 1 is ideal, NaN for an AU that does not move on one of the sides.
    """
    x, y = drawn.astype(np.float64), driver.astype(np.float64)
    x, y, xx, yy, xy = (products.sum(axis=0) / max(len(x), 1) for products in (x, y, x * x, y * y, x * y))
    var_x, var_y = xx - x * x, yy - y * y
    moves = (var_x > _STILL) & (var_y > _STILL)
    return np.where(moves, (xy - x * y) / np.sqrt(np.where(moves, var_x * var_y, 1.0)), np.nan)


def au_consistency(drawn: Float[np.ndarray, "n a"], driver: Float[np.ndarray, "n a"]) -> float:
    """AU consistency of a clip in %: mean `au_intensity_correlation` of the AUs that the driver moves, times 100.

    Paper A (table 1) refers to ReenactGAN for its protocol and gives no formula. A still picture scores 0.00 there,
    as it does here: an AU that the result does not move counts 0.

    Args:
        drawn: (N, A) intensities of the results, one clip.
        driver: (N, A) of the driver's frames.

    Returns:
        In [-100, 100]; 100 is ideal, NaN if the driver moves no AU. Over several clips: the mean.
    """
    moved = np.ptp(driver, axis=0) > 0 if len(driver) else np.zeros(driver.shape[1], bool)
    r = au_intensity_correlation(drawn, driver)[moved]
    return 100 * float(np.nan_to_num(r).mean()) if len(r) else float("nan")
