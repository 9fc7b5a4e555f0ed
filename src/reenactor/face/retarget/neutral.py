"""A person's neutral face, estimated from one picture whatever its expression.

A small network reads the expression from the face's shape; what is left is the face at rest: eyes open, lips together,
no smile. Shapes are in the pose and size of the mean face (`geometry.in_mean_pose`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import MESH_POINTS
from reenactor.face.geometry import harmonic_weights
from reenactor.face.geometry.contours import (
    FACE_OVAL,
    INNER_LIPS_LOWER,
    INNER_LIPS_UPPER,
    LEFT_EYE,
    RIGHT_EYE,
)
from reenactor.face.geometry.layers import smoothstep
from reenactor.face.retarget.relative import EYES
from reenactor.nn.checkpoint import shipped_network

NEUTRAL = "neutral-face"
"""Kind of its checkpoints, and name of the shipped weights."""
_UPPER_LIP = 0.25
"""Of the way on which lips meet, the upper one's part: the jaw moves more."""
_UPPER_OVAL = FACE_OVAL[:12] + FACE_OVAL[-7:]
"""Down to the ears."""
_BROWS_AND_NOSE = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 6, 197, 195, 5, 4, 1, 98, 327, 64, 294)
_CLOSED, _SEEN, _USUAL_EYE = 0.01, 0.025, 0.055
"""Openings of eyes, in outer-eye distances: closed, not closed any more, and the mean face's."""
_WEAK = 0.01
"""An expression, root mean square in outer-eye distances, that makes a neutral face a quarter as certain."""


class NeutralNetwork(nn.Module):
    """The expression in a face's shape, as a combination of fixed directions.

    Args:
        hidden: units of each of two layers.
        bases: directions.
        dropout: in training.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self, hidden: int = 256, bases: int = 60, dropout: float = 0.3) -> None:
        super().__init__()
        size = 3 * MESH_POINTS
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("basis", torch.zeros(bases, size))
        self.layers = nn.Sequential(
            nn.Linear(size, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, bases),
        )

    def forward(self, shapes: Float[Tensor, "b 478 3"]) -> Float[Tensor, "b 478 3"]:
        """Shapes in mean pose -> what their expression adds to the neutral face."""
        weights = self.layers((shapes.flatten(1) - self.mean) / self.scale)
        return (weights @ self.basis).unflatten(1, (MESH_POINTS, 3))


@cache
def neutral_network() -> NeutralNetwork:
    """The network with its shipped weights."""
    return shipped_network(NEUTRAL, NeutralNetwork)


@torch.inference_mode()
def neutral_faces(
    shapes: Float[np.ndarray, "b 478 3"],
) -> tuple[Float[np.ndarray, "b 478 3"], Float[np.ndarray, " b"]]:
    """The faces without what the network takes for expression, and how certain they are: 1 at rest, else less.

    Args:
        shapes: in mean pose.
    """
    expressions = neutral_network()(torch.from_numpy(np.asarray(shapes, np.float32))).double().numpy()
    strength = np.sqrt(np.square(expressions).mean((1, 2)))
    return shapes - expressions, (_WEAK / (_WEAK + strength)) ** 2


def neutral_face(shapes: Float[np.ndarray, "b 478 3"]) -> Float[np.ndarray, "478 3"]:
    """One person's face at rest, lips together, from one or more of its shapes.

    Args:
        shapes: in mean pose.
    """
    faces, certainty = neutral_faces(shapes)
    face = with_lips_together(np.average(faces, axis=0, weights=certainty))
    for eye in EYES:
        # Of eyes that no shape shows open, the network opens some by half only.
        unseen = 1 - smoothstep(eye.openings(shapes).max(), _CLOSED, _SEEN)
        opening = max(eye.opening(face), 1e-3)
        face[eye.upper] += unseen * max(0.0, _USUAL_EYE / opening - 1) * (face[eye.upper] - face[eye.lower])
    return face


def with_lips_together(shape: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """The face with its inner lips together; chin, cheeks and outer lips follow smoothly, eyes, brows and nose stay."""
    upper, lower = list(INNER_LIPS_UPPER), list(INNER_LIPS_LOWER[1:-1])
    gap = shape[list(INNER_LIPS_LOWER)] - shape[upper]
    moves = np.concatenate([_UPPER_LIP * gap, (_UPPER_LIP - 1) * gap[1:-1]])
    return shape + harmonic_weights((*upper, *lower), _still()) @ moves


@cache
def _still() -> tuple[int, ...]:
    return (*_UPPER_OVAL, *_BROWS_AND_NOSE, *RIGHT_EYE, *LEFT_EYE)
