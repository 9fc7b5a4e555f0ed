"""Action units from the mesh: the distance of brows, lids, nose, lips and jaw from their positions at rest.

In mean pose (head rotation undone) each of ten units is one length, so nothing is learned from labels. A first version,
which fitted ICT-FaceKit's expressions for AUs 2, 5, 9, 12, 45, agreed with OpenFace well on AUs 10, 12, 14, 25, 45
(r 0.65 to 0.87), fairly on 1, 2, 5, 9, 26 (0.4 to 0.6), and not on 4, 6, 7, 15, 17, 20, 23: these are not estimated.
Lengths replaced the fits because they are more repeatable: for two measurements of one frame (one mirrored and
recompressed) r within a clip is 0.93, 0.97, 0.83, 0.95, 0.97 against 0.72, 0.69, 0.69, 0.89, 0.91. Lengths have not
been compared with OpenFace.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from reenactor.core import ActionUnits
from reenactor.face.geometry import contours, in_mean_pose

AU_NUMBERS = (1, 2, 5, 9, 10, 12, 14, 25, 26, 45)
"""FACS numbers of the estimated action units."""

_INNER_EYE, _OUTER_EYE = (133, 362), (33, 263)
_EYE_CORNERS = _INNER_EYE + _OUTER_EYE
_INNER_BROW, _OUTER_BROW = (107, 55, 336, 285), (70, 63, 46, 53, 300, 293, 276, 283)
_UPPER_LIDS = contours.RIGHT_EYE_UPPER[3:6] + contours.LEFT_EYE_UPPER[3:6]
_NOSE_WINGS, _NOSE_BASE = (129, 64, 358, 294), (2,)
_UPPER_LIP_BOW, _CHIN = (0, 37, 267), (152, 148, 377)
_RIGHT_CORNER, _LEFT_CORNER = 61, 291

_REST_PERCENTILE = {25: 10.0, 26: 10.0}
"""Percentile of a clip's frames that counts as rest, where it is not the median: people talk, so at rest lips and jaw
are less open than at the median."""

_PRESENT_FULL: dict[int, tuple[float, float]] = {
    1: (0.0105, 0.0625),
    2: (0.0089, 0.0559),
    5: (0.0076, 0.0212),
    9: (0.0172, 0.0519),
    10: (0.0174, 0.0610),
    12: (0.0153, 0.0806),
    14: (0.0265, 0.1094),
    25: (0.0184, 0.1739),
    26: (0.0230, 0.1186),
    45: (0.1294, 0.9463),
}
"""Amount above rest from which a unit is present, and that of intensity 5, in outer-eye distances; for AU 45 the
fraction closed. From `tools/calibrate_action_units.py`: 3 times the noise of a measurement, and the 99th percentile of
training clips."""


def measure(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "n 10"]:
    """The ten lengths, in the order of `AU_NUMBERS`; larger where the unit is stronger.

    | AU | length |
    |---|---|
    | 1, 2 | inner brows above the eyes' corners; outer brows above the outer corners |
    | 5 | upper lids above the eyes' corners |
    | 9 | minus the distance of inner brows and nose wings |
    | 10 | minus the height of the upper lip below the eyes |
    | 12 | minus the distance of each corner of the mouth and the same side's outer corner of the eye |
    | 14 | width of the mouth |
    | 25, 26 | gap between the lips; chin below the nose's base |
    | 45 | minus the gap between the lids |

    Args:
        mesh_px: (N, 478, 3) pixels.

    Returns:
        (N, 10) in the mean face's outer-eye distances.
    """
    _, shape = in_mean_pose(mesh_px)

    def y(vertices: tuple[int, ...]) -> Float[np.ndarray, " n"]:
        return shape[:, vertices, 1].mean(axis=1)

    def gap(upper: tuple[int, ...], lower: tuple[int, ...]) -> Float[np.ndarray, " n"]:
        return y(lower[1:-1]) - y(upper[1:-1])

    def apart(a: int, b: int) -> Float[np.ndarray, " n"]:
        return np.linalg.norm(shape[:, a] - shape[:, b], axis=1)

    right, left = _OUTER_EYE
    eyes = y(_EYE_CORNERS)
    lids = gap(contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER) + gap(
        contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER
    )
    lengths = {
        1: eyes - y(_INNER_BROW),
        2: y(_OUTER_EYE) - y(_OUTER_BROW),
        5: eyes - y(_UPPER_LIDS),
        9: y(_INNER_BROW) - y(_NOSE_WINGS),
        10: eyes - y(_UPPER_LIP_BOW),
        12: -(apart(_RIGHT_CORNER, right) + apart(_LEFT_CORNER, left)) / 2,
        14: shape[:, _LEFT_CORNER, 0] - shape[:, _RIGHT_CORNER, 0],
        25: gap(contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER),
        26: y(_CHIN) - y(_NOSE_BASE),
        45: -lids / 2,
    }
    return np.column_stack([lengths[number] for number in AU_NUMBERS])


def rest_of(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, "10"]:
    """A person's lengths at rest, from frames of a clip (best 10 s or more) or from neutral photos.

    The median over the frames, as in OpenFace; for lips and jaw the 10th percentile, since people talk.

    Args:
        mesh_px: (N, 478, 3) pixels, frames in which the face was found.
    """
    lengths = measure(mesh_px)
    return np.array([np.percentile(lengths[:, i], _REST_PERCENTILE.get(n, 50.0)) for i, n in enumerate(AU_NUMBERS)])


def action_units(
    mesh_px: Float[np.ndarray, "n 478 3"],
    rest: Float[np.ndarray, "10"],
    seen: Bool[np.ndarray, " n"] | None = None,
) -> ActionUnits:
    """Intensity and presence of `AU_NUMBERS`.

    Args:
        mesh_px: (N, 478, 3) pixels.
        rest: (10,) of the person shown (`rest_of`); for drawn frames the target's, measured on drawn or on real frames.
        seen: (N,) whether the face was found; None if in all frames.

    Returns:
        Intensity 0 to 5, linear in the distance from rest; AU 45 in the fraction of the opening at rest.
    """
    seen = np.ones(len(mesh_px), bool) if seen is None else seen
    amount = np.zeros((len(mesh_px), len(AU_NUMBERS)))
    amount[seen] = above_rest(measure(mesh_px[seen]), rest)
    present, full = np.array([_PRESENT_FULL[number] for number in AU_NUMBERS]).T
    intensity = np.clip(5 * amount / full, 0.0, 5.0).astype(np.float32)
    return ActionUnits(AU_NUMBERS, intensity, amount > present, seen)


def above_rest(lengths: Float[np.ndarray, "n 10"], rest: Float[np.ndarray, "10"]) -> Float[np.ndarray, "n 10"]:
    """Lengths minus those at rest; AU 45 as a fraction of the opening at rest, as narrow eyes count like wide ones."""
    amount = lengths - rest
    blink = AU_NUMBERS.index(45)
    amount[:, blink] /= max(-rest[blink], 1e-3)
    return amount
