"""CelebA-HQ (Karras et al. 2018): 30,000 photos; who and which split comes from CelebA's own lists.

Layout, as CelebAMask-HQ distributes it; the root may also hold `CelebAMask-HQ`, or be the folder of photos::

    root/CelebA-HQ-img/0.jpg ... 29999.jpg           (or 00000.jpg, .png)
    root/CelebA-HQ-to-CelebA-mapping.txt             columns idx, orig_idx, orig_file, ...
    root/identity_CelebA.txt                         from CelebA: "000001.jpg 2880"
    root/list_eval_partition.txt                     from CelebA: "000001.jpg 0", 0 train, 1 val, 2 test

Split: CelebA's, person by person; with the identities alone, 5 % of the people are val. Without CelebA's lists the
photos are all train, each a person of its own, for nothing else would keep a person out of two splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.media import is_image
from reenactor.research.data.datasets._listing import at_least_one, entries, lines, require_folder, split_of, table
from reenactor.research.data.items import Item, Kind, Split

_COUNT = 30_000
_PARTITION = {"0": Split.TRAIN, "1": Split.VAL, "2": Split.TEST}
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_IDENTITIES = "identity_CelebA.txt"
_SPLITS = "list_eval_partition.txt"


def items(root: Path) -> Iterator[Item]:
    """List the photos, in the order of their numbers.

    Raises:
        ReenactError: no photos, or lists that are incomplete.
    """
    require_folder(root, "the folder CelebA-HQ-img in it")
    home = root / "CelebAMask-HQ" if (root / "CelebAMask-HQ").is_dir() else root
    pictures = home / "CelebA-HQ-img" if (home / "CelebA-HQ-img").is_dir() else home
    people = _People(home, root)
    yield from at_least_one(
        _items(pictures, people), f"no photos in {pictures}; expected CelebA-HQ-img/0.jpg to 29999.jpg"
    )


def _items(pictures: Path, people: _People) -> Iterator[Item]:
    for entry in entries(pictures):
        stem = Path(entry.name).stem
        if not (is_image(entry.name) and stem.isascii() and stem.isdigit() and entry.is_file()):
            continue
        if int(stem) >= _COUNT:
            raise ReenactError(
                f"{entry.name} in {pictures} is no number of CelebA-HQ; expected 0 to {_COUNT - 1}, "
                "not the names of CelebA"
            )
        identity, split, about = people.of(int(stem))
        yield Item(f"{int(stem):05d}", Kind.PHOTO, pictures / entry.name, identity, split, about=about)


class _People:
    """Who is in a photo and what it may be used for, as far as the lists tell."""

    def __init__(self, *places: Path) -> None:
        self._home = places[0]
        mapping, identities, partition = (_find(name, places) for name in (_MAPPING, _IDENTITIES, _SPLITS))
        if not mapping and (identities or partition):
            raise ReenactError(f"no {_MAPPING} in {self._home}; expected it beside {_IDENTITIES} and {_SPLITS}")
        self._files = _originals(mapping) if mapping else {}
        wanted = set(self._files.values())
        self._names = {file: name for file, name in table(identities) if file in wanted} if identities else {}
        self._has_names = identities is not None
        self._splits: dict[str, Split] = {}
        if partition:
            self._read_partition(partition, wanted)
        self._has_splits = partition is not None

    def of(self, number: int) -> tuple[str, Split, dict[str, str]]:
        file = self._files.get(number)
        if file is None:
            if self._files:
                raise ReenactError(f"photo {number} is not in {_MAPPING} in {self._home}; download the list again")
            return f"photo-{number:05d}", Split.TRAIN, {}
        identity = self._identity(file)
        split = self._splits.get(identity)
        if self._has_splits and split is None:
            raise ReenactError(f"{file} is not in {_SPLITS} in {self._home}; download the list again")
        unsplit = split_of(identity) if self._has_names else Split.TRAIN
        return identity, split or unsplit, {"celeba_file": file}

    def _identity(self, file: str) -> str:
        if not self._has_names:
            return f"celeba-file-{Path(file).stem}"
        if file not in self._names:
            raise ReenactError(f"{file} is not in {_IDENTITIES} in {self._home}; download the list again")
        return f"celeba-{self._names[file]}"

    def _read_partition(self, path: Path, wanted: set[str]) -> None:
        for file, number in table(path):
            if number not in _PARTITION:
                raise ReenactError(f"{path} puts {file} into {number!r}; expected 0, 1 or 2")
            if file in wanted:
                identity = self._identity(file)
                # A person's most held-out photo decides for all: nobody is in two splits, whatever the list says.
                split = max(_PARTITION[number], self._splits.get(identity, Split.TRAIN), key=list(Split).index)
                self._splits[identity] = split


def _find(name: str, places: tuple[Path, ...]) -> Path | None:
    return next((place / name for place in places if (place / name).is_file()), None)


def _originals(path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, line in lines(path):
        columns = line.split()
        if columns[0] == "idx":
            continue
        if len(columns) < 3 or not columns[0].isdigit():
            raise ReenactError(f"{path} line {number} is not 'idx orig_idx orig_file ...'; download it again")
        found[int(columns[0])] = columns[2]
    return found
