"""Files of others: downloaded, checked, kept in the cache, unpacked."""

from __future__ import annotations

import math
import os
import tempfile
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlparse

from reenactor.core import CheckpointError
from reenactor.core.files import cache_folder, drafting, sha256
from reenactor.nn.checkpoint import CARD, CONFIG, replace_folder

TIMEOUT_S = 60
"""Without a byte, before a download is given up."""
LONGEST_S = 3600
"""Whole download."""
LARGEST_BYTES = 4 * 2**30
"""Of a download, and of what is unpacked: paper-size weights take 0.7 GB."""
_ODD_ZIP = (OSError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, zlib.error, LZMAError)
"""What `zipfile` raises for files that are damaged, encrypted, or packed by a method it does not know."""


def checkpoint_folder(where: str | os.PathLike[str], digest: str | None = None) -> Path:
    """The folder of a checkpoint that is given as a folder, as a zip file of one, or as a zip file's URL.

    Args:
        where: path or URL; what is unpacked is kept in the cache.
        digest: SHA-256 of the zip file, or of a folder's config.json (which names those of all its files). A URL needs
            it.

    Raises:
        CheckpointError: it cannot be had, or is not what was asked for.
    """
    if "://" in str(where):
        if digest is None:
            raise CheckpointError("weights from a URL are used only if their SHA-256 is given; ask whoever made them")
        return _unpacked(fetch(str(where), digest))
    path = Path(where)
    packed = path.is_file()
    if digest is not None and (packed or (path / CONFIG).exists()):
        check_digest(path if packed else path / CONFIG, digest, whose=str(where))
    return _unpacked(path) if packed else path


def fetch(url: str, digest: str) -> Path:
    """The file behind a URL, from the cache if it is there.

    Args:
        url: https or file; anything else, also where https leads to, is refused.
        digest: SHA-256 of its bytes; no other file is ever put under the name that is returned.

    Raises:
        CheckpointError: it cannot be had, or it is another file.
    """
    folder = cache_folder()
    try:
        path = folder / f"{digest[:16]}-{Path(urlparse(url).path).name}"
        if path.exists() and sha256(path) == digest:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        with drafting(path) as draft:
            with _open(url) as source, draft.open("wb") as sink:
                _copy(source.read, sink, LARGEST_BYTES, time.monotonic() + LONGEST_S)
            check_digest(draft, digest, whose=url)
    except (OSError, ValueError, HTTPException) as error:
        raise CheckpointError(f"cannot download {url} ({error}); get it another way and give its path") from error
    return path


def _open(url: str) -> Any:
    """What https or file leads to. An opener of its own: Python's also knows http, ftp and data."""
    opener = urllib.request.OpenerDirector()
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    handlers = (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPSHandler(),
        urllib.request.FileHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    return opener.open(url, timeout=TIMEOUT_S)


def _copy(read: Callable[[int], bytes], sink: IO[bytes], most_bytes: int, until: float) -> int:
    """Copy all of it, at most so many bytes and not past that time; returns how many."""
    copied = 0
    while block := read(1 << 20):
        copied += len(block)
        if copied > most_bytes:
            raise ValueError(f"more than {most_bytes} bytes")
        if time.monotonic() > until:
            raise ValueError("it takes too long")
        sink.write(block)
    return copied


def check_digest(path: Path, digest: str, *, whose: str) -> None:
    """Refuse a file that is not the one that was asked for.

    Args:
        path: of the file.
        digest: its SHA-256.
        whose: where it came from, for the message.
    """
    found = sha256(path)
    if found != digest.lower():
        raise CheckpointError(f"{whose} is not the file that was asked for: its SHA-256 is {found}, not {digest}")


def _unpacked(packed: Path) -> Path:
    """A zip file's checkpoint, as a folder of the cache; nothing else is taken out of it."""
    folder = cache_folder() / "weights" / sha256(packed)[:16]
    if (folder / CONFIG).exists():
        return folder
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [PurePosixPath(name) for name in archive.namelist()]
            inside = next((member.parent for member in members if member.name == CONFIG), None)
            if inside is None:
                raise CheckpointError(f"{packed} holds no weights ({CONFIG} is missing); zip a checkpoint's folder")
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
                new = Path(beside) / "new"
                new.mkdir()
                left = LARGEST_BYTES
                for member in members:
                    if member.parent == inside and (member.name in (CONFIG, CARD) or member.suffix == ".safetensors"):
                        with archive.open(str(member)) as source, (new / member.name).open("wb") as sink:
                            left -= _copy(source.read, sink, left, math.inf)
                replace_folder(new, folder)
    except _ODD_ZIP as error:
        raise CheckpointError(f"cannot unpack {packed} ({error}); give a checkpoint's folder or a zip of it") from error
    return folder
