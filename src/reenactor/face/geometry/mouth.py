"""The inside of the mouth.

Like the eye, the opening between the lips is a hole in the face mesh. Behind it lies a flat picture of teeth and dark,
made once: from a photo that shows them, else painted (upper teeth in the photo's light, fading into the dark cheek).
The upper teeth belong to the skull, so the picture hangs from the upper lip and keeps its size when the mouth widens;
the lower lip slides over it. Below what a photo shows, the dark begins. Lower teeth and tongue rise with the jaw and
are painted when the mouth opens wide.

Lengths here are in units of the inter-ocular distance ("eye distances") unless they end in `_px`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.face.geometry.contours import INNER_LIPS, INNER_LIPS_LOWER, INNER_LIPS_UPPER
from reenactor.face.geometry.face_mesh import sample
from reenactor.face.geometry.layers import (
    Region,
    blend,
    depth_inside,
    region_around,
    smoothstep,
    soft_polygon,
)
from reenactor.face.geometry.mean_face import fit_head

_PARTED = 0.05
"""Opening from which a photo may show what is behind the lips."""
_WIDE_OPEN = 0.09
"""Opening from which it does, whatever is seen; below, only if teeth are."""
_TEETH_WHITENESS = 0.6
"""The darkest colour channel of teeth, against the skin's, is at least this; 1.0 to 2.0 in most smiling portraits."""
_LIP_EDGE = 0.018
"""The landmark model's inner lip line is off by about this much; such a band of lip shows inside the contour."""
_FADE = 0.014
"""Lips round off inward: what is behind them appears over this distance, without a hard edge in large pictures."""
_SKIN_TINT = np.array([1.0, 0.74, 0.63])
"""Skin in white light, relative to its red: the median over 80 portraits of the data pack."""
_TOOTH_EDGES = np.array([0.0, 0.092, 0.16, 0.232, 0.295, 0.36])
"""Where upper teeth meet, from the midline (central incisor 8.5 mm wide, outer eye corners 92 mm apart)."""


@dataclass(frozen=True)
class MouthFrame:
    """Axes of a mouth in a picture: along the lip corners, and from the upper lip down.

    Args:
        origin: (2,) middle between the lip corners, pixels.
        across, down: (2,) unit vectors.
        unit_px: the face's inter-ocular distance in pixels, as if seen from the front.
        upper, lower: (n, 2) the lips' inner edges along (across, down), eye distances; the first column increases.
    """

    origin: Float[np.ndarray, "2"]
    across: Float[np.ndarray, "2"]
    down: Float[np.ndarray, "2"]
    unit_px: float
    upper: Float[np.ndarray, "n 2"]
    lower: Float[np.ndarray, "n 2"]

    @property
    def opening(self) -> float:
        """Largest distance between the lips' inner edges."""
        return float((self.lower[:, 1] - self.upper[:, 1]).max())

    @property
    def width(self) -> float:
        """Distance between the lips' corners."""
        return float(self.upper[-1, 0] - self.upper[0, 0])

    def local(self, points_px: np.ndarray) -> np.ndarray:
        """Pixels -> (across, down)."""
        return (points_px - self.origin) @ np.stack([self.across, self.down], 1) / self.unit_px

    def pixels(self, local: np.ndarray) -> np.ndarray:
        """(across, down) -> pixels."""
        return local @ np.stack([self.across, self.down]) * self.unit_px + self.origin

    def lips(self, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Height of the upper and lower lip's edge at a position along the mouth."""
        return (
            np.interp(across, self.upper[:, 0], self.upper[:, 1]).astype(np.float32),
            np.interp(across, self.lower[:, 0], self.lower[:, 1]).astype(np.float32),
        )


def mouth_frame(mesh_px: Float[np.ndarray, "478 3"]) -> MouthFrame:
    """Axes and lip edges of the mouth of one face."""
    unit_px = float(fit_head(mesh_px).scale)
    points = mesh_px[:, :2].astype(np.float64)
    first, last = points[INNER_LIPS_UPPER[0]], points[INNER_LIPS_UPPER[-1]]
    across = (last - first) / max(float(np.linalg.norm(last - first)), 1e-6)
    down = np.array([-across[1], across[0]])
    blank = MouthFrame((first + last) / 2, across, down, unit_px, np.empty((0, 2)), np.empty((0, 2)))
    edges = []
    for lip in (INNER_LIPS_UPPER, INNER_LIPS_LOWER):
        edge = blank.local(points[list(lip)])
        edge[:, 0] = np.maximum.accumulate(edge[:, 0] + 1e-6 * np.arange(len(edge)))
        edges.append(edge)
    return MouthFrame(blank.origin, across, down, unit_px, *edges)


@dataclass(frozen=True)
class MouthInside:
    """The mouth's inside in one photo.

    Args:
        region: part of that photo's crop covered by the pictures below.
        as_seen: (h, w, 3) the photo between the lips, the painting elsewhere.
        cleaned: the same without the band of lip along the opening's edge.
        depth_px: (h, w) distance to the lips in the photo; 0 where it shows no inside.
        frame: the mouth's axes in the photo.
        light: (3,) colour of the light on the face, 1 = well lit and white.
        shows: whether the photo shows the inside; else all of it is painted.
    """

    region: Region
    as_seen: Float[np.ndarray, "h w 3"]
    cleaned: Float[np.ndarray, "h w 3"]
    depth_px: Float[np.ndarray, "h w"]
    frame: MouthFrame
    light: Float[np.ndarray, "3"]
    shows: bool

    @property
    def lips_meet(self) -> float:
        """Opening at which the lips still touch in a warp of the photo; see `mouth_layer`."""
        return 0.0 if self.shows else self.frame.opening


def mouth_inside(photo: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"]) -> MouthInside:
    """Make the picture of one photo's mouth."""
    frame = mouth_frame(mesh_px)
    contour = mesh_px[list(INNER_LIPS), :2].astype(np.float64)
    region = region_around(contour, 0.6 * frame.unit_px, len(photo)) or Region(0, 0, len(photo), len(photo))
    seen = photo[region.slices].astype(np.float32)
    local = frame.local(region.grid()).astype(np.float32)
    light = _light(seen)
    opening = soft_polygon(contour, region)
    shows = frame.opening > _PARTED and (frame.opening > _WIDE_OPEN or _teeth_seen(seen, opening))
    hanging = local[..., 1] - frame.lips(local[..., 0])[0]
    painted = _painted(local[..., 0], hanging, light, teeth=not shows)
    if shows:
        depth_px = depth_inside(opening)
        edge_px = _LIP_EDGE * frame.unit_px
        core = smoothstep(depth_px, 0.4 * edge_px, 1.4 * edge_px)[..., None]
        cleaned = core * seen + (1 - core) * painted
    else:
        depth_px, cleaned = np.zeros(region.size, np.float32), painted
    # Wider than the opening, so that interpolation at its edge sees the photo.
    wider = cv2.dilate(opening, np.ones((3, 3), np.uint8), iterations=2)[..., None] * float(shows)
    return MouthInside(region, wider * seen + (1 - wider) * cleaned, cleaned, depth_px, frame, light, shows)


def _teeth_seen(seen: Float[np.ndarray, "h w 3"], opening: Float[np.ndarray, "h w"]) -> bool:
    """Whether the middle of the gap between the lips is neither dark nor red, compared with the skin around."""
    whiteness, depth = seen.min(-1), depth_inside(opening)
    inside = (depth > 0) & (depth >= depth.max() / 2)
    return bool(inside.any() and np.median(whiteness[inside]) > _TEETH_WHITENESS * np.median(whiteness))


def _light(seen: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3"]:
    """The light that falls on the teeth, estimated from the skin around the lips."""
    skin = np.median(seen.reshape(-1, 3), axis=0)
    tint = skin / max(float(skin.max()), 1.0) / _SKIN_TINT
    return (np.clip(skin.max() / 205, 0.3, 1.1) * np.clip(tint, 0.72, 1.1)).astype(np.float32)


def _painted(across: np.ndarray, hanging: np.ndarray, light: np.ndarray, *, teeth: bool) -> Float[np.ndarray, "h w 3"]:
    """A dark mouth, optionally with upper teeth; `hanging` is the distance below the upper lip."""
    side = np.abs(across)
    # Deepest right behind the teeth; the floor of the mouth catches some light.
    floor = smoothstep(hanging, 0.06, 0.3)[..., None]
    picture = (np.array([40, 17, 16], np.float32) + floor * np.array([46, 14, 15], np.float32)) * light
    if not teeth:
        return picture
    tooth = np.clip(np.searchsorted(_TOOTH_EDGES, side, side="right") - 1, 0, len(_TOOTH_EDGES) - 2)
    middle = (_TOOTH_EDGES[tooth] + _TOOTH_EDGES[tooth + 1]) / 2
    half = (_TOOTH_EDGES[tooth + 1] - _TOOTH_EDGES[tooth]) / 2
    within = np.abs(side - middle) / half
    # Edges of the teeth follow the lower lip's curve; corners of each tooth are rounded.
    length = 0.06 - 0.3 * side**2 - 0.006 * within**4
    enamel = 1 - smoothstep(hanging - length, -0.006, 0.006)
    shade = (1 - 0.16 * smoothstep(within, 0.8, 1.0)) * (1 - 0.95 * smoothstep(side, 0.06, 0.26))
    shade = shade * (0.62 + 0.33 * smoothstep(hanging, 0.0, 0.05))
    enamel = (enamel * shade)[..., None]
    return (picture + enamel * (np.array([226, 210, 190], np.float32) * light - picture)).astype(np.float32)


def draw_mouth(
    picture: UInt8[np.ndarray, "s s 3"],
    inside: MouthInside,
    mesh_px: Float[np.ndarray, "478 3"],
    *,
    lips_meet: float,
) -> None:
    """Draw the mouth's inside into the opening of the lips at `mesh_px`, in place.

    Args:
        picture: already showing the lips.
        inside, mesh_px, lips_meet: as for `mouth_layer`.
    """
    found = mouth_layer(inside, mesh_px, len(picture), lips_meet=lips_meet)
    if found is not None:
        blend(picture, *found)


def mouth_layer(
    inside: MouthInside, mesh_px: Float[np.ndarray, "478 3"], side: int, *, lips_meet: float
) -> tuple[Region, Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]] | None:
    """The mouth's inside in the opening of the lips at `mesh_px`: its region, its colours, and its coverage.

    Args:
        inside: what to show.
        mesh_px: the target landmarks.
        side: of the picture, pixels.
        lips_meet: opening (eye distances) at which the lips in the picture still touch; 0 for a photo that shows
            its mouth's inside. The landmark model gives closed lips a sliver of an opening.
    """
    contour = mesh_px[list(INNER_LIPS), :2].astype(np.float64)
    region = region_around(contour, 2, side)
    if region is None:
        return None
    opening = soft_polygon(contour, region)
    if opening.max() == 0:
        return None
    frame, photo = mouth_frame(mesh_px), inside.frame
    local = frame.local(region.grid()).astype(np.float32)
    across = local[..., 0]
    upper, lower = frame.lips(across)
    hanging, gap = local[..., 1] - upper, lower - upper
    # A mouth narrower than the photo's hides the outer teeth; a wider one would show none there, so it stretches them.
    across = across * min(1.0, photo.width / max(frame.width, 1e-3))
    photo_upper, photo_lower = photo.lips(across)
    photo_gap = photo_lower - photo_upper

    # A photo with a wide open mouth shows tongue and lower teeth as well: those stay with the lower lip.
    wide = float(smoothstep(photo.opening, 0.14, 0.24))
    stretch = np.where(gap > photo_gap, photo_gap / np.maximum(gap, 1e-3), 1.0)
    reach = hanging * (1 + wide * (stretch - 1))
    position = photo.pixels(np.stack([across, photo_upper + reach], axis=-1)) - inside.region.origin
    position = position.astype(np.float32)

    layer = sample(inside.as_seen, position)
    edge = _LIP_EDGE * photo.unit_px
    depth_then = sample(inside.depth_px, position, cubic=False)
    depth_px = depth_inside(opening)
    depth_now = depth_px * (photo.unit_px / frame.unit_px)
    bared = smoothstep(depth_now - depth_then, 0.25 * edge, edge)
    if bared.any():
        cleaned = sample(inside.cleaned, position)
        layer = layer + bared[..., None] * (cleaned - layer)
    opening = opening * smoothstep(depth_px, 0, _FADE * frame.unit_px)
    if lips_meet > 0:
        opening = opening * smoothstep(gap, lips_meet, lips_meet + 0.012)
    return region, _with_tongue(layer, across, lower - local[..., 1], gap, photo_gap, inside.light), opening


def best_inside(insides: Sequence[MouthInside]) -> int:
    """Number of the photo that shows the mouth's inside best: the first, unless it shows none."""
    if insides[0].shows:
        return 0
    return max(range(len(insides)), key=lambda k: (insides[k].shows, insides[k].frame.opening))


def _with_tongue(
    layer: np.ndarray,
    across: np.ndarray,
    above_lip: np.ndarray,
    gap: np.ndarray,
    photo_gap: np.ndarray,
    light: np.ndarray,
) -> np.ndarray:
    """A dull tongue on the floor of the mouth where it opens much wider than the photo shows."""
    new = smoothstep(gap - photo_gap, 0.10, 0.22) * (1 - smoothstep(above_lip, 0.05, 0.17))
    new = new * (1 - smoothstep(np.abs(across), 0.08, 0.22)) * 0.8
    furrow = 1 - 0.15 * np.exp(-((across / 0.02) ** 2))
    colour = np.array([142, 72, 70], np.float32) * light * furrow[..., None]
    return layer + new[..., None] * (colour - layer)
