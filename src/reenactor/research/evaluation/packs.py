"""The prepared data that is evaluated on: its pictures by key and number, and pairs as a model takes them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from reenactor.core import DriverFrame, ReenactError, TargetSet
from reenactor.core.files import sha256
from reenactor.engine.portrait import driver_frame, target_set, usual_size
from reenactor.face.retarget import DriverRest, neutral_frame
from reenactor.models import ReenactmentModel
from reenactor.research.data import Kind, Sample, ShardReader, Split
from reenactor.research.data.pair_stream import PairData, PairStream
from reenactor.research.data.pairs import PairKind
from reenactor.research.data.shards import MANIFEST


@dataclass(frozen=True)
class Frame:
    """A picture of a pack: the key of a sample and the number of the frame (0 for a photo)."""

    key: str
    number: int

    def __str__(self) -> str:
        return f"{self.key}#{self.number}"


class Pack:
    """A pack whose pictures are read by key and number.

    Args:
        reader: reads the pack's shards.
    """

    def __init__(self, reader: ShardReader) -> None:
        self.reader = reader
        self.sample = lru_cache(maxsize=256)(self._sample)
        self.meshes = lru_cache(maxsize=64)(self._meshes)
        self.rest = lru_cache(maxsize=256)(self._rest)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.reader.index["key"].to_pylist())}

    def _sample(self, key: str) -> Sample:
        if key not in self._row_of:
            raise ReenactError(
                f"{self.reader.folder} has no sample {key}; give the data that the cases were chosen from"
            )
        return self.reader[self._row_of[key]]

    def pictures(self, frames: Iterable[Frame], size: int) -> dict[Frame, UInt8[np.ndarray, "s s 3"]]:
        """Decode frames, (size, size, 3) RGB each; those of one clip together."""
        numbers: dict[str, set[int]] = defaultdict(set)
        for frame in frames:
            numbers[frame.key].add(frame.number)
        found = {}
        for key, some in numbers.items():
            ordered = sorted(some)
            for number, picture in zip(ordered, self.sample(key).frames(ordered, size=size), strict=True):
                found[Frame(key, number)] = picture
        return found

    def mesh(self, frame: Frame, size: int) -> Float[np.ndarray, "478 3"]:
        """The pack's landmarks of a frame, in pixels of a picture of this size."""
        return self.meshes(frame.key, size)[frame.number]

    def _meshes(self, key: str, size: int) -> Float[np.ndarray, "t 478 3"]:
        return self.sample(key).landmarks_at(size)

    def neutral_number(self, key: str) -> int:
        """Number of the most neutral frame of a clip; 0 for a photo."""
        sample = self.sample(key)
        return neutral_frame(sample.landmarks, sample.seen) if sample.kind is Kind.CLIP else 0

    def _rest(self, key: str, size: int) -> DriverRest:
        """The person of a clip or a photo at rest."""
        sample, meshes = self.sample(key), self.meshes(key, size)
        if sample.kind is not Kind.CLIP:
            return DriverRest.of_photo(meshes[0])
        return DriverRest.of_clip(meshes[sample.seen] if sample.seen.any() else meshes)


class Packs:
    """The drivers' pack and the targets' pack, which may be the same.

    Args:
        drivers: folder that `reenactor prepare` wrote.
        targets: folder of the targets' pack; None for the drivers' pack.
    """

    def __init__(self, drivers: str | os.PathLike[str], targets: str | os.PathLike[str] | None = None) -> None:
        self.driver = Pack(ShardReader(drivers))
        self.target = self.driver if targets is None else Pack(ShardReader(targets))

    @property
    def drivers(self) -> ShardReader:
        """The drivers' pack."""
        return self.driver.reader

    @property
    def targets(self) -> ShardReader:
        """The targets' pack; the same object as `drivers` if there is only one."""
        return self.target.reader

    @property
    def folders(self) -> tuple[Path, Path | None]:
        """Arguments that open the same packs again, in another process."""
        return self.drivers.folder, None if self.target is self.driver else self.targets.folder


def pack_digest(pack: ShardReader) -> str:
    """SHA-256 of the pack's manifest, which holds the digests of all shards."""
    return sha256(pack.folder / MANIFEST)


def usual_split(pack: ShardReader, *, paper: bool = False) -> Split:
    """The split to measure on: val if the pack has one, else test, else train; for a paper's tables test before val."""
    found = set(pack.index["split"].to_pylist())
    order = (Split.TEST, Split.VAL) if paper else (Split.VAL, Split.TEST)
    return next((split for split in order if split.value in found), Split.TRAIN)


class PackPair(NamedTuple):
    """A target, a driver frame, and the true picture, (1, 3, s, s) in [-1, 1]."""

    targets: TargetSet
    driver: DriverFrame
    truth: Float[Tensor, "1 3 s s"]


def pairs_of_pack(
    model: ReenactmentModel, folder: Path, split: Split, *, mix: Mapping[PairKind, float] | None = None
) -> Iterator[PackPair]:
    """Endless, repeatable pairs of a pack with the maps that a model needs, in crops of `usual_size`.

    They calibrate exported models, and judge them.

    Args:
        model: the model that will draw them.
        folder: what `reenactor prepare` wrote.
        split: which part of it.
        mix: weights of the kinds of pairs; None for those of `PairData`.
    """
    size = usual_size(model)
    mix = PairData().mix if mix is None else dict(mix)
    data = PairData(size=size, alignment=model.needs.alignment, targets=1, mix=mix)
    for pair in PairStream(folder, data, split=split, seed=0):
        meshes, driver_mesh = (np.asarray(x, np.float32) for x in (pair["target_mesh"], pair["driver_mesh"][None]))
        targets = target_set(model, np.moveaxis(np.asarray(pair["targets"]), 1, -1), meshes)
        truth = torch.as_tensor(pair["truth"][None]).float() / 127.5 - 1
        yield PackPair(targets, driver_frame(model, driver_mesh, size), truth)
