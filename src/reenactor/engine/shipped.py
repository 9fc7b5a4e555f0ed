"""What ships for trying things out: a photo and a few motions."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from reenactor.core import DriverFrame, TargetSet
from reenactor.engine.portrait import driver_frame, target_set, usual_size
from reenactor.face.perception import FaceFinder
from reenactor.face.retarget import Retargeter, neutral_frame
from reenactor.media import read_motion
from reenactor.models import ReenactmentModel


def demo_photo() -> UInt8[np.ndarray, "512 512 3"]:
    """Eileen Collins, photographed by NASA (public domain), from scikit-image."""
    from skimage.data import astronaut  # imports much, and only the demo needs it

    return astronaut()


def shipped_motions() -> dict[str, Path]:
    """Motion files in the package by name."""
    folder = Path(str(resources.files("reenactor") / "assets" / "motions"))
    return {path.stem: path for path in sorted(folder.glob("*.motion"))}


def demo_examples(model: ReenactmentModel, count: int) -> Iterator[tuple[TargetSet, DriverFrame]]:
    """The demo photo moved by the shipped motions: inputs to compare a model's runtimes with.

    Args:
        model: gets its inputs on its device, in crops of `usual_size`.
        count: of frames, taken evenly from all motions.
    """
    size, photo = usual_size(model), demo_photo()
    with FaceFinder() as finder:
        seen = finder.observe(photo).landmarks.mesh
    crop = model.needs.crop(seen, size=size)
    mesh_px = crop.to_crop(seen).astype(np.float32)
    targets = target_set(model, crop.cut(photo)[None], mesh_px[None])
    motions = [read_motion(path).mesh_px for path in shipped_motions().values()]
    for motion in motions:
        retarget = Retargeter(mesh_px, motion[neutral_frame(motion)])
        for i in np.linspace(0, len(motion) - 1, max(1, count // len(motions))).astype(int):
            yield targets, driver_frame(model, retarget(motion[i])[None].astype(np.float32), size)
