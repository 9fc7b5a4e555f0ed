"""The eyeball behind the lids.

A blink does not squeeze the eye: lids slide over it. So the eye's opening is a hole in the sheet, and behind it lies
a flat picture of the eyeball, made once per photo: what the photo shows in the opening, continued under the lids
(the iris by mirroring its visible part, the white by smooth extension). Gaze moves the iris within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from reenact.geometry.contours import (
    LEFT_EYE,
    LEFT_EYE_UPPER,
    LEFT_IRIS,
    RIGHT_EYE,
    RIGHT_EYE_UPPER,
    RIGHT_IRIS,
)
from reenact.geometry.sampling import sample
from reenact.models.warp.layers import (
    Region,
    blend,
    depth_inside,
    fill_outside,
    region_around,
    smoothstep,
    soft_polygon,
)

_OPEN_RATIO = 0.1
"""Height over width below which the photo's eye counts as closed and shows no eyeball."""
_LID_EDGE = 0.05
"""Width of the band along the lids that lashes and their shadow darken, in eye widths."""
_LID_SHADOW = 0.3
_RIM = 0.04
"""The eyeball appears over this distance from the lid, in eye widths, without a hard edge in large pictures."""


@dataclass(frozen=True)
class EyeShape:
    """Which mesh vertices make up one eye."""

    ring: tuple[int, ...]
    corners: tuple[int, int]
    iris: tuple[int, ...]


EYES = (
    EyeShape(RIGHT_EYE, (RIGHT_EYE_UPPER[0], RIGHT_EYE_UPPER[-1]), RIGHT_IRIS),
    EyeShape(LEFT_EYE, (LEFT_EYE_UPPER[0], LEFT_EYE_UPPER[-1]), LEFT_IRIS),
)


@dataclass(frozen=True)
class Eyeball:
    """One eye of one photo.

    Args:
        shape: its vertices.
        region: the part of the crop that the pictures below cover.
        as_seen: (h, w, 3) the photo inside the opening, the continuation outside.
        cleaned: the same with the dark edge along the lids replaced too, for places where the lid has moved away.
        depth: (h, w) distance to the lids in the photo, pixels; 0 outside the opening.
        corners: (2, 2) the eye's corners in the crop.
        iris: (2,) its centre.
        radius: of the iris, pixels.
    """

    shape: EyeShape
    region: Region
    as_seen: Float[np.ndarray, "h w 3"]
    cleaned: Float[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]
    corners: Float[np.ndarray, "2 2"]
    iris: Float[np.ndarray, "2"]
    radius: float


def eyeball(photo: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"], shape: EyeShape) -> Eyeball:
    """Make the eyeball's picture from one photo."""
    points = mesh_px[:, :2].astype(np.float64)
    ring, corners, iris = points[list(shape.ring)], points[list(shape.corners)], points[list(shape.iris)]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    region = region_around(ring, 0.6 * width, len(photo)) or Region(0, 0, len(photo), len(photo))
    seen = photo[region.slices].astype(np.float32)
    opening = soft_polygon(ring, region)
    depth = depth_inside(opening)
    radius = float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
    if depth.max() < 0.5 * _OPEN_RATIO * width:
        cleaned = _painted(seen, region, iris[0], radius)
        as_seen = cleaned
    else:
        edge = _LID_EDGE * width
        core = smoothstep(depth, 0.5 * edge, 1.5 * edge)
        cleaned = _continued(seen, core, region, iris[0], radius)
        as_seen = opening[..., None] * seen + (1 - opening[..., None]) * cleaned
    return Eyeball(shape, region, as_seen, cleaned, depth, corners, iris[0], radius)


def _continued(
    seen: np.ndarray, core: np.ndarray, region: Region, iris: np.ndarray, radius: float
) -> Float[np.ndarray, "h w 3"]:
    """The eyeball beyond its visible core: iris mirrored up-down, then across; the white extended smoothly."""
    grid = region.grid()
    offset = grid - iris.astype(np.float32)
    inside_iris = 1 - smoothstep(np.linalg.norm(offset, axis=-1), 0.95 * radius, 1.1 * radius)
    known_iris, iris_colour = core * inside_iris, seen
    for flip in ((1, -1), (-1, 1), (-1, -1)):
        mirrored = (iris + offset * np.array(flip) - region.origin).astype(np.float32)
        colour = sample(seen, mirrored, cubic=False)
        known = sample(core, mirrored, cubic=False) * inside_iris * (1 - known_iris)
        iris_colour = iris_colour + known[..., None] * (colour - iris_colour)
        known_iris = known_iris + known
    white = fill_outside(seen, core * (1 - inside_iris) + 1e-4 * core)
    disc = fill_outside(iris_colour, known_iris + 1e-6)
    return (inside_iris[..., None] * disc + (1 - inside_iris[..., None]) * white).astype(np.float32)


def _painted(seen: np.ndarray, region: Region, iris: np.ndarray, radius: float) -> Float[np.ndarray, "h w 3"]:
    """A plain brown eye in the photo's light, for a photo whose eye is closed."""
    light = float(np.clip(np.median(seen.mean(-1)) / 170, 0.35, 1.1))
    distance = np.linalg.norm(region.grid() - iris.astype(np.float32), axis=-1)[..., None] / max(radius, 1.0)
    white, brown, black = (np.array(c, np.float32) * light for c in ((205, 196, 190), (78, 52, 38), (14, 11, 11)))
    picture = white + (1 - smoothstep(distance, 0.88, 1.05)) * (brown - white)
    picture = picture + (1 - smoothstep(distance, 0.35, 0.48)) * (black - picture)
    glint = np.linalg.norm(region.grid() - (iris + radius * np.array([0.25, -0.3])).astype(np.float32), axis=-1)
    glint = 1 - smoothstep(glint[..., None] / max(radius, 1.0), 0.1, 0.2)
    return (picture + glint * (240 * light - picture)).astype(np.float32)


def draw_eye(picture: UInt8[np.ndarray, "s s 3"], eye: Eyeball, mesh_px: Float[np.ndarray, "478 3"]) -> None:
    """Show the eyeball through the opening that `mesh_px` asks for, in place."""
    points = mesh_px[:, :2].astype(np.float64)
    ring = points[list(eye.shape.ring)]
    region = region_around(ring, 2, len(picture))
    if region is None:
        return
    # Closed lids enclose nothing, yet a polygon is drawn a pixel wide: a white sliver between the lashes.
    corners, iris = points[list(eye.shape.corners)], points[eye.shape.iris[0]]
    height_px = _area(ring) / max(float(np.linalg.norm(corners[1] - corners[0])), 1.0)
    opening = soft_polygon(ring, region) * smoothstep(height_px, 0.3, 1.3)
    if opening.max() == 0:
        return
    turn = _turn(corners, eye.corners)
    middle, eye_middle = corners.mean(0), eye.corners.mean(0)
    place = ((region.grid() - middle) @ turn.T + eye_middle).astype(np.float32)
    wanted_iris = turn @ (iris - middle) + eye_middle
    gaze = (wanted_iris - eye.iris).astype(np.float32)
    # The whole iris moves with the gaze; toward the corners, where skin holds the white, nothing does.
    near = np.linalg.norm(place - wanted_iris.astype(np.float32), axis=-1)
    place -= (1 - smoothstep(near, 1.2 * eye.radius, 3.0 * eye.radius))[..., None] * gaze
    place -= eye.region.origin.astype(np.float32)

    scale = float(np.sqrt(abs(np.linalg.det(turn))))
    edge = _LID_EDGE * float(np.linalg.norm(eye.corners[1] - eye.corners[0]))
    depth_now = depth_inside(opening) * scale
    depth_then = sample(eye.depth, place, cubic=False)
    # Where the lid has moved away, its dark edge must not stay behind but goes along with it; where it has come
    # nearer, it casts a shadow.
    bared = smoothstep(depth_now - depth_then, 0.25 * edge, edge) * (depth_then < 2 * edge)
    fresh_rim = bared * (1 - smoothstep(depth_now, 0, 1.5 * edge))
    covered = smoothstep(depth_then - depth_now, 0.5 * edge, 3 * edge) * (1 - smoothstep(depth_now, 0, 2.5 * edge))
    layer = sample(eye.as_seen, place)
    if bared.any():
        cleaned = sample(eye.cleaned, place)
        layer = layer + bared[..., None] * (cleaned - layer)
    layer = layer * (1 - _LID_SHADOW * np.maximum(covered, 1.8 * fresh_rim))[..., None]
    rim = smoothstep(depth_now, 0, _RIM * float(np.linalg.norm(eye.corners[1] - eye.corners[0])))
    blend(picture, region, layer, opening * rim)


def _area(ring: Float[np.ndarray, "n 2"]) -> float:
    """Area of a polygon whose corners run clockwise in the picture; negative where they do not."""
    after = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]).sum() / 2)


def _turn(corners: Float[np.ndarray, "2 2"], photo_corners: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    """Rotation and scale that take one pair of eye corners to the other."""
    a, b = complex(*(corners[1] - corners[0])), complex(*(photo_corners[1] - photo_corners[0]))
    z = b / a if abs(a) > 1e-6 else complex(1)
    return np.array([[z.real, -z.imag], [z.imag, z.real]])
