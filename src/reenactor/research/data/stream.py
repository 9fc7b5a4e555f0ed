"""An endless stream of training pairs from a pack, mixed by weight, repeatable, shared out over workers.

stream = PairStream("pack", PairSettings(size=128), seed=1)
for batch in batch_loader(stream, batch_size=8, workers=2):
    batch["truth"]  # (8, 3, 128, 128) uint8
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from reenactor.core import ReenactError
from reenactor.face.geometry import fit_similarity, mean_face
from reenactor.research.data.augment import PairAugmentation, augmented
from reenactor.research.data.items import Kind, Split
from reenactor.research.data.pairs import (
    Pair,
    PairKind,
    clip_pairs,
    contour_pair,
    differences,
    turned_away,
    warp_back_pair,
)
from reenactor.research.data.shards import Sample
from reenactor.research.data.shares import Share, SharedStream, interleaved

_STRETCH = 64
"""Length of each of a clip's two stretches, frames; decoding, not pairing, is what costs."""
_FRAMES_PER_PAIR = 2
_OPEN_CLIPS = 4
"""Clips that a worker draws from at the same time, so that a batch mixes people."""
_BANK_CLIPS, _BANK_FRAMES = 64, 24
_UNCHANGED = PairAugmentation()
_NUMBER = {kind: number for number, kind in enumerate(PairKind, start=1)}
"""Tells the kinds' random numbers apart."""


@dataclass(frozen=True)
class PairSettings:
    """What pairs to make.

    Args:
        size: side of the pictures, pixels.
        targets: photos K in each pair (contour pairs have one, repeated).
        mix: weight of each kind; kinds that the pack has no data for are left out (contour pairs need
            photos of two people).
        least_gap_s: same-clip targets are this far from the driver where the clip is long enough.
        opening: share of clip pairs, where the clip allows, whose driver opens a mouth that the targets do not.
        turning: share of clip pairs, where the clip allows, whose driver looks to another side than the targets.
        follow: share of clip pairs after which one with the next frame comes.
        warp_back_face_only: see `warp_back_pair`.
        augment: how far pairs are changed.
        people: identities to take pairs of; empty for all. Anybody may still lend an outline to contour pairs.
        photos: of a person, at most so many are used; None for all.
    """

    size: int = 128
    targets: int = 1
    mix: dict[PairKind, float] = field(
        default_factory=lambda: {PairKind.CLIP: 0.6, PairKind.WARP_BACK: 0.3, PairKind.CONTOUR: 0.1}
    )
    least_gap_s: float = 1.0
    opening: float = 0.0
    turning: float = 0.0
    follow: float = 0.0
    warp_back_face_only: bool = False
    augment: PairAugmentation = _UNCHANGED
    people: tuple[str, ...] = ()
    photos: int | None = None

    def __post_init__(self) -> None:
        if self.size < 16 or self.targets < 1:
            raise ValueError("pairs need pictures of at least 16 px and at least one target")
        if min(self.mix.values()) < 0 or sum(self.mix.values()) <= 0:
            raise ValueError("the weights of a mix must not be negative, nor all zero")


class PairStream(SharedStream):
    """Yields pairs as dictionaries of tensors, for ever; shared out, and repeatable, as `SharedStream` says.

    Args:
        folder: what `reenactor prepare` wrote.
        settings: what pairs to make.
        split: which part of the data.
        seed: of everything random.
        rank, world: this machine's (or process') number, and how many there are.
        epoch: of the first iteration.

    Raises:
        ReenactError: the pack has nothing for this split and mix.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        settings: PairSettings = PairSettings(),
        *,
        split: Split = Split.TRAIN,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epoch: int = 0,
    ) -> None:
        super().__init__(folder, seed=seed, rank=rank, world=world, epoch=epoch)
        self._settings = settings
        kinds = self._reader.index["kind"].to_numpy(zero_copy_only=False)
        chosen = self._reader.index["split"].to_numpy(zero_copy_only=False) == split.value
        names = self._reader.index["identity"].to_numpy(zero_copy_only=False).astype(str)
        lenders = chosen & (kinds == Kind.PHOTO.value)
        self._lenders, self._lender_names = np.flatnonzero(lenders), names[lenders]
        if settings.people:
            chosen &= np.isin(names, settings.people)
        frames, face_share = (self._reader.index[name].to_numpy() for name in ("frames", "face_share"))
        long_enough = np.rint(frames * face_share) > 1
        self._clips = np.flatnonzero(chosen & (kinds == Kind.CLIP.value) & long_enough)
        photos = np.flatnonzero(chosen & (kinds == Kind.PHOTO.value))
        self._photos = photos if settings.photos is None else _first_of_each(photos, names[photos], settings.photos)
        possible = {
            PairKind.CLIP: len(self._clips) > 0,
            PairKind.CONTOUR: len(self._photos) > 0 and len(np.unique(self._lender_names)) > 1,
            PairKind.WARP_BACK: len(self._photos) > 0,
        }
        self._mix = {kind: w for kind, w in settings.mix.items() if w > 0 and possible[kind]}
        if not self._mix:
            raise ReenactError(
                f"{folder} has nothing to train on in its '{split.value}' split for this mix of pairs "
                "(contour pairs need photos of two people); prepare more data"
            )

    def _samples(self, share: Share) -> Iterator[dict[str, Any]]:
        makers = {
            PairKind.CLIP: self._clip_pairs,
            PairKind.CONTOUR: self._contour_pairs,
            PairKind.WARP_BACK: self._warp_back_pairs,
        }
        sources = {kind: makers[kind](share) for kind in self._mix}
        kinds = list(self._mix)
        weights = np.array([self._mix[kind] for kind in kinds])
        rng = self._rng(share)
        while True:
            kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
            for pair in augmented(next(sources[kind]), self._settings.augment, rng):
                yield as_tensors(pair)

    def _clip_pairs(self, share: Share) -> Iterator[list[Pair]]:
        rng = self._rng(share, _NUMBER[PairKind.CLIP])
        rows = self._rows(self._clips, _NUMBER[PairKind.CLIP], share)
        most = min(_OPEN_CLIPS, len(self._clips))
        return interleaved(lambda: self._pairs_of_clip(self._next_clip(rows), rng), most, rng)

    def _next_clip(self, rows: Iterator[int]) -> Sample:
        """The next clip that can give a pair: the index only tells about how many of a clip's frames show the face."""
        # The part's own clips first; if those are no good, any.
        for row in chain(islice(rows, len(self._clips)), self._clips.tolist()):
            sample = self._reader[row]
            if np.count_nonzero(sample.seen) > 1:
                return sample
        raise ReenactError(
            f"no clip of this split in {self._reader.folder} has two frames that show the face; prepare more data"
        )

    def _pairs_of_clip(self, sample: Sample, rng: np.random.Generator) -> Iterator[list[Pair]]:
        turning = self._settings.turning > 0 and rng.random() < self._settings.turning
        numbers = _stretches(sample.landmarks, np.flatnonzero(sample.seen), rng, turning=turning)
        size = self._settings.size
        frames = sample.frames(numbers.tolist(), size=size)
        meshes, times_s = sample.landmarks_at(size)[numbers], sample.times_s[numbers]
        for _ in range(max(1, len(numbers) // _FRAMES_PER_PAIR)):
            yield clip_pairs(
                sample.identity,
                frames,
                meshes,
                times_s,
                targets=self._settings.targets,
                least_gap_s=self._settings.least_gap_s,
                opening=self._settings.opening,
                turning=turning,
                follow=self._settings.follow > 0 and rng.random() < self._settings.follow,
                rng=rng,
            )

    def _photo(self, row: int) -> tuple[str, np.ndarray, np.ndarray]:
        """(identity, picture, mesh) of a photo."""
        sample, size = self._reader[row], self._settings.size
        return sample.identity, sample.frames(size=size)[0], sample.landmarks_at(size)[0]

    def _contour_pairs(self, share: Share) -> Iterator[list[Pair]]:
        rng = self._rng(share, _NUMBER[PairKind.CONTOUR])
        for row in self._rows(self._photos, _NUMBER[PairKind.CONTOUR], share):
            identity, photo, mesh = self._photo(row)
            # One's own outline teaches nothing; a photo of any part may lend one, as only its landmarks are shown.
            lender = self._reader[int(rng.choice(self._lenders[self._lender_names != identity]))]
            pair = contour_pair(identity, photo, mesh, lender.landmarks_at(self._settings.size)[0])
            yield [_with_targets(pair, self._settings.targets)]

    def _warp_back_pairs(self, share: Share) -> Iterator[list[Pair]]:
        rng = self._rng(share, _NUMBER[PairKind.WARP_BACK])
        bank = self._expressions(rng)
        for row in self._rows(self._photos, _NUMBER[PairKind.WARP_BACK], share):
            identity, photo, mesh = self._photo(row)
            clip = bank[int(rng.integers(len(bank)))]
            before, after = clip[rng.integers(len(clip), size=2)]
            pair = warp_back_pair(
                identity,
                photo,
                mesh,
                (before, after),
                targets=self._settings.targets,
                face_only=self._settings.warp_back_face_only,
                rng=rng,
            )
            yield [pair]

    def _expressions(self, rng: np.random.Generator) -> list[Float[np.ndarray, "n 478 3"]]:
        """Shapes in mean pose from some clips; without any the mean face, which differs from itself by nothing."""
        mean = mean_face()
        bank = []
        for row in rng.choice(self._clips, min(_BANK_CLIPS, len(self._clips)), replace=False):
            sample = self._reader[int(row)]
            usable = np.flatnonzero(sample.seen)
            if len(usable):
                meshes = sample.landmarks[rng.choice(usable, min(_BANK_FRAMES, len(usable)), replace=False)]
                heads = fit_similarity(mean.points, meshes, mean.weights)
                bank.append(heads.inverse().apply(meshes.astype(np.float64)))
        return bank or [mean.points[None].astype(np.float64)]


def _stretches(
    meshes: Float[np.ndarray, "t 478 3"],
    usable: Int[np.ndarray, " n"],
    rng: np.random.Generator,
    *,
    turning: bool = False,
) -> Int[np.ndarray, " m"]:
    """Two stretches of the clip, the second drawn with a chance that grows with its distance in pose and expression.

    Within a few seconds most heads hardly turn. If that is wanted, the second looks to another side, where one does.
    """
    if len(usable) <= 2 * _STRETCH:
        return usable
    starts = np.arange(len(usable) - _STRETCH + 1)
    middles = meshes[usable[starts + _STRETCH // 2]]
    # Far enough from one end that there is room for the other.
    roomy = (starts >= _STRETCH) | (starts <= len(starts) - 1 - _STRETCH)
    turns = turning and (roomy & (aside := turned_away(middles))).any()
    first = int(rng.choice(starts[roomy & aside if turns else roomy]))
    chance = (1e-6 + differences(middles, middles[first])) * (np.abs(starts - first) >= _STRETCH)
    if turns and (away := chance * turned_away(middles, middles[first])).any():
        chance = away
    second = int(rng.choice(starts, p=chance / chance.sum()))
    return np.concatenate([usable[start : start + _STRETCH] for start in sorted((first, second))])


def _first_of_each(rows: Int[np.ndarray, " n"], names: np.ndarray, most: int) -> Int[np.ndarray, " m"]:
    """The first `most` rows of each name."""
    seen = Counter[str]()
    kept = []
    for row, name in zip(rows, names, strict=True):
        seen[name] += 1
        if seen[name] <= most:
            kept.append(row)
    return np.array(kept, int)


def _with_targets(pair: Pair, targets: int) -> Pair:
    """A pair of one target with the target repeated."""
    if targets == 1:
        return pair
    repeated = np.repeat(pair.targets, targets, axis=0), np.repeat(pair.target_mesh, targets, axis=0)
    return Pair(pair.kind, pair.identity, *repeated, pair.truth, pair.driver_mesh, pair.mask)


def as_tensors(pair: Pair) -> dict[str, Any]:
    """What a batch is collated from: `targets` (K, 3, s, s), `truth` (3, s, s), `mask` (1, s, s), all uint8;
    `target_mesh` (K, 478, 3) and `driver_mesh` (478, 3) float32; `follows` bool; `identity` and `kind` as text.
    """
    return {
        "targets": torch.from_numpy(np.ascontiguousarray(pair.targets.transpose(0, 3, 1, 2))),
        "target_mesh": torch.from_numpy(np.asarray(pair.target_mesh, np.float32)),
        "truth": torch.from_numpy(np.ascontiguousarray(pair.truth.transpose(2, 0, 1))),
        "driver_mesh": torch.from_numpy(np.asarray(pair.driver_mesh, np.float32)),
        "mask": torch.from_numpy(np.ascontiguousarray(pair.mask))[None],
        "follows": pair.follows,
        "identity": pair.identity,
        "kind": pair.kind.value,
    }


def pictures_m1p1(pictures: Tensor) -> Float[Tensor, "*b 3 h w"]:
    """uint8 -> float32 in [-1, 1]; call it on the device."""
    return pictures.float() / 127.5 - 1


def batch_loader(stream: IterableDataset, *, batch_size: int, workers: int = 2) -> DataLoader:
    """A loader of batches; pictures stay uint8 until they are on the device (`pictures_m1p1`).

    Args:
        stream: of pairs or frames.
        batch_size: samples in a batch.
        workers: processes; 0 makes the samples in this one.
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
    # Ctrl-C reaches all processes of a terminal; the one that trains says when these end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
