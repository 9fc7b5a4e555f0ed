"""Where this user's cache is."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """`$REENACTOR_CACHE`, else `reenactor` in `$XDG_CACHE_HOME`, else in the platform's folder for caches."""
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
