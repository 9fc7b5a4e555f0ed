"""Endless streams that workers and machines share, repeatable from any epoch on."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int
from torch.utils.data import IterableDataset, get_worker_info

from reenactor.research.data.shards import ShardReader

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """One worker's share of a epoch."""

    epoch: int
    part: int
    parts: int


class SharedStream(IterableDataset):
    """Abstract. Yields dictionaries of tensors, for ever.

    In every epoch each clip and photo of the split belongs to one part, and a part to one worker of one machine; the
    order and all random choices follow from `seed`, the epoch, the epoch and the part. A epoch is what one
    iteration gives: the next iteration is the next epoch, and training that begins at a epoch needs to go through
    none of those before it. So the same seed and number of workers give the same samples, and no two workers show the
    same photo in the same epoch - as long as there are at least as many clips, and photos, as parts: with fewer, parts
    share them.

    Args:
        folder: what `reenactor prepare` wrote.
        seed: of everything random.
        rank, world: this machine's (or process') number, and how many there are.
        epoch: of the first iteration.
    """

    def __init__(self, folder: str | os.PathLike[str], *, seed: int, rank: int, world: int, epoch: int) -> None:
        super().__init__()
        self._reader = ShardReader(folder)
        self._seed, self._rank, self._world, self._epoch = seed, rank, world, epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        workers = worker.num_workers if worker else 1
        part = self._rank * workers + (worker.id if worker else 0)
        share = Share(self._epoch, part, self._world * workers)
        self._epoch += 1
        return self._samples(share)

    @abstractmethod
    def _samples(self, share: Share) -> Iterator[dict[str, Any]]:
        """The samples of a share."""

    def _rng(self, share: Share, *kind: int) -> np.random.Generator:
        """A share's random numbers; `kind` tells several sources of them apart."""
        return np.random.default_rng([self._seed, share.epoch, share.part, *kind])

    def _rows(self, rows: Int[np.ndarray, " n"], kind: int, share: Share) -> Iterator[int]:
        """This part's rows, at least one, epoch after epoch, each in an order of its own."""
        epoch = 0
        while True:
            order = np.random.default_rng([self._seed, share.epoch, epoch, kind, share.parts]).permutation(rows)
            yield from (int(row) for row in order[share.part % len(order) :: share.parts])
            epoch += 1


def interleaved(begin: Callable[[], Iterator[T]], most: int, rng: np.random.Generator) -> Iterator[T]:
    """What `most` sources give, drawn at random; one that has ended is replaced by the next that `begin` gives."""
    opened: list[Iterator[T]] = []
    while True:
        while len(opened) < most:
            opened.append(begin())
        place = int(rng.integers(len(opened)))
        one = next(opened[place], None)
        if one is None:
            opened.pop(place)
        else:
            yield one
