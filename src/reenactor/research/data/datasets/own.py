"""Your own clips and photos: in folders (`--dataset folder`) or in a table (`--dataset manifest`).

Folders, of any depth; hidden files and other formats are ignored::

    root/anna/holiday/1.mp4     one subfolder a person: identity "anna"
    root/bo.jpg                 a file without a subfolder is an identity of its own

or the same below `train`, `val` and `test` (any of them, and then nothing else beside them)::

    root/train/anna/1.mp4
    root/val/cleo/1.jpg

Without split folders, 5 % of the identities are val by a hash of their name and the others are train, so adding people
changes nobody's split.

A manifest is a UTF-8 CSV with a header line; the root is the file or the folder that holds `manifest.csv`::

    file,kind,split,identity,licence
    clips/a.mp4,clip,train,anna,CC BY
    portraits/b.jpg,portrait,val,bo,CC0

`file` is relative to the CSV's folder and must stay inside it; `kind` is clip, portrait or photo; an empty `identity`
makes the file an identity of its own. The optional `start_s` and `end_s` cut a clip, which may then have several rows.
Other columns are kept in `about`. The whole table is checked before the first item is returned.
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from reenactor.core import ReenactError
from reenactor.media import is_image, is_video
from reenactor.research.data.datasets.listing import (
    at_least_one,
    entries,
    hashed_key,
    kind_of,
    media,
    require_folder,
    split_of,
    text_of,
)
from reenactor.research.data.items import Item, Kind, Split

_NEEDED = ("file", "kind", "split", "identity")
_KNOWN = (*_NEEDED, "start_s", "end_s")
_KINDS = {"clip": Kind.CLIP, "portrait": Kind.PHOTO, "photo": Kind.PHOTO}


def folder_items(root: Path) -> Iterator[Item]:
    """List the photos and videos under a folder.

    Raises:
        ReenactError: no folder, nothing in it, files beside the split folders, or a person in two splits.
    """
    require_folder(root, "photos and videos, best in one subfolder a person")
    yield from at_least_one(
        _in_folders(root, _split_folders(root)),
        f"no photos or videos in {root}; expected them there, best in one subfolder a person",
    )


def _in_folders(root: Path, splits: list[Split]) -> Iterator[Item]:
    visited: set[tuple[int, int]] = set()
    for split in splits or [None]:
        people = root / split.value if split else root
        for path in media(people, visited):
            relative = path.relative_to(root).as_posix()
            below = path.relative_to(people).parts
            identity = text_of(below[0] if len(below) > 1 else relative)
            yield Item(hashed_key(relative), kind_of(path), path, identity, split or split_of(identity))


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


def manifest_items(root: Path) -> Iterator[Item]:
    """List the rows of a manifest.

    Raises:
        ReenactError: no such table, or a row that is wrong; the sentence says which.
    """
    table = root / "manifest.csv" if root.is_dir() else root
    if not table.is_file():
        raise ReenactError(f"no manifest.csv in {root}; expected a CSV file with the columns {', '.join(_NEEDED)}")
    _check(table)
    for _, item in _rows(table):
        yield item


def _check(table: Path) -> None:
    """Raise `ReenactError` for the first thing that is wrong anywhere in the table."""
    first_use: dict[str, str] = {}
    splits: dict[str, Split] = {}
    missing = 0
    first_missing = ""
    for where, item in _rows(table):
        if item.key in first_use:
            raise ReenactError(f"{where}: {item.path.name} is there already, at {first_use[item.key]}; remove one")
        first_use[item.key] = where.removeprefix(f"{table} ")
        if splits.setdefault(item.identity, item.split) is not item.split:
            raise ReenactError(
                f"{where}: identity {item.identity} is in {item.split.value} here and in "
                f"{splits[item.identity].value} above; expected each person in one split"
            )
        if not item.path.is_file():
            missing += 1
            first_missing = first_missing or f"{where} ({item.path})"
    if not first_use:
        raise ReenactError(f"{table} has no rows; expected one for each file")
    if missing:
        raise ReenactError(
            f"{missing} of {len(first_use)} files are missing, the first at {first_missing}; "
            f"expected them where the CSV says, below {table.parent}"
        )


def _rows(table: Path) -> Iterator[tuple[str, Item]]:
    """Each row's item, and where it stands, for messages."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            try:
                yield from _parsed(reader, table)
            except csv.Error as error:
                # DictReader's own number is behind after an error.
                raise ReenactError(f"{table} line {reader.reader.line_num}: {error}; correct the quotes") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ReenactError(f"cannot read {table}: {error}; expected a CSV file in UTF-8") from error


def _parsed(reader: csv.DictReader[str], table: Path) -> Iterator[tuple[str, Item]]:
    absent = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if absent:
        raise ReenactError(f"{table} has no column {absent[0]}; expected {', '.join(_NEEDED)}")
    for cells in reader:
        where = f"{table} line {reader.line_num}"
        if None in cells or None in cells.values():
            raise ReenactError(
                f"{where}: expected {len(reader.fieldnames or ())} cells, as in the header; "
                "put texts with a comma in double quotes"
            )
        yield where, _item({name: text.strip() for name, text in cells.items()}, table.parent, where)


def _item(cells: dict[str, str], folder: Path, where: str) -> Item:
    name = _checked_path(cells["file"], where)
    kind = _KINDS.get(cells["kind"])
    if kind is None:
        raise ReenactError(f"{where}: kind is {cells['kind']!r}; expected {', '.join(_KINDS)}")
    if not (is_image(name) or is_video(name)) or kind_of(Path(name)) is not kind:
        raise ReenactError(f"{where}: {name} is not the name of a {cells['kind']}; correct file or kind")
    try:
        split = Split(cells["split"])
    except ValueError as error:
        raise ReenactError(f"{where}: split is {cells['split']!r}; expected train, val or test") from error
    start_s, end_s = _seconds(cells, "start_s", where), _seconds(cells, "end_s", where)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ReenactError(f"{where}: end_s is not after start_s; expected seconds from the video's beginning")
    cut = "" if start_s is None and end_s is None else f"@{start_s}-{end_s}"
    return Item(
        key=hashed_key(name) if not cut else f"{hashed_key(name)}-{hashed_key(cut).rpartition('-')[2]}",
        kind=kind,
        path=folder / name,
        identity=cells["identity"] or text_of(name),
        split=split,
        start_s=start_s,
        end_s=end_s,
        about={column: text for column, text in cells.items() if column not in _KNOWN and text},
    )


def _checked_path(name: str, where: str) -> str:
    path = posixpath.normpath(name.replace("\\", "/"))
    if path in ("", ".") or path.split("/")[0] == ".." or path.startswith("/") or PureWindowsPath(path).drive:
        raise ReenactError(f"{where}: file is {name!r}; expected a path inside the CSV's folder, relative to it")
    return path


def _seconds(cells: dict[str, str], column: str, where: str) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ReenactError(f"{where}: {column} is {text!r}; expected seconds, 0 or more")
    return seconds
