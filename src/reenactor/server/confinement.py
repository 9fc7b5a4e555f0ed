"""What a process that decodes strangers' files may not do: reach the network, read keys, write without end.

Linux gives a process its own view of the network and of files (user namespaces). Where that is forbidden, as it often
is in containers, the limits remain, and `Confinement.begin` says so.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

_NEW_USER, _NEW_FILES, _NEW_IPC, _NEW_NETWORK = 0x10000000, 0x00020000, 0x08000000, 0x40000000  # sched.h
_READ_ONLY, _BIND, _RECURSIVE, _PRIVATE = 1, 4096, 16384, 1 << 18  # sys/mount.h
_SET_DUMPABLE, _SET_NO_NEW_PRIVS = 4, 38  # sys/prctl.h
_SELF = Path("/proc") / "self"
_LARGEST_FILE = 4 * 2**30
_SECRET = re.compile(rb"(?<=REENACTOR_API_KEYS=)[^\0]+")


@dataclass(frozen=True)
class Confinement:
    """Of one process, for its whole life.

    Args:
        hidden: files and folders that it must not see.
        memory_bytes: more than it has at the beginning; None where that cannot be limited, such as with CUDA, which
            reserves addresses without using them.
    """

    hidden: tuple[Path, ...] = ()
    memory_bytes: int | None = None

    def begin(self) -> list[str]:
        """Confine this process, before it has threads of its own.

        Returns:
            What is not in force, in words; empty if all is.
        """
        missing = []
        if not (namespaces := self._leave()):
            missing += ["no network", "out of sight of the keys"]
        if resource := limits():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
            if self.memory_bytes is not None:
                import psutil

                most = psutil.Process().memory_info().vms + self.memory_bytes
                resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        if resource is None or self.memory_bytes is None:
            missing.append("a limit on memory")
        if namespaces:
            _prctl(_SET_NO_NEW_PRIVS, 1)
        return missing

    def report(self) -> str:
        """One line for the operator, from a trial in a child of this process."""
        missing = ["no network", "out of sight of the keys", "a limit on memory"]
        if hasattr(os, "fork"):
            reading, writing = os.pipe()
            if (child := os.fork()) == 0:
                try:
                    os.write(writing, json.dumps(self.begin()).encode())
                finally:
                    os._exit(0)
            os.close(writing)
            with open(reading) as file, suppress(ValueError):
                missing = json.load(file)
            os.waitpid(child, 0)
        kept = "uploads are decoded without network, out of sight of the keys, within limits"
        return kept + (f"; not in force on this system: {', '.join(missing)}" if missing else "")

    def _leave(self) -> bool:
        """Move to namespaces without network, in which `hidden` is empty; whether that worked."""
        if sys.platform != "linux":
            return False
        libc = ctypes.CDLL(None, use_errno=True)
        user, group = os.getuid(), os.getgid()
        everything = _NEW_USER | _NEW_FILES | _NEW_IPC | _NEW_NETWORK
        # Twice: what was mounted in the first namespaces cannot be unmounted from the second.
        for kinds in (everything, _NEW_USER | _NEW_FILES):
            if libc.unshare(kinds) != 0:
                return False
            with suppress(OSError):
                (_SELF / "setgroups").write_text("deny")
                (_SELF / "uid_map").write_text(f"{user} {user} 1")
                (_SELF / "gid_map").write_text(f"{group} {group} 1")
            if kinds == everything and not self._hide(libc):
                return False
        return True

    def _hide(self, libc: ctypes.CDLL) -> bool:
        done = libc.mount(None, b"/", None, _RECURSIVE | _PRIVATE, None) == 0
        for path in filter(Path.exists, self.hidden):
            where = os.fsencode(path.resolve())
            if path.is_dir():
                done &= libc.mount(b"none", where, b"tmpfs", _READ_ONLY, b"mode=0") == 0
            else:
                done &= libc.mount(b"/dev/null", where, None, _BIND, None) == 0
        return done


def limits() -> ModuleType | None:
    """The module for limits on this process; None on Windows, where there are no such limits."""
    try:
        return importlib.import_module("resource")
    except ModuleNotFoundError:
        return None


def protect_keys() -> None:
    """Let no process of the same user read this one's memory, nor the API keys among the variables it began with.

    Removing a variable leaves it readable in /proc/PID/environ.
    """
    if sys.platform != "linux":
        return
    start, end = (int(field) for field in (_SELF / "stat").read_text().rpartition(")")[2].split()[47:49])
    for found in _SECRET.finditer(ctypes.string_at(start, end - start)):
        ctypes.memset(start + found.start(), 0, len(found[0]))
    _prctl(_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
