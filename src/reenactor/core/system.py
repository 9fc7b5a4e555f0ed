"""What differs between machines: processors, locked files, optional packages."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from reenactor.core.errors import ReenactError


def available_cores() -> int:
    """Processors that this process may use; where the system does not say, those of the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def locked(path: Path, *, taken: str) -> Iterator[None]:
    """Hold a lock file against other processes while the block runs; the system frees it if the process dies.

    Args:
        path: the file, made if missing and left there.
        taken: the error's message if another process holds it.

    Raises:
        ReenactError: another process holds it.
        OSError: the file cannot be written.
    """
    with path.open("a+b") as file:
        try:
            _lock(file.fileno())
            # The one who held it may have removed it at the end; whoever comes next makes another.
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                raise BlockingIOError
        except (BlockingIOError, FileNotFoundError) as error:
            raise ReenactError(taken) from error
        yield


def _lock(handle: int) -> None:
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from error
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def need(package: str, extra: str, what: str) -> None:
    """Refuse to continue without an optional package.

    Args:
        package: as it is imported.
        extra: the extra that installs it.
        what: what needs it, to begin the message.

    Raises:
        ReenactError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise ReenactError(f"{what} needs the extra '{extra}'; pip install 'reenactor[{extra}]'")


@contextmanager
def plain_output() -> Iterator[None]:
    """While the block runs, what is printed cannot command the terminal.

    Names and texts of files can hold escape sequences, which clear the screen, rename the window or type for the user.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Plain(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Plain:
    """A stream with control characters spelled out, but for ends of lines, tabs and the carriage returns of tqdm."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, like any stream."""
        self._stream.write("".join(map(_shown, text)) if not text.isprintable() else text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _shown(letter: str) -> str:
    return letter if letter.isprintable() or letter in "\n\r\t" else ascii(letter)[1:-1]
