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

from collections.abc import Iterator, Sequence
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets.celeba import IDENTITIES, PARTITION, CelebALists
from reenactor.research.data.datasets.listing import (
    at_least_one,
    first_file,
    first_folder,
    images,
    lines,
    require_folder,
)
from reenactor.research.data.items import Item, Kind, Split

MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_COUNT = 30_000


def items(root: Path) -> Iterator[Item]:
    """List the photos, in the order of their numbers.

    Raises:
        ReenactError: no photos, or lists that are incomplete.
    """
    require_folder(root, "the folder CelebA-HQ-img in it")
    home = first_folder(root, ("CelebAMask-HQ",)) or root
    pictures = first_folder(home, ("CelebA-HQ-img",)) or home
    found = _items(pictures, home, (home, root))
    yield from at_least_one(found, f"no photos in {pictures}; expected CelebA-HQ-img/0.jpg to 29999.jpg")


def _items(pictures: Path, home: Path, folders: Sequence[Path]) -> Iterator[Item]:
    mapping = first_file(MAPPING, folders)
    if not mapping and (first_file(IDENTITIES, folders) or first_file(PARTITION, folders)):
        raise ReenactError(f"no {MAPPING} in {home}; expected it beside {IDENTITIES} and {PARTITION}")
    files, lists = _celeba_files(mapping) if mapping else {}, CelebALists(home, folders)
    for path in images(pictures):
        if not (path.stem.isascii() and path.stem.isdigit()):
            continue
        number = int(path.stem)
        if number >= _COUNT:
            raise ReenactError(
                f"{path.name} in {pictures} is no number of CelebA-HQ; expected 0 to {_COUNT - 1}, "
                "not the names of CelebA"
            )
        if not files:
            yield Item(f"{number:05d}", Kind.PHOTO, path, f"photo-{number:05d}", Split.TRAIN)
            continue
        file = files.get(number)
        if file is None:
            raise ReenactError(f"photo {number} is not in {MAPPING} in {home}; download the list again")
        yield Item(f"{number:05d}", Kind.PHOTO, path, *lists.of(file), about={"celeba_file": file})


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
