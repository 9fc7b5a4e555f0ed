"""CelebA (Liu et al. 2015): 202,599 photos of 10,177 people.

Layout, as its authors distribute it; the lists may also lie in the root, as torchvision puts them. The first of the
four folders of photos that exists is read: those in the wild are larger, aligned ones have 178x218 pixels::

    root/Img/img_celeba/000001.jpg                   photos in the wild, or root/img_celeba
    root/Img/img_align_celeba/000001.jpg             aligned and cropped, or root/img_align_celeba
    root/Anno/identity_CelebA.txt                    "000001.jpg 2880"
    root/Eval/list_eval_partition.txt                optional: "000001.jpg 0", 0 train, 1 val, 2 test
    root/Anno/list_bbox_celeba.txt                   optional, for photos in the wild: "000001.jpg 95 71 226 313"

Split: the official one, by identity; without its list 5 % of the identities are val. Of a photo in the wild that shows
several people, the boxes tell which one is meant; without them it is the largest face.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL import Image

from reenactor.core import ReenactError
from reenactor.research.data.datasets.listing import (
    at_least_one,
    first_file,
    first_folder,
    images,
    lines,
    numbers,
    require_folder,
    slug,
    split_of,
    table,
)
from reenactor.research.data.items import FaceBoxes, Item, Kind, Split

IDENTITIES = "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
_BOXES = "list_bbox_celeba.txt"
_WILD, _ALIGNED = "img_celeba", "img_align_celeba"
_PHOTOS = (f"Img/{_WILD}", _WILD, f"Img/{_ALIGNED}", _ALIGNED)
_SPLITS = {"0": Split.TRAIN, "1": Split.VAL, "2": Split.TEST}


def items(root: Path) -> Iterator[Item]:
    """List the photos, in the order of their numbers.

    Raises:
        ReenactError: no photos or no list of identities, or lists that are incomplete.
    """
    require_folder(root, f"the folder {_ALIGNED} or {_WILD} in it")
    pictures = first_folder(root, _PHOTOS)
    if pictures is None:
        raise ReenactError(f"no photos in {root}; expected the folder {_ALIGNED} or {_WILD}, unpacked")
    folders = (root, root / "Anno", root / "Eval")
    if first_file(IDENTITIES, folders) is None:
        raise ReenactError(f"no {IDENTITIES} in {root} or its folder Anno; expected CelebA's list of identities there")
    found = _items(pictures, CelebALists(root, folders), first_file(_BOXES, folders))
    yield from at_least_one(found, f"no photos in {pictures}; expected 000001.jpg and so on")


def _items(pictures: Path, lists: CelebALists, list_of_boxes: Path | None) -> Iterator[Item]:
    wild = list_of_boxes if pictures.name == _WILD else None
    boxes = {} if wild is None else dict(_boxes(wild))
    for path in images(pictures):
        file = f"{path.stem}.jpg"
        identity, split = lists.of(file)
        box = _in_picture(path, boxes[file]) if file in boxes else None
        yield Item(slug(path.stem), Kind.PHOTO, path, identity, split, boxes=box)


def _boxes(path: Path) -> Iterator[tuple[str, Float32[np.ndarray, "4"]]]:
    """Left, top, width, height of each photo's face, pixels."""
    for number, line in lines(path):
        if number > 2:  # the number of photos, then names of columns
            file, *box = line.split()
            yield file, numbers(box, 4, f"{path} line {number} is not a file and 4 numbers; download it again")


def _in_picture(path: Path, box: Float32[np.ndarray, "4"]) -> FaceBoxes | None:
    """The box as fractions; None for a photo that cannot be opened (processing it will report why)."""
    try:
        with Image.open(path) as picture:
            size = np.array(picture.size * 2, np.float32)
    except OSError:
        return None
    return FaceBoxes(np.zeros(1, np.int64), (box / size)[None], 1.0)


class CelebALists:
    """Identity and split of each photo of CelebA, as far as its lists are there.

    Args:
        home: the data set's folder, for messages.
        folders: where the lists may be.

    Raises:
        ReenactError: a list is damaged.
    """

    def __init__(self, home: Path, folders: Sequence[Path]) -> None:
        self._home = home
        identities, partition = first_file(IDENTITIES, folders), first_file(PARTITION, folders)
        self._names = dict(table(identities)) if identities else None
        self._splits = self._splits_of(partition) if partition else None

    def of(self, file: str) -> tuple[str, Split]:
        """Identity and split of a photo, given its name in CelebA.

        Raises:
            ReenactError: a list that is there lacks the photo.
        """
        if self._names is not None and file not in self._names:
            raise ReenactError(f"{file} is not in {IDENTITIES} in {self._home}; download the list again")
        identity = self._identity(file)
        if self._splits is None:
            return identity, Split.TRAIN if self._names is None else split_of(identity)
        if identity not in self._splits:
            raise ReenactError(f"{file} is not in {PARTITION} in {self._home}; download the list again")
        return identity, self._splits[identity]

    def _identity(self, file: str) -> str:
        return f"celeba-file-{Path(file).stem}" if self._names is None else f"celeba-{self._names.get(file)}"

    def _splits_of(self, path: Path) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for file, number in table(path):
            if number not in _SPLITS:
                raise ReenactError(f"{path} puts {file} into {number!r}; expected 0, 1 or 2")
            identity = self._identity(file)
            # A person with photos in several splits gets the most held-out one, so that nobody is in two.
            splits[identity] = max(_SPLITS[number], splits.get(identity, Split.TRAIN), key=list(Split).index)
        return splits
