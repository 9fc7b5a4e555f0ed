"""The motions that ship, by name: as `inference.shipped` gives them, without loading PyTorch into the server."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

_FOLDER = Path(str(resources.files("reenactor") / "assets" / "motions"))


def motion_names() -> list[str]:
    """What may be asked for."""
    return sorted(path.stem for path in _FOLDER.glob("*.motion"))


def motion_path(name: str) -> Path:
    """Where a motion is; only for names from `motion_names`."""
    assert name in motion_names()
    return _FOLDER / f"{name}.motion"
