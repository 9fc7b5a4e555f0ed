"""Faces found in photos, remembered between runs.

Of the 77 ms that `Reenactor.set_target` takes for a photo, finding the face takes 66, and half a second more until the
detector is loaded. So the landmarks are kept with what was found about the photo, and nothing else.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from reenactor import __version__
from reenactor.core import MESH_POINTS
from reenactor.core.files import cache_folder, write_atomically
from reenactor.face.perception.photo_check import CheckedFace, Finding

MOST_FACES = 1000
"""Each takes 6 KB."""
_MESH, _ABOUT = "mesh", "about"


def faces_folder() -> Path | None:
    """Where this user's faces are kept; None if the environment variable REENACTOR_NO_CACHE is set."""
    return None if os.environ.get("REENACTOR_NO_CACHE") else cache_folder() / "targets"


class FaceCache:
    """Faces by the photo's pixels, the face's number and this release; only the user may read them.

    A file that cannot be read or written counts as missing: a cache never fails.

    Args:
        folder: made when something is kept; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, photo: UInt8[np.ndarray, "h w 3"], face: int | None) -> CheckedFace | None:
        """The face of a photo seen before."""
        if self._folder is None:
            return None
        path = self._path(self._folder, photo, face)
        try:
            kept = load_file(path)
            mesh, (faces, *findings) = kept[_MESH], kept[_ABOUT].tolist()
            found = CheckedFace(mesh, faces, tuple(map(Finding, findings)))
            os.utime(path)  # the oldest go
        except (OSError, KeyError, TypeError, ValueError, SafetensorError):
            return None
        whole = mesh.shape == (MESH_POINTS, 3) and mesh.dtype == np.float32 and np.isfinite(mesh).all()
        return found if whole else None

    def keep(self, photo: UInt8[np.ndarray, "h w 3"], face: int | None, found: CheckedFace) -> None:
        """Remember the face."""
        if self._folder is None:
            return
        path = self._path(self._folder, photo, face)
        with suppress(OSError, SafetensorError):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._make_room(self._folder)
            about = np.array([found.faces, *(one.value for one in found.findings)])
            write_atomically(path, save({_MESH: found.mesh.astype(np.float32), _ABOUT: about}), mode=0o600)

    @staticmethod
    def _path(folder: Path, photo: np.ndarray, face: int | None) -> Path:
        digest = hashlib.sha256(f"{__version__} {photo.shape} {face}\n".encode())
        digest.update(np.ascontiguousarray(photo).data)
        return folder / f"{digest.hexdigest()}.safetensors"

    @staticmethod
    def _make_room(folder: Path) -> None:
        kept = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
        for path in kept[: max(0, len(kept) - MOST_FACES + 1)]:
            path.unlink(missing_ok=True)
