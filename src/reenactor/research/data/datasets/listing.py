"""What the adapters share: listing folders in a stable order, keys, splits, reading lists and tables."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from reenactor.core import ReenactError
from reenactor.media import is_image, is_video
from reenactor.research.data.items import FrameFiles, Item, Kind, Split

_NUMBER = re.compile(r"([0-9]+)")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")
FRAMES_PER_S = 25
"""Of frame numbers, as data sets of frames count them."""
_LONGEST_RUN = 1500
"""Frames, as many as a segment of a clip may have."""
_SLUG_LENGTH = 80
"""An old tar header has 100 characters for a name; the rest is for the hash and a suffix."""

VAL_SHARE = 0.05
"""Share of identities in val, where a data set has no split of its own."""


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts frame2 before frame10."""
    parts = _NUMBER.split(name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def require_folder(root: Path, expected: str) -> None:
    """Raise `ReenactError` unless `root` is a folder; `expected` says what should be there."""
    if not root.is_dir():
        raise ReenactError(f"{root} is not a folder; expected {expected}")


def first_folder(root: Path, names: Sequence[str], *, containing: str = ".") -> Path | None:
    """The first of the named subfolders of `root` that exists and has an entry `containing`; None if none does."""
    return next((root / name for name in names if (root / name).is_dir() and (root / name / containing).exists()), None)


def first_file(name: str, folders: Sequence[Path]) -> Path | None:
    """The file of this name in the first of the folders that has it; None if none does."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The files and folders in a folder, in natural order, without hidden ones and broken links.

    Raises:
        ReenactError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(filter(_is_usable, found), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise ReenactError(f"cannot read the folder {folder}: {error.strerror}; check that you may open it") from error


def _is_usable(entry: os.DirEntry[str]) -> bool:
    """Not hidden, no broken link, no link to itself, no socket."""
    try:
        return not entry.name.startswith(".") and (entry.is_file() or entry.is_dir())
    except OSError:
        return False


def folders(folder: Path) -> Iterator[Path]:
    """The subfolders of a folder, in natural order."""
    return (folder / entry.name for entry in entries(folder) if entry.is_dir())


def images(folder: Path) -> Iterator[Path]:
    """The photos directly in a folder, in natural order."""
    return (folder / entry.name for entry in entries(folder) if is_image(entry.name) and entry.is_file())


def media(folder: Path, visited: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """The photos and videos anywhere under a folder; each folder is listed only when it is reached.

    Args:
        folder: where to begin; symbolic links are followed.
        visited: device and inode of folders already listed. No folder is listed twice, even if a link closes a loop
            or gives a folder a second name; pass the same set to several calls to extend this to all of them.
    """
    visited = set() if visited is None else visited
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in entries(folder):
        path = folder / entry.name
        if entry.is_dir():
            yield from media(path, visited)
        elif entry.is_file() and (is_image(entry.name) or is_video(entry.name)):
            yield path


def kind_of(path: Path) -> Kind:
    """Clip or photo, by the suffix."""
    return Kind.CLIP if is_video(path) else Kind.PHOTO


def runs(folder: Path, numbered: Iterable[tuple[int, str]]) -> Iterator[FrameFiles]:
    """Files of frames as clips: a new one begins after a gap of more than a second, or after a minute's frames.

    Args:
        folder: where the files are, for messages.
        numbered: frame numbers, `FRAMES_PER_S` a second, and names, in any order.

    Returns:
        clips of two frames or more; frames with no other within a second are left out.

    Raises:
        ReenactError: two files have one number.
    """
    found: list[tuple[int, str]] = []
    for number, name in [*sorted(numbered), (None, "")]:
        if found and number == found[-1][0]:
            raise ReenactError(f"{found[-1][1]} and {name} in {folder} have one frame number; remove one")
        if found and (number is None or number - found[-1][0] > FRAMES_PER_S or len(found) == _LONGEST_RUN):
            if len(found) > 1:
                numbers, names = zip(*found, strict=True)
                yield FrameFiles(names, numbers, FRAMES_PER_S)
            found = []
        if number is not None:
            found.append((number, name))


def text_of(name: str) -> str:
    """A file name as text that can be written: composed letters, no undecodable bytes."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def slug(text: str) -> str:
    """The text with `_` for everything that a key must not contain."""
    return _NOT_IN_KEYS.sub("_", text)


def hashed_key(relative: str) -> str:
    """A readable key for a path relative to the root, made unique by a hash of the path."""
    digest = hashlib.sha256(os.fsencode(relative)).hexdigest()[:10]
    return f"{slug(os.path.splitext(relative)[0])[-_SLUG_LENGTH:]}-{digest}"


def split_of(identity: str) -> Split:
    """Val for `VAL_SHARE` of the identities, else train; depends on the name alone, and never changes."""
    draw = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64
    return Split.VAL if draw < VAL_SHARE else Split.TRAIN


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The non-empty lines of a text file, stripped, with their numbers from 1.

    Raises:
        ReenactError: the file cannot be read, or is not text.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ReenactError(f"cannot read {path}: {error}; unpack or download it again") from error


def table(path: Path) -> Iterator[tuple[str, str]]:
    """The rows of a list with two columns.

    Raises:
        ReenactError: a line does not have two columns.
    """
    for number, line in lines(path):
        columns = line.split()
        if len(columns) != 2:
            raise ReenactError(f"{path} line {number} has {len(columns)} columns instead of 2; download it again")
        yield columns[0], columns[1]


def numbers(columns: Sequence[str], count: int, complaint: str) -> Float32[np.ndarray, " count"]:
    """Parse `count` finite numbers; raise `ReenactError` with the complaint if these are not."""
    try:
        values = np.array(columns, np.float32)
    except ValueError:
        values = np.zeros(0, np.float32)
    if values.size != count or not np.isfinite(values).all():
        raise ReenactError(complaint)
    return values


def at_least_one(items: Iterable[Item], complaint: str) -> Iterator[Item]:
    """The same items; raise `ReenactError` with the complaint if there is none."""
    empty = True
    for item in items:
        empty = False
        yield item
    if empty:
        raise ReenactError(complaint)
