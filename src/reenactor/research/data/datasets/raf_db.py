"""RAF-DB, the basic expressions (Li et al. 2017): 15,339 photos.

Layout; the root is RAF-DB's folder or `basic` itself. `original` is preferred, because `aligned` has 100x100 pixels::

    root/basic/EmoLabel/list_patition_label.txt       (sic) lines "train_00001.jpg 5"
    root/basic/Image/original/train_00001.jpg
    root/basic/Image/aligned/train_00001_aligned.jpg

Split: the official one, train (12,271) and test (3,068). The data set has no identities, so each photo is an identity
of its own, and a person in two photos may be in both splits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets.listing import at_least_one, first_folder, require_folder, slug, table
from reenactor.research.data.items import Item, Kind, Split

_EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_LABELS = {str(number): name for number, name in enumerate(_EXPRESSIONS, start=1)}
_SPLITS = {"train": Split.TRAIN, "test": Split.TEST}


def items(root: Path) -> Iterator[Item]:
    """List the photos, in the order of the official list.

    Raises:
        ReenactError: the list or the photos are missing, or do not fit each other.
    """
    require_folder(root, "RAF-DB's folder basic in it")
    basic = first_folder(root, ("basic",)) or root
    labels = basic / "EmoLabel" / "list_patition_label.txt"
    if not labels.is_file():
        raise ReenactError(f"no EmoLabel/list_patition_label.txt in {basic}; expected RAF-DB's folder basic, unpacked")
    pictures = first_folder(basic / "Image", ("original", "aligned"))
    if pictures is None:
        raise ReenactError(f"no photos in {basic}; expected Image/original or Image/aligned, unpacked")
    yield from at_least_one(_items(labels, pictures), f"{labels} is empty; download it again")


def _items(labels: Path, pictures: Path) -> Iterator[Item]:
    ending = "_aligned" if pictures.name == "aligned" else ""
    for name, label in table(labels):
        stem = Path(name).stem
        split = _SPLITS.get(stem.partition("_")[0])
        if split is None or label not in _LABELS:
            raise ReenactError(f"{labels} has {name!r} {label!r}; expected names train_... or test_..., labels 1 to 7")
        path = pictures / f"{stem}{ending}.jpg"
        if not path.is_file():
            raise ReenactError(f"{path.name} is missing in {pictures}; expected every photo of {labels.name}")
        yield Item(
            key=slug(stem),
            kind=Kind.PHOTO,
            path=path,
            identity=stem,
            split=split,
            about={"expression": _LABELS[label], "expression_label": label, "version": pictures.name},
        )
