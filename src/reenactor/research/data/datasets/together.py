"""Several data sets in one pack.

Layout: a folder whose subfolders (or links to folders) are named as data sets are, other things are refused::

    root/wflw/...
    root/mpiigaze/...

Each keeps its splits; keys and identities get the data set's name in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets._listing import at_least_one, entries, require_folder
from reenactor.research.data.items import Adapter, Item


def together(adapters: Mapping[str, Adapter]) -> Adapter:
    """An adapter that reads data sets side by side, each with its own."""
    return partial(_items, adapters)


def _items(adapters: Mapping[str, Adapter], root: Path) -> Iterator[Item]:
    expected = f"expected subfolders named {', '.join(adapters)}"
    require_folder(root, f"subfolders named {', '.join(adapters)}")
    names = [entry.name for entry in entries(root)]
    for name in names:
        if name not in adapters:
            raise ReenactError(f"{root} has {name}, which is no data set; {expected}")
    found = (_named(name, item) for name in names for item in adapters[name](root / name))
    yield from at_least_one(found, f"no data sets in {root}; {expected}")


def _named(name: str, item: Item) -> Item:
    return replace(item, key=f"{name}-{item.key}", identity=f"{name}/{item.identity}")
