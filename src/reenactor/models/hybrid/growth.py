"""From a trained hybrid to one of twice the resolution that draws, to begin with, the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from reenactor.core import CheckpointError
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.model import Hybrid
from reenactor.nn.checkpoint import Checkpoint

_PREFIX = "generator."
_READERS = {"warp_encoder.stem.0.weight": 1, "photo_encoder.stem.1.weight": 2}
"""Convolutions that read pixels laid out in cells, and how many of the config's cells a side they take at once."""
_WRITERS = ("trunk.heads.out.1.weight", "trunk.heads.out.1.bias")
_FLOW = 2
"""Channels of the flow, one a cell, before those that are laid out in cells."""
_NEW = "trunk.heads.detail."
_MOUTH = "mouth."


def grown_from(checkpoint: Checkpoint, config: HybridConfig, fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A generator's weights, from a checkpoint of the same config or of one with half the resolution and cells of 2.

    Args:
        checkpoint: a trained hybrid.
        config: of the generator to be.
        fresh: its weights as made; the branch for detail, which adds nothing yet, is taken from here.

    Raises:
        CheckpointError: the checkpoint's config is neither.
    """
    theirs, trained = without_mouth(checkpoint)
    if theirs == config:
        return trained
    if theirs.model_copy(update={"resolution": 2 * theirs.resolution, "cell": 2 * theirs.cell}) != config:
        raise CheckpointError(
            "the hybrid to start from has other settings than objective.model; "
            "it may differ in that its resolution and cell are half as large, and in nothing else"
        )
    return grown(trained, config) | {name: tensor for name, tensor in fresh.items() if name.startswith(_NEW)}


def without_mouth(checkpoint: Checkpoint) -> tuple[HybridConfig, dict[str, Tensor]]:
    """A trained generator's config and weights, less those of the mouth's network, which is trained on its own.

    Raises:
        CheckpointError: it holds another model.
    """
    if checkpoint.kind != Hybrid.name:
        raise CheckpointError(f"a hybrid is needed to start from; the checkpoint holds '{checkpoint.kind}'")
    config = HybridConfig(**checkpoint.config).model_copy(update={"mouth": 0})
    weights = {name.removeprefix(_PREFIX): tensor for name, tensor in checkpoint.tensors.items()}
    return config, {name: tensor for name, tensor in weights.items() if not name.startswith(_MOUTH)}


def grown(trained: Mapping[str, Tensor], config: HybridConfig) -> dict[str, Tensor]:
    """Weights for cells twice as large: what read a pixel reads the mean of four, what wrote one writes it four times.

    Args:
        trained: of a generator with half of `config`'s resolution and cell.
        config: of the larger one. Its branch for detail is not among the result.
    """
    weights = dict(trained)
    for name, cells in _READERS.items():
        cell = cells * config.cell // 2
        pictures = 6 * cell**2
        read, rest = weights[name][:, :pictures], weights[name][:, pictures:]
        weights[name] = torch.cat([_finer(read.movedim(1, 0), cell).movedim(0, 1) / 4, rest], dim=1)
    for name in _WRITERS:
        flow, written = weights[name][:_FLOW], weights[name][_FLOW:]
        weights[name] = torch.cat([flow, _finer(written, config.cell // 2)])
    return weights


def _finer(channels: Tensor, cell: int) -> Tensor:
    """(C x cell x cell, ...) in the order of `PixelShuffle` -> each place four times, (C x 2 cell x 2 cell, ...)."""
    places = channels.unflatten(0, (-1, cell, cell))
    return places.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).flatten(0, 2)
