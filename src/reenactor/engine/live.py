"""A driver whose pictures come one by one: a camera, a browser, another program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import check_face_number
from reenactor.face.geometry import mean_face
from reenactor.face.perception import FaceTracker, MeshSmoother
from reenactor.face.perception.observe import check_picture

if TYPE_CHECKING:
    from reenactor.engine.reenactor import Reenactor, ResultFrame

Mesh = Float[np.ndarray, "478 3"]


class LiveDriver:
    """Moves the target like the face in each picture; made by `Reenactor.live`, for one thread at a time.

    What the driver's face shows at rest is what its first picture with a face shows, until `set_neutral` is called.
    While no face is seen the target holds its pose; before the first one it looks as in the photo.

    Args:
        reenactor: with its target set.
        smooth: steady the landmarks with a One-Euro filter.
        rest: the driver at rest, in the driver's pixels; None for the first face seen.
        mirror: move like a mirror image, as people expect of a camera that faces them.
        face: which face of the driver, counted from the left; None for the largest.

    Attributes:
        mirror: may be changed at any time.
    """

    def __init__(
        self, reenactor: Reenactor, *, smooth: bool, rest: Mesh | None, mirror: bool, face: int | None
    ) -> None:
        check_face_number(face)
        self.mirror = mirror
        self._reenactor = reenactor
        self._resting = reenactor.target.mesh_px
        self._smoother = MeshSmoother() if smooth else None
        self._rest = rest
        self._rest_wanted = rest is None
        self._retargeters: dict[bool, Callable[[Mesh], Mesh]] = {}
        self._last: ResultFrame | None = None
        self._last_time_s = -np.inf
        self._tracker = FaceTracker(face=face)

    @property
    def ready(self) -> bool:
        """Whether it is known how the driver looks at rest: a face was seen, or given as neutral."""
        return self._rest is not None

    def set_neutral(self) -> None:
        """Take the next face that is seen for the driver at rest; any thread may call this."""
        self._rest_wanted = True

    def step(self, picture: UInt8[np.ndarray, "h w 3"], time_s: float) -> ResultFrame:
        """The target for one picture of the driver (RGB).

        A result that repeats the last one, because no face is seen, shares its arrays.

        Raises:
            ValueError: the time is not later than the one before, or this is no picture.
        """
        check_picture(picture)
        if not time_s > self._last_time_s:
            raise ValueError(f"times must increase: {time_s} s after {self._last_time_s} s")
        seen = self._tracker.track(picture)
        self._last_time_s = time_s
        if seen is None:
            if self._smoother is not None:
                self._smoother.reset()
            self._last = self._last or self._reenactor.frame(self._resting, time_s)
            self._last = replace(self._last, time_s=time_s, driver_seen=False)
            return self._last
        mesh = seen.landmarks.mesh
        if self._smoother is not None:
            mesh = self._smoother(mesh, time_s)
        if self._rest_wanted:
            self._rest_wanted = False
            self._rest = mesh
            self._retargeters.clear()
        self._last = self._reenactor.frame(self._wanted(mesh, picture.shape[1]), time_s)
        return self._last

    def _wanted(self, mesh: Mesh, width: int) -> Mesh:
        assert self._rest is not None
        mirror = self.mirror
        if mirror not in self._retargeters:
            rest = mirrored(self._rest, width) if mirror else self._rest
            self._retargeters[mirror] = self._reenactor.retargeter(rest)
        return self._retargeters[mirror](mirrored(mesh, width) if mirror else mesh)

    def close(self) -> None:
        """Free the networks."""
        self._tracker.close()

    def __enter__(self) -> LiveDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def mirrored(mesh_px: Float[np.ndarray, "478 3"], width: int) -> Float[np.ndarray, "478 3"]:
    """The landmarks as they would be in the mirrored picture."""
    mesh = mesh_px[mean_face().mirror].copy()
    mesh[:, 0] = width - 1 - mesh[:, 0]
    return mesh
