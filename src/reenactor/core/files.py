"""Files: written whole or not at all, read with one clear sentence when something is wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reenactor.core.errors import MediaError, ReenactError

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def cannot_write(path: Path, error: BaseException) -> MediaError:
    """The error to raise when writing `path` failed with `error`."""
    number = getattr(error, "errno", None)
    if number in _DISK_FULL:
        reason = "the disk is full; free some space and try again"
    elif number in _FORBIDDEN:
        reason = f"writing in {path.parent} is not permitted; choose another folder"
    elif number == errno.ENOENT:
        reason = f"the folder {path.parent} does not exist; create it first"
    elif number == errno.ENOTDIR:
        reason = f"{path.parent} is not a folder; choose another place"
    elif number == errno.EISDIR:
        reason = "it is a folder; give the name of a file"
    else:
        reason = f"{_one_line(error)}; choose another name or place"
    return MediaError(f"cannot write {path}: {reason}")


def check_readable(path: Path, kind: str) -> None:
    """Refuse what is not a readable, non-empty file. `kind` says what is wanted ("an image", "a video").

    Raises:
        MediaError: one sentence that names the path.
    """
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; give {kind}")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty; give {kind} with content")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError):
        raise MediaError(f"{path} does not exist; check the name and the folder") from None
    except OSError as error:
        raise MediaError(f"cannot read {path}: {_one_line(error)}; check its permissions") from error


def _one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".").lower()


def temporary_beside(path: Path) -> Path:
    """Create an empty, hidden file in the folder of `path`, with its suffix; it will take its place.

    Raises:
        MediaError: the folder is missing, or may not be written.
    """
    if path.is_dir():
        raise cannot_write(path, IsADirectoryError(errno.EISDIR, ""))
    temporary = path.with_name(f".{path.stem[:60]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        # Not tempfile.mkstemp: that makes files which only their owner may read.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise cannot_write(path, error) from error
    return temporary


def discard(path: Path) -> None:
    """Remove a temporary file, if it is still there."""
    with suppress(OSError):
        path.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file that replaces `path` at the end, or vanishes if the block fails.

    Raises:
        MediaError: `path` cannot be written; operating-system errors of the block are turned into one too.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        discard(temporary)


def write_atomically(path: Path, data: bytes | str, *, durable: bool = False) -> None:
    """Write a whole file or nothing; its folder must exist.

    Args:
        path: where to; what is there is replaced.
        data: the content; text is written as UTF-8.
        durable: outlast a power failure, not only a killed process.

    Raises:
        OSError: the file cannot be written.
    """
    draft = path.with_name(f".{path.name[:60]}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)
        if durable:
            sync(draft)
        os.replace(draft, path)
        if durable:
            sync(path.parent)
    finally:
        discard(draft)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to the disk (folders only where the system can)."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_format(found: object, kind: str) -> bool:
    """Whether a file's format field says "reenactor-<kind>", or "reenact-<kind>" as it was until version 0.1."""
    return found in (f"reenactor-{kind}", f"reenact-{kind}")


def read_json(
    path: Path, kind: str, version: int, *, missing: str, again: str, error: type[ReenactError] = ReenactError
) -> dict[str, Any]:
    """Read a JSON object that states its format and version.

    Args:
        path: the file.
        kind: what it is, as in `"format": "reenactor-<kind>"`.
        version: the only one this release reads.
        missing: the message if there is no such file.
        again: what to do about a damaged or foreign file, to end a sentence: "export again".
        error: class of the error.

    Raises:
        ReenactError: missing, damaged, of another format or version; one sentence.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(missing) from None
    except (OSError, ValueError) as cause:
        raise error(f"cannot read {path}: {_one_line(cause)}; {again}") from cause
    if not isinstance(found, dict) or not is_format(found.get("format"), kind):
        raise error(f"{path} does not describe data of the format 'reenactor-{kind}'; {again}")
    if found.get("version") != version:
        raise error(
            f"{path} has version {found.get('version')} of its format, and this release reads version {version}; "
            f"update reenactor, or {again}"
        )
    return found
