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
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.media import is_image
from reenactor.research.data.datasets.listing import at_least_one, folders, media, require_folder
from reenactor.research.data.items import Item, Kind, Split

_IMAGES = re.compile(r"images(\d+)x\1")
_TRAINING = 60_000
_KEPT = ("author", "license", "license_url", "photo_url")


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
    facts = read_metadata(metadata) if metadata.is_file() else {}
    for path in media(pictures):
        if is_image(path) and re.fullmatch(r"[0-9]{5}", path.stem):
            number = int(path.stem)
            yield Item(
                key=path.stem,
                kind=Kind.PHOTO,
                path=path,
                identity=path.stem,
                split=Split.TRAIN if number < _TRAINING else Split.VAL,
                about=facts.get(number, {}),
            )


def _pictures(root: Path) -> Path:
    sizes = {int(match[1]): folder for folder in folders(root) if (match := _IMAGES.fullmatch(folder.name))}
    if sizes:
        return sizes[max(sizes)]
    if (root / "thumbnails128x128").is_dir():
        return root / "thumbnails128x128"
    raise ReenactError(f"no photos of FFHQ in {root}; expected the folder images1024x1024 or thumbnails128x128")


def read_metadata(path: Path) -> dict[int, dict[str, str]]:
    """Author, licence and their addresses of each photo, by number, from FFHQ's JSON file of 255 MB.

    Raises:
        ReenactError: the file is damaged.
    """
    try:
        records = json.loads(path.read_bytes(), object_hook=_without_the_rest)
        return {int(number): {name: str(facts[name]) for name in facts} for number, facts in records.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ReenactError(f"{path} is damaged or not FFHQ's; download it again, or remove it") from error


def _without_the_rest(found: dict[str, Any]) -> dict[str, Any]:
    """Reduce each record to the facts to keep while it is read, so that little memory is needed."""
    if "metadata" in found:
        return {name: found["metadata"][name] for name in _KEPT if found["metadata"].get(name)}
    return found
