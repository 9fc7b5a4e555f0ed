"""The folder of a job under way: for one process at a time, and nothing in it counts that this user did not make."""

from __future__ import annotations

import hmac
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reenactor.core import MediaError
from reenactor.core.files import sha256, write_atomically
from reenactor.core.system import locked

SEAL_BYTES = 32


class Seals:
    """Authenticates the pieces of a job: one that was planted, changed, or made by another job does not hold.

    Args:
        key: the user's secret (`media.certificates.own_secret`); an empty one finds accidents only.
        facts: what identifies the job, of what JSON can hold and paths; seals of other facts do not hold.
        check: called before each seal; raises if what the piece was made from is no longer what `facts` say.
    """

    def __init__(self, key: bytes = b"", facts: object = None, check: Callable[[], None] = lambda: None) -> None:
        text = json.dumps(facts, sort_keys=True, default=str)
        self._key, self._check = hmac.digest(key, text.encode(), "sha256"), check

    def of(self, name: str, data: bytes) -> bytes:
        """The seal of a piece of data: `SEAL_BYTES` bytes."""
        return hmac.digest(self._key, f"{name}\0".encode() + data, "sha256")

    def make(self, name: str, data: bytes) -> bytes:
        """As `of`, for data that was just made."""
        self._check()
        return self.of(name, data)

    def seal(self, path: Path) -> None:
        """Seal a file that was just made."""
        write_atomically(_beside(path), self.make(path.name, sha256(path).encode()))

    def holds(self, path: Path) -> bool:
        """Whether a file is there and as it was when it was sealed."""
        try:
            return hmac.compare_digest(_beside(path).read_bytes(), self.of(path.name, sha256(path).encode()))
        except OSError:
            return False


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".seal")


@contextmanager
def job_folder(folder: Path, output: Path) -> Iterator[None]:
    """Keep the folder of a job, made if missing, to this user and process. A killed process leaves no lock.

    Args:
        folder: the job's; what is not a plain file of this user is removed from it, since links lead elsewhere.
        output: what the job makes; for the messages.

    Raises:
        ReenactError: another process is making the same output, or the folder is not the user's.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or (hasattr(os, "geteuid") and about.st_uid != os.geteuid()):
        raise MediaError(f"{folder} is a link or another user's; remove it, or choose another name than {output}")
    folder.chmod(0o700)
    for entry in os.scandir(folder):
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(entry.path)
        elif not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != about.st_uid:
            os.unlink(entry.path)
    taken = f"another process is making {output} at this moment; wait until it is done, or choose another name"
    with locked(folder / "lock", taken=taken):
        yield
