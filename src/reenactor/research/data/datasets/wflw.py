"""WFLW (Wu et al. 2018): 10,000 faces in photos from the web, each with 98 points set by hand.

Layout, as its two archives leave it::

    root/WFLW_images/37--Soccer/37_Soccer_soccer_ball_37_45.jpg
    root/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt      (or below root itself)
    root/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt

A line has 207 columns: x and y of 98 points, the corners of the face's box, six attributes, the photo. Photos with
several faces come several times. Split: the official one, 2,500 faces test; of the 7,500 others val has 5 % of the
photos. Nobody is named, so each face is a person of its own: somebody who is in two photos may be on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import ReenactError
from reenactor.research.data.datasets._listing import at_least_one, lines, require_folder, split_of
from reenactor.research.data.items import Annotation, Item, Kind, Marks, Split
from reenactor.research.data.wflw_mesh import WFLW_POINTS

ATTRIBUTES = ("large_pose", "expression", "illumination", "make_up", "occlusion", "blur")
_COORDINATES = 2 * WFLW_POINTS
_BOX = 4
_COLUMNS = _COORDINATES + _BOX + len(ATTRIBUTES) + 1
_LISTS = Path("WFLW_annotations", "list_98pt_rect_attr_train_test")
_TRAINING, _TEST = "list_98pt_rect_attr_train.txt", "list_98pt_rect_attr_test.txt"


def items(root: Path) -> Iterator[Item]:
    """List the faces, in the order of the official lists, training first.

    Raises:
        ReenactError: photos or lists are missing, or do not fit each other.
    """
    require_folder(root, "the folders WFLW_images and WFLW_annotations in it")
    pictures = root / "WFLW_images"
    if not pictures.is_dir():
        raise ReenactError(f"no WFLW_images in {root}; expected WFLW's photos there, unpacked")
    lists = next((place for place in (root / _LISTS, root / _LISTS.name, root) if (place / _TRAINING).is_file()), None)
    if lists is None or not (lists / _TEST).is_file():
        raise ReenactError(f"no {_TRAINING} and {_TEST} in {root / _LISTS}; expected WFLW's annotations, unpacked")
    for name, held_out in ((_TRAINING, False), (_TEST, True)):
        yield from at_least_one(
            _items(lists / name, pictures, held_out=held_out), f"{lists / name} is empty; download it again"
        )


def _items(path: Path, pictures: Path, *, held_out: bool) -> Iterator[Item]:
    for number, line in lines(path):
        points_px, attributes, photo = _row(line, f"{path} line {number}")
        if not (pictures / photo).is_file():
            raise ReenactError(f"{photo} is missing in {pictures}; expected every photo of {path.name}")
        key = f"{'test' if held_out else 'train'}-{number:05d}"
        yield Item(
            key=key,
            kind=Kind.PHOTO,
            path=pictures / photo,
            identity=key,
            split=Split.TEST if held_out else split_of(photo),
            annotation=Annotation(Marks.WFLW, points_px),
            about=dict(zip(ATTRIBUTES, attributes, strict=True)),
        )


def _row(line: str, where: str) -> tuple[Float[np.ndarray, "98 2"], list[str], str]:
    """Points, attributes, photo."""
    columns = line.split()
    try:
        points = np.array(columns[:_COORDINATES], np.float32)
    except ValueError:
        points = np.zeros(0)
    if len(columns) != _COLUMNS or points.size != _COORDINATES or not np.isfinite(points).all():
        raise ReenactError(f"{where} is not 196 coordinates, 4 of a box, 6 attributes, a photo; download it again")
    return points.reshape(WFLW_POINTS, 2), columns[_COORDINATES + _BOX : -1], columns[-1]
