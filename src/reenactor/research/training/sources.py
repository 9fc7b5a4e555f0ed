"""Where batches come from, step after step, such that step n's batch depends on n alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, default_collate

from reenactor.core import ReenactError
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.augment import PairAugmentation
from reenactor.research.data.pair_stream import PairStream
from reenactor.research.data.streams import FrameData, FrameStream, batch_loader
from reenactor.research.training.config import RunConfig

Raw = Mapping[str, Any]


def people_of(pack: ShardReader, split: Split = Split.TRAIN) -> list[str]:
    """The identities of a split, in alphabetical order."""
    rows = zip(pack.index["identity"].to_pylist(), pack.index["split"].to_pylist(), strict=True)
    return sorted({str(name) for name, belongs in rows if belongs == split.value})


def stream_of(
    config: RunConfig,
    folder: str | os.PathLike[str],
    *,
    split: Split = Split.TRAIN,
    rank: int = 0,
    world: int = 1,
    epoch: int = 0,
) -> IterableDataset:
    """The stream of samples that `config.data` describes; arguments as for `PackStream`."""
    data = config.data
    if isinstance(data, FrameData):
        return FrameStream(folder, data, split=split, seed=config.seed, rank=rank, world=world, epoch=epoch)
    if split is not Split.TRAIN:
        data = data.model_copy(update={"people": (), "photos": None, "augment": PairAugmentation()})
    return PairStream(folder, data, split=split, seed=config.seed, rank=rank, world=world, epoch=epoch)


class StreamSource:
    """Batches of a pack, for ever; each epoch of `config.epoch_steps` steps begins the streams anew.

    So a run that goes on at some step needs to make again only what its epoch has given already.

    Args:
        config: the run's.
        folder: the pack.
        rank, world: this process and how many there are.
    """

    def __init__(self, config: RunConfig, folder: str | os.PathLike[str], *, rank: int, world: int) -> None:
        self._config, self._folder = config, folder
        self._rank, self._world = rank, world
        self._micro_batch = micro_batch_size(config, world)

    def steps(self, first: int) -> Iterator[list[Raw]]:
        """From step `first` on, the batches of each step: `config.accumulate` of them."""
        config = self._config
        epoch, position = divmod(first, config.epoch_steps)
        stream = stream_of(config, self._folder, rank=self._rank, world=self._world, epoch=epoch)
        loader = batch_loader(stream, batch_size=self._micro_batch, workers=config.workers)
        while True:
            batches = islice(loader, position * config.accumulate, config.epoch_steps * config.accumulate)
            while step := list(islice(batches, config.accumulate)):
                yield step
            position = 0


class OverfitSource:
    """The same few samples over and over, in an order that changes with each round through them.

    Args:
        config: the run's.
        folder: the pack.
        count: how many: the first ones of the stream.
        rank, world: this process and how many there are.
    """

    def __init__(self, config: RunConfig, folder: str | os.PathLike[str], *, count: int, rank: int, world: int) -> None:
        self._config, self._rank, self._world = config, rank, world
        self._micro_batch = micro_batch_size(config, world)
        # Shuffled, no sample comes after the one that it follows.
        self.samples = [{**sample, "follows": False} for sample in islice(stream_of(config, folder), count)]

    def steps(self, first: int) -> Iterator[list[Raw]]:
        """From step `first` on, the batches of each step: `config.accumulate` of them."""
        config, size = self._config, self._micro_batch
        step = first
        while True:
            # All processes together see the batch that one would.
            begin = step * config.batch_size + self._rank * size * config.accumulate
            yield [
                default_collate([self._sample(begin + m * size + i) for i in range(size)])
                for m in range(config.accumulate)
            ]
            step += 1

    def _sample(self, number: int) -> Raw:
        round_number, place = divmod(number, len(self.samples))
        order = np.random.default_rng([self._config.seed, round_number]).permutation(len(self.samples))
        return self.samples[order[place]]


def fixed_batch(config: RunConfig, folder: str | os.PathLike[str], *, split: Split, count: int) -> Raw:
    """The first samples of a split as one batch, to look at how it goes."""
    return default_collate(list(islice(stream_of(config, folder, split=split), count)))


def micro_batch_size(config: RunConfig, world: int) -> int:
    """Samples of one backward pass of one process.

    Raises:
        ReenactError: if the batch does not divide evenly.
    """
    size, rest = divmod(config.batch_size, world * config.accumulate)
    if rest:
        raise ReenactError(
            f"a batch of {config.batch_size} does not divide evenly among {world} processes with "
            f"{config.accumulate} backward passes each; choose a multiple of {world * config.accumulate}"
        )
    return size


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set PyTorch's generators for one step of one process: its random numbers depend on nothing else."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))
