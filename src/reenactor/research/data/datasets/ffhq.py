"""FFHQ (Karras et al. 2019): 70,000 photos.

Layout, as `download_ffhq.py` leaves it; the largest `images...` folder is read, else the thumbnails::

    root/images1024x1024/00000/00000.png ... 69000/69999.png     (a resized copy: images256x256/...)
    root/thumbnails128x128/...
    root/ffhq-dataset-v2.json                                    optional: author and licence of each photo

Split: the official one, the first 60,000 photos train, the last 10,000 val. The data set has no identities, so each
photo is an identity of its own, and a person in two photos may be in both splits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.media import is_image
from reenactor.research.data.datasets.listing import at_least_one, folders, media, require_folder
from reenactor.research.data.items import Item, Kind, Split

_IMAGES = re.compile(r"images(\d+)x\1")
_TRAINING = 60_000
_KEPT = ("author", "license", "license_url", "photo_url")
_CHUNK = 1 << 20
_LONGEST_RECORD = 1 << 24
"""Characters; an official record has 3,600, so a longer one is damaged."""


def items(root: Path) -> Iterator[Item]:
    """List the photos, in the order of their numbers.

    Raises:
        ReenactError: no folder of photos, or a damaged JSON file.
    """
    require_folder(root, "images1024x1024 or thumbnails128x128 in it")
    pictures = _pictures(root)
    found = _items(pictures, root / "ffhq-dataset-v2.json")
    yield from at_least_one(found, f"no photos in {pictures}; expected 00000/00000.png and so on")


def _items(pictures: Path, metadata: Path) -> Iterator[Item]:
    records = read_records(metadata) if metadata.is_file() else iter(())
    number, record = -1, {}
    for path in media(pictures):
        if not (is_image(path) and re.fullmatch(r"[0-9]{5}", path.stem)):
            continue
        # Both are in the order of the numbers, so the 255 MB of JSON need not stay in memory.
        while number < int(path.stem):
            number, record = next(records, (1 << 60, {}))
        facts = record.get("metadata", {}) if number == int(path.stem) else {}
        yield Item(
            key=path.stem,
            kind=Kind.PHOTO,
            path=path,
            identity=path.stem,
            split=Split.TRAIN if int(path.stem) < _TRAINING else Split.VAL,
            about={name: str(facts[name]) for name in _KEPT if facts.get(name)},
        )


def _pictures(root: Path) -> Path:
    sizes = {int(match[1]): folder for folder in folders(root) if (match := _IMAGES.fullmatch(folder.name))}
    if sizes:
        return sizes[max(sizes)]
    if (root / "thumbnails128x128").is_dir():
        return root / "thumbnails128x128"
    raise ReenactError(f"no photos of FFHQ in {root}; expected the folder images1024x1024 or thumbnails128x128")


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of each entry of a large JSON object `{"0": {...}, "1": {...}, ...}`, one at a time.

    Raises:
        ReenactError: the file is damaged.
    """
    decoder = json.JSONDecoder()
    try:
        with open(path, encoding="utf-8") as file:
            rest = file.read(_CHUNK).lstrip().removeprefix("{")
            while True:
                rest = rest.lstrip(" \t\r\n,")
                if rest.startswith("}"):
                    return
                try:
                    name, end = decoder.raw_decode(rest)
                    value = rest[end:].lstrip().removeprefix(":").lstrip()
                    record, end = decoder.raw_decode(value)
                    yield int(name), dict(record)
                    rest = value[end:]
                except JSONDecodeError:
                    chunk = file.read(_CHUNK)
                    if not chunk or len(rest) > _LONGEST_RECORD:
                        raise
                    rest += chunk
    except (OSError, ValueError, TypeError) as error:
        raise ReenactError(f"{path} is damaged or not FFHQ's; download it again, or remove it") from error
