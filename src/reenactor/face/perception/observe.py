"""Faces in single pictures."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import FaceObservation, HeadPose, Landmarks, NoFaceError
from reenactor.face.geometry import angles_from_matrix, fit_head, mean_face
from reenactor.face.perception.detection import FaceDetector
from reenactor.face.perception.landmarks import FaceMesher

MIN_PRESENCE = 0.5
MAX_MISFIT = 0.1
"""Weighted RMS distance of a mesh to the turned mean face, in outer-eye distances, beyond which it is no
face. 2,351 faces of photos and clips have 0.019 at the median, 0.048 at most."""


class FaceFinder:
    """Finds and measures faces in pictures that are unrelated (for video: `FaceTracker`).

    Holds native networks that threads cannot share: make one per thread, and close it or use `with`.
    Processes must be spawned, not forked, once one exists.
    """

    def __init__(self) -> None:
        self._detector = FaceDetector()
        self._mesher = FaceMesher()

    def observe(
        self, image: UInt8[np.ndarray, "h w 3"], *, face: int | None = None, name: str = "picture"
    ) -> FaceObservation:
        """The largest face, or the one asked for.

        Args:
            image: RGB.
            face: 1 for the first face from the left, 2 for the second...; None for the largest.
            name: what to call the picture in an error.

        Raises:
            NoFaceError: if there is no face, or fewer than `face`.
        """
        found = self.observe_all(image)
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

    def observe_all(self, image: UInt8[np.ndarray, "h w 3"], *, thorough: bool = True) -> list[FaceObservation]:
        """All faces, from left to right.

        Args:
            image: RGB.
            thorough: also search for small faces if there are none at first sight (up to 0.2 s).
        """
        check_picture(image)
        return find_faces(image, self._detector, self._mesher, thorough=thorough)

    def close(self) -> None:
        """Free the networks."""
        self._detector.close()
        self._mesher.close()

    def __enter__(self) -> FaceFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_faces(
    image: UInt8[np.ndarray, "h w 3"], detector: FaceDetector, mesher: FaceMesher, *, thorough: bool
) -> list[FaceObservation]:
    """All faces, from left to right: boxes that the mesh confirms, of the first search that has any."""
    found: list[FaceObservation] = []
    for boxes in detector.passes(image, thorough=thorough):
        for box in sorted(boxes, key=lambda b: -b.score):
            mesh, presence = mesher.settled_mesh(image, box)
            seen = as_observation(mesh, presence=presence, score=box.score, picture_px=(image.shape[1], image.shape[0]))
            if seen is not None and not any(same_place(seen.landmarks, one.landmarks) for one in found):
                found.append(seen)
        if found:
            break
    return sorted(found, key=lambda one: float(one.landmarks.mesh[:, 0].mean()))


def as_observation(
    mesh: Float[np.ndarray, "478 3"], *, presence: float, score: float, picture_px: tuple[int, int]
) -> FaceObservation | None:
    """The record for a mesh in pixels; None if the network doubts it, it lies outside, or is misshapen."""
    middle = mesh[:, :2].mean(axis=0)
    inside = (middle >= 0).all() and (middle < picture_px).all()
    if presence < MIN_PRESENCE or not inside or not np.isfinite(mesh).all():
        return None
    face, fit = mean_face(), fit_head(mesh)
    misfit = np.sqrt(face.weights @ ((fit.apply(face.points) - mesh) ** 2).sum(axis=-1)) / fit.scale
    if not misfit < MAX_MISFIT:
        return None
    yaw, pitch, roll = (float(angle) for angle in angles_from_matrix(fit.R))
    return FaceObservation(Landmarks(mesh), HeadPose(yaw, pitch, roll), score)


def face_side_px(mesh: Float[np.ndarray, "478 3"]) -> float:
    """Longer side of the mesh's box in the picture."""
    return float(np.ptp(mesh[:, :2], axis=0).max())


def same_place(a: Landmarks, b: Landmarks) -> bool:
    """Whether two meshes lie on one face: their middles closer than half a face."""
    apart = np.linalg.norm(a.mesh[:, :2].mean(axis=0) - b.mesh[:, :2].mean(axis=0))
    return bool(apart < 0.5 * min(face_side_px(a.mesh), face_side_px(b.mesh)))


def check_picture(image: np.ndarray) -> None:
    """Raise ValueError unless this is (H, W, 3) uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"a picture must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
