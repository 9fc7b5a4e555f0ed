"""The photo's background, which stays where it is while the person before it moves."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from reenactor.face.geometry.layers import fill_outside
from reenactor.face.geometry.mean_face import head_angles
from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.face.geometry.mesh_flow_numpy import mesh_flow_numpy
from reenactor.face.perception.detection import person_mask

_MAP = 64
"""Side of the maps that say what stays; the edge between person and background is soft."""
_PERSON = (0.1, 0.5)
"""Shares of a person between which a pixel is more and more a part of it; what may be a collar moves along."""
_HALO = 3
"""Places around the person, of `_MAP` a side, that move with it: wisps of hair, and what its edge has coloured."""
_TORN = (0.2, 0.7)
"""Shares of a place of the face, taken from where the photo shows no person, between which it is mended more and more:
nothing may appear from one frame to the next."""
_TURNED_DEG = (4, 10)
"""Yaws between which a photo hides more and more of a cheek. From the front it hides none: where it shows no skin there
are ears and what is behind them, and skin painted over these hung beside the face."""
_UNSEEN = (0.25, 0.5)
"""Of the mesh flow's flags: skin that the photo shows well; hardly."""
_HARDLY_SEEN = [FLAGS.index("occluded"), FLAGS.index("stretched")]
_BEYOND = FLAGS.index("beyond")


class StillBackground:
    """A mesh that moves drags everything around it along. What is no part of the person need not move.

    Behind the person lie the colours around it, continued. The face itself never shows what lies behind the person: a
    cheek that the photo hides gets the colours of the skin beside it.

    Args:
        picture: the photo's crop, RGB.
        mesh_px: the face's landmarks in it.
    """

    def __init__(self, picture: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"]) -> None:
        self._mesh = np.asarray(mesh_px, np.float64)
        share = cv2.resize(person_mask(picture), (_MAP, _MAP), interpolation=cv2.INTER_AREA)
        column, row = np.clip(self._mesh[:, :2].T * (_MAP / len(picture)), 0, _MAP - 1).astype(int)
        # Of a statue or a drawing the network may see nothing; then all moves along.
        self._found = bool(share[row, column].mean() > _PERSON[1])
        self._person = _ramp(share, _PERSON)
        yaw_deg = np.abs(head_angles(self._mesh)[:1])
        self._hides = float(_ramp(yaw_deg, _TURNED_DEG)[0])
        around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _HALO + 1, 2 * _HALO + 1))
        self._around = cv2.blur(cv2.dilate(self._person, around), (3, 3))
        self._plate = _without(picture, self._around)

    def kept(
        self, drawn: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"]
    ) -> UInt8[np.ndarray, "s s 3"]:
        """The drawn crop with the photo's background back in its place.

        Args:
            drawn: the crop with the face at other landmarks.
            mesh_px: these.
        """
        if not self._found:
            return drawn
        side = len(drawn)
        flow, flags = mesh_flow_numpy(self._mesh, np.asarray(mesh_px, np.float64), side, _MAP)
        steps = np.arange(_MAP, dtype=np.float32)
        x, y = steps + flow[0] * (_MAP / 2), steps[:, None] + flow[1] * (_MAP / 2)
        person, around = (
            cv2.remap(share, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for share in (self._person, self._around)
        )
        beyond = flags[_BEYOND]
        # Where the photo shows the skin well, the mesh merely lies a little outside of it.
        unseen = self._hides * (1 - beyond) * _ramp(flags[_HARDLY_SEEN].max(0), _UNSEEN)
        drawn = _mended(drawn, unseen * (1 - person), (1 - beyond) * (person > 0.95))
        stays = _enlarged((1 - around) * beyond, side)
        return cv2.blendLinear(self._plate, drawn, stays, 1 - stays)


def _ramp(share: Float[np.ndarray, "*m"], ends: tuple[float, float]) -> Float[np.ndarray, "*m"]:
    """0 up to the first end, 1 from the second on, a straight line between."""
    low, high = ends
    return np.clip((share - low) / (high - low), 0, 1)


def _enlarged(share: Float[np.ndarray, "m m"], side: int) -> Float32[np.ndarray, "s s"]:
    return np.asarray(cv2.resize(share.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR))


def _pixels(picture: Float[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _without(picture: UInt8[np.ndarray, "s s 3"], person: Float[np.ndarray, "m m"]) -> UInt8[np.ndarray, "s s 3"]:
    """The picture with its background continued over the person.

    Args:
        picture: the crop.
        person: where the person is, 0..1.
    """
    side, small = len(picture), 2 * len(person)
    hidden = _enlarged(person, small) > 0.9
    seen = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    filled = cv2.inpaint(seen, hidden.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    filled = cv2.resize(filled, (side, side), interpolation=cv2.INTER_LINEAR)
    share = _enlarged(cv2.blur(hidden.astype(np.float32), (3, 3)), side)
    return cv2.blendLinear(filled, picture, share, 1 - share)


def _mended(
    drawn: UInt8[np.ndarray, "s s 3"], torn: Float[np.ndarray, "m m"], skin: Float[np.ndarray, "m m"]
) -> UInt8[np.ndarray, "s s 3"]:
    """The crop with the face's own colours, smoothly continued, where it shows what lay behind the person.

    Args:
        drawn: the crop.
        torn: where the face does so, 0..1.
        skin: where it shows the person.
    """
    torn = _ramp(torn, _TORN)
    if not torn.any():
        return drawn
    side = len(drawn)
    torn = cv2.blur(cv2.dilate(torn.astype(np.float32), np.ones((3, 3), np.uint8)), (3, 3))
    known = (skin * (torn < 0.1)).astype(np.float32)
    colours = cv2.resize(drawn, torn.shape, interpolation=cv2.INTER_AREA).astype(np.float32)
    filled = cv2.resize(fill_outside(colours, known), (side, side), interpolation=cv2.INTER_CUBIC)
    share = _enlarged(torn, side)
    return cv2.blendLinear(_pixels(filled), drawn, share, 1 - share)
