"""How the cases of each protocol are chosen, by both papers' rules (docs/evaluation.md).

A case depends on its number and the seed; asking for more targets K only adds pictures: the first target and the driver
are the same for K = 1 and K = 8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from reenactor.core import ReenactError
from reenactor.face.geometry import in_mean_pose
from reenactor.face.geometry.looks import covering, looks
from reenactor.face.geometry.mean_face import head_angles
from reenactor.face.retarget import neutral_frame
from reenactor.research.data import Kind, Sample, ShardReader, Split
from reenactor.research.evaluation.cases import Case, CaseList, Protocol
from reenactor.research.evaluation.packs import Frame, Packs, pack_digest, usual_split

SELF_CASES, SELF_VIDEOS = 2083, 100
CASES_PER_IDENTITY = 2000
RUN = 20
"""Consecutive cases of a target that share one driver clip: enough to judge a sequence."""
TARGETS, DRIVERS = 500, 100
_LEAST_DRIVERS = 10
LEAST_GAP_S = 1.0
_GAP_FRACTION = 0.7
"""In clips too short for `LEAST_GAP_S`, and for sequences in any clip, targets are at least this fraction of the
farthest distance in time away from the driver."""
LEAST_PERSON_S = 4.5
"""Clips of which one half makes the person, and the other drives."""
SEQUENCE, LEAST_SEQUENCE = 50, 3
"""Consecutive frames of a driver; fewer than three have no second difference."""


def choose_cases(
    packs: Packs,
    protocol: Protocol,
    *,
    k: int = 1,
    count: int | None = None,
    frames: int = SEQUENCE,
    seed: int = 0,
    split: Split | None = None,
    targets_split: Split | None = None,
    photos: int | None = None,
    size: int = 256,
) -> CaseList:
    """Choose the cases of a protocol; the same arguments always give the same cases.

    Args:
        packs: the data.
        protocol: who drives whom.
        k: target pictures in each case.
        count: number of cases; None for as many as the paper has, or the data allows. Sequences are not cut, so there
            may be some more.
        frames: length of each sequence, for protocols of consecutive frames.
        seed: of the random choice.
        split: which part of the packs; None for `usual_split` of each.
        targets_split: which part of the targets' pack, if not the same.
        photos: where targets are photos, only people with at least this many; None for K. Give the largest K to
            compare several on the same people.
        size: side of the pictures that are compared, pixels.

    Raises:
        ReenactError: the packs have nothing for this protocol.
    """
    if k < 1 or (count is not None and count < 1):
        raise ReenactError(f"there must be at least one target and one case, not {k} and {count}")
    if frames < LEAST_SEQUENCE:
        raise ReenactError(f"a sequence must have {LEAST_SEQUENCE} frames or more, not {frames}")
    if size % 32 or not 64 <= size <= 1024:
        raise ReenactError(f"the size of the pictures must be a multiple of 32 from 64 to 1024, not {size}")
    if protocol in (Protocol.CROSS_SOURCE, Protocol.WILD) and packs.targets is packs.drivers:
        raise ReenactError(
            f"the protocol {protocol.value} takes its targets from another data set; give --targets PACK"
        )
    one_pack = protocol.consecutive or protocol in (Protocol.SELF, Protocol.DIFFERENT, Protocol.PERSON)
    if one_pack and packs.targets is not packs.drivers:
        raise ReenactError(f"the protocol {protocol.value} has one data set; leave out --targets")
    most, targets_split = max(k, photos or k), targets_split or split or usual_split(packs.targets)
    split = split or usual_split(packs.drivers)
    if protocol.consecutive:
        cases = _sequences(packs, k, count, seed, split, frames, own=protocol.has_truth)
    elif one_pack:
        choose = {Protocol.SELF: _self, Protocol.DIFFERENT: _different, Protocol.PERSON: _person}[protocol]
        cases = choose(packs, k, count, seed, split)
    else:
        cases = _portraits(packs, k, count, seed, split, targets_split, most)
    digests = pack_digest(packs.drivers), pack_digest(packs.targets)
    return CaseList(protocol, k, size, seed, split, targets_split, *digests, tuple(cases))


def _self(packs: Packs, k: int, count: int | None, seed: int, split: Split) -> list[Case]:
    """2,083 cases from 100 random clips; targets at least a second away from the driver."""
    rows = _rows(packs.drivers, split, Kind.CLIP)
    order = np.random.default_rng(seed).permutation(len(rows))[:SELF_VIDEOS]
    clips = [clip for clip in (packs.drivers[rows[i]] for i in order) if clip.seen.sum() > 1]
    if not clips:
        raise ReenactError(f"{packs.drivers.folder} has no clips in its split {split.value}; choose another --split")
    cases = []
    for i in range(count or SELF_CASES):
        clip, rng = clips[i % len(clips)], np.random.default_rng([seed, i])
        driver = int(rng.choice(np.flatnonzero(clip.seen)))
        away_s = np.abs(clip.times_s - clip.times_s[driver])
        least_s = min(LEAST_GAP_S, _GAP_FRACTION * float(away_s[clip.seen].max()))
        apart = np.flatnonzero(clip.seen & (away_s >= least_s - 1e-6))
        targets = _frames_of(clip, _some(apart, k, rng))
        cases.append(Case(f"self-{i:06d}", clip.identity, targets, Frame(clip.key, driver), clip.key))
    return cases


def _person(packs: Packs, k: int, count: int | None, seed: int, split: Split) -> list[Case]:
    """Cases from every clip that is long enough: frames of its first half, and one of its second as the truth.

    The first target is the most frontal one; of further ones there are as many as differ.
    """
    clips = []
    for row in _rows(packs.drivers, split, Kind.CLIP):
        clip = packs.drivers[row]
        first = makes_person(clip)
        if clip.times_s[-1] >= LEAST_PERSON_S and first.any() and (clip.seen & ~first).any():
            clips.append((clip, np.flatnonzero(first), np.flatnonzero(clip.seen & ~first)))
    if not clips:
        raise ReenactError(
            f"{packs.drivers.folder} has no clips of {LEAST_PERSON_S} s in its split {split.value}; "
            "choose another --split"
        )
    targets = []
    for clip, first, _ in clips:
        meshes = clip.landmarks[first]
        chosen = covering(looks(meshes), k, neutral_frame(meshes, frontal=True))
        targets.append(_frames_of(clip, [int(first[i]) for i in chosen]))
    cases = []
    for i in range(count or SELF_CASES):
        clip, _, second = clips[i % len(clips)]
        driver = int(np.random.default_rng([seed, i]).choice(second))
        of_clip = targets[i % len(clips)]
        cases.append(Case(f"person-{i:06d}", clip.identity, of_clip, Frame(clip.key, driver), clip.key))
    return cases


def makes_person(clip: Sample) -> Bool[np.ndarray, " t"]:
    """Which frames of a clip make the person: those of its first half that show the face."""
    return clip.seen & (clip.times_s < clip.times_s[-1] / 2)


def _different(packs: Packs, k: int, count: int | None, seed: int, split: Split) -> list[Case]:
    """2,000 cases for each person, driven by all others in turn, by `RUN` frames of one clip at a time."""
    clips = _by_identity(packs.drivers, split, Kind.CLIP)
    people = sorted(clips)
    if len(people) < 2:
        raise ReenactError(
            f"{packs.drivers.folder} has clips of {len(people)} people in its split {split.value}, and two are needed; "
            "choose another --split"
        )
    sample = _Samples(packs.drivers)
    cases = []
    for i in range(count or CASES_PER_IDENTITY * len(people)):
        round_, person = divmod(i, len(people))
        run = round_ // RUN
        of_run, rng = np.random.default_rng([seed, person, run]), np.random.default_rng([seed, i])
        target = sample(int(of_run.choice(clips[people[person]])))
        other = people[(person + 1 + run % (len(people) - 1)) % len(people)]
        clip = sample(int(of_run.choice(clips[other])))
        driver = int(rng.choice(np.flatnonzero(clip.seen)))
        targets = _frames_of(target, _some(np.flatnonzero(target.seen), k, rng))
        name = f"{target.key} by {clip.key}"
        cases.append(Case(f"different-{i:06d}", people[person], targets, Frame(clip.key, driver), name))
    return cases


def _portraits(
    packs: Packs, k: int, count: int | None, seed: int, split: Split, targets_split: Split, photos: int
) -> list[Case]:
    """500 people, each driven by 100 expressions of another person.

    The expressions are frames of one clip (the paper compares sequences), chosen to differ; without clips, portraits.
    """
    rng = np.random.default_rng(seed)
    candidates = _candidates(packs.targets, targets_split, photos)
    drivers = _by_identity(packs.drivers, split, Kind.CLIP) or _by_identity(packs.drivers, split, Kind.PHOTO)
    people, most = _counts(count, len(candidates))
    chosen = [candidates[i] for i in rng.permutation(len(candidates))[:people]]
    target_of, driver_of = _Samples(packs.targets), _Samples(packs.drivers)
    by_target: list[list[Case]] = []
    for identity, rows in chosen:
        own = np.random.default_rng([seed, len(by_target)])
        row = int(own.choice(rows))
        target = target_of(row)
        targets = _frames_of(target, _some(np.flatnonzero(target.seen), k, own))
        if target.kind is Kind.PHOTO:
            further = np.random.default_rng([seed, len(by_target), row]).permutation([r for r in rows if r != row])
            targets = targets[:1] + tuple(Frame(target_of(int(r)).key, 0) for r in further[: k - 1])
        others = [person for person in sorted(drivers) if person != identity]
        if not others:
            raise ReenactError(f"{packs.drivers.folder} has nobody in its split {split.value} to drive {identity}")
        clip = driver_of(int(own.choice(drivers[own.choice(others)])))
        if clip.kind is Kind.CLIP:
            frames = [Frame(clip.key, int(i)) for i in _different_looks(clip, most, own)]
            name = f"{target.key} by {clip.key}"
        else:
            some = own.permutation(others)[:most]
            frames = [Frame(driver_of(int(own.choice(drivers[person]))).key, 0) for person in some]
            name = f"{target.key} by portraits"
        by_target.append([Case("", identity, targets, frame, name) for frame in frames])
    longest = max(map(len, by_target))
    ordered = [cases[j] for j in range(longest) for cases in by_target if j < len(cases)][:count]
    return [replace(case, id=f"portrait-{i:06d}") for i, case in enumerate(ordered)]


def _sequences(
    packs: Packs, k: int, count: int | None, seed: int, split: Split, frames: int, *, own: bool
) -> list[Case]:
    """Consecutive frames of each clip; with one seed the same frames for both protocols.

    Args:
        own: whether targets are frames of the driver's clip, far away in time (`_GAP_FRACTION`); otherwise they are
            frames of a clip of each other person in turn.
    """
    clips = _by_identity(packs.drivers, split, Kind.CLIP)
    sample, people = _Samples(packs.drivers), sorted(clips)
    if not own and len(people) < 2:
        raise ReenactError(
            f"{packs.drivers.folder} has clips of {len(people)} people in its split {split.value}, and two are needed; "
            "choose another --split"
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
    cases: list[Case] = []
    number = 0
    while (len(cases) < count) if count else (number < len(usable)):
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
            cases.append(Case(f"video-{len(cases):06d}", target.identity, targets, Frame(clip.key, int(i)), name))
        number += 1
    return cases


def _starts(seen: Bool[np.ndarray, " t"], frames: int) -> tuple[Int[np.ndarray, " n"], int]:
    """First frames of all sequences in which the face was always found, and their length: half of the clip at most."""
    length = min(frames, len(seen) // 2)
    if length < LEAST_SEQUENCE:
        return np.zeros(0, int), 0
    found = np.lib.stride_tricks.sliding_window_view(seen, length).all(axis=1)
    return np.flatnonzero(found), length


def _far_from(clip: Sample, driven: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Frames far in time from all frames of a sequence."""
    ends_s = clip.times_s[driven[[0, -1]]]
    away_s = np.maximum(ends_s[0] - clip.times_s, clip.times_s - ends_s[1])
    return np.flatnonzero(clip.seen & (away_s >= _GAP_FRACTION * away_s[clip.seen].max() - 1e-6))


def _candidates(pack: ShardReader, split: Split, photos: int) -> list[tuple[str, list[int]]]:
    """People with so many photos, and their rows; if there are none, people with clips, for several pictures of one."""
    found = {name: rows for name, rows in _by_identity(pack, split, Kind.PHOTO).items() if len(rows) >= photos}
    found = found or _by_identity(pack, split, Kind.CLIP)
    if not found:
        what = "portraits" if photos == 1 else f"people with {photos} portraits"
        raise ReenactError(f"{pack.folder} has no {what} or clips in its split {split.value}; choose another --split")
    return sorted(found.items())


def _counts(count: int | None, people: int) -> tuple[int, int]:
    """Number of targets, and of drivers for each: in the paper's ratio, five to one, but ten drivers at least."""
    if count is None:
        return min(TARGETS, people), DRIVERS
    drivers = max(_LEAST_DRIVERS, round(np.sqrt(count * DRIVERS / TARGETS)))
    targets = min(people, TARGETS, max(1, round(count / drivers)))
    return targets, -(-count // targets)


def _different_looks(clip: Sample, most: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """Frames that differ as much as possible: each one is the farthest from all before it."""
    frames = np.flatnonzero(clip.seen)
    return frames[covering(_looks(clip.landmarks[frames]), most, int(rng.integers(len(frames))), least=0)]


def _looks(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n d"]:
    """Pose and expression as one vector: 10 degrees count as much as an RMS movement of 0.03 outer-eye distances."""
    shape = in_mean_pose(mesh_px)[1].reshape(len(mesh_px), -1)
    return np.hstack([head_angles(mesh_px) / 10, shape / (0.03 * np.sqrt(shape.shape[1] / 3))])


def _some(allowed: Int[np.ndarray, " n"], k: int, rng: np.random.Generator) -> list[int]:
    """K of the frames, all different if there are enough; the first does not depend on K."""
    order = rng.permutation(allowed)
    return [int(order[i % len(order)]) for i in range(k)]


def _frames_of(sample: Sample, numbers: Sequence[int]) -> tuple[Frame, ...]:
    return tuple(Frame(sample.key, number) for number in numbers)


class _Samples:
    """Samples by row, kept: each may be needed often, and its landmarks take time to decode."""

    def __init__(self, pack: ShardReader) -> None:
        self._pack = pack
        self._kept: dict[int, Sample] = {}

    def __call__(self, row: int) -> Sample:
        if row not in self._kept:
            self._kept[row] = self._pack[row]
        return self._kept[row]


def _rows(pack: ShardReader, split: Split, kind: Kind) -> list[int]:
    """Rows in which the face was found in at least one frame."""
    columns = [pack.index[name].to_pylist() for name in ("split", "kind", "face_share")]
    return [
        i
        for i, (of_split, of_kind, seen) in enumerate(zip(*columns, strict=True))
        if of_split == split.value and of_kind == kind.value and seen > 0
    ]


def _by_identity(pack: ShardReader, split: Split, kind: Kind) -> dict[str, list[int]]:
    names = pack.index["identity"].to_pylist()
    people: dict[str, list[int]] = defaultdict(list)
    for row in _rows(pack, split, kind):
        people[names[row]].append(row)
    return dict(people)
