"""Cases: what every method is shown, in a list that is written to `cases.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

from reenactor.core import ReenactError
from reenactor.core.files import read_json
from reenactor.research.data import Split
from reenactor.research.evaluation.packs import Frame

CASES = "cases.json"
_VERSION = 1


class Protocol(StrEnum):
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
    PERSON = "person"
    """Ours: the first half of a clip gives the targets, chosen as `--target VIDEO` does, and the second drives."""

    @property
    def has_truth(self) -> bool:
        """Whether the driver's frame is the true picture: target and driver are of one video."""
        return self in (Protocol.SELF, Protocol.VIDEO, Protocol.PERSON)

    @property
    def consecutive(self) -> bool:
        """Whether the cases of a clip are consecutive frames in order, so that steadiness can be measured."""
        return self in (Protocol.VIDEO, Protocol.VIDEO_DIFFERENT)


@dataclass(frozen=True)
class Case:
    """One picture to draw.

    Args:
        id: name of the result's file.
        identity: the person shown in the targets.
        targets: K pictures of one person; the first one is animated.
        driver: the frame that gives pose and expression.
        clip: names the sequence that the case belongs to: cases of one target and one driver's clip.
    """

    id: str
    identity: str
    targets: tuple[Frame, ...]
    driver: Frame
    clip: str


@dataclass(frozen=True)
class CaseList:
    """All cases of a protocol.

    Args:
        protocol: who drives whom.
        k: target pictures in each case.
        size: side of the pictures that are compared, pixels.
        seed: of the random choice.
        split: which part of the drivers' pack.
        targets_split: which part of the targets' pack.
        data_sha256: digest of the drivers' pack.
        targets_sha256: digest of the targets' pack; the same unless there are two packs.
        cases: in an order in which any first part is balanced over people.
    """

    protocol: Protocol
    k: int
    size: int
    seed: int
    split: Split
    targets_split: Split
    data_sha256: str
    targets_sha256: str
    cases: tuple[Case, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, index: SupportsIndex) -> Case:
        return self.cases[index]

    @property
    def name(self) -> str:
        """K and protocol, as in the names of metrics: `k1_self`."""
        return f"k{self.k}_{self.protocol.value.replace('-', '_')}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @cached_property
    def sequences(self) -> list[list[int]]:
        """Numbers of the cases of each clip, in order of first appearance."""
        found: dict[str, list[int]] = {}
        for i, case in enumerate(self.cases):
            found.setdefault(case.clip, []).append(i)
        return list(found.values())

    def to_json(self) -> str:
        """JSON with a line for each case; `read_cases` reads it."""
        head = {"format": "reenactor-cases", "version": _VERSION} | asdict(replace(self, cases=()))
        del head["cases"]
        if self.targets_split is self.split:
            del head["targets_split"]
        lines = [json.dumps(_as_json(case)) for case in self.cases]
        text = json.dumps(head, indent=1)
        return text[:-2] + ',\n "cases": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def read_cases(path: Path) -> CaseList:
    """Read what `CaseList.to_json` gave.

    Raises:
        ReenactError: the file is missing, or holds something else.
    """
    again = "let 'reenactor evaluate export' write it again"
    missing = f"{path} is missing; 'reenactor evaluate export' writes it"
    found = read_json(path, "cases", _VERSION, missing=missing, again=again)
    try:
        cases = tuple(_from_json(case) for case in found["cases"])
        head = {name: found[name] for name in ("k", "size", "seed", "data_sha256", "targets_sha256")}
        head |= {"split": Split(found["split"]), "targets_split": Split(found.get("targets_split", found["split"]))}
        return CaseList(protocol=Protocol(found["protocol"]), cases=cases, **head)
    except (ValueError, KeyError, TypeError) as error:
        raise ReenactError(f"{path} does not list cases ({error}); {again}") from error


def _as_json(case: Case) -> dict[str, Any]:
    targets = [[frame.key, frame.number] for frame in case.targets]
    driver = [case.driver.key, case.driver.number]
    return {"id": case.id, "identity": case.identity, "targets": targets, "driver": driver, "clip": case.clip}


def _from_json(found: dict[str, Any]) -> Case:
    targets = tuple(Frame(*frame) for frame in found["targets"])
    return Case(found["id"], found["identity"], targets, Frame(*found["driver"]), found["clip"])
