"""One file per data set; each lists its items as `reenactor.research.data.items` defines them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets import celeba, celeba_hq, celebv, ffhq, mpiigaze, own, raf_db, voxceleb1, wflw
from reenactor.research.data.datasets.listing import at_least_one, entries, require_folder
from reenactor.research.data.items import Adapter, Item

__all__ = ["DATASETS"]

_SINGLE: dict[str, Adapter] = {
    "folder": own.folder_items,
    "manifest": own.manifest_items,
    "voxceleb1": voxceleb1.items,
    "celebv": celebv.items,
    "celeba": celeba.items,
    "celeba-hq": celeba_hq.items,
    "ffhq": ffhq.items,
    "raf-db": raf_db.items,
    "wflw": wflw.items,
    "mpiigaze": mpiigaze.items,
}


def _together(root: Path) -> Iterator[Item]:
    """List several data sets, in subfolders (or links to folders) named as the data sets are.

    Each keeps its splits; keys and identities are prefixed with the data set's name.

    Raises:
        ReenactError: there is something else in the folder, or a data set without its layout.
    """
    subfolders = f"subfolders named {', '.join(_SINGLE)}"
    require_folder(root, subfolders)
    names = [entry.name for entry in entries(root)]
    for name in names:
        if name not in _SINGLE:
            raise ReenactError(f"{root} has {name}, which is no data set; expected {subfolders}")
    found = (_prefixed(name, item) for name in names for item in _SINGLE[name](root / name))
    yield from at_least_one(found, f"no data sets in {root}; expected {subfolders}")


def _prefixed(name: str, item: Item) -> Item:
    return replace(item, key=f"{name}-{item.key}", identity=f"{name}/{item.identity}")


DATASETS: dict[str, Adapter] = {**_SINGLE, "together": _together}
"""Adapters by the name that `reenactor prepare --dataset` takes."""
