"""Metrics in the feature space of a network that the user supplies: LPIPS, FID.

Published numbers belong to certain networks (LPIPS: AlexNet with learned weights; FID: InceptionV3 of 2015), whose
weights cannot ship. With another network the number is a metric of its own: name it so (`lpips_vgg16`, `fid_dlib`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reenactor.research.metrics.functional._pictures import Pictures, pair_in_01
from reenactor.research.metrics.functional._sums import Sums

FeatureMaps: TypeAlias = Callable[[Tensor], Sequence[Tensor]]
"""(B, 3, H, W) RGB float in [-1, 1] -> maps (B, C_l, h_l, w_l) of several layers."""
FeatureVectors: TypeAlias = Callable[[Tensor], Tensor]
"""(B, 3, H, W) as the caller has them -> (B, D)."""

_EPS = 1e-10


def lpips(
    drawn: Pictures,
    truth: Pictures,
    network: FeatureMaps,
    weights: Sequence[Float[Tensor, " _"]] | None = None,
) -> Float[Tensor, " b"]:
    """Learned perceptual distance (Zhang et al. 2018, eq. 1) in the given network's features.

    `sum_l mean_hw sum_c w_lc (a_lhwc - b_lhwc)^2`, features normalized to unit length over the channels.

    Args:
        drawn: (B, 3, H, W) RGB, float in [-1, 1] or uint8.
        truth: likewise.
        network: pictures in [-1, 1] -> feature maps; any further scaling is its own affair.
        weights: (C_l,) >= 0 for each layer; None for 1, the paper's "baseline" without learning.

    Returns:
        (B,) >= 0; 0 for equal pictures.
    """
    a, b = pair_in_01(drawn, truth)
    maps_a, maps_b = network(2 * a - 1), network(2 * b - 1)
    if weights is not None and len(weights) != len(maps_a):
        raise ValueError(f"the network gives {len(maps_a)} feature maps, but there are weights for {len(weights)}")
    total = a.new_zeros(len(a))
    for i, (x, y) in enumerate(zip(maps_a, maps_b, strict=True)):
        squared = (_unit(x) - _unit(y)) ** 2
        if weights is not None:
            squared = squared * weights[i].to(squared).view(1, -1, 1, 1)
        total = total + squared.sum(dim=1).mean(dim=(1, 2))
    return total


def fid(drawn: Tensor, truth: Tensor, network: FeatureVectors) -> float:
    """Frechet distance of two sets of pictures (Heusel et al. 2017) in the given network's features.

    `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`, means m and covariances S (divided by N - 1) of the features.
    It falls as N grows: compare only equal N, and take more pictures than features.

    Args:
        drawn: (N, 3, H, W), as the network takes them.
        truth: (M, 3, H, W) real pictures.
        network: pictures -> (B, D) features. For more pictures than fit in one call: the class `FID`.

    Returns:
        >= 0, in the features' unit squared; 0 for equal sets.
    """
    return fid_compute({**fid_update(network(drawn), "drawn"), **fid_update(network(truth), "truth")})


def frechet_distance(
    mean_a: Float[np.ndarray, " d"],
    covariance_a: Float[np.ndarray, "d d"],
    mean_b: Float[np.ndarray, " d"],
    covariance_b: Float[np.ndarray, "d d"],
) -> float:
    """`|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` of two Gaussians.

    `S1 S2` has the eigenvalues of the symmetric `S1^(1/2) S2 S1^(1/2)`, so two symmetric eigenproblems give the trace;
    unlike a general matrix square root they have no trouble with covariances of low rank.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root_a = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    between = np.linalg.eigvalsh(root_a @ covariance_b @ root_a)
    trace = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(np.maximum(between, 0.0)).sum()
    return float(max(((mean_a - mean_b) ** 2).sum() + trace, 0.0))


def fid_update(features: Float[Tensor, "n d"], side: str) -> Sums:
    """What a batch of features adds to one side (`drawn` or `truth`) of `fid`."""
    x = features.detach().to("cpu", torch.float64).numpy()
    return {f"{side}_count": np.float64(len(x)), f"{side}_sum": x.sum(axis=0), f"{side}_outer": x.T @ x}


def fid_compute(sums: Sums) -> float:
    """`fid` of all that was added."""
    gaussians = []
    for side in ("drawn", "truth"):
        count = sums[f"{side}_count"]
        if count < 2:
            raise ValueError(f"FID needs two or more pictures on each side, there is {int(count)} {side}")
        mean = sums[f"{side}_sum"] / count
        gaussians += [mean, (sums[f"{side}_outer"] - count * np.outer(mean, mean)) / (count - 1)]
    return frechet_distance(*gaussians)


def _unit(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPS)
