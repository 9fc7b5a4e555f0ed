"""MPIIGaze (Zhang et al. 2015, 2019): people at their laptops who look at the screen; pupils set by hand.

Layout: the annotation subset of MPIIGaze, and photos that show the face, from MPIIFaceGaze or MPIIGaze itself::

    root/Annotation Subset/p00.txt ... p14.txt     day13/0203.jpg, then x and y of 8 points, image left to image right:
                                                   4 eye corners, 2 mouth corners, 2 pupils
    root/MPIIFaceGaze/p00/day13/0203.jpg           (or root/p00/..., or root/Data/Original/p00/...)

Only the pupils are taken from the annotation; the rest of the face comes from the face finder. Lines whose photo is
missing are passed over. Split: there is no official one; p14, the last person, is val, the others are train.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets.listing import at_least_one, entries, lines, numbers, require_folder, slug
from reenactor.research.data.items import Annotation, AnnotationKind, Item, Kind, Split

_SUBSET = "Annotation Subset"
_PHOTO_FOLDERS = ("MPIIFaceGaze", ".", "Data/Original")
_VAL_PERSON = "p14"


def items(root: Path) -> Iterator[Item]:
    """List the annotated photos, person by person.

    Raises:
        ReenactError: no annotation, a damaged one, or none of its photos.
    """
    require_folder(root, f"the folder '{_SUBSET}' in it")
    if not (root / _SUBSET).is_dir():
        raise ReenactError(f"no '{_SUBSET}' in {root}; expected MPIIGaze's folder of p00.txt to p14.txt")
    people = [Path(entry.name).stem for entry in entries(root / _SUBSET) if entry.name.endswith(".txt")]
    homes = (root / name for name in _PHOTO_FOLDERS)
    photos = next((home for home in homes if any((home / person).is_dir() for person in people)), None)
    if photos is None:
        raise ReenactError(f"no photos in {root}; expected MPIIFaceGaze/p00/day01/0005.jpg and so on, unpacked")
    found = (item for name in people for item in _items(root / _SUBSET / f"{name}.txt", photos / name))
    yield from at_least_one(found, f"none of the photos of '{_SUBSET}' are in {photos}; expected them there, unpacked")


def _items(path: Path, photos: Path) -> Iterator[Item]:
    for number, line in lines(path):
        photo, *columns = line.split()
        complaint = f"{path} line {number} is not a photo and 16 coordinates; download it again"
        points_px = numbers(columns, 16, complaint).reshape(8, 2)
        if (photos / photo).is_file():
            yield Item(
                key=f"{slug(path.stem)}-{slug(photo.rpartition('.')[0])}",
                kind=Kind.PHOTO,
                path=photos / photo,
                identity=path.stem,
                split=Split.VAL if path.stem == _VAL_PERSON else Split.TRAIN,
                annotation=Annotation(AnnotationKind.PUPILS, points_px[-2:]),
            )
