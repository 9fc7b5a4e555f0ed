"""What ships for trying things out: a photo and a few motions."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import UInt8


def demo_photo() -> UInt8[np.ndarray, "512 512 3"]:
    """Eileen Collins, photographed by NASA (public domain), from scikit-image."""
    from skimage.data import astronaut  # imports much, and only the demo needs it

    return astronaut()


def shipped_motions() -> dict[str, Path]:
    """Motion files in the package by name."""
    folder = Path(str(resources.files("reenactor") / "assets" / "motions"))
    return {path.stem: path for path in sorted(folder.glob("*.motion"))}
