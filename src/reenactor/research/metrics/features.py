"""Metrics in the features of a network: identity (CSIM, Id), LPIPS, FID.

The number belongs to the network: say which with every number. Published LPIPS and FID take AlexNet and InceptionV3,
and paper B's CSIM ArcFace, whose weights cannot ship. A network that was used in a loss can never be the judge: pixels
can be pushed to any identity through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core.system import need

FeatureMaps: TypeAlias = Callable[[Tensor], Sequence[Tensor]]
"""(B, 3, H, W) RGB float in [-1, 1] -> maps (B, C_l, h_l, w_l) of several layers."""

_EPS = 1e-10


def csim(
    drawn: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n d"], mean: Float[np.ndarray, " d"]
) -> Float[np.ndarray, " n"]:
    """Cosine similarity of embeddings after subtracting the mean over people: `a.b / (|a| |b|)` (paper B, tables 1, 2).

    Paper B takes ArcFace and subtracts nothing (give zeros). dlib's embeddings share a large part: without subtracting
    their mean (`perception.identity.identity_mean()`) two different people have 0.85.

    Args:
        drawn: (N, D) embeddings of the results.
        target: (N, D) embeddings of a photo of each target.
        mean: (D,) mean embedding over people, measured on other people than these.

    Returns:
        (N,) in [-1, 1]; 1 is ideal.
    """
    a, b = drawn.astype(np.float64) - mean, target.astype(np.float64) - mean
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def verification_rate(
    drawn: Float[np.ndarray, "n d"], target: Float[np.ndarray, "n d"], *, threshold: float
) -> Float[np.ndarray, " n"]:
    """Paper A's Id %: whether the result is judged to show the target (tables 1 to 3).

    Args:
        drawn: (N, D) embeddings of the results.
        target: (N, D) embeddings of a photo of each target.
        threshold: Euclidean distance below which two pictures show one person (dlib:
            `perception.identity.SAME_PERSON_DISTANCE`). The rate means nothing without it.

    Returns:
        (N,) 100 or 0, NaN where an embedding is NaN; their mean is the rate in %.
    """
    distance = np.linalg.norm(drawn.astype(np.float64) - target, axis=1)
    return np.where(np.isnan(distance), np.nan, 100.0 * (distance < threshold))


def lpips(
    drawn: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"], network: FeatureMaps
) -> Float[Tensor, " b"]:
    """Perceptual distance (Zhang et al. 2018, eq. 1, without learned weights) in the given network's features.

    `sum_l mean_hw sum_c (a_lhwc - b_lhwc)^2`, features normalized to unit length over the channels.

    Args:
        drawn: (B, 3, H, W) RGB in [-1, 1].
        truth: (B, 3, H, W).
        network: gives feature maps of pictures in [-1, 1].

    Returns:
        (B,) 0 or more; 0 for equal pictures.
    """
    layers = zip(network(drawn), network(truth), strict=True)
    return torch.stack([(_unit(a) - _unit(b)).square().sum(dim=1).mean(dim=(1, 2)) for a, b in layers]).sum(dim=0)


def fid(drawn: Tensor, truth: Tensor, network: nn.Module) -> float:
    """Frechet distance of two collections of pictures (Heusel et al. 2017) in the given network's features.

    `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`, means m and covariances S (divided by N - 1) of the features. It
    falls as N grows: compare only equal N, and take more pictures than features. For more pictures than fit into one
    call, use `torchmetrics.image.fid.FrechetInceptionDistance` as here, with `update` for each batch.

    Args:
        drawn: (N, ...) pictures, as the network takes them; two or more.
        truth: (M, ...) real pictures.
        network: pictures -> (B, D) features.

    Returns:
        0 or more, in the features' unit squared; 0 for equal collections.
    """
    need("torchmetrics", "research", "the FID")
    from torchmetrics.image.fid import FrechetInceptionDistance  # takes 2 s

    if min(len(drawn), len(truth)) < 2:
        raise ValueError(f"FID needs two or more pictures on each side, not {len(drawn)} and {len(truth)}")
    channels, height, width = drawn.shape[1:]
    metric = FrechetInceptionDistance(network, normalize=True, input_img_size=(channels, height, width))
    metric.set_dtype(torch.float64)
    metric.update(truth, real=True)
    metric.update(drawn, real=False)
    return float(metric.compute())


def _unit(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + _EPS)
