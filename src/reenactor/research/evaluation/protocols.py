"""Which pictures are shown to every method: seeded sets of target pictures and a driver's frame, by both papers' rules.

A set does not depend on how many targets K are asked for, but for their number: the first one, and the driver, are the
same for K = 1 and K = 8. What a protocol is, docs/evaluation.md says.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from reenactor.core import ReenactError
from reenactor.face.geometry import in_mean_pose
from reenactor.face.geometry.mean_face import head_angles
from reenactor.research.data import Kind, Sample, ShardReader, Split
from reenactor.research.evaluation.packs import Frame, Packs, pack_digest

FORMAT = "reenactor-sets"
VERSION = 1

SELF_SETS, SELF_VIDEOS = 2083, 100
SETS_PER_IDENTITY = 2000
RUN = 20
"""Frames of a driver's clip that a target is given before the next clip: enough to judge a sequence."""
TARGETS, DRIVERS = 500, 100
_LEAST_DRIVERS = 10
LEAST_GAP_S = 1.0
_GAP_SHARE = 0.7
"""In clips too short for `LEAST_GAP_S`, targets are this share of the farthest distance away from the driver; from
sequences they are so far away in any clip."""
SEQUENCE, LEAST_SEQUENCE = 50, 3
"""Consecutive frames of a driver; fewer than three have no second difference."""


class Protocol(str, Enum):
    """Who drives whom."""

    SELF = "self"
    """Paper B, table 1: target and driver are frames of one video, and the driver's frame is the truth."""
    DIFFERENT = "different"
    """Paper B, table 2: every person of the data is driven by every other."""
    SAME_SOURCE = "same-source"
    """Paper A, table 1: portraits of the data set that was trained on, driven by expressions of others."""
    CROSS_SOURCE = "cross-source"
    """Paper A, table 1: portraits of another data set of the same kind."""
    WILD = "wild"
    """Paper A, table 1: portraits in the wild."""
    VIDEO = "video"
    """Ours: consecutive frames of a video, drawn from a frame far away in time."""
    VIDEO_DIFFERENT = "video-different"
    """Ours: the same frames, drawn from a frame of another person."""

    @property
    def has_truth(self) -> bool:
        """The driver's frame is the true picture: target and driver are of one video."""
        return self in (Protocol.SELF, Protocol.VIDEO)

    @property
    def consecutive(self) -> bool:
        """The sets of a clip are consecutive frames in their order, so steadiness can be judged."""
        return self in (Protocol.VIDEO, Protocol.VIDEO_DIFFERENT)


@dataclass(frozen=True)
class Case:
    """What a method is shown, and whose answer it is.

    Args:
        id: names the answer's file.
        identity: of the target.
        targets: K pictures of one person; the first one is animated.
        driver: the pose and expression wanted.
        clip: names the frames that are judged together as a sequence: of one target and one driver's clip.
    """

    id: str
    identity: str
    targets: tuple[Frame, ...]
    driver: Frame
    clip: str


@dataclass(frozen=True)
class CaseList:
    """All sets of a protocol; as JSON it is what every method is measured on.

    Args:
        protocol: by whose rules.
        k: target pictures in each set.
        size: side of the pictures that are compared, pixels.
        seed: of the choice.
        split: of the packs.
        data_sha256: digest of the drivers' pack.
        targets_sha256: digest of the targets' pack; the same unless another one was given.
        sets: in an order in which any first part is balanced over people.
    """

    protocol: Protocol
    k: int
    size: int
    seed: int
    split: Split
    data_sha256: str
    targets_sha256: str
    sets: tuple[Case, ...]

    def __len__(self) -> int:
        return len(self.sets)

    @property
    def name(self) -> str:
        """Protocol and K, as they stand in metrics' names: `k1_self`."""
        return f"k{self.k}_{self.protocol.value.replace('-', '_')}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """What `read_cases` reads."""
        head = {
            "protocol": self.protocol.value,
            "k": self.k,
            "size": self.size,
            "seed": self.seed,
            "split": self.split.value,
            "data_sha256": self.data_sha256,
            "targets_sha256": self.targets_sha256,
        }
        lines = [json.dumps(_as_json(one)) for one in self.sets]
        text = json.dumps({"format": FORMAT, "version": VERSION, **head}, indent=1)
        return text[:-2] + ',\n "sets": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read_cases(path: Path) -> CaseList:
    """Read what `CaseList.to_json` gave.

    Raises:
        ReenactError: missing, or something else.
    """
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT or found["version"] != VERSION:
            raise ValueError(f"{found['format']} of version {found['version']}")
        sets = tuple(_from_json(one) for one in found["sets"])
        head = {name: found[name] for name in ("k", "size", "seed", "data_sha256", "targets_sha256")}
        return CaseList(protocol=Protocol(found["protocol"]), split=Split(found["split"]), sets=sets, **head)
    except FileNotFoundError:
        raise ReenactError(f"{path} is missing; 'reenactor evaluate export' writes it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReenactError(
            f"{path} does not list sets ({error}); let 'reenactor evaluate export' write it anew"
        ) from error


def choose_cases(
    packs: Packs,
    protocol: Protocol,
    *,
    k: int = 1,
    count: int | None = None,
    frames: int = SEQUENCE,
    seed: int = 0,
    split: Split = Split.VAL,
    size: int = 256,
) -> CaseList:
    """The sets of a protocol; the same arguments always give the same.

    Args:
        packs: where drivers and targets come from.
        protocol: by whose rules.
        k: target pictures in each set.
        count: how many sets in all; None for as many as the paper has, or the data allows. Sequences stay whole, so
            there may be some more.
        frames: of each sequence, for protocols of consecutive frames.
        seed: of the choice.
        split: which part of the packs.
        size: side of the pictures that are compared, pixels.

    Raises:
        ReenactError: the packs have nothing for this protocol.
    """
    if k < 1 or (count is not None and count < 1):
        raise ReenactError(f"there must be at least one target and one set, not {k} and {count}")
    if frames < LEAST_SEQUENCE:
        raise ReenactError(f"a sequence must have {LEAST_SEQUENCE} frames or more, not {frames}")
    if size % 32 or not 64 <= size <= 1024:
        raise ReenactError(f"the size of the pictures must be a multiple of 32 from 64 to 1024, not {size}")
    if protocol in (Protocol.CROSS_SOURCE, Protocol.WILD) and packs.targets is packs.drivers:
        raise ReenactError(
            f"the protocol {protocol.value} takes its targets from another data set; give --targets PACK"
        )
    one_pack = protocol.consecutive or protocol in (Protocol.SELF, Protocol.DIFFERENT)
    if one_pack and packs.targets is not packs.drivers:
        raise ReenactError(f"the protocol {protocol.value} has one data set; leave out --targets")
    if protocol.consecutive:
        sets = _sequences(packs, k, count, seed, split, frames, own=protocol.has_truth)
    else:
        choose = {Protocol.SELF: _self, Protocol.DIFFERENT: _different}.get(protocol, _portraits)
        sets = choose(packs, k, count, seed, split)
    digests = pack_digest(packs.drivers), pack_digest(packs.targets)
    return CaseList(protocol, k, size, seed, split, *digests, tuple(sets))


def _self(packs: Packs, k: int, count: int | None, seed: int, split: Split) -> list[Case]:
    """2,083 sets of 100 random videos; targets at least a second away from the driver."""
    rows = _rows(packs.drivers, split, Kind.CLIP)
    order = np.random.default_rng(seed).permutation(len(rows))[:SELF_VIDEOS]
    clips = [clip for clip in (packs.drivers[rows[i]] for i in order) if clip.seen.sum() > 1]
    if not clips:
        raise ReenactError(f"{packs.drivers.folder} has no clips in its split {split.value}; choose another --split")
    sets = []
    for i in range(count or SELF_SETS):
        clip, rng = clips[i % len(clips)], np.random.default_rng([seed, i])
        driver = int(rng.choice(np.flatnonzero(clip.seen)))
        away_s = np.abs(clip.times_s - clip.times_s[driver])
        least_s = min(LEAST_GAP_S, _GAP_SHARE * float(away_s[clip.seen].max()))
        apart = np.flatnonzero(clip.seen & (away_s >= least_s - 1e-6))
        targets = _frames_of(clip, _some(apart, k, rng))
        sets.append(Case(f"self-{i:06d}", clip.identity, targets, Frame(clip.key, driver), clip.key))
    return sets


def _different(packs: Packs, k: int, count: int | None, seed: int, split: Split) -> list[Case]:
    """2,000 sets for each person, driven by all others in turn, by `RUN` frames of one clip at a time."""
    clips = _by_identity(packs.drivers, split, Kind.CLIP)
    people = sorted(clips)
    if len(people) < 2:
        raise ReenactError(
            f"{packs.drivers.folder} has clips of {len(people)} people in its split {split.value}, and two are needed"
        )
    sample = _Samples(packs.drivers)
    sets = []
    for i in range(count or SETS_PER_IDENTITY * len(people)):
        round_, who = divmod(i, len(people))
        run = round_ // RUN
        of_run, rng = np.random.default_rng([seed, who, run]), np.random.default_rng([seed, i])
        target = sample(int(of_run.choice(clips[people[who]])))
        other = people[(who + 1 + run % (len(people) - 1)) % len(people)]
        clip = sample(int(of_run.choice(clips[other])))
        driver = int(rng.choice(np.flatnonzero(clip.seen)))
        targets = _frames_of(target, _some(np.flatnonzero(target.seen), k, rng))
        name = f"{target.key} by {clip.key}"
        sets.append(Case(f"different-{i:06d}", people[who], targets, Frame(clip.key, driver), name))
    return sets


def _portraits(packs: Packs, k: int, count: int | None, seed: int, split: Split) -> list[Case]:
    """500 people, each driven by 100 expressions of somebody else.

    The expressions are one clip's (the paper compares sequences), chosen to differ; without clips, portraits.
    """
    rng = np.random.default_rng(seed)
    candidates = _candidates(packs.targets, split, k)
    drivers = _by_identity(packs.drivers, split, Kind.CLIP) or _by_identity(packs.drivers, split, Kind.PHOTO)
    people, most = _shares(count, len(candidates))
    chosen = [candidates[i] for i in rng.permutation(len(candidates))[:people]]
    target_of, driver_of = _Samples(packs.targets), _Samples(packs.drivers)
    by_target: list[list[Case]] = []
    for who, rows in chosen:
        own = np.random.default_rng([seed, len(by_target)])
        target = target_of(int(own.choice(rows)))
        targets = _frames_of(target, _some(np.flatnonzero(target.seen), k, own))
        others = [person for person in sorted(drivers) if person != who]
        if not others:
            raise ReenactError(f"{packs.drivers.folder} has nobody in its split {split.value} who could drive {who}")
        clip = driver_of(int(own.choice(drivers[own.choice(others)])))
        if clip.kind is Kind.CLIP:
            frames = [Frame(clip.key, int(i)) for i in _different_looks(clip, most, own)]
            name = f"{target.key} by {clip.key}"
        else:
            some = own.permutation(others)[:most]
            frames = [Frame(driver_of(int(own.choice(drivers[person]))).key, 0) for person in some]
            name = f"{target.key} by portraits"
        by_target.append([Case("", who, targets, frame, name) for frame in frames])
    longest = max(map(len, by_target))
    ordered = [sets[j] for j in range(longest) for sets in by_target if j < len(sets)][:count]
    return [Case(f"portrait-{i:06d}", s.identity, s.targets, s.driver, s.clip) for i, s in enumerate(ordered)]


def _sequences(
    packs: Packs, k: int, count: int | None, seed: int, split: Split, frames: int, *, own: bool
) -> list[Case]:
    """Consecutive frames of each clip, in its own order; of the same seed the same ones for one person and for two.

    Args:
        own: targets are of the driver's clip, as far away in time as `_GAP_SHARE` says; else of a clip of each other
            person in turn.
    """
    clips = _by_identity(packs.drivers, split, Kind.CLIP)
    sample, people = _Samples(packs.drivers), sorted(clips)
    if not own and len(people) < 2:
        raise ReenactError(
            f"{packs.drivers.folder} has clips of {len(people)} people in its split {split.value}, and two are needed"
        )
    rows = [row for person in people for row in clips[person]]
    order = np.random.default_rng(seed).permutation(len(rows))[:SELF_VIDEOS]
    starts = {rows[i]: _starts(sample(rows[i]).seen, frames) for i in order}
    usable = [row for row, (first, _) in starts.items() if len(first)]
    if not usable:
        raise ReenactError(
            f"{packs.drivers.folder} has no clips in its split {split.value} that are long enough; choose another "
            "--split, or fewer --frames"
        )
    sets: list[Case] = []
    number = 0
    while (len(sets) < count) if count else (number < len(usable)):
        round_, which = divmod(number, len(usable))
        clip, rng = sample(usable[which]), np.random.default_rng([seed, number])
        possible, length = starts[usable[which]]
        driven = np.arange(length) + int(rng.choice(possible))
        if own:
            target, allowed = clip, _far_from(clip, driven)
        else:
            other = people[(people.index(clip.identity) + 1 + round_ % (len(people) - 1)) % len(people)]
            target = sample(int(rng.choice(clips[other])))
            allowed = np.flatnonzero(target.seen)
        targets = _frames_of(target, _some(allowed, k, rng))
        name = f"{number}: {target.key} by {clip.key}"
        for i in driven:
            sets.append(Case(f"video-{len(sets):06d}", target.identity, targets, Frame(clip.key, int(i)), name))
        number += 1
    return sets


def _starts(seen: Bool[np.ndarray, " t"], frames: int) -> tuple[Int[np.ndarray, " n"], int]:
    """First frames of sequences in which the face was always found, and how long they are: half of the clip at most."""
    length = min(frames, len(seen) // 2)
    if length < LEAST_SEQUENCE:
        return np.zeros(0, int), 0
    found = np.lib.stride_tricks.sliding_window_view(seen, length).all(axis=1)
    return np.flatnonzero(found), length


def _far_from(clip: Sample, driven: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Frames far in time from all those of a sequence."""
    ends_s = clip.times_s[driven[[0, -1]]]
    away_s = np.maximum(ends_s[0] - clip.times_s, clip.times_s - ends_s[1])
    return np.flatnonzero(clip.seen & (away_s >= _GAP_SHARE * away_s[clip.seen].max() - 1e-6))


def _candidates(pack: ShardReader, split: Split, k: int) -> list[tuple[str, list[int]]]:
    """People and the rows to choose a target from: portraits for one-shot; for few-shot, clips, with other looks."""
    photos, clips = _by_identity(pack, split, Kind.PHOTO), _by_identity(pack, split, Kind.CLIP)
    found = photos if k == 1 and photos else clips
    if not found:
        what = "portraits or clips" if k == 1 else "clips, from which several pictures of a person could be taken,"
        raise ReenactError(f"{pack.folder} has no {what} in its split {split.value}; choose another --split")
    return sorted(found.items())


def _shares(count: int | None, people: int) -> tuple[int, int]:
    """How many targets and drivers of each: in the paper's proportion, five to one, but ten drivers at least."""
    if count is None:
        return min(TARGETS, people), DRIVERS
    drivers = max(_LEAST_DRIVERS, round(np.sqrt(count * DRIVERS / TARGETS)))
    targets = min(people, TARGETS, max(1, round(count / drivers)))
    return targets, -(-count // targets)


def _different_looks(clip: Sample, most: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Frames that differ as much as can be: each next one is the farthest from all before."""
    frames = np.flatnonzero(clip.seen)
    looks = _looks(clip.landmarks[frames])
    picked = [int(rng.integers(len(frames)))]
    far = np.full(len(frames), np.inf)
    while len(picked) < min(most, len(frames)):
        far = np.minimum(far, np.linalg.norm(looks - looks[picked[-1]], axis=1))
        far[picked[-1]] = -1
        picked.append(int(far.argmax()))
    return frames[picked]


def _looks(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n d"]:
    """Pose and expression as one vector: 10 degrees count like an RMS movement of 0.03 outer-eye distances."""
    shape = in_mean_pose(mesh_px)[1].reshape(len(mesh_px), -1)
    return np.hstack([head_angles(mesh_px) / 10, shape / (0.03 * np.sqrt(shape.shape[1] / 3))])


def _some(allowed: Int[np.ndarray, " n"], k: int, rng: np.random.Generator) -> list[int]:
    """K of the frames, all different while there are enough; the first does not depend on K."""
    order = rng.permutation(allowed)
    return [int(order[i % len(order)]) for i in range(k)]


def _frames_of(sample: Sample, numbers: Sequence[int]) -> tuple[Frame, ...]:
    return tuple(Frame(sample.key, number) for number in numbers)


class _Samples:
    """Samples by row; each may be needed often, and its landmarks take time to decode."""

    def __init__(self, pack: ShardReader) -> None:
        self._pack = pack
        self._kept: dict[int, Sample] = {}

    def __call__(self, row: int) -> Sample:
        if row not in self._kept:
            self._kept[row] = self._pack[row]
        return self._kept[row]


def _rows(pack: ShardReader, split: Split, kind: Kind) -> list[int]:
    """Where the face was found in at least one frame."""
    columns = [pack.index[name].to_pylist() for name in ("split", "kind", "face_share")]
    return [
        i
        for i, (s, what, share) in enumerate(zip(*columns, strict=True))
        if s == split.value and what == kind.value and share > 0
    ]


def _by_identity(pack: ShardReader, split: Split, kind: Kind) -> dict[str, list[int]]:
    names = pack.index["identity"].to_pylist()
    people: dict[str, list[int]] = defaultdict(list)
    for row in _rows(pack, split, kind):
        people[names[row]].append(row)
    return dict(people)


def _as_json(one: Case) -> dict[str, Any]:
    return {
        "id": one.id,
        "identity": one.identity,
        "targets": [[frame.key, frame.number] for frame in one.targets],
        "driver": [one.driver.key, one.driver.number],
        "clip": one.clip,
    }


def _from_json(one: dict[str, Any]) -> Case:
    targets = tuple(Frame(*frame) for frame in one["targets"])
    return Case(one["id"], one["identity"], targets, Frame(*one["driver"]), one["clip"])
