"""A driver whose pictures are handed over one by one: a camera, say."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from reenactor.core import check_face_number
from reenactor.engine.portrait import Picture, ResultFrame, Target, pixels_of
from reenactor.engine.retarget import Mesh, Retarget
from reenactor.face.geometry import mirrored_mesh
from reenactor.face.perception import FaceTracker, MeshSmoother
from reenactor.face.retarget import DriverRest, Easing


@runtime_checkable
class Animated(Protocol):
    """What is used of a `Reenactor`."""

    @property
    def target(self) -> Target:
        """The person."""
        ...

    def retargeter(self, rest: DriverRest, *, learn: bool = False) -> Retarget:
        """See `Reenactor.retargeter`."""
        ...

    def frame(self, mesh_px: Mesh, time_s: float) -> ResultFrame:
        """See `Reenactor.frame`."""
        ...


class LiveDriver:
    """Moves the target like the face in each picture; made by `Reenactor.live`, for one thread at a time.

    Head movement counts from the first picture with a face, until `set_neutral` is called. What the driver's face is
    like at rest is learned as it moves (with the transfer PARTS; for others it is that of the first picture). While no
    face is seen the target holds its pose; before the first face it looks as in the photo. After a cut head movement
    counts from the next face, and the target eases there. Use `with`, or `close` it.

    Args:
        reenactor: with its target set.
        smooth: steady the landmarks with a One-Euro filter.
        rest: the driver at rest, in the driver's pixels; None for the first face seen.
        mirror: move like a mirror image, as people expect of a camera that faces them.
        face: which face of the driver, counted from the left; None for the largest.

    Attributes:
        mirror: may be changed at any time.
    """

    def __init__(self, reenactor: Animated, *, smooth: bool, rest: Mesh | None, mirror: bool, face: int | None) -> None:
        check_face_number(face)
        self.mirror = mirror
        self._reenactor = reenactor
        self._resting = reenactor.target.mesh_px
        self._smoother = MeshSmoother() if smooth else None
        self._rest = rest
        self._rest_given = rest is not None
        self._rest_pending = rest is None
        self._retargeters: dict[bool, Retarget] = {}
        self._head_from = rest
        self._easing = Easing()
        self._last: ResultFrame | None = None
        self._last_time_s = -np.inf
        self._tracker = FaceTracker(face=face)

    @property
    def ready(self) -> bool:
        """Whether the driver at rest is known: a face was seen, or a neutral picture given."""
        return self._rest is not None

    def set_neutral(self) -> None:
        """Take the next face that is seen, whoever it is, as the driver at rest; any thread may call this."""
        self._rest_given = self._rest_pending = True

    def step(self, picture: Picture, time_s: float) -> ResultFrame:
        """The target for one picture of the driver.

        A result that repeats the last one, because no face is seen, shares its arrays.

        Raises:
            ValueError: the time is not later than the one before, or this is no picture.
        """
        picture = pixels_of(picture, "the driver's picture")
        if not time_s > self._last_time_s:
            raise ValueError(f"times must increase: {time_s} s after {self._last_time_s} s")
        if self._rest_pending:
            self._tracker.forget_identity()
        seen = self._tracker.track(picture)
        self._last_time_s = time_s
        if seen is None:
            if self._smoother is not None:
                self._smoother.reset()
            self._easing.hold(time_s)
            self._last = self._last or self._reenactor.frame(self._resting, time_s)
            self._last = replace(self._last, time_s=time_s, driver_seen=False)
            return self._last
        mesh = seen.landmarks.mesh
        if self._smoother is not None:
            if self._tracker.cut:
                self._smoother.reset()
            mesh = self._smoother(mesh, time_s)
        if self._rest_pending:
            self._rest_pending = False
            self._rest = self._head_from = mesh
            self._retargeters.clear()
        elif self._tracker.cut and self._last is not None:
            self._head_from = mesh
            self._easing.restart()
        self._last = self._reenactor.frame(self._easing(self._target_mesh(mesh, picture), time_s), time_s)
        return self._last

    def _target_mesh(self, mesh: Mesh, picture: UInt8[np.ndarray, "h w 3"]) -> Mesh:
        assert self._rest is not None
        assert self._head_from is not None
        mirror, width = self.mirror, picture.shape[1]
        new = mirror not in self._retargeters
        if new:
            mesh_px = mirrored_mesh(self._rest, width) if mirror else self._rest
            rest = DriverRest.given(mesh_px) if self._rest_given else DriverRest.of_frame(mesh_px)
            self._retargeters[mirror] = self._reenactor.retargeter(rest, learn=True)
        if new or self._tracker.cut:
            for mirror_of, retarget in self._retargeters.items():
                retarget.moderation.count_from(mirrored_mesh(self._head_from, width) if mirror_of else self._head_from)
        seen = (mirrored_mesh(mesh, width), picture[:, ::-1]) if mirror else (mesh, picture)
        return self._retargeters[mirror](*seen)

    def close(self) -> None:
        """Free the networks."""
        self._tracker.close()

    def __enter__(self) -> LiveDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
