"""Endless streams of training samples from a pack, repeatable, divided among workers and machines.

    stream = FrameStream("pack", FrameData(size=128, photo_share=0.3), seed=1)
    for batch in batch_loader(stream, batch_size=8, workers=2):
        batch["image"]  # (8, 3, 128, 128) uint8

`PairStream` for pairs is in `pair_stream`.
"""

from __future__ import annotations

import os
import signal
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Generic, Literal, TypeVar

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from reenactor.core import Alignment, ReenactError
from reenactor.face.geometry import aligned_crop
from reenactor.research.data.items import Kind, Split
from reenactor.research.data.shards import Sample, ShardReader

D = TypeVar("D", bound=BaseModel)
T = TypeVar("T")

_FRAMES_PER_CLIP, _LANDMARKS_PER_CLIP = 64, 128
"""Frames shown of a clip before it is replaced, with pictures (neighbours: decoding is what costs) and without."""
_OPEN_CLIPS, _OPEN_CLIPS_LANDMARKS = 8, 64
"""Clips a worker draws from at the same time, so that a batch mixes people; pictures of 256 px take 13 MB a clip."""
_CACHED_PHOTOS = 4096
"""Landmarks of photos kept when pictures are not decoded, 24 MB; reading one takes as long as five frames of a clip."""
_RANDOM_STREAM = {Kind.CLIP: 1, Kind.PHOTO: 2}
"""Separates the random numbers of the kinds."""


@dataclass(frozen=True)
class WorkerShard:
    """The part of a data epoch that one worker of one machine goes through: number `index` of `count`."""

    epoch: int
    index: int
    count: int


class PackStream(IterableDataset[dict[str, Any]], Generic[D]):
    """Abstract. Yields samples as dictionaries of tensors, forever.

    Each iteration over the stream is one data epoch, and the next iteration is the next epoch. Within an epoch every
    clip and photo belongs to one worker of one machine. Order and random choices depend only on `seed`, the epoch and
    the worker's number, so training can begin at any epoch, and the same seed and number of workers give the same
    samples. If there are fewer clips (or photos) than workers, workers share them.

    Args:
        folder: a pack, as `reenactor prepare` wrote it.
        data: which samples to make.
        split: the split to read.
        seed: seed of all random choices.
        rank: number of this process among `world` training processes.
        world: number of training processes.
        epoch: the epoch of the first iteration.

    Raises:
        ReenactError: the pack has nothing of that kind in this split.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        data: D,
        *,
        split: Split = Split.TRAIN,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
    ) -> None:
        super().__init__()
        self._reader = ShardReader(folder)
        self._data = data
        self._seed, self._rank, self._world, self._epoch = seed, rank, world, epoch
        self._select(split)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        workers = worker.num_workers if worker else 1
        index = self._rank * workers + (worker.id if worker else 0)
        shard = WorkerShard(self._epoch, index, self._world * workers)
        self._epoch += 1
        return self._samples(shard)

    @abstractmethod
    def _select(self, split: Split) -> None:
        """Find the rows to read; raise `ReenactError` if there are none."""

    @abstractmethod
    def _samples(self, shard: WorkerShard) -> Iterator[dict[str, Any]]:
        """The samples of a worker shard, without end."""

    def _rng(self, shard: WorkerShard, *source: int) -> np.random.Generator:
        """Random numbers of a worker shard; `source` separates several generators of one shard."""
        return np.random.default_rng([self._seed, shard.epoch, shard.index, *source])

    def _shuffled(self, rows: Int[np.ndarray, " n"], source: int, shard: WorkerShard) -> Iterator[int]:
        """The shard's part of the rows (at least one), round after round, each in another order."""
        round_number = 0
        while True:
            seed = [self._seed, shard.epoch, round_number, source, shard.count]
            order = np.random.default_rng(seed).permutation(rows)
            yield from (int(row) for row in order[shard.index % len(order) :: shard.count])
            round_number += 1

    def _next_clip(
        self, shuffled: Iterator[int], clips: Int[np.ndarray, " n"], *, at_least: int, complaint: str
    ) -> tuple[int, Sample]:
        """Row and sample of the next clip whose face was found in enough frames (the index has only their share).

        The shard's own clips are tried first, then all.
        """
        for row in chain(islice(shuffled, len(clips)), clips.tolist()):
            sample = self._reader[row]
            if np.count_nonzero(sample.seen) >= at_least:
                return row, sample
        raise ReenactError(f"no clip of this split in {self._reader.folder} {complaint}; prepare more data")


def interleaved(begin: Callable[[], Iterator[T]], count: int, rng: np.random.Generator) -> Iterator[T]:
    """Draw from `count` iterators at random; one that has ended is replaced by the next that `begin` returns."""
    open_ones: list[Iterator[T]] = []
    while True:
        while len(open_ones) < count:
            open_ones.append(begin())
        chosen = int(rng.integers(len(open_ones)))
        one = next(open_ones[chosen], None)
        if one is None:
            open_ones.pop(chosen)
        else:
            yield one


class FrameData(BaseModel):
    """Single frames and their landmarks, from `FrameStream`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["frames"] = "frames"
    size: int = Field(default=128, ge=32, multiple_of=32)
    """Side of the pictures in pixels; landmarks are scaled to it even without pictures."""
    photo_share: float = Field(default=0.0, ge=0, le=1)
    """Share of photos among the frames: 0 for clips only, 1 for photos only. Between the two, a kind that the pack does
    not have is left out."""
    pictures: bool = True
    """Decode pictures; without, a worker gives thousands of frames a second."""
    alignment: Alignment = Alignment.BOX
    """How the faces lie in the pictures: as the pack's do, or aligned to the mean shape, each by its own landmarks."""


class FrameStream(PackStream[FrameData]):
    """Yields frames that show a face: `image` (3, s, s) uint8, `mesh_px` (478, 3), `identity`, `clip` (its row).

    Clips count equally, whatever their length: up to 64 neighbouring frames of each are shown (without pictures 128,
    from anywhere in the clip), then another clip follows. Arguments and errors are those of `PackStream`.
    """

    def _select(self, split: Split) -> None:
        self._rows = {kind: rows_of(self._reader, kind, split) for kind in Kind}
        share, clips, photos = self._data.photo_share, len(self._rows[Kind.CLIP]), len(self._rows[Kind.PHOTO])
        if not (clips if share == 0 else photos if share == 1 else clips or photos):
            missing = {0.0: "clips", 1.0: "photos"}.get(share, "clips and no photos")
            raise ReenactError(
                f"{self._reader.folder} has no {missing} in its '{split.value}' split; prepare more data, "
                "or set photo_share to 1 (photos alone) or 0 (clips alone)"
            )
        self._photo_share = share if clips and photos else float(photos > 0)

    def _samples(self, shard: WorkerShard) -> Iterator[dict[str, Any]]:
        rng = self._rng(shard)
        clips, photos = self._clip_frames(shard), self._photos(shard)
        while True:
            yield next(photos if rng.random() < self._photo_share else clips)

    def _photos(self, shard: WorkerShard) -> Iterator[dict[str, Any]]:
        def photo(row: int) -> dict[str, Any]:
            return next(self._frames(row, self._reader[row], np.zeros(1, int)))

        read = photo if self._data.pictures else lru_cache(_CACHED_PHOTOS)(photo)
        for row in self._shuffled(self._rows[Kind.PHOTO], _RANDOM_STREAM[Kind.PHOTO], shard):
            yield read(row)

    def _clip_frames(self, shard: WorkerShard) -> Iterator[dict[str, Any]]:
        clips, source = self._rows[Kind.CLIP], _RANDOM_STREAM[Kind.CLIP]
        rng = self._rng(shard, source)
        shuffled = self._shuffled(clips, source, shard)
        most = _OPEN_CLIPS if self._data.pictures else _OPEN_CLIPS_LANDMARKS

        def clip() -> Iterator[dict[str, Any]]:
            row, sample = self._next_clip(shuffled, clips, at_least=1, complaint="shows a face")
            return self._frames(row, sample, self._choose(np.flatnonzero(sample.seen), rng))

        return interleaved(clip, min(most, max(1, len(clips) // shard.count)), rng)

    def _choose(self, usable: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
        """Numbers of the frames of a clip to show, in the order to show them."""
        if not self._data.pictures:
            return rng.permutation(usable)[:_LANDMARKS_PER_CLIP]
        first = int(rng.integers(max(1, len(usable) - _FRAMES_PER_CLIP + 1)))
        return rng.permutation(usable[first : first + _FRAMES_PER_CLIP])

    def _frames(self, row: int, sample: Sample, numbers: Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        size = read_size(sample, self._data.size, self._data.alignment)
        meshes = sample.landmarks_at(size)[numbers].astype(np.float32)
        if self._data.pictures:
            # Decoding takes increasing numbers.
            ascending = np.sort(numbers)
            pictures = sample.frames(ascending.tolist(), size=size)[np.searchsorted(ascending, numbers)]
        else:
            pictures = np.zeros((len(numbers), 0, 0, 3), np.uint8)
        if self._data.alignment is Alignment.MEAN_SHAPE:
            crops = [aligned_crop(mesh, size=self._data.size) for mesh in meshes]
            meshes = [crop.to_crop(mesh) for crop, mesh in zip(crops, meshes, strict=True)]
            if self._data.pictures:
                pictures = [crop.cut(picture) for crop, picture in zip(crops, pictures, strict=True)]
        for picture, mesh in zip(pictures, meshes, strict=True):
            yield {
                "image": torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))),
                "mesh_px": torch.from_numpy(mesh),
                "identity": sample.identity,
                "clip": row,
            }


def read_size(sample: Sample, size: int, alignment: Alignment) -> int:
    """Side at which a sample's pictures are decoded to give pictures of `size` pixels.

    A face aligned to the mean shape is 1.3 to 1.8 times as large as in the pack's crop, so those are decoded at up to
    twice the size, and the crop is cut out of them by one resampling.
    """
    return size if alignment is Alignment.BOX else min(sample.meta["size"], 2 * size)


def rows_of(reader: ShardReader, kind: Kind, split: Split) -> Int[np.ndarray, " n"]:
    """Numbers of the rows of a kind and a split."""
    kinds, splits = (reader.column(name) for name in ("kind", "split"))
    return np.flatnonzero((kinds == kind.value) & (splits == split.value))


def by_name(rows: Int[np.ndarray, " n"], names: np.ndarray) -> list[list[int]]:
    """The rows of each name."""
    found: dict[str, list[int]] = {}
    for row, name in zip(rows.tolist(), names, strict=True):
        found.setdefault(name, []).append(row)
    return list(found.values())


def clip_landmarks(
    reader: ShardReader, split: Split = Split.TRAIN
) -> Iterator[tuple[int, Float[np.ndarray, "t 478 3"]]]:
    """For every clip of a split: its row, and landmarks of the frames that show the face (pixels of the crop)."""
    for row in rows_of(reader, Kind.CLIP, split).tolist():
        sample = reader[row]
        if sample.seen.any():
            yield row, sample.landmarks[sample.seen]


def pictures_m1p1(pictures: Tensor) -> Float[Tensor, "*b 3 h w"]:
    """Convert uint8 pictures to float32 in [-1, 1]; call it on the device they are needed on."""
    return pictures.float() / 127.5 - 1


def batch_loader(stream: IterableDataset, *, batch_size: int, workers: int = 2) -> DataLoader:
    """A loader of batches. Pictures stay uint8, see `pictures_m1p1`.

    Args:
        stream: a `FrameStream` or `PairStream`.
        batch_size: samples in a batch.
        workers: processes that make samples; 0 makes them in the calling process.
    """
    return DataLoader(
        stream,
        batch_size=batch_size,
        num_workers=workers,
        # Forking a process that has used MediaPipe deadlocks.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_begin_worker if workers else None,
        pin_memory=torch.cuda.is_available(),
    )


def _begin_worker(_: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the training process ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
