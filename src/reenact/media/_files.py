"""Whole files or none, and what to tell a user when a file cannot be read or written."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reenact.core import MediaError

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
