"""How pictures of one face differ in what they show: pose, mouth and lids; and which of many show most."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from reenactor.face.geometry.contours import OPENINGS
from reenactor.face.geometry.mean_face import in_mean_pose
from reenactor.face.geometry.similarity import angles_from_matrix

UNITS = np.array([10.0, 10.0, 0.05, 0.06, 0.02])
"""Of yaw, pitch (degrees), the mouth's opening and width, the lids' opening (outer-eye distances): a look that differs
by one in any of them shows something else of teeth, eyes or cheeks."""
_PLACE, _SIZE = 0.1, 0.1
"""Units of the head's place (sides of the crop) and of its size (natural logarithm)."""
HEAD = 6
"""So many of `crop_looks` are of the head alone."""
_MOUTH_CORNERS = (61, 291)


def looks(mesh_px: Float[np.ndarray, "*b 478 3"]) -> Float[np.ndarray, "*b 5"]:
    """Yaw, pitch, the mouth's opening and width, and the lids' opening, in units of a difference that shows.

    Args:
        mesh_px: (..., 478, 3) landmarks, pixels.
    """
    head, shape = in_mean_pose(mesh_px)
    return np.concatenate([angles_from_matrix(head.R)[..., :2], _expression(shape)], axis=-1) / UNITS


def crop_looks(mesh_px: Float[np.ndarray, "*b 478 3"], side: int) -> Float[np.ndarray, "*b 9"]:
    """How pictures of one scene look alike, in units of a difference that shows: the head first, then the expression.

    Pose, place and size of the head say what is around the face; within it the same person looks most alike where all
    of that agrees, and the expression.

    Args:
        mesh_px: (..., 478, 3) landmarks, pixels of the crop.
        side: of the crop, pixels.

    Returns:
        (..., 9) yaw, pitch, roll, x, y, size; the mouth's opening and width, the lids' opening.
    """
    head, shape = in_mean_pose(mesh_px)
    place = np.asarray(mesh_px, np.float64)[..., :2].mean(-2) / (side * _PLACE)
    size = np.log(head.scale)[..., None] / _SIZE
    pose = angles_from_matrix(head.R) / [*UNITS[:2], UNITS[0]]
    return np.concatenate([pose, place, size, _expression(shape) / UNITS[2:]], axis=-1)


def _expression(shape: Float[np.ndarray, "*b 478 3"]) -> Float[np.ndarray, "*b 3"]:
    """The mouth's opening and width and the lids' opening, of faces in mean pose."""
    gaps = []
    for fixed, moving in OPENINGS:
        apart = shape[..., list(fixed[1:-1]), :] - shape[..., list(moving[1:-1]), :]
        gaps.append(np.linalg.norm(apart, axis=-1).mean(-1))
    left, right = (shape[..., corner, :] for corner in _MOUTH_CORNERS)
    return np.stack([gaps[0], np.linalg.norm(right - left, axis=-1), (gaps[1] + gaps[2]) / 2], axis=-1)


def covering(
    seen: Float[np.ndarray, "n d"],
    most: int,
    first: int,
    *,
    worth: Float[np.ndarray, " n"] | None = None,
    least: float = 0.5,
) -> list[int]:
    """Numbers of looks that differ: the first as given, each further one the farthest from all before it.

    Args:
        seen: looks, or whatever else tells pictures apart.
        most: how many at most.
        first: the number that comes first.
        worth: 0 to 1, by which each one's distance counts less; 0 leaves it out.
        least: distance below which none is added.
    """
    picked = [first]
    far = np.full(len(seen), np.inf)
    while len(picked) < min(most, len(seen)):
        far = np.minimum(far, np.linalg.norm(seen - seen[picked[-1]], axis=1))
        far[picked[-1]] = -1
        counts = far if worth is None else far * worth
        best = int(counts.argmax())
        if counts[best] < least:
            break
        picked.append(best)
    return picked
