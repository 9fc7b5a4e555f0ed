"""An endless stream of single frames and their landmarks, for what learns from faces one by one.

stream = FrameStream("pack", FrameSettings(size=128, photo_share=0.3), seed=1)
next(iter(stream))["image"]  # (3, 128, 128) uint8
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from reenactor.core import ReenactError
from reenactor.research.data.items import Kind, Split
from reenactor.research.data.shards import Sample, ShardReader
from reenactor.research.data.shares import Share, SharedStream, interleaved

_WINDOW = 64
"""Neighbouring frames of a clip that are decoded at a time."""
_WINDOW_WITHOUT_PICTURES = 128
_OPEN_CLIPS, _OPEN_WITHOUT_PICTURES = 8, 64
"""Clips that a worker draws from at the same time, so that a batch mixes people; pictures of 256 px take 13 MB each."""
_REMEMBERED_PHOTOS = 4096
"""Without pictures: 24 MB of landmarks; reading a photo's for the first time takes as long as five frames of a clip."""
_NUMBER = {Kind.CLIP: 1, Kind.PHOTO: 2}
"""Tells the kinds' random numbers apart."""


@dataclass(frozen=True)
class FrameSettings:
    """What frames to give.

    Args:
        size: side of the pictures, pixels; landmarks are in it even if pictures are left out.
        photo_share: of photos among the frames; 0: clips only, 1: photos only.
        pictures: decode them. Without, a worker gives thousands of frames a second.
    """

    size: int = 128
    photo_share: float = 0.0
    pictures: bool = True

    def __post_init__(self) -> None:
        if self.size < 16 or not 0 <= self.photo_share <= 1:
            raise ValueError("frames need at least 16 px, and a share of photos from 0 to 1")


class FrameStream(SharedStream):
    """Yields frames that show a face as dictionaries of tensors, for ever.

    Clips count alike, however long they are: of each up to 64 neighbouring frames are shown (128 without pictures,
    anywhere), then it is the next one's turn. Shared out, and repeatable, as `SharedStream` says.

    Args:
        folder: what `reenactor prepare` wrote.
        settings: what frames.
        split: which part of the data.
        seed: of everything random.
        rank, world: this machine's (or process') number, and how many there are.
        epoch: of the first iteration.

    Raises:
        ReenactError: the pack has no such clips or photos in this split.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        settings: FrameSettings = FrameSettings(),
        *,
        split: Split = Split.TRAIN,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
    ) -> None:
        super().__init__(folder, seed=seed, rank=rank, world=world, epoch=epoch)
        self._settings = settings
        self._rows_of = {kind: rows_of(self._reader, kind, split) for kind in Kind}
        share = settings.photo_share
        if (share < 1 and not len(self._rows_of[Kind.CLIP])) or (share > 0 and not len(self._rows_of[Kind.PHOTO])):
            wanted = {0.0: "clips", 1.0: "photos"}.get(share, "clips or no photos")
            raise ReenactError(
                f"{folder} has no {wanted} in its '{split.value}' split; prepare more data, "
                "or set photo_share to 1 (photos alone) or 0 (clips alone)"
            )

    def _samples(self, share: Share) -> Iterator[dict[str, Any]]:
        rng = self._rng(share)
        clips, photos = self._of_clips(share), self._of_photos(share)
        while True:
            yield next(photos if rng.random() < self._settings.photo_share else clips)

    def _of_photos(self, share: Share) -> Iterator[dict[str, Any]]:
        def photo(row: int) -> dict[str, Any]:
            return next(self._of_sample(row, self._reader[row], np.zeros(1, int)))

        read = photo if self._settings.pictures else lru_cache(_REMEMBERED_PHOTOS)(photo)
        for row in self._rows(self._rows_of[Kind.PHOTO], _NUMBER[Kind.PHOTO], share):
            yield read(row)

    def _of_clips(self, share: Share) -> Iterator[dict[str, Any]]:
        clips = self._rows_of[Kind.CLIP]
        rng = self._rng(share, _NUMBER[Kind.CLIP])
        rows = self._rows(clips, _NUMBER[Kind.CLIP], share)
        most = _OPEN_CLIPS if self._settings.pictures else _OPEN_WITHOUT_PICTURES

        def clip() -> Iterator[dict[str, Any]]:
            row, sample = self._next_clip(rows)
            return self._of_sample(row, sample, self._chosen(np.flatnonzero(sample.seen), rng))

        return interleaved(clip, min(most, max(1, len(clips) // share.parts)), rng)

    def _next_clip(self, rows: Iterator[int]) -> tuple[int, Sample]:
        """The next clip with a face in it."""
        # The part's own clips first; if those are no good, any.
        clips = self._rows_of[Kind.CLIP]
        for row in chain(islice(rows, len(clips)), clips.tolist()):
            sample = self._reader[row]
            if sample.seen.any():
                return row, sample
        raise ReenactError(f"no clip of this split in {self._reader.folder} shows a face; prepare more data")

    def _chosen(self, usable: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
        """Frames of a clip to show, in the order of showing."""
        if not self._settings.pictures:
            return rng.permutation(usable)[:_WINDOW_WITHOUT_PICTURES]
        first = int(rng.integers(max(1, len(usable) - _WINDOW + 1)))
        return rng.permutation(usable[first : first + _WINDOW])

    def _of_sample(self, row: int, sample: Sample, numbers: Int[np.ndarray, " n"]) -> Iterator[dict[str, Any]]:
        size = self._settings.size
        meshes = sample.landmarks_at(size)[numbers].astype(np.float32)
        if self._settings.pictures:
            # Decoding wants increasing numbers; what is shown goes through them in its own order.
            ascending = np.sort(numbers)
            pictures = sample.frames(ascending.tolist(), size=size)[np.searchsorted(ascending, numbers)]
        else:
            pictures = np.zeros((len(numbers), 0, 0, 3), np.uint8)
        for picture, mesh in zip(pictures, meshes, strict=True):
            yield {
                "image": torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))),
                "mesh_px": torch.from_numpy(mesh),
                "identity": sample.identity,
                "clip": row,
            }


def rows_of(reader: ShardReader, kind: Kind, split: Split) -> Int[np.ndarray, " n"]:
    """The rows of a kind and a split."""
    kinds, splits = (reader.index[name].to_numpy(zero_copy_only=False) for name in ("kind", "split"))
    return np.flatnonzero((kinds == kind.value) & (splits == split.value))


def clip_landmarks(
    reader: ShardReader, split: Split = Split.TRAIN
) -> Iterator[tuple[int, Float[np.ndarray, "t 478 3"]]]:
    """Row, and landmarks of the frames that show the face (pixels of the stored crop), of every clip of a split."""
    for row in rows_of(reader, Kind.CLIP, split).tolist():
        sample = reader[row]
        if sample.seen.any():
            yield row, sample.landmarks[sample.seen]
