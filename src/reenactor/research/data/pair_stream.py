"""A stream of training pairs from a pack, mixed by weight. See `streams` for how samples are divided and batched."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from reenactor.core import Alignment, ReenactError
from reenactor.face.geometry import fit_similarity, in_mean_pose, mean_face
from reenactor.face.retarget.neutral import neutral_face
from reenactor.research.data.items import Kind, Split
from reenactor.research.data.pairs import (
    TURNS_DEG,
    FrameChoice,
    Pair,
    PairAugmentation,
    PairKind,
    aligned,
    augmented,
    clip_pairs,
    contour_pair,
    differences,
    eye_opening,
    eyes_closed,
    photos_pair,
    turned_away,
    warp_back_pair,
)
from reenactor.research.data.shards import Sample
from reenactor.research.data.streams import PackStream, WorkerShard, by_name, interleaved, read_size

_STRETCH = 64
"""Frames in each of the two stretches read of a clip; decoding, not pairing, is what costs."""
_FRAMES_PER_PAIR = 2
_EXPRESSION_CLIPS, _EXPRESSIONS_PER_CLIP, _EXPRESSION_PHOTOS = 64, 24, 512
_RANDOM_STREAM = {kind: number for number, kind in enumerate(PairKind, start=1)}
"""Separates the random numbers of the kinds."""


class PairData(BaseModel):
    """Which pairs `PairStream` makes. Kinds of pairs that a pack has no data for are left out of the mix."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pairs"] = "pairs"
    size: int = Field(default=256, ge=32, multiple_of=32)
    """Side of the pictures, pixels."""
    alignment: Alignment = Alignment.BOX
    """How the faces lie in them: as the pack's do, or aligned to the mean shape, see `pairs.aligned`."""
    targets: int = Field(default=4, ge=1, le=8)
    """K, photos in each pair. Contour pairs have one, repeated."""
    mix: dict[PairKind, float] = {PairKind.CLIP: 0.6, PairKind.WARP_BACK: 0.3, PairKind.CONTOUR: 0.1}
    """Weight of each kind of pair. Contour pairs need photos of two people, photo pairs two of one."""
    choice: FrameChoice = "different"
    """Target frames of a clip: "different" from the driver in pose and expression, or "uniform" (paper B)."""
    open_clips: int = Field(default=16, ge=1)
    """Clips that a worker draws from at a time, 25 MB each at 256 pixels. A batch comes from one worker: 16 samples
    show 10 clips on average, with 32 open clips 13."""
    least_gap_s: float = Field(default=1.0, ge=0)
    """Target frames are at least this far from the driver frame, if the clip is long enough."""
    opening: float = Field(default=0.0, ge=0, le=1)
    """Share of clip pairs, if the clip allows, whose driver opens a mouth that is closed in the targets."""
    closing: float = Field(default=0.0, ge=0, le=1)
    """... whose driver closes a mouth that is open in the targets."""
    blinking: float = Field(default=0.0, ge=0, le=1)
    """... whose driver's eyes are closed, and the targets' open. At most one of these three is drawn."""
    turning: float = Field(default=0.0, ge=0, le=1)
    """Share of clip pairs, from clips that allow it, whose driver looks to another side than the targets."""
    follow: float = Field(default=0.0, ge=0, le=1)
    """Share of clip pairs followed by a pair of the next frame, for losses that compare the two."""
    warp_back_face_only: bool = False
    """Supervise warp-back pairs inside the face only."""
    people: tuple[str, ...] = ()
    """Identities to make pairs of; empty for all. Others may still lend their outline to contour pairs."""
    photos: int | None = Field(default=None, ge=1)
    """Use at most this many photos of each person (k-shot fine-tuning); None for all."""
    augment: PairAugmentation = PairAugmentation()
    """How pairs are augmented; validation pairs are not."""

    @model_validator(mode="after")
    def _check_shares(self) -> PairData:
        if self.opening + self.closing + self.blinking > 1:
            raise ValueError("opening, closing and blinking are shares of the same pairs: together at most 1")
        return self

    @field_validator("mix")
    @classmethod
    def _check_mix(cls, mix: dict[PairKind, float]) -> dict[PairKind, float]:
        if min(mix.values(), default=0) < 0 or sum(mix.values()) <= 0:
            raise ValueError("the weights of a mix must not be negative, nor all zero")
        return mix


class PairStream(PackStream[PairData]):
    """Yields training pairs (`as_tensors` lists the names and shapes). Arguments and errors: see `PackStream`."""

    def _select(self, split: Split) -> None:
        reader, data = self._reader, self._data
        kinds, names = reader.column("kind"), reader.column("identity").astype(str)
        chosen = reader.column("split") == split.value
        lenders = chosen & (kinds == Kind.PHOTO.value)
        self._lenders, self._lender_names = np.flatnonzero(lenders), names[lenders]
        if data.people:
            chosen &= np.isin(names, data.people)
        long_enough = np.rint(reader.column("frames") * reader.column("face_share")) > 1
        self._clips = np.flatnonzero(chosen & (kinds == Kind.CLIP.value) & long_enough)
        yaws_deg = (reader.column("yaw_max") - reader.column("yaw_min"))[self._clips]
        self._turning = self._clips[yaws_deg > TURNS_DEG]
        photos = np.flatnonzero(chosen & (kinds == Kind.PHOTO.value))
        people = [rows[: data.photos] for rows in by_name(photos, names[photos])]
        self._photos = np.array(sorted(chain.from_iterable(people)), int)
        self._albums = [rows for rows in people if len(rows) > 1]
        possible = {
            PairKind.CLIP: len(self._clips) > 0,
            PairKind.CONTOUR: len(self._photos) > 0 and len(np.unique(self._lender_names)) > 1,
            PairKind.WARP_BACK: len(self._photos) > 0,
            PairKind.PHOTOS: len(self._albums) > 0,
        }
        self._mix = {kind: weight for kind, weight in data.mix.items() if weight > 0 and possible[kind]}
        if not self._mix:
            raise ReenactError(
                f"{reader.folder} has nothing to train on in its '{split.value}' split for this mix of pairs "
                "(contour pairs need photos of two people, photo pairs two of one); prepare more data"
            )

    def _samples(self, shard: WorkerShard) -> Iterator[dict[str, Any]]:
        makers = {
            PairKind.CLIP: self._clip_pairs,
            PairKind.CONTOUR: self._contour_pairs,
            PairKind.WARP_BACK: self._warp_back_pairs,
            PairKind.PHOTOS: self._photos_pairs,
        }
        sources = {kind: makers[kind](shard) for kind in self._mix}
        kinds = list(self._mix)
        weights = np.array([self._mix[kind] for kind in kinds])
        rng = self._rng(shard)
        while True:
            kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
            pairs = next(sources[kind])
            if self._data.alignment is Alignment.MEAN_SHAPE:
                pairs = [aligned(pair, self._data.size) for pair in pairs]
            for pair in augmented(pairs, self._data.augment, rng):
                yield as_tensors(pair)

    def _read_size(self, sample: Sample) -> int:
        return read_size(sample, self._data.size, self._data.alignment)

    def _clip_pairs(self, shard: WorkerShard) -> Iterator[list[Pair]]:
        clips, source = self._clips, _RANDOM_STREAM[PairKind.CLIP]
        rng, every = self._rng(shard, source), (clips, self._shuffled(clips, source, shard))
        turned = (self._turning, self._shuffled(self._turning, source, shard)) if len(self._turning) else every

        def clip() -> Iterator[list[Pair]]:
            turning = rng.random() < self._data.turning
            rows, shuffled = turned if turning else every
            _, sample = self._next_clip(shuffled, rows, at_least=2, complaint="has two frames that show the face")
            return self._pairs_of_clip(sample, rng, turning=turning)

        return interleaved(clip, min(self._data.open_clips, len(clips)), rng)

    def _pairs_of_clip(self, sample: Sample, rng: np.random.Generator, *, turning: bool) -> Iterator[list[Pair]]:
        data = self._data
        blinking = data.blinking > 0 and rng.random() < 2 * data.blinking
        usable = np.flatnonzero(sample.seen)
        if data.choice == "uniform":
            numbers = spread_frames(usable, rng)
        else:
            numbers = two_stretches(sample.landmarks, usable, rng, turning=turning, blinking=blinking)
        size = self._read_size(sample)
        frames = sample.frames(numbers.tolist(), size=size)
        meshes, times_s = sample.landmarks_at(size)[numbers], sample.times_s[numbers]
        for _ in range(max(1, len(numbers) // _FRAMES_PER_PAIR)):
            yield clip_pairs(
                sample.identity,
                frames,
                meshes,
                times_s,
                targets=data.targets,
                least_gap_s=data.least_gap_s,
                choice=data.choice,
                opening=data.opening,
                closing=data.closing,
                blinking=data.blinking,
                turning=turning,
                follow=data.follow > 0 and rng.random() < data.follow,
                rng=rng,
            )

    def _photo(self, row: int) -> tuple[str, np.ndarray, np.ndarray]:
        """Identity, picture and mesh of a photo."""
        sample = self._reader[row]
        size = self._read_size(sample)
        return sample.identity, sample.frames(size=size)[0], sample.landmarks_at(size)[0]

    def _contour_pairs(self, shard: WorkerShard) -> Iterator[list[Pair]]:
        source = _RANDOM_STREAM[PairKind.CONTOUR]
        rng = self._rng(shard, source)
        for row in self._shuffled(self._photos, source, shard):
            identity, photo, mesh = self._photo(row)
            # The outline may come from any shard: its pixels are not shown.
            lender = self._reader[int(rng.choice(self._lenders[self._lender_names != identity]))]
            pair = contour_pair(identity, photo, mesh, lender.landmarks_at(self._data.size)[0])
            yield [_with_targets(pair, self._data.targets)]

    def _warp_back_pairs(self, shard: WorkerShard) -> Iterator[list[Pair]]:
        source = _RANDOM_STREAM[PairKind.WARP_BACK]
        rng = self._rng(shard, source)
        clips = self._expressions(rng)
        for row in self._shuffled(self._photos, source, shard):
            identity, photo, mesh = self._photo(row)
            clip = clips[int(rng.integers(len(clips)))]
            before, after = clip[rng.integers(len(clip), size=2)]
            pair = warp_back_pair(
                identity,
                photo,
                mesh,
                (before, after),
                targets=self._data.targets,
                face_only=self._data.warp_back_face_only,
                rng=rng,
            )
            yield [pair]

    def _photos_pairs(self, shard: WorkerShard) -> Iterator[list[Pair]]:
        source = _RANDOM_STREAM[PairKind.PHOTOS]
        rng = self._rng(shard, source)
        # An album's photos may lie in any shards.
        for number in self._shuffled(np.arange(len(self._albums)), source, shard):
            names, photos, meshes = zip(*map(self._photo, self._albums[number]), strict=True)
            yield [photos_pair(names[0], np.stack(photos), np.stack(meshes), targets=self._data.targets, rng=rng)]

    def _expressions(self, rng: np.random.Generator) -> list[Float[np.ndarray, "n 478 3"]]:
        """Meshes in mean pose of some clips; without clips, of photos: the face at rest (estimated), and as it is."""
        mean = mean_face()
        found = []
        for row in rng.choice(self._clips, min(_EXPRESSION_CLIPS, len(self._clips)), replace=False):
            sample = self._reader[int(row)]
            usable = np.flatnonzero(sample.seen)
            if len(usable):
                chosen = rng.choice(usable, min(_EXPRESSIONS_PER_CLIP, len(usable)), replace=False)
                meshes = sample.landmarks[chosen]
                heads = fit_similarity(mean.points, meshes, mean.weights)
                found.append(heads.inverse().apply(meshes.astype(np.float64)))
        if found:
            return found
        rows = rng.choice(self._lenders, min(_EXPRESSION_PHOTOS, len(self._lenders)), replace=False)
        shapes = [in_mean_pose(self._reader[int(row)].landmarks[0])[1] for row in rows]
        return [np.stack([neutral_face(shape[None]), shape]) for shape in shapes]


def spread_frames(usable: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Choose the frames of a clip to decode: at most 128, all with the same probability; in increasing order."""
    return np.sort(rng.choice(usable, min(len(usable), 2 * _STRETCH), replace=False))


def two_stretches(
    meshes: Float[np.ndarray, "t 478 3"],
    usable: Int[np.ndarray, " n"],
    rng: np.random.Generator,
    *,
    turning: bool = False,
    blinking: bool = False,
) -> Int[np.ndarray, " m"]:
    """Choose the frames of a clip to decode: two stretches of 64 frames that differ in pose and expression.

    Most heads hardly turn within a few seconds, so the second stretch is drawn with a probability that grows with its
    difference from the first.

    Args:
        meshes: landmarks of the clip, pixels.
        usable: increasing numbers of the frames that show the face.
        rng: draws the stretches.
        turning: let the second stretch look to another side, if the clip allows.
        blinking: let the first stretch show closed eyes, if the clip does.

    Returns:
        frame numbers, increasing; all of `usable` if these are at most 128.
    """
    if len(usable) <= 2 * _STRETCH:
        return usable
    starts = np.arange(len(usable) - _STRETCH + 1)
    middles = meshes[usable[starts + _STRETCH // 2]]
    # The other stretch must fit before or after this one.
    roomy = (starts >= _STRETCH) | (starts <= len(starts) - 1 - _STRETCH)
    turns = turning and (roomy & (aside := turned_away(middles))).any()
    suited = roomy & aside if turns else roomy
    if blinking:
        closed = np.pad(eyes_closed(eye_opening(meshes[usable])).cumsum(), (1, 0))
        blinks = suited & (closed[_STRETCH:] > closed[:-_STRETCH])
        suited = blinks if blinks.any() else suited
    first = int(rng.choice(starts[suited]))
    chance = (1e-6 + differences(middles, middles[first])) * (np.abs(starts - first) >= _STRETCH)
    if turns and (away := chance * turned_away(middles, middles[first])).any():
        chance = away
    second = int(rng.choice(starts, p=chance / chance.sum()))
    return np.concatenate([usable[start : start + _STRETCH] for start in sorted((first, second))])


def _with_targets(pair: Pair, targets: int) -> Pair:
    """A pair of one target with the target repeated."""
    if targets == 1:
        return pair
    repeated = np.repeat(pair.targets, targets, axis=0), np.repeat(pair.target_mesh, targets, axis=0)
    return Pair(pair.kind, pair.identity, *repeated, pair.truth, pair.driver_mesh, pair.mask)


def as_tensors(pair: Pair) -> dict[str, Any]:
    """Convert a pair for collating: `targets` (K, 3, s, s), `truth` (3, s, s) and `mask` (1, s, s) uint8;
    `target_mesh` (K, 478, 3) and `driver_mesh` (478, 3) float32; `follows` bool; `identity` and `kind` text.
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
