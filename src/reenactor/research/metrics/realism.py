"""Kernel distance: whether drawn pictures look like real ones, as a collection.

Paired distances reward blur where positions are uncertain: the mean of all possible mouths is near to each of them, and
looks like none. A distance of two collections sees that (Bińkowski et al. 2018, KID, with other features).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from reenactor.models.hybrid.discriminator import PARTS, part_crops
from reenactor.nn.losses.efficientnet import EfficientNetLite, efficientnet_lite

STAGES = (1, 2, 4, 6)
"""Of EfficientNet-Lite2, which no loss ever uses."""
_CROP_PX = 128


@cache
def judge() -> EfficientNetLite:
    """EfficientNet-Lite2, frozen.

    Raises:
        CheckpointError: its package is not installed.
    """
    return efficientnet_lite("lite2", STAGES)


@torch.inference_mode()
def part_features(pictures: Float[Tensor, "b 3 h w"], mesh_px: Float[Tensor, "b 478 3"]) -> Float[np.ndarray, "b 3 d"]:
    """Means and standard deviations of `judge`'s maps over the crops of each part, one stage after the other.

    Args:
        pictures: RGB in [-1, 1], square.
        mesh_px: landmarks in their pixels.
    """
    maps = judge()(part_crops(pictures, mesh_px, _CROP_PX).flatten(0, 1))
    pooled = [part for one in maps for part in (one.mean((2, 3)), one.std((2, 3)))]
    return torch.cat(pooled, 1).unflatten(0, (-1, len(PARTS))).numpy()


@cache
def stage_slices() -> tuple[slice, ...]:
    """Columns of `part_features` that belong to each stage."""
    with torch.inference_mode():
        widths = [2 * one.shape[1] for one in judge()(torch.zeros(1, 3, 32, 32))]
    ends = np.cumsum(widths).tolist()
    return tuple(slice(end - width, end) for end, width in zip(ends, widths, strict=True))


@dataclass(frozen=True)
class KernelSums:
    """Sums of the kernel over pairs of pictures of two people each, so that resampled people cost nothing.

    Args:
        drawn, true: (P, P) over pairs of different pictures of one side.
        crossed: (P, P) over pairs of a drawn and a true picture.
        sizes: (P,) pictures of each person.
    """

    drawn: Float[np.ndarray, "p p"]
    true: Float[np.ndarray, "p p"]
    crossed: Float[np.ndarray, "p p"]
    sizes: Float[np.ndarray, " p"]

    def distance(self, counts: Float[np.ndarray, " p"]) -> float:
        """The unbiased squared distance with person p taken `counts[p]` times; NaN with fewer than two pictures."""
        n = counts @ self.sizes
        pairs = n**2 - counts**2 @ self.sizes
        if pairs <= 0:
            return float("nan")
        same = (counts @ self.drawn @ counts + counts @ self.true @ counts) / pairs
        return float(same - 2 * (counts @ self.crossed @ counts) / n**2)


def kernel_sums(
    drawn: Float[np.ndarray, "n d"], true: Float[np.ndarray, "n d"], people: Int[np.ndarray, " n"]
) -> KernelSums:
    """`k(a, b) = (a b / d + 1)^3` of features in units of the true ones' deviations, summed over pairs of people.

    Args:
        drawn, true: features of n pictures each.
        people: number of the person in each, from 0.
    """
    mean, deviation = true.mean(0), true.std(0) + 1e-3
    a, b = ((one.astype(np.float64) - mean) / deviation for one in (drawn, true))
    of_person = np.eye(int(people.max()) + 1)[people]

    def summed(one: np.ndarray, other: np.ndarray, *, same: bool) -> np.ndarray:
        kernel = (one @ other.T / one.shape[1] + 1) ** 3
        if same:
            np.fill_diagonal(kernel, 0)
        return of_person.T @ kernel @ of_person

    return KernelSums(
        summed(a, a, same=True), summed(b, b, same=True), summed(a, b, same=False), np.bincount(people).astype(float)
    )


def kernel_distance(drawn: Float[np.ndarray, "n d"], true: Float[np.ndarray, "n d"]) -> float:
    """The unbiased squared maximum mean discrepancy of two collections of features; 0 on average if they are alike."""
    return kernel_sums(drawn, true, np.arange(len(drawn))).distance(np.ones(len(drawn)))
