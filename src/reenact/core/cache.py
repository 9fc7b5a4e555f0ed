"""Where this user's cache is."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`$REENACT_CACHE`, else `reenact` in `$XDG_CACHE_HOME`, else `reenact` in the platform's place for caches."""
    given = os.environ.get("REENACT_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "reenact"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "reenact"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "reenact"
    return Path.home() / ".cache" / "reenact"
