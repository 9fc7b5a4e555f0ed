"""Does the result show the target? From embeddings of any face recognition network; say which with every number.

A network that was used in a loss can never be the judge: pixels can be pushed to any identity through it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def csim(
    drawn: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n d"], mean: Float[np.ndarray, " d"]
) -> Float[np.ndarray, " n"]:
    """Cosine of embeddings from which the mean over people is subtracted: `a.b / (|a| |b|)`.

    Paper B takes ArcFace and subtracts nothing (give zeros). dlib's embeddings share a large part: without their mean
    (`perception.identity.identity_mean()`) strangers have 0.85.

    Args:
        drawn: (N, D) of the results.
        target: (N, D) of a photo of each target.
        mean: (D,) mean embedding over people, measured on others than these.

    Returns:
        (N,) in [-1, 1]; 1 is the same. Paper B, tables 1 and 2.
    """
    a, b = drawn.astype(np.float64) - mean, target.astype(np.float64) - mean
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def identity_distance(drawn: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Euclidean distance of embeddings, (N,) >= 0 from (N, D) each; 0 is the same."""
    return np.linalg.norm(drawn.astype(np.float64) - target, axis=1)


def verification_rate(
    drawn: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n d"], *, threshold: float
) -> Float[np.ndarray, " n"]:
    """Paper A's Id %: is the result judged to be the target, that is, `identity_distance < threshold`?

    Args:
        drawn: (N, D) embeddings of the results.
        target: (N, D) of a photo of each target.
        threshold: below it two pictures show one person (dlib: `perception.identity.SAME_PERSON_DISTANCE`). The rate
            means nothing without it.

    Returns:
        (N,) 100 or 0, NaN where an embedding is; their mean is the rate in %. Paper A, tables 1 to 3.
    """
    distance = identity_distance(drawn, target)
    return np.where(np.isnan(distance), np.nan, 100.0 * (distance < threshold))
