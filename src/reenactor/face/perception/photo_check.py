"""What is unusual about a face in a photo: findings that tell beforehand where the result will look wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from reenactor.face.geometry import FACE_CROP_SCALE, head_angles
from reenactor.face.geometry.contours import FACE_OVAL, OPENINGS
from reenactor.face.geometry.openings import opening
from reenactor.face.perception.covers import covered
from reenactor.face.perception.landmarks import Region, cut_patch, in_patch
from reenactor.face.perception.lids import eye_openness
from reenactor.face.perception.observe import FaceFinder, chosen_face, face_side_px, several_faces

_CLOSED = 0.3
"""Reading of both eyes; 12 of 13 press photographs below it have closed eyes, or nearly."""
_OPEN_MOUTH = 0.15
"""Opening of the inner lips; 1 % of official portraits and 11 % of press photographs have more."""
_COVERED, _GLASSES = 0.8, 0.7
"""Readings of `covered`; rates in its checkpoint's card."""
_PROFILE_DEG = 35.0
_SOFT_CROP_PX = 160
_PLAIN_FACE, _PLAIN_EYES = (0.35, 0.5), (0.15, 0.3)
"""Fractions of the face, and of it above the cheeks, that are flat and that few colours fill."""
_LEAST_CONTRAST = 100.0
"""Levels between dark and bright; pictures of less are stretched before flat parts are looked for."""
_BELOW_EYES = (117, 346)
"""Landmarks of the cheeks."""
_FLAT_LEVELS, _COLOUR_LEVELS, _COLOURS = 3, 4, 3


class Finding(Enum):
    """What a photo shows; the values are kept in the cache of faces. Rates: docs/experiments.md."""

    EYES_CLOSED = 1
    MOUTH_OPEN = 2
    MOUTH_COVERED = 3
    GLASSES = 4
    PROFILE = 5
    SMALL = 6
    DRAWING = 7
    SEVERAL_FACES = 8
    OTHER_PERSON = 9
    OTHER_WEIGHTS = 10


@dataclass(frozen=True)
class CheckedFace:
    """A face found in a photo.

    Args:
        mesh: landmarks, pixels of the photo.
        faces: how many faces the photo shows.
        findings: what is unusual about it.
    """

    mesh: Float[np.ndarray, "478 3"]
    faces: int
    findings: tuple[Finding, ...] = ()


def checked_face(
    finder: FaceFinder, picture: UInt8[np.ndarray, "h w 3"], *, face: int | None, name: str
) -> CheckedFace:
    """Find and check a face; arguments and errors as for `FaceFinder.observe`."""
    found = finder.observe_all(picture)
    mesh = chosen_face(found, face, name).landmarks.mesh
    findings = photo_findings(picture, mesh)
    if face is None and several_faces(found):
        findings += (Finding.SEVERAL_FACES,)
    return CheckedFace(mesh, len(found), findings)


def photo_findings(picture: UInt8[np.ndarray, "h w 3"], mesh: Float[np.ndarray, "478 3"]) -> tuple[Finding, ...]:
    """What is unusual about one face; of a drawing only that it is one. Takes 6 ms.

    Args:
        picture: RGB.
        mesh: the face's landmarks.
    """
    region = Region.of_mesh(mesh)
    patch, points = cut_patch(picture, region), in_patch(mesh, region)
    if is_drawing(patch, points):
        return (Finding.DRAWING,)
    turned = abs(float(head_angles(mesh)[0])) > _PROFILE_DEG
    # Neither was learned from profiles.
    mouth, glasses = (0.0, 0.0) if turned else covered(patch)
    opened = mouth_opening(mesh) > _OPEN_MOUTH
    found = {
        Finding.EYES_CLOSED: eye_openness(patch, points).max() < _CLOSED,
        Finding.MOUTH_OPEN: opened,
        # Of a covered mouth the mesh is nearly always shut, and shouts look covered.
        Finding.MOUTH_COVERED: mouth >= _COVERED and not opened,
        Finding.GLASSES: glasses >= _GLASSES,
        Finding.PROFILE: turned,
        Finding.SMALL: FACE_CROP_SCALE * face_side_px(mesh) < _SOFT_CROP_PX,
    }
    return tuple(finding for finding, is_so in found.items() if is_so)


def mouth_opening(mesh: Float[np.ndarray, "478 3"]) -> float:
    """Mean distance between the inner lips, in distances of the eyes' outer corners."""
    return float(opening(torch.from_numpy(mesh), *OPENINGS[0]))


def sharpness(image: UInt8[np.ndarray, "h w 3"], mesh_px: Float[np.ndarray, "478 3"]) -> float:
    """Variance of the Laplacian over variance of brightness inside the face, so that contrast cancels out."""
    inside = np.zeros(image.shape[:2], np.uint8)
    hull = cv2.convexHull(np.round(mesh_px[:, :2]).astype(np.int32))
    cv2.fillConvexPoly(inside, hull, (1,))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    values = cv2.Laplacian(grey, cv2.CV_32F)[inside > 0]
    spread = float(grey[inside > 0].var()) if len(values) else 0.0
    return float(values.var()) / spread if spread > 1 else 0.0


def is_drawing(patch: UInt8[np.ndarray, "192 192 3"], points: Float[np.ndarray, "478 3"]) -> bool:
    """Whether a face is drawn: much of it is exactly flat, and a few colours fill most of it.

    Painted portraits and line drawings on white are not told from photos.

    Args:
        patch: RGB, the face as the mesh network sees it.
        points: its landmarks there.
    """
    inside = np.zeros(patch.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(points[list(FACE_OVAL), :2]).astype(np.int32)], (1,))
    face = inside > 0
    upper = face.copy()
    upper[max(1, round(float(points[list(_BELOW_EYES), 1].mean()))) :] = False
    # Cloth before the mouth may be as flat as a drawing; the eyes above it are not.
    return _is_plain(patch, face, _PLAIN_FACE) and _is_plain(patch, upper, _PLAIN_EYES)


def _is_plain(
    patch: UInt8[np.ndarray, "192 192 3"], part: Bool[np.ndarray, "192 192"], least: tuple[float, float]
) -> bool:
    """Whether so much of a part is flat, and so much of it has one of its three commonest colours."""
    if not part.any():
        return False
    # Photos that are much too bright or too dark are flat as well, at the ends of the range.
    clipped = ((patch >= 250) | (patch <= 5)).all(-1)
    dark, bright = np.percentile(patch[part].mean(-1), [5, 95])
    stretch = max(1.0, _LEAST_CONTRAST / max(bright - dark, 1))
    block = np.ones((3, 3), np.uint8)
    spread = (cv2.dilate(patch, block).astype(np.float32) - cv2.erode(patch, block)).max(-1) * stretch
    flat = ((spread <= _FLAT_LEVELS) & ~clipped)[part].mean()
    levels = np.floor(patch[part & ~clipped] * (stretch / _COLOUR_LEVELS)).astype(np.int64) @ [1, 10_000, 10_000**2]
    common = np.sort(np.unique(levels, return_counts=True)[1])[-_COLOURS:].sum() / part.sum()
    return bool(flat > least[0] and common > least[1])
