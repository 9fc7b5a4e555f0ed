"""The landmarks of each line and each region of a face, and smooth curves through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from reenactor.face.geometry import contours
from reenactor.face.maps._drawing import Drawing

IRIS_POINTS = 20
"""Corners of an iris, as many as the authors of paper A use; off a circle by at most 1.2% of its radius."""

# Vertices of the mesh that `geometry.contours` does not name. All run from image left to image right.
JAW = (
    *(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356),
)
IMAGE_LEFT_BROW_UPPER, IMAGE_LEFT_BROW_LOWER = (70, 63, 105, 66, 107), (46, 53, 52, 65, 55)
IMAGE_RIGHT_BROW_UPPER, IMAGE_RIGHT_BROW_LOWER = (336, 296, 334, 293, 300), (285, 295, 282, 283, 276)
NOSE_BRIDGE = (168, 6, 197, 195, 5, 4)
NOSE_TIP = (131, 49, 102, 64, 98, 97, 2, 326, 327, 294, 331, 279, 360)
"""Down one wing, along the base, up the other wing."""
PROFILE = (9, 8, *NOSE_BRIDGE, 1, 19, 94, 2, 164, 0, 17, 18, 200, 199, 175, 152)
"""From between the brows to the chin."""


@dataclass(frozen=True)
class Curve:
    """Points that are weighted sums of four landmarks each.

    Args:
        control: (n, 4) landmark numbers.
        weight: (n, 4) weights, which add up to 1.
    """

    control: Int[np.ndarray, "n 4"]
    weight: Float[np.ndarray, "n 4"]

    def reversed(self) -> Curve:
        """The same points from last to first."""
        return Curve(self.control[::-1], self.weight[::-1])


@dataclass(frozen=True)
class Path:
    """Curves one after the other, joined by straight lines.

    Args:
        channel: number of the channel to draw to.
        curves: in order.
        closed: whether the last point is joined to the first.
    """

    channel: int
    curves: tuple[Curve, ...]
    closed: bool = False


def smooth(landmarks: Sequence[int], pieces: int = 1) -> Curve:
    """A Catmull-Rom curve through these landmarks, each of its spans cut into straight `pieces`.

    Beyond its ends the curve is continued by reflection: p[-1] = 2 p[0] - p[1].
    """
    n = len(landmarks)
    t = np.arange((n - 1) * pieces + 1) / pieces
    span = np.minimum(t.astype(int), n - 2)
    u = t - span
    blend = np.stack(
        [u * (u * (2 - u) - 1), u * u * (3 * u - 5) + 2, u * (u * (4 - 3 * u) + 1), u * u * (u - 1)], axis=1
    )
    blend /= 2
    before, after = span == 0, span == n - 2
    blend[before, 1] += 2 * blend[before, 0]
    blend[before, 2] -= blend[before, 0]
    blend[after, 2] += 2 * blend[after, 3]
    blend[after, 1] -= blend[after, 3]
    blend[before, 0] = blend[after, 3] = 0
    control = np.clip(span[:, None] + np.arange(-1, 3), 0, n - 1)
    return Curve(np.asarray(landmarks)[control], blend)


def straight(first: int, last: int, pieces: int) -> Curve:
    """A line between two landmarks, in pieces, because every segment of a drawing costs as much as its longest one."""
    return smooth((first, last), pieces)


def ellipse(outline: Sequence[int], points: int = IRIS_POINTS) -> Curve:
    """The ellipse whose half axes run between opposite ones of four landmarks (given in order around it)."""
    angle = 2 * np.pi * np.arange(points) / points
    c, s = np.cos(angle) / 2, np.sin(angle) / 2
    weight = np.stack([0.25 + c, 0.25 + s, 0.25 - c, 0.25 - s], axis=1)
    return Curve(np.tile(np.asarray(outline), (points, 1)), weight)


def drawing(paths: Sequence[Path], channels: int) -> Drawing:
    """All these paths as one drawing."""
    control, weight, ends, channel, used = [], [], [], [], 0
    for path in paths:
        control += [curve.control for curve in path.curves]
        weight += [curve.weight for curve in path.curves]
        points = used + np.arange(sum(len(curve.control) for curve in path.curves))
        used += len(points)
        joined = np.stack([points, np.roll(points, -1)], axis=1)
        ends.append(joined if path.closed else joined[:-1])
        channel.append(np.full(len(ends[-1]), path.channel))
    return Drawing(
        np.concatenate(control), np.concatenate(weight), np.concatenate(ends), np.concatenate(channel), channels
    )


def opening(upper: Sequence[int], lower: Sequence[int], channel: int, pieces: int = 1) -> Path:
    """The region between two curves from image left to image right, clockwise in the picture."""
    return Path(channel, (smooth(upper, pieces), smooth(lower, pieces).reversed()), closed=True)


def eyes(image_left: int, image_right: int) -> list[Path]:
    """The regions between the lids of both eyes."""
    return [
        opening(contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER, image_left),
        opening(contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER, image_right),
    ]


def nose(channel: int) -> Path:
    """The triangle from the top of the bridge to the nose's wings and base."""
    top = NOSE_BRIDGE[0]
    sides = straight(top, NOSE_TIP[-1], 4), straight(NOSE_TIP[0], top, 4)
    return Path(channel, (sides[0], smooth(NOSE_TIP, 2).reversed(), sides[1]), closed=True)


def face(whole: int, left_half: int, right_half: int) -> list[Path]:
    """A face below the upper edge of its brows: whole, and its two halves, which meet in the profile line.

    For a head turned by more than 35 degrees the whole outline misses much, because its far side lies behind nose
    and mouth; the near half then ends where the face does (a strip of the far cheek is missing up to 55 degrees).
    """
    left_top, right_top = smooth(IMAGE_LEFT_BROW_UPPER, 2), smooth(IMAGE_RIGHT_BROW_UPPER, 2)
    between = straight(IMAGE_LEFT_BROW_UPPER[-1], IMAGE_RIGHT_BROW_UPPER[0], 4)
    chin = JAW.index(PROFILE[-1])
    left_jaw, right_jaw = smooth(JAW[: chin + 1], 2), smooth(JAW[chin:], 2)
    profile = smooth(PROFILE, 2)
    return [
        Path(whole, (left_top, between, right_top, smooth(JAW, 2).reversed()), closed=True),
        Path(left_half, (left_top, profile, left_jaw.reversed()), closed=True),
        Path(right_half, (right_top, right_jaw.reversed(), profile.reversed()), closed=True),
    ]


def irises(image_left: int, image_right: int) -> list[Path]:
    """Both irises, whole."""
    return [
        Path(image_left, (ellipse(contours.RIGHT_IRIS[1:]),), closed=True),
        Path(image_right, (ellipse(contours.LEFT_IRIS[1:]),), closed=True),
    ]
