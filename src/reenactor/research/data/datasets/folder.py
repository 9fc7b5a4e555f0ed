"""Your own clips and photos, in folders.

Layout, any depth, hidden files and other formats ignored::

    root/anna/holiday/1.mp4     one subfolder a person: identity "anna"
    root/bo.jpg                 a file without one is a person of its own

or the same below `train`, `val` and `test` (any of them, and then nothing else beside them)::

    root/train/anna/1.mp4
    root/val/cleo/1.jpg

Without those, 5 % of the identities go to val by a hash of their name, the others to train: adding people moves nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.media import is_image, is_video
from reenactor.research.data.datasets._listing import (
    at_least_one,
    entries,
    hashed_key,
    kind_of,
    media,
    require_folder,
    split_of,
    text_of,
)
from reenactor.research.data.items import Item, Split


def items(root: Path) -> Iterator[Item]:
    """List the photos and videos under a folder.

    Raises:
        ReenactError: no folder, nothing in it, files beside the split folders, or a person in two splits.
    """
    require_folder(root, "photos and videos, best in one subfolder a person")
    splits = _split_folders(root)
    yield from at_least_one(
        _in_splits(root, splits) if splits else _unsplit(root),
        f"no photos or videos in {root}; expected them there, best in one subfolder a person",
    )


def _unsplit(root: Path) -> Iterator[Item]:
    for path in media(root):
        identity = _identity(path, root, root)
        yield _item(path, root, identity, split_of(identity))


def _in_splits(root: Path, splits: list[Split]) -> Iterator[Item]:
    seen: set[tuple[int, int]] = set()
    for split in splits:
        for path in media(root / split.value, seen):
            yield _item(path, root, _identity(path, root / split.value, root), split)


def _item(path: Path, root: Path, identity: str, split: Split) -> Item:
    return Item(hashed_key(path.relative_to(root).as_posix()), kind_of(path), path, identity, split)


def _identity(path: Path, people: Path, root: Path) -> str:
    below = path.relative_to(people)
    return text_of(below.parts[0] if len(below.parts) > 1 else path.relative_to(root).as_posix())


def _split_folders(root: Path) -> list[Split]:
    top = entries(root)
    names = {entry.name for entry in top if entry.is_dir()}
    splits = [split for split in Split if split.value in names]
    if not splits:
        return []
    values = {split.value for split in splits}
    for entry in top:
        if entry.name not in values and (entry.is_dir() or is_image(entry.name) or is_video(entry.name)):
            raise ReenactError(
                f"{root} has both split folders ({', '.join(sorted(values))}) and {entry.name}; "
                "expected everything inside train, val or test, or none of these names"
            )
    people: dict[str, Split] = {}
    for split in splits:
        for entry in entries(root / split.value):
            other = people.setdefault(text_of(entry.name), split) if entry.is_dir() else split
            if other is not split:
                raise ReenactError(
                    f"{entry.name} is in both {other.value} and {split.value} of {root}; "
                    "expected each person's folder in one of them"
                )
    return splits
