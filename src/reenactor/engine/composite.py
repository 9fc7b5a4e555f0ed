"""Pictures made of pictures: the face crop back in its photo, side by side, heat over it, the background restored."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from reenactor.face.geometry import Crop
from reenactor.face.geometry.layers import fill_outside
from reenactor.face.geometry.mean_face import head_angles
from reenactor.face.geometry.mesh_flow import FLAGS
from reenactor.face.geometry.mesh_flow_numpy import mesh_flow_numpy
from reenactor.face.perception.detection import person_mask

_FEATHER = 0.06
"""Width of the seam, as a fraction of the crop's side."""

_MAP = 64
"""Side of the maps that say what stays, pixels; the edge between person and background is soft."""
_FLOW = 256
"""Side of the map that says where opacity comes from, pixels: its edge is sharp, and moves as the warp moves pixels."""
_PERSON = (0.1, 0.5)
"""Between these values of the person mask a pixel belongs more and more to the person; what may be a collar moves."""
_EDGE = 256
"""Largest side of the map of the person's edge, pixels."""
_SOFT = 4
"""Pixels of that map, of 256, in which the edge is drawn after the picture's own edges (`_along_edges`)."""
_SURELY, _SOFTEST = (0.3, 0.7), (0.05, 0.3)
"""As `_PERSON`, for the map of the edge; and after that: all that has any of the person's colour moves."""
_RIM, _HALO = 1, 12
"""Pixels of it around the person that move with it: colours of its edge; and, where the background is plain, so that
nobody sees it move, wisps of hair."""
_PLAIN = (2.0, 5.0)
"""Detail of the background, in grey levels, at which it is plain, and no more."""
_TORN = (0.2, 0.7)
"""Between these fractions of a face's pixel taken from outside the person it is repaired more and more: nothing may
appear from one frame to the next."""
_TURNED_DEG = (4, 10)
"""Yaws between which a photo hides more and more of a cheek. A frontal photo hides none: where it shows no skin there
are ears and what is behind them, and skin painted over these hung beside the face."""
_UNSEEN = (0.25, 0.5)
"""Of the mesh flow's flags: skin that the photo shows well; skin that it hardly shows."""
_HARDLY_SEEN = [FLAGS.index("occluded"), FLAGS.index("stretched")]
_BEYOND = FLAGS.index("beyond")


class Compositor:
    """Pastes crops into a photo, turned as they were cut, through a mask that fades out toward the crop's border.

    Args:
        photo: (H, W, 3) the whole picture, or (H, W, 4) with opacity; pieces are like it.
        crop: where its pieces belong.
    """

    def __init__(self, photo: UInt8[np.ndarray, "h w c"], crop: Crop) -> None:
        self._photo = photo
        self._crop = crop
        h, w = photo.shape[:2]
        self._rows, self._columns = crop.inside(w, h)
        self._mask = crop.put_back(_seam_mask(crop.side), w, h, border=cv2.BORDER_CONSTANT)[..., None]
        # Blending is only needed along the seam; the rest of an upright crop is copied.
        inner = (self._mask[..., 0] == 1) & (crop.angle_deg == 0)
        solid = np.flatnonzero(inner.any(1)), np.flatnonzero(inner.any(0))
        self._solid = tuple(slice(int(i[0]), int(i[-1]) + 1) if len(i) else slice(0, 0) for i in solid)

    def paste(self, piece: UInt8[np.ndarray, "s s c"]) -> UInt8[np.ndarray, "h w c"]:
        """A copy of the photo with `piece` (the crop's size) in its place."""
        picture = self._photo.copy()
        inner = self._crop.put_back(piece, picture.shape[1], picture.shape[0])
        under = picture[self._rows, self._columns]
        rows, columns = self._solid
        height, width = under.shape[:2]
        for strip in (
            (slice(0, rows.start), slice(0, width)),
            (slice(rows.stop, height), slice(0, width)),
            (rows, slice(0, columns.start)),
            (rows, slice(columns.stop, width)),
        ):
            below = under[strip].astype(np.float32)
            under[strip] = np.rint(below + self._mask[strip] * (inner[strip] - below)).astype(np.uint8)
        under[rows, columns] = inner[rows, columns]
        return picture


def _seam_mask(side: int) -> Float[np.ndarray, "s s"]:
    """1 inside, falling smoothly to 0 at the border."""
    position = np.arange(side, dtype=np.float32) + 0.5
    t = np.clip(np.minimum(position, side - position) / (_FEATHER * side), 0, 1)
    edge = t * t * (3 - 2 * t)
    return np.minimum.outer(edge, edge)


def side_by_side(pictures: list[UInt8[np.ndarray, "_h _w 3"]], side: int) -> UInt8[np.ndarray, "s n 3"]:
    """Pictures in a row, each fitted into a square of `side` pixels with dark bars."""
    squares = []
    for picture in pictures:
        h, w = picture.shape[:2]
        scale = side / max(h, w)
        size = (max(1, round(w * scale)), max(1, round(h * scale)))
        shrinking = scale < 1
        fitted = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)
        square = np.full((side, side, 3), 18, np.uint8)
        top, left = (side - size[1]) // 2, (side - size[0]) // 2
        square[top : top + size[1], left : left + size[0]] = fitted
        squares.append(square)
    return np.concatenate(squares, axis=1)


def draw_landmarks(
    mesh_px: Float[np.ndarray, "478 3"], picture_size: tuple[int, int], side: int
) -> UInt8[np.ndarray, "s s 3"]:
    """The points of a driver that has no pixels, as a picture."""
    width, height = picture_size
    scale = side / max(width, height)
    offset = (side - np.array([width, height]) * scale) / 2
    canvas = np.full((side, side, 3), 18, np.uint8)
    for x, y in (mesh_px[:, :2] + 0.5) * scale + offset:
        cv2.circle(canvas, (round(float(x) * 16), round(float(y) * 16)), 14, (120, 200, 255), -1, cv2.LINE_AA, 4)
    return canvas


def heat_over(
    picture: UInt8[np.ndarray, "s s 3"], heat: Float[np.ndarray, "u v"], brightest: float
) -> UInt8[np.ndarray, "s s 3"]:
    """A picture in grey with a map over it in colour; `brightest` is the value that gets the brightest colour."""
    size = len(picture)
    wide = cv2.resize(np.asarray(heat, np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    heat = np.clip(wide / max(brightest, 1e-12), 0, 1)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    return np.asarray(cv2.addWeighted(grey, 0.4, np.ascontiguousarray(colours), 0.6, 0), np.uint8)


class StillBackground:
    """Puts the photo's background back behind a person that moves.

    A moving mesh drags everything around it along; what is no part of the person stays as in the photo. Behind the
    person the colours around it are continued. A cheek that the photo hides gets the colours of the skin beside it.
    Where no person is found (a statue, a drawing) everything moves.

    Args:
        picture: the photo's crop, RGB.
        mesh_px: the face's landmarks in it.
        person: in [0, 1], 1 where the person is; None to find that in the picture.
    """

    def __init__(
        self,
        picture: UInt8[np.ndarray, "s s 3"],
        mesh_px: Float[np.ndarray, "478 3"],
        person: Float[np.ndarray, "s s"] | None = None,
    ) -> None:
        self._mesh = np.asarray(mesh_px, np.float64)
        person = person_mask(picture) if person is None else person
        mask = cv2.resize(person, (_MAP, _MAP), interpolation=cv2.INTER_AREA)
        column, row = np.clip(self._mesh[:, :2].T * (_MAP / len(picture)), 0, _MAP - 1).astype(int)
        self._found = bool(mask[row, column].mean() > _PERSON[1])
        self._person = _ramp(mask, _PERSON)
        self._hides = _hides(self._mesh)
        self._around = _around(picture, person)
        self._plate = _without(picture, self._around)

    def apply(
        self, drawn: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"]
    ) -> UInt8[np.ndarray, "s s 3"]:
        """The drawn crop with the photo's background.

        Args:
            drawn: the crop with the face at other landmarks.
            mesh_px: those landmarks, crop pixels.
        """
        if not self._found:
            return drawn
        side = len(drawn)
        flow, flags = mesh_flow_numpy(self._mesh, np.asarray(mesh_px, np.float64), side, _MAP)
        person, around = _moved(self._person, flow), _moved(self._around, flow)
        beyond = flags[_BEYOND]
        # Where the photo shows the skin well, the mesh merely lies a little outside of it.
        unseen = self._hides * _hardly_seen(flags)
        drawn = _repaired(drawn, unseen * (1 - person), (1 - beyond) * (person > 0.95))
        stays = _enlarged((1 - around) * _enlarged(beyond, len(around)), side)
        return cv2.blendLinear(self._plate, drawn, stays, 1 - stays)


class MovingOpacity:
    """The opacity of a cut-out photo's crop, moved as the face moves.

    Args:
        opacity: of the crop, from 0 (transparent) to 255.
        mesh_px: the face's landmarks in it.
    """

    def __init__(self, opacity: UInt8[np.ndarray, "s s"], mesh_px: Float[np.ndarray, "478 3"]) -> None:
        self._opacity = opacity
        self._mesh = np.asarray(mesh_px, np.float64)
        self._hides = _hides(self._mesh)

    def at(self, mesh_px: Float[np.ndarray, "478 3"]) -> UInt8[np.ndarray, "s s"]:
        """The opacity with the face at other landmarks, crop pixels."""
        side = len(self._opacity)
        flow, flags = mesh_flow_numpy(self._mesh, np.asarray(mesh_px, np.float64), side, _FLOW)
        moved = _moved(self._opacity, flow, cv2.INTER_CUBIC)
        if not self._hides:
            return moved
        # A cheek that the photo hides lies where that is transparent: it gets no hole, nor slits along its border.
        cheek = cv2.blur(_enlarged(255 * self._hides * _hardly_seen(flags), side), (3, 3))
        whole = np.maximum(moved, np.rint(cheek).astype(np.uint8))
        wide = np.ones((7, 7), np.uint8)
        return np.where(cv2.dilate(cheek, wide) > 0, cv2.morphologyEx(whole, cv2.MORPH_CLOSE, wide), whole)


def _hides(mesh: Float[np.ndarray, "478 3"]) -> float:
    """How much of a cheek a photo hides, from 0 to 1."""
    return float(_ramp(np.abs(head_angles(mesh)[:1]), _TURNED_DEG)[0])


def _hardly_seen(flags: Float[np.ndarray, "5 m m"]) -> Float[np.ndarray, "m m"]:
    """1 where a mesh flow finds skin that the photo hardly shows."""
    return (1 - flags[_BEYOND]) * _ramp(flags[_HARDLY_SEEN].max(0), _UNSEEN)


def _ramp(values: Float[np.ndarray, "*m"], ends: tuple[float, float]) -> Float[np.ndarray, "*m"]:
    """0 up to the first end, 1 from the second on, a straight line between."""
    low, high = ends
    return np.clip((values - low) / (high - low), 0, 1)


def _enlarged(mask: Float[np.ndarray, "m m"], side: int) -> Float32[np.ndarray, "s s"]:
    return np.asarray(cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR))


def _pixels(picture: Float[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _around(picture: UInt8[np.ndarray, "s s 3"], mask: Float[np.ndarray, "s s"]) -> Float32[np.ndarray, "e e"]:
    """What moves with a person, from 0 to 1: the person, a thin rim, and plain background beside it.

    Args:
        picture: the crop.
        mask: the person's, in [0, 1].
    """
    side = min(len(picture), _EDGE)
    scale = side / _EDGE
    small = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    person = _ramp(cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA), _SURELY)
    person = _along_edges(person, grey / 255, max(1, round(_SOFT * scale)))
    # Stray hair and single things in the background do not count: half of it is plain, or it is not.
    behind = _widened(person, _HALO * scale) < 0.1
    detail = np.abs(grey - cv2.blur(grey, (2 * round(_HALO * scale) + 1,) * 2))
    plain = 1 - float(_ramp(np.median(detail[behind], keepdims=True), _PLAIN)[0]) if behind.any() else 1.0
    moving = cv2.blur(_widened(_ramp(person, _SOFTEST), (_RIM + plain * (_HALO - _RIM)) * scale), (3, 3))
    # Beside plain background nobody sees an exact edge, which takes longer to move.
    return np.asarray(cv2.resize(moving, (_MAP, _MAP), interpolation=cv2.INTER_AREA) if plain == 1 else moving)


def _along_edges(
    mask: Float[np.ndarray, "e e"], grey: Float[np.ndarray, "e e"], radius: int
) -> Float[np.ndarray, "e e"]:
    """A mask whose edge follows the picture's (He, Sun and Tang, "Guided Image Filtering", 2013, eq. 5, 6 and 8).

    Args:
        mask: in [0, 1].
        grey: the picture, in [0, 1].
        radius: of the windows, pixels.
    """
    window = (2 * radius + 1,) * 2
    mean, mean_mask = cv2.blur(grey, window), cv2.blur(mask, window)
    slope = (cv2.blur(grey * mask, window) - mean * mean_mask) / (cv2.blur(grey * grey, window) - mean * mean + 1e-3)
    offset = mean_mask - slope * mean
    return np.clip(cv2.blur(slope, window) * grey + cv2.blur(offset, window), 0, 1)


def _widened(mask: Float[np.ndarray, "e e"], pixels: float) -> Float[np.ndarray, "e e"]:
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * max(1, round(pixels)) + 1,) * 2))


def _moved(mask: np.ndarray, flow: Float[np.ndarray, "2 m m"], sampling: int = cv2.INTER_LINEAR) -> np.ndarray:
    """A mask (e, e) as a flow draws it; the flow's offsets are halves of the mask's side."""
    side = len(mask)
    steps = np.arange(side, dtype=np.float32)
    x, y = (_enlarged(offset, side) * (side / 2) for offset in flow)
    return cv2.remap(mask, steps + x, steps[:, None] + y, sampling, borderMode=cv2.BORDER_REPLICATE)


def _without(picture: UInt8[np.ndarray, "s s 3"], person: Float[np.ndarray, "e e"]) -> UInt8[np.ndarray, "s s 3"]:
    """The picture with its background continued over the person.

    Args:
        picture: the crop.
        person: in [0, 1], 1 where the person is.
    """
    side, small = len(picture), max(len(person), 2 * _MAP)
    hidden = _enlarged(person, small) > 0.9
    seen = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    filled = cv2.inpaint(seen, hidden.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    filled = cv2.resize(filled, (side, side), interpolation=cv2.INTER_LINEAR)
    alpha = _enlarged(cv2.blur(hidden.astype(np.float32), (3, 3)), side)
    return cv2.blendLinear(filled, picture, alpha, 1 - alpha)


def _repaired(
    drawn: UInt8[np.ndarray, "s s 3"], torn: Float[np.ndarray, "m m"], skin: Float[np.ndarray, "m m"]
) -> UInt8[np.ndarray, "s s 3"]:
    """The crop with the face's own colours, smoothly continued, where the face shows what is behind the person.

    Args:
        drawn: the crop.
        torn: in [0, 1], 1 where the face shows what is behind the person.
        skin: 1 where it shows the person.
    """
    torn = _ramp(torn, _TORN)
    if not torn.any():
        return drawn
    side = len(drawn)
    torn = cv2.blur(cv2.dilate(torn.astype(np.float32), np.ones((3, 3), np.uint8)), (3, 3))
    known = (skin * (torn < 0.1)).astype(np.float32)
    colours = cv2.resize(drawn, torn.shape, interpolation=cv2.INTER_AREA).astype(np.float32)
    filled = cv2.resize(fill_outside(colours, known), (side, side), interpolation=cv2.INTER_CUBIC)
    alpha = _enlarged(torn, side)
    return cv2.blendLinear(_pixels(filled), drawn, alpha, 1 - alpha)
