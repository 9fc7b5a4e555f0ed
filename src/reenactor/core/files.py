"""Files: atomic writing, versioned JSON, SHA-256, the cache folder; one clear sentence when something is wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import sys
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
        reason = f"{path.parent} is not a folder; choose another folder"
    elif number == errno.EISDIR:
        reason = "it is a folder; give the name of a file"
    else:
        reason = f"{_one_line(error)}; choose another name or folder"
    return MediaError(f"cannot write {path}: {reason}")


def check_readable(path: Path, kind: str) -> None:
    """Refuse a path that is not a readable, non-empty file; `kind` is what the message asks for ("an image").

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


def temporary_beside(path: Path, *, mode: int = 0o666) -> Path:
    """Create an empty, hidden file in the folder of `path`, with its suffix, to be moved to `path` later.

    Args:
        path: the final name.
        mode: permissions, less those that the user's umask takes away (ignored on Windows).

    Raises:
        MediaError: the folder is missing or cannot be written.
    """
    if path.is_dir():
        raise cannot_write(path, IsADirectoryError(errno.EISDIR, ""))
    try:
        return _draft(path, mode)
    except OSError as error:
        raise cannot_write(path, error) from error


def _draft(path: Path, mode: int) -> Path:
    draft = path.with_name(f".{path.stem[:60]}.{secrets.token_hex(4)}{path.suffix}")
    # Not tempfile.mkstemp: its files are readable by their owner only.
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    return draft


def discard(path: Path) -> None:
    """Remove a temporary file if it is still there."""
    with suppress(OSError):
        path.unlink()


@contextmanager
def drafting(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Give a temporary file that replaces `path` when the block ends, and is removed if the block fails.

    Args:
        path: the final name; its folder must exist.
        mode: permissions, as for `temporary_beside`.

    Raises:
        OSError: `path` cannot be written.
    """
    draft = _draft(path, mode)
    try:
        yield draft
        os.replace(draft, path)
    finally:
        discard(draft)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `drafting`, for files that a user asked for: errors of the operating system become one sentence.

    Raises:
        MediaError: `path` cannot be written, or the block raised an OSError.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        with drafting(path) as draft:
            yield draft
    except OSError as error:
        raise cannot_write(path, error) from error


def write_atomically(path: Path, data: bytes | str, *, durable: bool = False, mode: int = 0o666) -> None:
    """Write a whole file or nothing; its folder must exist.

    Args:
        path: the file; an earlier one is replaced.
        data: the content; text is written as UTF-8.
        durable: survive a power failure, not only a killed process.
        mode: permissions, as for `temporary_beside`.

    Raises:
        OSError: the file cannot be written.
    """
    with drafting(path, mode=mode) as draft:
        draft.write_bytes(data.encode() if isinstance(data, str) else data)
        if durable:
            sync(draft)
    if durable:
        sync(path.parent)


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
        again: what to do about a damaged or foreign file, as the end of a sentence: "export again".
        error: class of the error to raise.

    Returns:
        the whole object, with its format and version.

    Raises:
        ReenactError: missing, damaged, of another format or version; one sentence.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(missing) from None
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"cannot read {path}: {_one_line(cause)}; {again}") from cause
    if not isinstance(found, dict) or not is_format(found.get("format"), kind):
        raise error(f"{path} does not describe data of the format 'reenactor-{kind}'; {again}")
    if found.get("version") != version:
        raise error(
            f"{path} has version {found.get('version')!r:.20} of its format, and this release reads version {version}; "
            f"update reenactor, or {again}"
        )
    return found


def config_folder() -> Path:
    """Folder of reenactor's settings: `$REENACTOR_HOME`, else `reenactor` in the user's settings folder."""
    if home := os.environ.get("REENACTOR_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "reenactor"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "reenactor"
    configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (configured if configured.is_absolute() else Path.home() / ".config") / "reenactor"


def cache_folder() -> Path:
    """Folder for what can be made again: `$REENACTOR_CACHE`, else `reenactor` in the user's cache folder.

    That is `$XDG_CACHE_HOME` if set, else `%LOCALAPPDATA%` (Windows), `~/Library/Caches` (macOS) or `~/.cache`.
    """
    given = os.environ.get("REENACTOR_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "reenactor"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "reenactor"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "reenactor"
    return Path.home() / ".cache" / "reenactor"
