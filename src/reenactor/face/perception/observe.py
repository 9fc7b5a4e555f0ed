"""Faces in single pictures: detected, confirmed by the mesh, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import FaceObservation, HeadPose, Landmarks, NoFaceError
from reenactor.face.geometry import Similarity, angles_from_matrix, fit_head, mean_face
from reenactor.face.perception.detection import FaceDetector
from reenactor.face.perception.landmarks import FaceMesher, Region

MIN_PRESENCE = 0.5
MAX_MISFIT = 0.1
"""Weighted RMS distance of a mesh to the fitted mean face, in outer-eye distances, beyond which it is no face. For
2,351 faces of photos and clips it is 0.019 at the median and 0.048 at most."""
MOST_CUT_OFF = 0.12
"""Share of a mesh beyond the picture's border with which it is still a face. With less than a fifth of 60 faces cut off
at a side, their meshes differ from those of whole faces by 3 % in size and 1.4 % of the eyes' distance at the lips, at
the median; with 30 % cut off below, the opening of the mouth is wrong by 6 %."""
_UNSURE = 0.2
"""Doubt of a mesh that the network is not sure of at all; misfit adds to it."""
_LYING, _CLEARLY = 0.038, 0.003
"""A mesh of more doubt is perhaps of a face that lies on its side. A turned one must have less doubt by so much."""
_TURNED_RUNS = 5
"""Upside down the region is off at first; it takes so many runs to settle."""

_Networks = TypeVar("_Networks", bound="FaceNetworks")


class FaceNetworks:
    """The detector and the mesh network, which `FaceFinder` and `FaceTracker` hold.

    Threads cannot share them: make one instance per thread, and close it or use `with`. Processes must be spawned, not
    forked, once one exists.
    """

    def __init__(self) -> None:
        self._detector = FaceDetector()
        self._mesher = FaceMesher()

    def observe_all(self, image: UInt8[np.ndarray, "h w 3"], *, thorough: bool = True) -> list[FaceObservation]:
        """All faces, from left to right: boxes that the mesh confirms, of the first search that has any.

        Args:
            image: RGB.
            thorough: also search for small faces if there are none at first sight (up to 0.2 s).

        Raises:
            ValueError: not an (H, W, 3) uint8 picture.
        """
        check_picture(image)
        found: list[FaceObservation] = []
        for boxes in self._detector.passes(image, thorough=thorough):
            for box in sorted(boxes, key=lambda b: -b.score):
                mesh, presence = self._settled(image, Region.of_box(box))
                size = (image.shape[1], image.shape[0])
                face = as_observation(mesh, presence=presence, score=box.score, picture_px=size)
                if face is not None and not any(same_face(face.landmarks, other.landmarks) for other in found):
                    found.append(face)
            if found:
                break
        return sorted(found, key=lambda face: float(face.landmarks.mesh[:, 0].mean()))

    def _settled(self, image: UInt8[np.ndarray, "h w 3"], region: Region) -> tuple[Float[np.ndarray, "478 3"], float]:
        """The mesh near a region, the right way up: a face upside down is often detected as an upright one."""
        best = self._mesher.settled_mesh(image, region)
        best = self._less_doubtful(image, best, Region.of_mesh(best[0]), 180)
        for turn_deg in (90, -90):
            if _doubt(*best) >= _LYING:
                best = self._less_doubtful(image, best, region, turn_deg)
        return best

    def _less_doubtful(
        self, image: UInt8[np.ndarray, "h w 3"], settled: tuple[np.ndarray, float], region: Region, turn_deg: float
    ) -> tuple[Float[np.ndarray, "478 3"], float]:
        """The settled mesh, or the one found from a region turned by an angle if that one is clearly better."""
        start = replace(region, angle_deg=region.angle_deg + turn_deg)
        other = self._mesher.settled_mesh(image, start, runs=_TURNED_RUNS)
        better = other[1] >= MIN_PRESENCE and _doubt(*other) < _doubt(*settled) - _CLEARLY
        return other if better else settled

    def close(self) -> None:
        """Free the networks."""
        self._detector.close()
        self._mesher.close()

    def __enter__(self: _Networks) -> _Networks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FaceFinder(FaceNetworks):
    """Finds and measures faces in unrelated pictures (for video: `FaceTracker`)."""

    def observe(
        self, image: UInt8[np.ndarray, "h w 3"], *, face: int | None = None, name: str = "picture"
    ) -> FaceObservation:
        """The largest face, or a chosen one.

        Args:
            image: RGB.
            face: 1 for the first face from the left, 2 for the second...; None for the largest.
            name: of the picture, for errors.

        Raises:
            NoFaceError: there is no face, or no face of that number.
            ValueError: not an (H, W, 3) uint8 picture.
        """
        return chosen_face(self.observe_all(image), face, name)


def chosen_face(found: Sequence[FaceObservation], face: int | None, name: str) -> FaceObservation:
    """The largest of the faces of a picture, or a chosen one; arguments and errors as for `FaceFinder.observe`."""
    if not found:
        raise NoFaceError(f"no face found in {name}: use one where a face is well lit, sharp and not covered")
    if face is None:
        return max(found, key=lambda one: face_side_px(one.landmarks.mesh))
    if not 1 <= face <= len(found):
        raise NoFaceError(
            f"face {face} was asked for, but {name} shows {len(found)}: "
            f"choose from 1 to {len(found)}, counted from the left"
        )
    return found[face - 1]


def as_observation(
    mesh: Float[np.ndarray, "478 3"], *, presence: float, score: float, picture_px: tuple[int, int]
) -> FaceObservation | None:
    """The observation of a mesh; None if the network doubts it, its centre is outside the picture, or it is misshapen.

    Args:
        mesh: (478, 3) pixels of the picture.
        presence: the mesh network's confidence, 0..1.
        score: the detector's, for the record.
        picture_px: width and height.
    """
    middle = mesh[:, :2].mean(axis=0)
    inside = (middle >= 0).all() and (middle < picture_px).all()
    if presence < MIN_PRESENCE or not inside or not np.isfinite(mesh).all():
        return None
    fit, misfit = _fitted(mesh)
    if not misfit < MAX_MISFIT:
        return None
    yaw, pitch, roll = (float(angle) for angle in angles_from_matrix(fit.R))
    return FaceObservation(Landmarks(mesh), HeadPose(yaw, pitch, roll), score)


def _fitted(mesh: Float[np.ndarray, "478 3"]) -> tuple[Similarity, float]:
    """The mean face's place, and the mesh's weighted RMS distance from it, in outer-eye distances."""
    face, fit = mean_face(), fit_head(mesh)
    return fit, float(np.sqrt(face.weights @ ((fit.apply(face.points) - mesh) ** 2).sum(axis=-1)) / fit.scale)


def _doubt(mesh: Float[np.ndarray, "478 3"], presence: float) -> float:
    """How little a mesh is trusted to lie the right way up on a face; a well fitting one has 0.02."""
    return _fitted(mesh)[1] + _UNSURE * (1 - presence)


def cut_off(mesh: Float[np.ndarray, "478 3"], picture_px: tuple[int, int]) -> bool:
    """Whether too much of a mesh (478, 3) lies beyond the border of its picture (width and height), pixels."""
    outside = (mesh[:, :2] < 0).any(axis=1) | (mesh[:, :2] >= picture_px).any(axis=1)
    return bool(outside.mean() > MOST_CUT_OFF)


def face_side_px(mesh: Float[np.ndarray, "478 3"]) -> float:
    """Longer side of the bounding box of a mesh (478, 3), pixels."""
    return float(np.ptp(mesh[:, :2], axis=0).max())


def several_faces(found: Sequence[FaceObservation]) -> bool:
    """Whether the second largest face is at least half as large as the largest, so that either may be meant."""
    sides = sorted(face_side_px(one.landmarks.mesh) for one in found)
    return len(sides) > 1 and sides[-2] >= 0.5 * sides[-1]


def same_face(a: Landmarks, b: Landmarks) -> bool:
    """Whether two meshes lie on one face: their centres are closer than half a face."""
    apart = np.linalg.norm(a.mesh[:, :2].mean(axis=0) - b.mesh[:, :2].mean(axis=0))
    return bool(apart < 0.5 * min(face_side_px(a.mesh), face_side_px(b.mesh)))


def check_picture(image: np.ndarray, name: str = "a picture") -> None:
    """Raise ValueError, which calls the picture `name`, unless this is (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"{name} must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
