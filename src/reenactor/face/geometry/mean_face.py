"""The mean 3D face that head pose, weights and mirroring are read against (`assets/mean_face.npz`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class MeanFace:
    """An average face at pose zero, exactly left-right symmetric. Made by `tools/build_mean_face.py`.

    Arrays are read-only, because every caller is given the same ones.

    Args:
        points: (478, 3) x right, y down, z away from the camera; outer eye corners 1 apart; weighted mean 0.
        weights: (478,) rigidity, sums to 1: high where faces move little with expression.
        mirror: (478,) vertex that takes each vertex's place in a mirrored picture (its own inverse).
        triangles: (852, 3) the surface without eyes and inner mouth, clockwise as seen in the picture.
    """

    points: Float[np.ndarray, "478 3"]
    weights: Float[np.ndarray, " 478"]
    mirror: Int[np.ndarray, " 478"]
    triangles: Int[np.ndarray, "852 3"]


def mirrored_mesh(mesh_px: Float[np.ndarray, "*b 478 3"], side: int) -> Float[np.ndarray, "*b 478 3"]:
    """The landmarks in the mirrored picture, `side` pixels wide: each where its partner of the other side was."""
    partner = mesh_px[..., mean_face().mirror, :]
    return np.concatenate([side - 1 - partner[..., :1], partner[..., 1:]], axis=-1)


@cache
def mean_face() -> MeanFace:
    """The face that ships with the package (loaded once)."""
    file = resources.files("reenactor") / "assets" / "mean_face.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        fields = {name: arrays[name] for name in ("points", "weights", "mirror", "triangles")}
    for array in fields.values():
        array.setflags(write=False)
    return MeanFace(**fields)
