"""Batches for the loop: step n's batch depends on n alone; on the device it gets its maps."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, default_collate

from reenactor.core import FrameBatch, PairBatch, ReenactError
from reenactor.face.maps import draw_maps
from reenactor.nn.losses import MapsNeeded
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.pair_stream import PairStream
from reenactor.research.data.pairs import PairAugmentation
from reenactor.research.data.streams import FrameData, FrameStream, batch_loader, pictures_m1p1
from reenactor.research.training.config import RunConfig

Raw = Mapping[str, Any]
"""A batch as a loader gives it: tensors and lists by name."""


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
    """Batches of a pack without end; every `config.epoch_steps` steps the streams restart.

    A run that resumes at some step therefore loads again only the earlier batches of its epoch.

    Args:
        config: the run's config.
        folder: the pack.
        rank: number of this process.
        world: number of processes.
    """

    def __init__(self, config: RunConfig, folder: str | os.PathLike[str], *, rank: int, world: int) -> None:
        self._config, self._folder = config, folder
        self._rank, self._world = rank, world
        self._micro_batch = micro_batch_size(config, world)

    def steps(self, first: int) -> Iterator[list[Raw]]:
        """For each step from `first` on, its `config.accumulate` batches."""
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
    """The same few samples again and again, in an order that changes with each round.

    Args:
        config: the run's config.
        folder: the pack.
        count: number of samples, from the start of the stream.
        rank: number of this process.
        world: number of processes.
    """

    def __init__(self, config: RunConfig, folder: str | os.PathLike[str], *, count: int, rank: int, world: int) -> None:
        self._config, self._rank, self._world = config, rank, world
        self._micro_batch = micro_batch_size(config, world)
        # In shuffled order no sample comes right after the frame that it follows.
        self.samples = [{**sample, "follows": False} for sample in islice(stream_of(config, folder), count)]

    def steps(self, first: int) -> Iterator[list[Raw]]:
        """For each step from `first` on, its `config.accumulate` batches."""
        config, size = self._config, self._micro_batch
        step = first
        while True:
            # All processes together see the same batch as one process alone.
            begin = step * config.batch_size + self._rank * size * config.accumulate
            yield [
                default_collate([self._sample(begin + m * size + i) for i in range(size)])
                for m in range(config.accumulate)
            ]
            step += 1

    def _sample(self, number: int) -> Raw:
        round_number, position = divmod(number, len(self.samples))
        order = np.random.default_rng([self._config.seed, round_number]).permutation(len(self.samples))
        return self.samples[order[position]]


def fixed_batch(config: RunConfig, folder: str | os.PathLike[str], *, split: Split, count: int) -> Raw:
    """The first `count` samples of a split as one batch, for sample images and measures."""
    return default_collate(list(islice(stream_of(config, folder, split=split), count)))


def micro_batch_size(config: RunConfig, world: int) -> int:
    """Samples of one backward pass of one process.

    Raises:
        ReenactError: the batch does not divide evenly.
    """
    size, rest = divmod(config.batch_size, world * config.accumulate)
    if rest:
        raise ReenactError(
            f"a batch of {config.batch_size} does not divide evenly among {world} processes with "
            f"{config.accumulate} backward passes each; choose a multiple of {world * config.accumulate}"
        )
    return size


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed PyTorch for one step of one process, so that its random numbers depend on nothing else."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


class Batches:
    """Turns a loader's batches into an objective's: floats on the device, with the maps that it needs.

    Args:
        maps: the maps that the objective needs.
        people: identities, in the order of their numbers.
        device: the device to move to.
        channels_last: memory layout of single images.
    """

    def __init__(
        self, maps: MapsNeeded, people: Sequence[str], device: torch.device, *, channels_last: bool = False
    ) -> None:
        self._maps, self._device = maps, device
        self._number = {name: number for number, name in enumerate(people)}
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    def pairs(self, raw: Mapping[str, Any]) -> PairBatch:
        """A batch of `PairStream`'s samples."""
        moved = self._moved(raw)
        size = moved["truth"].shape[-1]
        return PairBatch(
            targets=pictures_m1p1(moved["targets"]),
            target_mesh=moved["target_mesh"],
            target_maps=draw_maps(self._maps.targets, moved["target_mesh"], size),
            truth=pictures_m1p1(moved["truth"]).contiguous(memory_format=self._format),
            driver_mesh=moved["driver_mesh"],
            driver_maps=draw_maps(self._maps.driver, moved["driver_mesh"], size),
            mask=moved["mask"].float() / 255,
            identity=self._numbers(raw["identity"]),
            follows=moved["follows"],
        )

    def frames(self, raw: Mapping[str, Any]) -> FrameBatch:
        """A batch of `FrameStream`'s samples."""
        moved = self._moved(raw)
        return FrameBatch(
            images=pictures_m1p1(moved["image"]).contiguous(memory_format=self._format),
            mesh_px=moved["mesh_px"],
            identity=self._numbers(raw["identity"]),
            clip=moved["clip"],
        )

    def _moved(self, raw: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        return {
            name: value.to(self._device, non_blocking=True)
            for name, value in raw.items()
            if isinstance(value, torch.Tensor)
        }

    def _numbers(self, names: Sequence[str]) -> torch.Tensor:
        # People of another split get the numbers after those of the training split.
        return torch.tensor([self._number.setdefault(name, len(self._number)) for name in names], device=self._device)
