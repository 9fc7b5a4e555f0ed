"""WFLW (Wu et al. 2018): 10,000 faces in photos from the web, each with 98 landmarks set by hand.

Layout, as its two archives unpack::

    root/WFLW_images/37--Soccer/37_Soccer_soccer_ball_37_45.jpg
    root/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt      (or in root itself)
    root/WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_test.txt

A line has 207 columns: x and y of 98 points, the corners of the face's box, six attributes, the photo. A photo with
several faces has several lines. Split: the official one, 2,500 faces test; 5 % of the photos of the other 7,500 faces
are val. The data set has no identities, so each face is an identity of its own, and a person in two photos may be in
two splits.

`mesh_of_wflw` converts the 98 points to the face mesh. Both run along the same lines of the face. WFLW spaces the
points of a line evenly (nearly so on the outer lips, and on the jaw to either side of the chin), so each point lies at
a known fraction of the line's length on the mean face. In a photo, a cubic spline through the line's points, read at
the fractions of our vertices, gives 124 vertices; the other vertices move with those. WFLW's mean face as PIPNet
publishes it (data/WFLW/meanface.txt in github.com/jhb86253817/PIPNet), mapped affinely, lies 1.4 % of the outer eye
corners' distance from the positions that are used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline, RBFInterpolator

from reenactor.core import MESH_POINTS, ReenactError
from reenactor.face.geometry import contours, mean_face
from reenactor.face.maps.boundaries import BOUNDARIES
from reenactor.research.data.datasets.listing import (
    at_least_one,
    first_folder,
    lines,
    numbers,
    require_folder,
    split_of,
)
from reenactor.research.data.items import Annotation, AnnotationKind, Item, Kind, Split

ATTRIBUTES = ("large_pose", "expression", "illumination", "make_up", "occlusion", "blur")
TRAIN_LIST, TEST_LIST = "list_98pt_rect_attr_train.txt", "list_98pt_rect_attr_test.txt"
WFLW_POINTS = 98
IRISES = ((contours.RIGHT_IRIS, 96), (contours.LEFT_IRIS, 97))
"""Vertices of each iris, and WFLW's pupil."""
_COORDINATES = 2 * WFLW_POINTS
_BOX = 4
_COLUMNS = _COORDINATES + _BOX + len(ATTRIBUTES) + 1
_LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"

# Fractions of our lines' lengths, measured on WFLW's mean face. Its jaw begins and ends higher than ours.
_JAW = np.linspace(-0.02, 1.02, 33)
# A brow of WFLW ends in one point, at the end of our lower edge, which is a little inside our upper edge.
_LEFT_BROW, _RIGHT_BROW = np.linspace(0.08, 1, 5), np.linspace(0, 0.92, 5)
# Our line continues up the wings of the nose.
_NOSE_BASE = (0.26, 0.38, 0.5, 0.62, 0.74)
_UPPER_LIP = (0, 0.19, 0.41, 0.5, 0.59, 0.81, 1)
_LOWER_LIP = (0, 0.15, 0.32, 0.5, 0.68, 0.85, 1)


def items(root: Path) -> Iterator[Item]:
    """List the faces, in the order of the official lists, training first.

    Raises:
        ReenactError: photos or lists are missing, or do not fit each other.
    """
    require_folder(root, "the folders WFLW_images and WFLW_annotations in it")
    pictures = root / "WFLW_images"
    if not pictures.is_dir():
        raise ReenactError(f"no WFLW_images in {root}; expected WFLW's photos there, unpacked")
    lists = first_folder(root, (_LISTS, Path(_LISTS).name, "."), containing=TRAIN_LIST)
    if lists is None or not (lists / TEST_LIST).is_file():
        raise ReenactError(f"no {TRAIN_LIST} and {TEST_LIST} in {root / _LISTS}; expected WFLW's annotations, unpacked")
    for name, prefix in ((TRAIN_LIST, "train"), (TEST_LIST, "test")):
        found = _items(lists / name, pictures, prefix)
        yield from at_least_one(found, f"{lists / name} is empty; download it again")


def _items(path: Path, pictures: Path, prefix: str) -> Iterator[Item]:
    for number, line in lines(path):
        columns = line.split()
        complaint = f"{path} line {number} is not 196 coordinates, 4 of a box, 6 attributes, a photo; download it again"
        points = numbers(columns[:_COORDINATES], _COORDINATES, complaint)
        if len(columns) != _COLUMNS:
            raise ReenactError(complaint)
        photo = columns[-1]
        if not (pictures / photo).is_file():
            raise ReenactError(f"{photo} is missing in {pictures}; expected every photo of {path.name}")
        key = f"{prefix}-{number:05d}"
        yield Item(
            key=key,
            kind=Kind.PHOTO,
            path=pictures / photo,
            identity=key,
            split=Split.TEST if prefix == "test" else split_of(photo),
            annotation=Annotation(AnnotationKind.WFLW, points.reshape(WFLW_POINTS, 2)),
            about=dict(zip(ATTRIBUTES, columns[_COORDINATES + _BOX : -1], strict=True)),
        )


@dataclass(frozen=True)
class _Line:
    """A line of the face that both have, from image left to image right or from top to bottom.

    Args:
        vertices: along the line, in the mesh.
        points: along the line, in WFLW.
        positions: fractions of the line's length at the points; None: evenly from end to end.
        known: the vertices to be taken from this line; None: all.
    """

    vertices: tuple[int, ...]
    points: tuple[int, ...]
    positions: Sequence[float] | Float[np.ndarray, " n"] | None = None
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
    """The face mesh for the 98 points of a face.

    Vertices off WFLW's lines keep the mean face's proportions to those on the lines. Irises are circles in space, of
    the mean face's size. Depths are those of the mean face in the head's pose.

    Args:
        points_px: in WFLW's order, pixels of the photo.

    Returns:
        (478, 3) float32, pixels of the photo.
    """
    points_px = np.asarray(points_px, np.float64)
    flat = _weights() @ points_px
    face = mean_face().points.astype(np.float64)
    to_picture = _pose(flat)
    posed = face @ to_picture.T
    mesh = np.concatenate([flat, posed[:, 2:]], axis=1)
    for iris, _ in IRISES:
        mesh[list(iris), :2] += (posed[list(iris)] - posed[iris[0]])[:, :2]
    return mesh.astype(np.float32)


@cache
def _weights() -> Float[np.ndarray, "478 98"]:
    """Weights of the points in each vertex: x and y of the mesh are `weights @ points`."""
    weights = np.zeros((MESH_POINTS, WFLW_POINTS))
    known = np.zeros(MESH_POINTS, bool)
    for line in _lines():
        fractions = _fractions(line.vertices)
        knots = np.linspace(0, 1, len(line.points)) if line.positions is None else np.array(line.positions)
        spline = CubicSpline(knots, np.eye(len(knots)))
        for vertex in line.known or line.vertices:
            weights[vertex] = 0
            weights[vertex, line.points] = spline(fractions[vertex])
            known[vertex] = True
    # It reproduces linear functions exactly: a head that is only turned, moved and scaled is not deformed.
    face = mean_face().points.astype(np.float64)
    fill = RBFInterpolator(face[known], weights[known], kernel="linear", degree=1)
    weights[~known] = fill(face[~known])
    for iris, pupil in IRISES:
        weights[list(iris)] = np.eye(WFLW_POINTS)[pupil]
    return weights


def _fractions(vertices: tuple[int, ...]) -> dict[int, float]:
    """Fraction of the line's length at each vertex of the mean face, seen from the front."""
    steps = np.linalg.norm(np.diff(mean_face().points[list(vertices), :2].astype(np.float64), axis=0), axis=1)
    lengths = np.concatenate([[0], steps.cumsum()])
    return dict(zip(vertices, (lengths / lengths[-1]).tolist(), strict=True))


def _pose(flat: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "3 3"]:
    """The scaled rotation under which the mean face, seen from far away, fits these positions best."""
    face, weights = mean_face().points.astype(np.float64), np.sqrt(mean_face().weights.astype(np.float64))
    # The best affine map, then the nearest two rows of a scaled rotation.
    columns = np.concatenate([face, np.ones((len(face), 1))], axis=1) * weights[:, None]
    affine = np.linalg.lstsq(columns, flat * weights[:, None], rcond=None)[0][:3].T
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    return singular.mean() * np.vstack([rows, np.cross(rows[0], rows[1])])
