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
    about: dict[str, str] = field(default_factory=dict)


Adapter = Callable[[Path], Iterator[Item]]
"""Lists a data set's items, lazily and in a stable order, from its root folder (or file).

Raises `ReenactError` with one sentence if the folder is not laid out as the data set is.
"""
