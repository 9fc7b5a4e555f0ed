"""API keys: created here, stored as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from reenactor.core.errors import ReenactError

ENVIRONMENT = "REENACTOR_API_KEYS"
"""Keys in plain text, separated by commas; for containers."""
_SHORTEST = 24
"""A plain SHA-256 keeps a key safe only if the key cannot be guessed; those made here have 43 characters."""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = re.compile(rf"({_NAME.pattern}) ([0-9a-f]{{64}})( until=\d{{4}}-\d\d-\d\d)?( operator)?")


@dataclass(frozen=True)
class _Entry:
    """A key: SHA-256 in hexadecimal, Unix time of its end, whether it is the operator's."""

    name: str
    hash: str
    until: float = math.inf
    operator: bool = False


class Keys:
    """The API keys that are accepted. A key's owner is its hash: files belong to the key, whatever its name.

    Args:
        hashes: SHA-256 of each key, in hexadecimal.
        file: with more keys; read again when it changes, and no key of it is accepted while it cannot be read.

    Raises:
        ReenactError: the file cannot be read or holds something else.
    """

    def __init__(self, hashes: Iterable[str] = (), file: Path | None = None) -> None:
        self._fixed = [_Entry("", one) for one in dict.fromkeys(hashes)]
        self._file = file
        self._entries = [] if file is None else _entries(file)
        self._version = self._state()

    def __len__(self) -> int:
        return len(self._fixed) + len(self._entries)

    def __bool__(self) -> bool:
        """Whether a key is asked for, also when all are revoked by now."""
        return bool(self._fixed) or self._file is not None

    def owner(self, key: str) -> str | None:
        """The owner of a key; None if the key is unknown, or no longer valid."""
        given, found = _hash(key), None
        for known in self._now():  # all of them, so that the time taken reveals nothing
            if hmac.compare_digest(given, known.hash) and time.time() < known.until:
                found = known.hash
        return found

    def is_operator(self, owner: str) -> bool:
        """Whether an owner may see what concerns the whole server; without keys, everybody may."""
        return not self or any(one.operator for one in self._now() if one.hash == owner)

    def _now(self) -> list[_Entry]:
        if self._file is not None and (version := self._state()) != self._version:
            self._version = version
            try:
                self._entries = _entries(self._file)
            except ReenactError as error:
                self._entries = []
                print(f"reenactor: {error}", file=sys.stderr, flush=True)
        return [*self._fixed, *self._entries]

    def _state(self) -> tuple[int, ...]:
        """Differs after the file was changed."""
        try:
            found = self._file and self._file.stat()
        except OSError:
            found = None
        return () if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)


def one_time_key() -> tuple[Keys, str]:
    """A new key that is valid until the server ends: the set that accepts it, and the key."""
    key = secrets.token_urlsafe(32)
    return Keys([_hash(key)]), key


def load_keys(file: Path | None, environment: dict[str, str] | os._Environ[str]) -> Keys:
    """Read the keys of a file and of the environment variable, which is removed: worker processes need not see it.

    Raises:
        ReenactError: the file cannot be read or holds something else, or a key is short.
    """
    plain = [key.strip() for key in environment.pop(ENVIRONMENT, "").split(",") if key.strip()]
    if any(len(key) < _SHORTEST for key in plain):
        raise ReenactError(f"a key in {ENVIRONMENT} has fewer than {_SHORTEST} characters; choose a longer one")
    return Keys(map(_hash, plain), file)


def add_key(file: Path, name: str, *, days: int | None = None, operator: bool = False) -> str:
    """Create a key, append its name and hash to the file, and return it; the key itself is stored nowhere.

    Args:
        file: made if missing.
        name: of the key.
        days: it is valid; None for as long as it is in the file.
        operator: it may read `/metrics`.

    Raises:
        ReenactError: the name is taken or has odd characters, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise ReenactError(f"'{name}' cannot be a key's name; use letters, digits, '.', '_' and '-'")
    if days is not None and not 0 < days < 36500:
        raise ReenactError(f"a key is valid for 1 to 36499 days, not {days}")
    if file.exists() and name in [one.name for one in _entries(file)]:
        raise ReenactError(f"{file} has a key named {name}; choose another name, or delete its line first")
    key = secrets.token_urlsafe(32)
    until = "" if days is None else f" until={date.today() + timedelta(days):%Y-%m-%d}"
    try:
        # An editor may have left the last line without an end.
        gap = "\n" if file.exists() and not f"\n{file.read_text()}".endswith("\n") else ""
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as out:
            out.write(f"{gap}{name} {_hash(key)}{until}{' operator' if operator else ''}\n")
    except OSError as error:
        raise ReenactError(f"cannot write {file}: {(error.strerror or '').lower()}; choose another path") from error
    return key


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _entries(file: Path) -> list[_Entry]:
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
        try:
            until = math.inf if match[3] is None else _midnight(match[3].removeprefix(" until="))
        except ValueError as error:
            raise ReenactError(f"line {number} of {file} has a date that does not exist") from error
        found.append(_Entry(match[1], match[2], until, match[4] is not None))
    return found


def _midnight(day: str) -> float:
    """Unix time at which a day ends, in UTC."""
    return (datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(1)).timestamp()
