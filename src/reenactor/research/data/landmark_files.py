"""Landmarks that another detector found, in files: they take the place of this project's own (`prepare --landmarks`).

Paper B reads the 3D landmarks of Bulat and Tzimiropoulos (2017). For a file `SOURCE` of the data set, the folder holds
`SOURCE.npy`: (n, 68, 3) numbers in iBUG's order for the n frames of a clip, or (68, 3) for a photo; pixels of the
picture, z at the same scale and negative toward the camera; NaN where no face was found.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import MESH_TO_IBUG68, ReenactError
from reenactor.core.landmarks import OUTER_EYE_CORNERS
from reenactor.face.geometry import harmonic_weights

_LARGEST_OFFSET = 0.3
"""Mean distance of the landmarks from the mesh's, in outer-eye distances: beyond it, it is another face. Two detectors
differ by 0.04."""


def read_landmarks(folder: Path, source: str) -> Float[np.ndarray, "n 68 3"]:
    """The landmarks of a file of the data set; a photo's as those of one frame.

    Args:
        folder: with the landmarks.
        source: the file, relative to the data set's root.

    Raises:
        ReenactError: they are missing, or no such numbers.
    """
    path = folder / f"{source}.npy"
    try:
        points = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ReenactError(f"there are no landmarks of {source} in {folder}; expected {path}") from None
    except (OSError, ValueError, EOFError) as error:
        raise ReenactError(f"cannot read {path}; write it with numpy.save") from error
    points = points[None] if points.ndim == 2 else points
    if points.shape[1:] != (len(MESH_TO_IBUG68), 3) or not np.issubdtype(points.dtype, np.floating):
        raise ReenactError(f"{path} holds {points.dtype} {points.shape}; expected floating-point numbers, (n, 68, 3)")
    return points


def with_landmarks(
    mesh_px: Float[np.ndarray, "478 3"], points_px: Float[np.ndarray, "n 68 3"], number: int, source: str
) -> Float[np.ndarray, "478 3"] | None:
    """The mesh with its 68 landmarks where the file has them; the other vertices follow smoothly.

    Args:
        mesh_px: found by this project, pixels of the picture.
        points_px: what `read_landmarks` gave. Depths count from their mean: detectors have different zeros.
        number: of the frame.
        source: for the message.

    Returns:
        None if the file has no face in this frame, or another one.

    Raises:
        ReenactError: depths run the other way.
    """
    vertices = list(MESH_TO_IBUG68)
    points = points_px[number].astype(np.float64) if number < len(points_px) else np.full((68, 3), np.nan)
    offset = points - mesh_px[vertices]
    eyes_px = np.linalg.norm(np.subtract(*mesh_px[list(OUTER_EYE_CORNERS), :2]))
    if not np.linalg.norm(offset[:, :2], axis=1).mean() <= _LARGEST_OFFSET * eyes_px:
        return None
    if np.corrcoef(points[:, 2], mesh_px[vertices, 2])[0, 1] < 0:
        raise ReenactError(f"in the landmarks of {source}, z grows toward the camera; change its sign")
    offset[:, 2] -= offset[:, 2].mean()
    return (mesh_px + harmonic_weights(MESH_TO_IBUG68) @ offset).astype(np.float32)
