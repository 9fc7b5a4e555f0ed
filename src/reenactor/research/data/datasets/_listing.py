"""What the adapters share: folders in a stable order, keys, splits that do not depend on who else is there."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.media import is_image, is_video
from reenactor.research.data.items import Item, Kind, Split

_NUMBER = re.compile(r"([0-9]+)")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")
_SLUG_LENGTH = 80
"""Of 100 characters that an old tar header has for a name, less the hash and a suffix."""

HELD_OUT_SHARE = 0.05
"""Of the identities, where a data set has no split of its own."""


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key by which frame2 comes before frame10."""
    parts = _NUMBER.split(name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def require_folder(root: Path, expected: str) -> None:
    """Raise unless `root` is a folder.

    Raises:
        ReenactError: it is not; the sentence says what is expected there.
    """
    if not root.is_dir():
        raise ReenactError(f"{root} is not a folder; expected {expected}")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The files and folders that lie in one folder, in natural order, without hidden ones.

    Raises:
        ReenactError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(filter(_is_real, found), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise ReenactError(f"cannot read the folder {folder}: {error.strerror}; check that you may open it") from error


def _is_real(entry: os.DirEntry[str]) -> bool:
    """Not hidden, no broken link, no link to itself, no socket."""
    try:
        return not entry.name.startswith(".") and (entry.is_file() or entry.is_dir())
    except OSError:
        return False


def folders(folder: Path) -> Iterator[Path]:
    """The subfolders of one folder, in natural order."""
    return (folder / entry.name for entry in entries(folder) if entry.is_dir())


def media(folder: Path, seen: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """The photos and videos under a folder, one folder listed at a time.

    Args:
        folder: where to look, recursively; symbolic links are followed.
        seen: device and inode of folders that were listed before; shared between calls, none of them is listed
            twice, whether a link closes a loop or gives one person a second name.
    """
    seen = set() if seen is None else seen
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries(folder):
        path = folder / entry.name
        if entry.is_dir():
            yield from media(path, seen)
        elif entry.is_file() and (is_image(entry.name) or is_video(entry.name)):
            yield path


def kind_of(path: Path) -> Kind:
    """Clip or photo, by the suffix."""
    return Kind.CLIP if is_video(path) else Kind.PHOTO


def text_of(name: str) -> str:
    """A file name as text that can be written: composed letters, no undecodable bytes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def slug(text: str) -> str:
    """The text in the letters that a key may have."""
    return _NOT_IN_KEYS.sub("_", text)


def hashed_key(relative: str) -> str:
    """A key for any path below the root: readable, and told apart by a hash of the whole path."""
    digest = hashlib.sha256(os.fsencode(relative)).hexdigest()[:10]
    return f"{slug(os.path.splitext(relative)[0])[-_SLUG_LENGTH:]}-{digest}"


def split_of(identity: str) -> Split:
    """Train, or val for `HELD_OUT_SHARE` of the identities: a function of the name alone."""
    draw = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    return Split.VAL if draw < HELD_OUT_SHARE else Split.TRAIN


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The non-empty lines of a text file with their numbers, from 1.

    Raises:
        ReenactError: it cannot be read, or is no text.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ReenactError(f"cannot read {path}: {error}; unpack or download it again") from error


def table(path: Path) -> Iterator[tuple[str, str]]:
    """Rows of two columns, as most official lists are.

    Raises:
        ReenactError: a line has other than two columns.
    """
    for number, line in lines(path):
        columns = line.split()
        if len(columns) != 2:
            raise ReenactError(f"{path} line {number} has {len(columns)} columns instead of 2; download it again")
        yield columns[0], columns[1]


def at_least_one(items: Iterable[Item], complaint: str) -> Iterator[Item]:
    """The same items.

    Raises:
        ReenactError: with the complaint, after there was none.
    """
    empty = True
    for item in items:
        empty = False
        yield item
    if empty:
        raise ReenactError(complaint)
