"""What a driver is like at rest: given, estimated from its frames, or learned while it moves."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from reenactor.face.geometry import Similarity, fit_head, in_mean_pose, mean_face, with_lips_closed
from reenactor.face.retarget.neutral import neutral_face, neutral_faces, with_lips_together
from reenactor.face.retarget.relative import EYES, lip_gap, neutral_frame

_MOST_AT_REST = 0.03
"""Largest opening of a driver whose lips touch: the mesh of some, bearded or dark, never closes."""
_SHUT, _MOST_SHUT = 0.2, 0.35
"""Fractions of an eye's usual opening that count as closed: usually, and at most."""
_USUAL, _LOWEST, _TOUCHING = 0.6, 0.01, 0.03
"""Quantiles over time: of eyes that are open, of eyes and of lips that are closed."""
_NARROWER, _WIDER = 0.7, 1.4
"""How far a driver's usual opening of an eye may lie from its neutral face's."""
_FRAMES, _FRAMES_IF_GIVEN = 25.0, 1500.0
"""How many frames the first one stands for, against those that follow: estimated, and given as the driver at rest."""
_REMEMBERED, _FIRST_RANGES, _EVERY = 900, 100, 15
"""Frames over which ranges are learned; from how many on, and how often."""
_EASE = 0.05
"""Part of the way that a range moves toward what was learned, in each frame."""


@dataclass(frozen=True)
class DriverRest:
    """What a driver is like at rest.

    Args:
        mesh_px: (478, 3) its face at rest, driver's pixels: head movement counts from there.
        shape: (478, 3) its neutral face in mean pose, lips together.
        open: (2,) usual opening of the right and the left eye, in outer-eye distances.
        shut: (2,) fraction of it that is left when they are closed.
        lips: opening of lips that touch, in outer-eye distances.
        frames: how many frames of a driver that is learned it stands for.
    """

    mesh_px: Float[np.ndarray, "478 3"]
    shape: Float[np.ndarray, "478 3"]
    open: Float[np.ndarray, "2"]
    shut: Float[np.ndarray, "2"]
    lips: float
    frames: float = _FRAMES

    @classmethod
    def given(cls, mesh_px: Float[np.ndarray, "478 3"]) -> DriverRest:
        """The driver at rest as a picture shows it."""
        shape = in_mean_pose(mesh_px)[1]
        lips = float(np.clip(lip_gap(shape), 0, _MOST_AT_REST))
        return cls(mesh_px, with_lips_together(shape), _eyes(shape), np.full(2, _SHUT), lips, _FRAMES_IF_GIVEN)

    @classmethod
    def of_frame(cls, mesh_px: Float[np.ndarray, "478 3"]) -> DriverRest:
        """From one frame, whatever its expression."""
        neutral = neutral_face(in_mean_pose(mesh_px)[1][None])
        return cls(mesh_px, neutral, _eyes(neutral), np.full(2, _SHUT), 0.0)

    @classmethod
    def of_photo(cls, mesh_px: Float[np.ndarray, "478 3"]) -> DriverRest:
        """Of a driver that is a single photo: as `of_frame`, but at rest its head looks straight ahead."""
        head = fit_head(mesh_px)
        ahead = Similarity(head.scale, np.eye(3), head.t).apply(with_lips_closed(mean_face().points))
        return replace(cls.of_frame(mesh_px), mesh_px=ahead.astype(np.float32))

    @classmethod
    def of_clip(cls, meshes_px: Float[np.ndarray, "t 478 3"]) -> DriverRest:
        """From frames of the driver, driver's pixels; head movement counts from `usual_face`."""
        shapes = in_mean_pose(meshes_px)[1]
        neutral = neutral_face(shapes)
        return cls(usual_face(meshes_px), neutral, *_ranges(neutral, _openings(shapes)))


def usual_face(
    meshes_px: Float[np.ndarray, "t 478 3"], rest_px: Float[np.ndarray, "478 3"] | None = None
) -> Float[np.ndarray, "478 3"]:
    """A face at rest, in the size and at the place that the head has in most frames.

    The most neutral frame alone will not do: it is chosen by expression, and may be one in which the driver leans in.

    Args:
        meshes_px: (T, 478, 3) frames of the driver, driver's pixels.
        rest_px: (478, 3) the face at rest; None for that of the most neutral frame.
    """
    heads = in_mean_pose(meshes_px)[0]
    head, shape = in_mean_pose(meshes_px[neutral_frame(meshes_px)] if rest_px is None else rest_px)
    usual = Similarity(np.asarray(np.median(heads.scale)), head.R, np.median(heads.t, axis=0))
    return usual.apply(shape).astype(np.float32)


class RestLearner:
    """Learns what a driver is like at rest while it moves; nothing jumps.

    The neutral face is the mean of what each frame says of it, and the ranges are those of the last 900 frames.

    Args:
        rest: to begin with.
    """

    def __init__(self, rest: DriverRest) -> None:
        self._rest, self._frames = rest, rest.frames
        self._seen: deque[np.ndarray] = deque(maxlen=_REMEMBERED)
        self._count = 0
        self._ranges = rest.open, rest.shut, rest.lips

    def learned(self, shape: Float[np.ndarray, "478 3"]) -> DriverRest:
        """The driver at rest, after one more frame; its shape is in mean pose."""
        faces, certainty = neutral_faces(shape[None])
        self._frames = min(self._frames + float(certainty[0]), _FRAMES_IF_GIVEN)
        neutral = self._rest.shape + float(certainty[0]) / self._frames * (faces[0] - self._rest.shape)
        neutral = with_lips_together(neutral)
        self._seen.append(_openings(shape))
        self._count += 1
        if self._count >= _FIRST_RANGES and self._count % _EVERY == 0:
            self._ranges = _ranges(neutral, np.stack(self._seen))
        before, (usual, shut, lips) = self._rest, self._ranges
        self._rest = replace(
            before,
            shape=neutral,
            open=before.open + _EASE * (usual - before.open),
            shut=before.shut + _EASE * (shut - before.shut),
            lips=before.lips + _EASE * (lips - before.lips),
        )
        return self._rest


def _openings(shapes: Float[np.ndarray, "*b 478 3"]) -> Float[np.ndarray, "*b 3"]:
    """Of the right and the left eye, and of the lips."""
    return np.stack([*(eye.openings(shapes) for eye in EYES), lip_gap(shapes)], axis=-1)


def _eyes(shape: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "2"]:
    return _openings(shape)[:2]


def _ranges(
    neutral: Float[np.ndarray, "478 3"], openings: Float[np.ndarray, "t 3"]
) -> tuple[np.ndarray, np.ndarray, float]:
    """`DriverRest`'s open, shut and lips, from its neutral face and openings over time."""
    eyes, own = openings[:, :2], _eyes(neutral)
    usual = np.clip(np.quantile(eyes, _USUAL, axis=0), _NARROWER * own, _WIDER * own)
    shut = np.clip(np.quantile(eyes, _LOWEST, axis=0) / usual, _SHUT, _MOST_SHUT)
    return usual, shut, float(np.clip(np.quantile(openings[:, 2], _TOUCHING), 0, _MOST_AT_REST))
