"""What a data set is made of, before anything is read: one record a clip or photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int


class Kind(str, Enum):
    """A moving or a still picture."""

    CLIP = "clip"
    PHOTO = "photo"


class Split(str, Enum):
    """What an item may be used for; no identity is in two splits."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True)
class FaceBoxes:
    """Where a data set says the face is.

    Args:
        frames: (n,) frame numbers of the video, at `fps`; increasing.
        boxes: (n, 4) left, top, width, height as fractions of the picture.
        fps: the rate that the frame numbers count in.
    """

    frames: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    fps: float


class Marks(str, Enum):
    """What annotators have marked in a photo."""

    WFLW = "98 points"
    """The whole face, (98, 2) in WFLW's order: the face finder is not asked."""
    PUPILS = "pupils"
    """(2, 2): of the face found, the irises are moved there, image left first."""


@dataclass(frozen=True)
class Annotation:
    """Points that a data set says are right.

    Args:
        marks: what they are.
        points_px: (n, 2) pixels of the photo.
    """

    marks: Marks
    points_px: Float[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Item:
    """One clip or photo of a data set.

    Args:
        key: unique in the data set, stable between runs; letters, digits, `_` and `-` only.
        kind: clip or photo.
        path: its file.
        identity: who it shows; unknown people get one of their own.
        split: what it may be used for.
        start_s, end_s: the part of the video that counts; None for its beginning or end.
        boxes: where the face is, if the data set tells.
        annotation: of a photo, if the data set has landmarks of its own.
        about: further facts worth keeping (licence, source, labels), as text.
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
    about: dict[str, str] = field(default_factory=dict)


Adapter = Callable[[Path], Iterator[Item]]
"""Lists a data set's items, lazily and in a stable order, from its root folder (or file).

Raises `ReenactError` with one sentence if the folder is not laid out as the data set is.
"""
