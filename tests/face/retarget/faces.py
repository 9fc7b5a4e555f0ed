"""Synthetic faces: the mean face with expressions, identities and poses that are known exactly."""

import numpy as np

from reenactor.face.geometry import contours, mean_face

EYES = (
    (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
    (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
)
LIPS = (contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER)


def shape(*, opening=0.0, eyes=(1.0, 1.0), smile=0.0, brows=0.0, gaze=0.0, seed=None):
    """The mean face, changed; lengths in eye distances.

    Args:
        opening: the lower lip, chin and jaw go down by this much.
        eyes: opening of the image-left and image-right eye, of the mean face's.
        smile: each corner of the lips goes outward by this much, and half of it up.
        brows: up by this much.
        gaze: irises go to the image's right by this much.
        seed: of a smooth change that makes this another person.
    """
    points = mean_face().points.astype(np.float64)
    if seed is not None:
        points = another_person(points, seed)
    corners = points[[61, 291]]
    mouth = corners.mean(0)
    near = np.exp(-((points[:, :2] - mouth[:2]) ** 2).sum(1) / 0.3**2)
    points[:, 0] += smile * near * np.clip((points[:, 0] - mouth[0]) / 0.2, -1, 1)
    points[:, 1] -= 0.5 * smile * near * np.clip(np.abs(points[:, 0] - mouth[0]) / 0.2, 0, 1)
    lower = np.clip((points[:, 1] - mouth[1]) / 0.08, 0, 1)
    # The lower lip's corners stay with the upper's, and the upper lip stays.
    lower[list(contours.INNER_LIPS_UPPER + contours.OUTER_LIPS_UPPER)] = 0
    points[:, 1] += opening * lower
    for (top, bottom), fraction in zip(EYES, eyes, strict=True):
        gap = points[list(bottom)] - points[list(top)]
        points[list(top)] += (1 - fraction) * gap
    brow = [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 46, 53, 52, 65, 55, 276, 283, 282, 295, 285]
    points[brow, 1] -= brows
    points[468:, 0] += gaze
    return points


def another_person(points, seed):
    """A smooth random stretching of the face, symmetric."""
    rng = np.random.default_rng(seed)
    change = np.zeros_like(points)
    for _ in range(4):
        wave, phase = rng.uniform(1, 3), rng.uniform(0, 6)
        change[:, 1] += 0.015 * np.sin(wave * points[:, 1] + phase)
        change[:, 0] += 0.03 * points[:, 0] * np.cos(wave * points[:, 1] + phase)
    return points + change


def mirrored(mesh, width=256):
    """The same face in the mirrored picture."""
    flipped = mesh[mean_face().mirror].copy()
    flipped[:, 0] = width - 1 - flipped[:, 0]
    return flipped


def lips_closed(seed=None):
    """The `opening` at which the middle of the lips just touches (the mean face smiles with parted lips)."""
    base, wider = (float(gap(shape(seed=seed, opening=o), LIPS)[4]) for o in (0.0, 0.01))
    return -0.01 * base / (wider - base)


def gap(points, halves):
    """Vertical distances between the two halves of an opening, ends left out."""
    upper, lower = halves
    return points[list(lower[1:-1]), 1] - points[list(upper[1:-1]), 1]
