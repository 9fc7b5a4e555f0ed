"""One clip or photo of a data set: as an adapter lists it, and what processing makes of it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int


class Kind(StrEnum):
    """A video clip or a photo."""

    CLIP = "clip"
    PHOTO = "photo"


class Split(StrEnum):
    """What a sample may be used for. No identity is in two splits."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True)
class FaceBoxes:
    """Face boxes that come with a data set.

    Args:
        frames: (n,) frame numbers of the video, counted at `fps`, increasing.
        boxes: (n, 4) left, top, width, height as fractions of the picture.
        fps: frame rate of the frame numbers.
    """

    frames: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    fps: float


@dataclass(frozen=True)
class FrameFiles:
    """Frames of a clip that are files of their own, all in one folder.

    Args:
        names: the files' names, in the order of time.
        numbers: their frame numbers, counted at `fps`, increasing.
        fps: frame rate of the frame numbers.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    fps: int


class AnnotationKind(StrEnum):
    """Which landmarks of a photo were set by hand."""

    WFLW = "98 points"
    """The whole face, (98, 2) in WFLW's order; no face finder is used."""
    PUPILS = "pupils"
    """(2, 2), image left first: the irises of the face found are moved there."""


@dataclass(frozen=True)
class Annotation:
    """Landmarks set by hand that come with a data set.

    Args:
        kind: which landmarks.
        points_px: (n, 2) pixels of the photo.
    """

    kind: AnnotationKind
    points_px: Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Item:
    """One clip or photo of a data set, before anything is read.

    Args:
        key: unique in the data set and stable between runs; letters, digits, `_` and `-`.
        kind: clip or photo.
        path: its file; of a clip whose frames are files, their folder.
        identity: the person; somebody unknown gets an identity of their own.
        split: what it may be used for.
        start_s: where the part of the video to use begins, seconds; None for the video's beginning.
        end_s: where it ends; None for the video's end.
        boxes: face boxes of the data set, if it has any.
        annotation: landmarks of the data set, if it has any; photos only.
        frames: of a clip whose frames are files, which files; else None.
        about: further facts to keep (licence, source, labels), as text.
    """

    key: str
    kind: Kind
    path: Path
    identity: str
    split: Split
    start_s: float | None = None
    end_s: float | None = None
    boxes: FaceBoxes | None = None
    annotation: Annotation | None = None
    frames: FrameFiles | None = None
    about: dict[str, str] = field(default_factory=dict)


Adapter = Callable[[Path], Iterator[Item]]
"""Lists the items of a data set lazily and in a stable order, given its root folder (or file).

Raises `ReenactError` with one sentence if the folder does not have the data set's layout.
"""


@dataclass(frozen=True)
class PackedSample:
    """One sample, ready for a shard.

    Args:
        row: its row of the index, without the positions of its members.
        members: file suffix -> content, in the order of the shard.
    """

    row: dict[str, Any]
    members: Mapping[str, bytes]


@dataclass(frozen=True)
class ProcessedItem:
    """What became of an item: its samples, or the reason why there are none.

    Args:
        item: the item's key.
        source: the item's file, relative to the data set's root.
        fingerprint: `process.fingerprint` of the item; a result with another fingerprint is out of date.
        samples: one of a photo; of a clip one of each segment.
        skipped: one sentence why there is no sample, else None.
        lost_s: seconds of the clip that no sample shows.
    """

    item: str
    source: str
    fingerprint: str
    samples: list[PackedSample] = field(default_factory=list)
    skipped: str | None = None
    lost_s: float = 0.0

    def to_bytes(self) -> bytes:
        """Serialize as JSON, with members in base64."""
        return json.dumps(asdict(self), default=lambda data: b64encode(data).decode()).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ProcessedItem:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the data are damaged.
        """
        about = json.loads(data)
        samples = [
            PackedSample(sample["row"], {suffix: b64decode(text) for suffix, text in sample["members"].items()})
            for sample in about.pop("samples")
        ]
        return cls(**about, samples=samples)
