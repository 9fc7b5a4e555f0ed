"""Training pairs: photos of a person to look at, landmarks to follow, and the picture that is right.

Three kinds, all with the same fields:

* **same clip** (paper B): K target frames and a driver frame of one video.
* **contour** (paper A): one photo; the landmarks keep its parts but take another person's outline, and the truth is
  the photo warped to that outline, counted inside the face only. The target stays unwarped.
* **warp back** (ours): one photo; the *target* is the photo warped by a random turn of the head and by an expression
  difference taken from a random clip, and the truth is the real photo. One photo a person teaches pose and
  expression, and what is learned is always a real picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from reenactor.core import OUTER_EYE_CORNERS
from reenactor.face.geometry import draw_face_mesh, face_mesh, head_angles, in_mean_pose, turned, with_outline_of
from reenactor.face.geometry.contours import FACE_OVAL, INNER_LIPS_LOWER, INNER_LIPS_UPPER, OUTER_LIPS
from reenactor.face.retarget import transfer_expression

_LARGEST_TURN_DEG = np.array([22.0, 12.0, 10.0])
_LARGEST_SHIFT = 0.12
"""Of a warp-back target, in inter-ocular distances."""
_SCALES = (0.92, 1.08)
_CLEARLY_OPEN = 0.06
"""Outer-eye distances by which a mouth must open more than at its most closed."""
_NEXT_S = 0.1
"""Frames further apart do not follow each other: there is a gap between a clip's stretches."""
_OPENS = 0.01
"""Outer-eye distances; a mouth that opens by less counts as unchanged."""
_TURNS_DEG = 15.0
"""Heads whose yaws differ by more look to different sides."""


class PairKind(str, Enum):
    """Where a pair comes from."""

    CLIP = "clip"
    CONTOUR = "contour"
    WARP_BACK = "warp_back"


@dataclass(frozen=True)
class Pair:
    """One training example; pictures are RGB crops of one size.

    Args:
        kind: how it was made.
        identity: who it shows.
        targets: (K, s, s, 3) the photos that the model may look at.
        target_mesh: (K, 478, 3) their landmarks, crop pixels.
        truth: (s, s, 3) what the model should draw.
        driver_mesh: (478, 3) landmarks that it is given: those of the truth.
        mask: (s, s) 255 where the truth counts.
        follows: the pair before has the same photos, and the frame before this truth.
    """

    kind: PairKind
    identity: str
    targets: UInt8[np.ndarray, "k s s 3"]
    target_mesh: Float[np.ndarray, "k 478 3"]
    truth: UInt8[np.ndarray, "s s 3"]
    driver_mesh: Float[np.ndarray, "478 3"]
    mask: UInt8[np.ndarray, "s s"]
    follows: bool = False


def clip_pairs(
    identity: str,
    frames: UInt8[np.ndarray, "t s s 3"],
    meshes: Float[np.ndarray, "t 478 3"],
    times_s: Float[np.ndarray, " t"],
    *,
    targets: int,
    least_gap_s: float,
    opening: float = 0.0,
    turning: bool = False,
    follow: bool = False,
    rng: np.random.Generator,
) -> list[Pair]:
    """K target frames and a driver frame of one video; a second pair with the next frame if that is to `follow`.

    The driver is any frame, or in a share `opening` of pairs one whose mouth is open wide, with targets whose mouths
    are not, if the video has such: what lies behind closed lips is the hardest to learn and rare. Of pairs that are
    `turning` the driver and the targets look to different sides, if the video has such. Targets are at least
    `least_gap_s` away from it where the video is long enough (else the farthest are taken), drawn with a chance that
    grows with the difference in pose and expression: near twins teach little.
    """
    mouth = _mouth_opening(meshes)
    wide = np.flatnonzero((mouth >= np.quantile(mouth, 0.8)) & (mouth >= mouth.min() + _CLEARLY_OPEN))
    opens = opening > 0 and len(wide) > 0 and rng.random() < opening
    turns = np.flatnonzero(turned_away(meshes)) if turning else wide[:0]
    driver = int(rng.choice(wide if opens else turns if len(turns) else len(frames)))
    away_s = np.abs(times_s - times_s[driver])
    allowed = away_s >= min(least_gap_s, 0.7 * float(away_s.max()))
    allowed[driver] = len(frames) == 1
    closed = allowed & (1.5 * mouth + 0.02 < mouth[driver])
    if opens and closed.any():
        allowed = closed
    if len(turns) and (away := allowed & turned_away(meshes, meshes[driver])).any():
        allowed = away
    chance = np.where(allowed, 0.01 + differences(meshes, meshes[driver]), 0.0)
    picked = rng.choice(len(frames), targets, p=chance / chance.sum(), replace=int(allowed.sum()) < targets)
    everywhere = np.full(frames.shape[1:3], 255, np.uint8)
    photos = frames[picked], meshes[picked]
    pair = Pair(PairKind.CLIP, identity, *photos, frames[driver], meshes[driver], everywhere)
    after = driver + 1
    if not follow or after == len(frames) or times_s[after] - times_s[driver] > _NEXT_S:
        return [pair]
    return [pair, replace(pair, truth=frames[after], driver_mesh=meshes[after], follows=True)]


def turned_away(
    meshes: Float[np.ndarray, "t 478 3"], mesh: Float[np.ndarray, "478 3"] | None = None
) -> Bool[np.ndarray, " t"]:
    """Which heads look to another side, their yaws more than 15 degrees apart: than `mesh`, or than any other here."""
    yaw_deg = head_angles(meshes)[:, 0]
    others = head_angles(mesh)[:1] if mesh is not None else yaw_deg[[yaw_deg.argmin(), yaw_deg.argmax()]]
    return (np.abs(yaw_deg[:, None] - others) > _TURNS_DEG).any(1)


def differences(meshes: Float[np.ndarray, "t 478 3"], mesh: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, " t"]:
    """In pose and expression: mean distance of vertices in face sizes, wherever in the picture the heads are."""
    face_px = float(np.ptp(mesh[:, :2], axis=0).max())
    centred, other = (one.astype(np.float64) - one.mean(-2, keepdims=True) for one in (meshes, mesh))
    return np.linalg.norm(centred - other, axis=2).mean(1) / max(face_px, 1e-6)


def _mouth_opening(meshes: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, " t"]:
    """Gap between the inner lips' middles, in outer-eye distances."""
    upper, lower = INNER_LIPS_UPPER[5], INNER_LIPS_LOWER[5]
    eyes = np.linalg.norm(meshes[:, OUTER_EYE_CORNERS[1]] - meshes[:, OUTER_EYE_CORNERS[0]], axis=1)
    return np.linalg.norm(meshes[:, lower] - meshes[:, upper], axis=1) / np.maximum(eyes, 1e-6)


def contour_pair(
    identity: str,
    photo: UInt8[np.ndarray, "s s 3"],
    mesh: Float[np.ndarray, "478 3"],
    other_mesh: Float[np.ndarray, "478 3"],
) -> Pair:
    """The photo, to be redrawn with the outline of another person (`other_mesh`, any picture's pixels)."""
    wanted = with_outline_of(mesh, other_mesh)
    truth = draw_face_mesh(photo, face_mesh(mesh, len(photo)), wanted, map_size=len(photo))
    return Pair(
        PairKind.CONTOUR, identity, photo[None], mesh[None], truth, wanted, _inside(wanted, FACE_OVAL, len(photo))
    )


def _inside(mesh: Float[np.ndarray, "478 3"], outline: tuple[int, ...], side: int) -> UInt8[np.ndarray, "s s"]:
    """255 inside of some of the mesh's vertices, in the order in which they go around it."""
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(mesh[list(outline), :2]).astype(np.int32)], (255,))
    return mask


def warp_back_pair(
    identity: str,
    photo: UInt8[np.ndarray, "s s 3"],
    mesh: Float[np.ndarray, "478 3"],
    expression: tuple[Float[np.ndarray, "478 3"], Float[np.ndarray, "478 3"]],
    *,
    targets: int,
    face_only: bool = False,
    rng: np.random.Generator,
) -> Pair:
    """The real photo as the truth, and K warps of it as targets.

    Args:
        identity: who it shows.
        photo, mesh: the real picture.
        expression: two frames of a clip, in mean pose; their difference is laid on the photo. Each target takes a
            random part of it.
        targets: K.
        face_only: the truth counts inside the face alone, and without the mouth if it opens. Elsewhere only the warp
            is undone, and a model that begins with the warp must not learn that hair, ears and background move as the
            warp has them, or that teeth grow as a mouth opens.
        rng: draws the turns.
    """
    sheet = face_mesh(mesh, len(photo))
    head, shape = in_mean_pose(mesh)
    before, after = expression
    pictures, meshes = [], []
    for _ in range(targets):
        part = rng.uniform(0.3, 1.0)
        warped = turned(
            mesh,
            rng.uniform(-1, 1, 3) * _LARGEST_TURN_DEG,
            scale=float(rng.uniform(*_SCALES)),
            shift_px=tuple(rng.uniform(-1, 1, 2) * _LARGEST_SHIFT * float(head.scale)),
            shape=transfer_expression(shape, before, before + part * (after - before)),
        )
        pictures.append(draw_face_mesh(photo, sheet, warped, map_size=len(photo)))
        meshes.append(warped)
    mask = np.full(photo.shape[:2], 255, np.uint8)
    if face_only:
        mask = _inside(mesh, FACE_OVAL, len(photo))
        if (_mouth_opening(np.stack(meshes)) + _OPENS < _mouth_opening(mesh[None])).any():
            mask &= ~_inside(mesh, OUTER_LIPS, len(photo))
    return Pair(PairKind.WARP_BACK, identity, np.stack(pictures), np.stack(meshes), photo, mesh, mask)
