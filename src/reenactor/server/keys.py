"""API keys: created here, stored as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from reenactor.core.errors import ReenactError

ENVIRONMENT = "REENACTOR_API_KEYS"
"""Keys in plain text, separated by commas; for containers."""
_SHORTEST = 24
"""A plain SHA-256 keeps a key safe only if the key cannot be guessed; those made here have 43 characters."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(rf"({_NAME.pattern}) ([0-9a-f]{{64}})")


class Keys:
    """The API keys that are accepted. A key's owner is its hash: files belong to the key, whatever its name.

    Args:
        hashes: SHA-256 of each key, in hexadecimal.
    """

    def __init__(self, hashes: Iterable[str] = ()) -> None:
        self._hashes = tuple(dict.fromkeys(hashes))

    def __len__(self) -> int:
        return len(self._hashes)

    def owner(self, key: str) -> str | None:
        """The owner of a key; None if the key is unknown."""
        given, found = _hash(key), None
        for known in self._hashes:  # all of them, so that the time taken reveals nothing
            if hmac.compare_digest(given, known):
                found = known
        return found


def one_time_key() -> tuple[Keys, str]:
    """A new key that is valid until the server ends: the set that accepts it, and the key."""
    key = secrets.token_urlsafe(32)
    return Keys([_hash(key)]), key


def load_keys(file: Path | None, environment: dict[str, str] | os._Environ[str]) -> Keys:
    """Read the keys of a file and of the environment variable, which is removed: worker processes need not see it.

    Raises:
        ReenactError: the file cannot be read or holds something else, or a key is short.
    """
    hashes = [] if file is None else [line[1] for line in _entries(file)]
    plain = [key.strip() for key in environment.pop(ENVIRONMENT, "").split(",") if key.strip()]
    if any(len(key) < _SHORTEST for key in plain):
        raise ReenactError(f"a key in {ENVIRONMENT} has fewer than {_SHORTEST} characters; choose a longer one")
    return Keys([*hashes, *map(_hash, plain)])


def add_key(file: Path, name: str) -> str:
    """Create a key, append its name and hash to the file, and return it; the key itself is stored nowhere.

    Raises:
        ReenactError: the name is taken or has odd characters, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ReenactError(f"'{name}' cannot be a key's name; use letters, digits, '.', '_' and '-'")
    if file.exists() and name in [line[0] for line in _entries(file)]:
        raise ReenactError(f"{file} has a key named {name}; choose another name, or delete its line first")
    key = secrets.token_urlsafe(32)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as out:
            out.write(f"{name} {_hash(key)}\n")
    except OSError as error:
        raise ReenactError(f"cannot write {file}: {(error.strerror or '').lower()}; choose another path") from error
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _entries(file: Path) -> list[tuple[str, str]]:
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "not text").lower()
        raise ReenactError(f"cannot read the keys in {file}: {reason}; make the file with --add-key NAME") from error
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise ReenactError(
                f"line {number} of {file} is not a name and a hash; make keys with --add-key NAME, which writes both"
            )
        found.append((match[1], match[2]))
    return found
