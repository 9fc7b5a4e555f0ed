"""One item -> its samples, whatever is wrong with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.clips import clip_samples
from reenactor.research.data.items import Item, Kind
from reenactor.research.data.parcel import Parcel
from reenactor.research.data.photos import photo_sample
from reenactor.research.data.settings import Settings

Work = Callable[[Item, Path, Settings], Parcel]
"""What a worker does with an item: `process_item`, or a stand-in for tests. The path is the data set's root."""


def fingerprint(item: Item, settings: Settings) -> str:
    """Changes whenever the item's samples may change."""
    try:
        status = item.path.stat()
        file = [status.st_size, status.st_mtime_ns]
    except OSError:
        file = []
    boxes = item.boxes and hashlib.sha256(item.boxes.boxes.tobytes() + item.boxes.frames.tobytes()).hexdigest()
    facts = [item.key, item.kind, item.identity, item.split, item.start_s, item.end_s, item.about, boxes, file]
    if item.annotation is not None:
        facts += [item.annotation.marks, hashlib.sha256(item.annotation.points_px.tobytes()).hexdigest()]
    return hashlib.sha256(json.dumps([facts, settings.facts()], sort_keys=True).encode()).hexdigest()[:32]


def source_name(item: Item, root: Path) -> str:
    """The item's file as packs and reports name it: below the data set's root."""
    try:
        return item.path.relative_to(root if root.is_dir() else root.parent).as_posix()
    except ValueError:
        return item.path.name


def process_item(item: Item, root: Path, settings: Settings) -> Parcel:
    """Make an item's samples; whatever is wrong with it becomes the reason why there are none."""
    source = source_name(item, root)
    parcel = Parcel(item.key, source, fingerprint(item, settings))
    try:
        if item.kind is Kind.PHOTO:
            return replace(parcel, samples=[photo_sample(item, source, settings)])
        samples, lost_s = clip_samples(item, source, settings)
        return replace(parcel, samples=samples, lost_s=round(lost_s, 3))
    except ReenactError as error:
        return replace(parcel, skipped=str(error).replace(str(item.path), source))
    except MemoryError:
        return replace(parcel, skipped=f"{source} needs more memory than there is; use fewer workers")
    except Exception as error:  # a data set of 100,000 files holds one for every fault of every library
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return replace(parcel, skipped=f"{source} cannot be processed ({text}); check the file")
