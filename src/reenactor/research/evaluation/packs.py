"""The prepared data that is evaluated on: one pack for the drivers, and perhaps another for the targets."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import ReenactError
from reenactor.core.files import sha256
from reenactor.face.geometry import Similarity, fit_head, mean_face, with_lips_closed
from reenactor.face.retarget import neutral_frame
from reenactor.research.data import Kind, Sample, ShardReader
from reenactor.research.data.shards import MANIFEST


@dataclass(frozen=True)
class Frame:
    """A picture of a pack: a sample's key, and the number of the frame (0 for a photo)."""

    key: str
    number: int

    def __str__(self) -> str:
        return f"{self.key}#{self.number}"


class Pack:
    """A pack whose pictures are asked for by key and number.

    Args:
        reader: of the shards.
    """

    def __init__(self, reader: ShardReader) -> None:
        self.reader = reader
        self.sample = lru_cache(maxsize=256)(self._sample)
        self.meshes = lru_cache(maxsize=64)(self._meshes)
        self.neutral = lru_cache(maxsize=256)(self._neutral)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.reader.index["key"].to_pylist())}

    def _sample(self, key: str) -> Sample:
        if key not in self._row_of:
            raise ReenactError(
                f"{self.reader.folder} has no sample {key}; give the data that the sets were chosen from"
            )
        return self.reader[self._row_of[key]]

    def pictures(self, frames: Iterable[Frame], size: int) -> dict[Frame, UInt8[np.ndarray, "s s 3"]]:
        """Decode frames, those of one clip together."""
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
        """The pack's landmarks of a frame, in pixels of its picture."""
        return self.meshes(frame.key, size)[frame.number]

    def _meshes(self, key: str, size: int) -> Float[np.ndarray, "t 478 3"]:
        return self.sample(key).landmarks_at(size)

    def neutral_number(self, key: str) -> int:
        """The most neutral frame of a clip; a photo has one only."""
        sample = self.sample(key)
        return neutral_frame(sample.landmarks, sample.seen) if sample.kind is Kind.CLIP else 0

    def _neutral(self, key: str, size: int) -> Float[np.ndarray, "478 3"]:
        """The sample's person at rest: a clip's most neutral frame; for a photo the mean face at its place and size."""
        mesh = self.meshes(key, size)[self.neutral_number(key)]
        if self.sample(key).kind is Kind.CLIP:
            return mesh
        head = fit_head(mesh)
        return Similarity(head.scale, np.eye(3), head.t).apply(with_lips_closed(mean_face().points))


class Packs:
    """Drivers and targets.

    Args:
        drivers: folder of the drivers' pack.
        targets: folder of the targets' pack; None for the drivers'.
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
        """To open them again, in another process."""
        return self.drivers.folder, None if self.target is self.driver else self.targets.folder


def pack_digest(pack: ShardReader) -> str:
    """Of the pack's manifest, which names the digests of all shards."""
    return sha256(pack.folder / MANIFEST)
