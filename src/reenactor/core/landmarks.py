"""Facial landmarks: the 478-point mesh and its iBUG-68 view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

MESH_POINTS = 478
"""MediaPipe face mesh with irises: 468 surface points, then 5 for the image-left iris, 5 for the image-right."""

MESH_TO_IBUG68: tuple[int, ...] = (
    # jaw 0-16
    *(127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356),
    # brows 17-26
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
    # nose 27-35
    *(168, 197, 195, 4, 75, 97, 2, 326, 305),
    # eyes 36-47
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    # outer lip 48-59, inner lip 60-67
    *(61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91),
    *(78, 82, 13, 312, 308, 317, 14, 87),
)
"""Mesh vertex that stands for each iBUG-68 landmark (mean error to a 68-point predictor 3.8% of the eye distance)."""

IRIS_CENTRES = (468, 473)
"""Mesh vertices at the two iris centres: the subject's right (image left), the subject's left."""

OUTER_EYE_CORNERS = (33, 263)


@dataclass(frozen=True)
class Landmarks:
    """Where the points of one face lie in one picture.

    Args:
        mesh: (478, 3) float32, x and y in pixels (see docs/conventions.md), z at the same scale, toward the
            camera negative.
    """

    mesh: Float[np.ndarray, "478 3"]

    def __post_init__(self) -> None:
        if self.mesh.shape != (MESH_POINTS, 3):
            raise ValueError(f"landmarks need shape ({MESH_POINTS}, 3), got {self.mesh.shape}")

    @cached_property
    def ibug68(self) -> Float[np.ndarray, "68 3"]:
        """The same face as 68 points in iBUG order."""
        return self.mesh[list(MESH_TO_IBUG68)]

    @cached_property
    def irises(self) -> Float[np.ndarray, "2 3"]:
        """Iris centres, image-left eye first (for an unmirrored picture)."""
        return self.mesh[list(IRIS_CENTRES)]

    @cached_property
    def interocular_px(self) -> float:
        """Distance between the outer eye corners, in the picture plane."""
        right, left = self.mesh[list(OUTER_EYE_CORNERS), :2]
        return float(np.linalg.norm(left - right))
