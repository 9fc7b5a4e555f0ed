"""WFLW's 98 points -> the face mesh. The lines of the face that both run along are the bridge.

WFLW spaces the points of a line evenly (of the outer lips nearly so; the jaw's on either side of the chin), wherever
that is on the skin. So a point's place on the mean face is a share of the line's length there. In a photo a cubic
spline through the line's points, read at the shares of our vertices, says where these are: 124 of them. The rest of
the mesh moves with those.

WFLW's mean face as PIPNet publishes it (data/WFLW/meanface.txt in github.com/jhb86253817/PIPNet), brought over by an
affine map, lies 1.4 % of the outer eye corners' distance from the places that are taken here for its points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline, RBFInterpolator

from reenactor.core import MESH_POINTS
from reenactor.face.geometry import contours, mean_face
from reenactor.face.maps.boundaries import BOUNDARIES

WFLW_POINTS = 98
IRISES = ((contours.RIGHT_IRIS, 96), (contours.LEFT_IRIS, 97))
"""Vertices, and WFLW's pupil."""

# Shares of our lines' lengths, read off that mean face. WFLW's jaw begins and ends higher than ours.
_JAW = np.linspace(-0.02, 1.02, 33)
# A brow of WFLW ends in one point, where our lower edge does; seen from the upper edge, that is a little way in.
_LEFT_BROW, _RIGHT_BROW = np.linspace(0.08, 1, 5), np.linspace(0, 0.92, 5)
# Our line goes on up the wings of the nose.
_NOSE_BASE = (0.26, 0.38, 0.5, 0.62, 0.74)
_UPPER_LIP = (0, 0.19, 0.41, 0.5, 0.59, 0.81, 1)
_LOWER_LIP = (0, 0.15, 0.32, 0.5, 0.68, 0.85, 1)


@dataclass(frozen=True)
class _Line:
    """A line of the face as both have it, from image left to image right or from top to bottom.

    Args:
        vertices: of the mesh.
        points: of WFLW.
        shares: of the line's length, where the points are; None: evenly from end to end.
        known: the vertices that the points tell of; None: all.
    """

    vertices: tuple[int, ...]
    points: tuple[int, ...]
    shares: Sequence[float] | Float[np.ndarray, " n"] | None = None
    known: tuple[int, ...] | None = None


def _lines() -> Iterator[_Line]:
    mesh = BOUNDARIES
    yield _Line(mesh["contour"], tuple(range(33)), _JAW)
    left, right = mesh["image_left_brow_upper"], mesh["image_right_brow_upper"]
    yield _Line(left, (33, 34, 35, 36, 37), _LEFT_BROW, known=left[1:])
    yield _Line(right, (42, 43, 44, 45, 46), _RIGHT_BROW, known=right[:-1])
    yield _Line(mesh["image_left_brow_lower"], (33, 41, 40, 39, 38))
    yield _Line(mesh["image_right_brow_lower"], (50, 49, 48, 47, 46))
    yield _Line(mesh["nose_bridge"], (51, 52, 53, 54))
    yield _Line(mesh["nose_tip"], (55, 56, 57, 58, 59), _NOSE_BASE, known=(98, 97, 2, 326, 327))
    yield _Line(mesh["image_left_eye_upper"], (60, 61, 62, 63, 64))
    yield _Line(mesh["image_left_eye_lower"], (60, 67, 66, 65, 64))
    yield _Line(mesh["image_right_eye_upper"], (68, 69, 70, 71, 72))
    yield _Line(mesh["image_right_eye_lower"], (68, 75, 74, 73, 72))
    yield _Line(mesh["upper_lip_upper"], (76, 77, 78, 79, 80, 81, 82), _UPPER_LIP)
    yield _Line(mesh["lower_lip_lower"], (76, 87, 86, 85, 84, 83, 82), _LOWER_LIP)
    yield _Line(mesh["upper_lip_lower"], (88, 89, 90, 91, 92))
    yield _Line(mesh["lower_lip_upper"], (88, 95, 94, 93, 92))


def mesh_of_wflw(points_px: Float[np.ndarray, "98 2"]) -> Float[np.ndarray, "478 3"]:
    """The mesh of a face with these points.

    Vertices off WFLW's lines follow the mean face's proportions between those on them. Irises are round in space, as
    large as the mean face's. Depths are those of the mean face in the head's pose.

    Args:
        points_px: in WFLW's order, pixels of the photo.

    Returns:
        float32, pixels of the photo.
    """
    points_px = np.asarray(points_px, np.float64)
    flat = _carry() @ points_px
    face = mean_face().points.astype(np.float64)
    to_picture = _pose(flat)
    posed = face @ to_picture.T
    mesh = np.concatenate([flat, posed[:, 2:]], axis=1)
    for iris, _ in IRISES:
        mesh[list(iris), :2] += (posed[list(iris)] - posed[iris[0]])[:, :2]
    return mesh.astype(np.float32)


@cache
def _carry() -> Float[np.ndarray, "478 98"]:
    """Points -> x and y of the vertices: a sum of points with these weights each."""
    carry = np.zeros((MESH_POINTS, WFLW_POINTS))
    known = np.zeros(MESH_POINTS, bool)
    for line in _lines():
        shares = _shares(line.vertices)
        places = np.linspace(0, 1, len(line.points)) if line.shares is None else np.array(line.shares)
        spline = CubicSpline(places, np.eye(len(places)))
        for vertex in line.known or line.vertices:
            carry[vertex] = 0
            carry[vertex, line.points] = spline(shares[vertex])
            known[vertex] = True
    # Interpolates linear functions of space exactly: a head that is only turned, moved and scaled comes out whole.
    face = mean_face().points.astype(np.float64)
    fill = RBFInterpolator(face[known], carry[known], kernel="linear", degree=1)
    carry[~known] = fill(face[~known])
    for iris, pupil in IRISES:
        carry[list(iris)] = np.eye(WFLW_POINTS)[pupil]
    return carry


def _shares(vertices: tuple[int, ...]) -> dict[int, float]:
    """How far along the line each vertex of the mean face is, seen from the front."""
    steps = np.linalg.norm(np.diff(mean_face().points[list(vertices), :2].astype(np.float64), axis=0), axis=1)
    lengths = np.concatenate([[0], steps.cumsum()])
    return dict(zip(vertices, (lengths / lengths[-1]).tolist(), strict=True))


def _pose(flat: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "3 3"]:
    """Scale times rotation of the mean face that looks most like these places (seen from far away)."""
    face, weights = mean_face().points.astype(np.float64), np.sqrt(mean_face().weights.astype(np.float64))
    # The best affine map, then the nearest that is two rows of a scaled rotation.
    columns = np.concatenate([face, np.ones((len(face), 1))], axis=1) * weights[:, None]
    affine = np.linalg.lstsq(columns, flat * weights[:, None], rcond=None)[0][:3].T
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    return singular.mean() * np.vstack([rows, np.cross(rows[0], rows[1])])
