"""ICT-FaceKit (Li et al. 2020) at the mesh's vertices: faces whose identity and expression are known."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import MESH_POINTS, ReenactError
from reenactor.face.geometry import contours
from reenactor.face.geometry.mean_face import mean_face
from reenactor.face.geometry.similarity import fit_similarity

SURFACE = 468
"""Vertices of the mesh that ICT-FaceKit has too; it has no irises."""
_ACTIVE = 6
"""Most expressions that are active at a time."""
_LOOKS = ("eyeLook",)
"""Expressions that turn the eyeballs, which the model lacks."""


@dataclass(frozen=True)
class FaceModel:
    """ICT-FaceKit at the mesh's vertices, in the mean face's axes and size.

    Args:
        neutral: (468, 3).
        identities: (I, 468, 3) offsets of each identity component.
        expressions: (E, 468, 3) offsets of each expression at full strength.
        names: of the expressions; those ending in `_L` and `_R` are the two sides of one.
    """

    neutral: Float[np.ndarray, "468 3"]
    identities: Float[np.ndarray, "i 468 3"]
    expressions: Float[np.ndarray, "e 468 3"]
    names: tuple[str, ...]

    def person(self, rng: np.random.Generator) -> Float[np.ndarray, "468 3"]:
        """A random person at rest."""
        return self.neutral + np.tensordot(rng.normal(size=len(self.identities)), self.identities, 1)

    def expression(self, rng: np.random.Generator) -> Float[np.ndarray, "468 3"]:
        """The offsets of a few expressions at random strengths, nearly equal on both sides of the face."""
        units: dict[str, list[int]] = {}
        for i, name in enumerate(self.names):
            if not name.startswith(_LOOKS):
                units.setdefault(name.removesuffix("_L").removesuffix("_R"), []).append(i)
        total = np.zeros((SURFACE, 3))
        for name in rng.choice(sorted(units), rng.integers(1, min(_ACTIVE, len(units)) + 1), replace=False):
            strength = rng.uniform(0.2, 1.0)
            for i in units[name]:
                total += strength * rng.uniform(0.7, 1.0) * self.expressions[i]
        return total


def read_face_model(path: Path) -> FaceModel:
    """Read `neutral` (468, 3), `ident` (I, 468, 3), `expr` (E, 468, 3) and `names` from an .npz file.

    Raises:
        ReenactError: the file is missing, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            neutral, ident, expr = (arrays[name].astype(np.float64) for name in ("neutral", "ident", "expr"))
            names = tuple(str(name) for name in arrays["names"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ReenactError(f"cannot read ICT-FaceKit's faces from {path}: {error}; give another file") from error
    if neutral.shape != (SURFACE, 3) or ident.shape[1:] != neutral.shape or expr.shape != (len(names), SURFACE, 3):
        raise ReenactError(f"{path} has not ICT-FaceKit's faces at {SURFACE} vertices; give another file")
    face = mean_face()
    fit = fit_similarity(neutral, face.points[:SURFACE], face.weights[:SURFACE])
    moves = fit.scale * fit.R.T
    return FaceModel(fit.apply(neutral), ident @ moves, expr @ moves, names)


def with_irises(surface: Float[np.ndarray, "468 3"]) -> Float[np.ndarray, "478 3"]:
    """The whole mesh of a surface of the mean face's size, with irises in the middle of the eyes."""
    mesh = np.zeros((MESH_POINTS, 3))
    mesh[:SURFACE] = surface
    for iris, eye in ((contours.RIGHT_IRIS, contours.RIGHT_EYE), (contours.LEFT_IRIS, contours.LEFT_EYE)):
        about = mean_face().points[list(iris)]
        mesh[list(iris)] = surface[list(eye)].mean(axis=0) + about - about[0]
    return mesh
