"""CelebA-HQ (Karras et al. 2018): 30,000 photos; identities and split come from the lists of CelebA.

Layout, as CelebAMask-HQ distributes it; the root may also hold `CelebAMask-HQ`, or be the folder of photos::

    root/CelebA-HQ-img/0.jpg ... 29999.jpg           (or 00000.jpg, .png)
    root/CelebA-HQ-to-CelebA-mapping.txt             columns idx, orig_idx, orig_file, ...
    root/identity_CelebA.txt                         from CelebA: "000001.jpg 2880"
    root/list_eval_partition.txt                     from CelebA: "000001.jpg 0", 0 train, 1 val, 2 test

Split: CelebA's, by identity; with the list of identities alone, 5 % of them are val. Without CelebA's lists all photos
are train, each an identity of its own, because nothing else would keep a person out of two splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets.listing import (
    at_least_one,
    first_folder,
    images,
    lines,
    require_folder,
    split_of,
    table,
)
from reenactor.research.data.items import Item, Kind, Split

MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
IDENTITIES = "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
_COUNT = 30_000
_SPLITS = {"0": Split.TRAIN, "1": Split.VAL, "2": Split.TEST}


def items(root: Path) -> Iterator[Item]:
    """List the photos, in the order of their numbers.

    Raises:
        ReenactError: no photos, or lists that are incomplete.
    """
    require_folder(root, "the folder CelebA-HQ-img in it")
    home = first_folder(root, ("CelebAMask-HQ",)) or root
    pictures = first_folder(home, ("CelebA-HQ-img",)) or home
    found = _items(pictures, _CelebALists(home, root))
    yield from at_least_one(found, f"no photos in {pictures}; expected CelebA-HQ-img/0.jpg to 29999.jpg")


def _items(pictures: Path, lists: _CelebALists) -> Iterator[Item]:
    for path in images(pictures):
        if not (path.stem.isascii() and path.stem.isdigit()):
            continue
        number = int(path.stem)
        if number >= _COUNT:
            raise ReenactError(
                f"{path.name} in {pictures} is no number of CelebA-HQ; expected 0 to {_COUNT - 1}, "
                "not the names of CelebA"
            )
        identity, split, about = lists.of(number)
        yield Item(f"{number:05d}", Kind.PHOTO, path, identity, split, about=about)


class _CelebALists:
    """Identity and split of each photo, as far as CelebA's lists are there."""

    def __init__(self, *folders: Path) -> None:
        self._home = folders[0]
        mapping, identities, partition = (_find(name, folders) for name in (MAPPING, IDENTITIES, PARTITION))
        if not mapping and (identities or partition):
            raise ReenactError(f"no {MAPPING} in {self._home}; expected it beside {IDENTITIES} and {PARTITION}")
        self._files = _celeba_files(mapping) if mapping else {}
        files = set(self._files.values())
        self._names = {file: name for file, name in table(identities) if file in files} if identities else None
        self._splits = self._splits_of(partition, files) if partition else None

    def of(self, number: int) -> tuple[str, Split, dict[str, str]]:
        """Identity, split and further facts of a photo of CelebA-HQ."""
        file = self._files.get(number)
        if file is None:
            if self._files:
                raise ReenactError(f"photo {number} is not in {MAPPING} in {self._home}; download the list again")
            return f"photo-{number:05d}", Split.TRAIN, {}
        identity = self._identity(file)
        if self._splits is None:
            split = Split.TRAIN if self._names is None else split_of(identity)
        elif identity in self._splits:
            split = self._splits[identity]
        else:
            raise ReenactError(f"{file} is not in {PARTITION} in {self._home}; download the list again")
        return identity, split, {"celeba_file": file}

    def _identity(self, file: str) -> str:
        if self._names is None:
            return f"celeba-file-{Path(file).stem}"
        if file not in self._names:
            raise ReenactError(f"{file} is not in {IDENTITIES} in {self._home}; download the list again")
        return f"celeba-{self._names[file]}"

    def _splits_of(self, path: Path, files: set[str]) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for file, number in table(path):
            if number not in _SPLITS:
                raise ReenactError(f"{path} puts {file} into {number!r}; expected 0, 1 or 2")
            if file in files:
                identity = self._identity(file)
                # A person with photos in several splits gets the most held-out one, so that nobody is in two.
                splits[identity] = max(_SPLITS[number], splits.get(identity, Split.TRAIN), key=list(Split).index)
        return splits


def _find(name: str, folders: tuple[Path, ...]) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _celeba_files(path: Path) -> dict[int, str]:
    """The file in CelebA of each photo of CelebA-HQ."""
    found: dict[int, str] = {}
    for number, line in lines(path):
        columns = line.split()
        if columns[0] == "idx":
            continue
        if len(columns) < 3 or not columns[0].isdigit():
            raise ReenactError(f"{path} line {number} is not 'idx orig_idx orig_file ...'; download it again")
        found[int(columns[0])] = columns[2]
    return found
