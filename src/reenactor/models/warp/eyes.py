"""The eyeball behind the lids.

A blink does not squeeze the eye: lids slide over it. The eye's opening is a hole in the face mesh, and behind it lies
a flat picture of the eyeball, made once per photo: what the photo shows in the opening, continued under the lids
(the iris by mirroring its visible part, the white by smooth extension). Gaze moves the iris within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.face.geometry.contours import (
    LEFT_EYE,
    LEFT_EYE_UPPER,
    LEFT_IRIS,
    RIGHT_EYE,
    RIGHT_EYE_UPPER,
    RIGHT_IRIS,
)
from reenactor.face.geometry.face_mesh import sample
from reenactor.face.geometry.layers import (
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
_FADE = 0.04
"""The eyeball appears over this distance from the lid, in eye widths, without a hard edge in large pictures."""


@dataclass(frozen=True)
class EyeShape:
    """Which mesh vertices make up one eye."""

    contour: tuple[int, ...]
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
        cleaned: the same with the dark edge along the lids replaced too, for where the lid has moved away.
        white: (h, w, 3) `cleaned` without its iris.
        disc: (h, w) how much of each pixel is iris.
        depth: (h, w) distance to the lids in the photo, pixels; 0 outside the opening.
        corners: (2, 2) the eye's corners in the crop.
        iris: (2,) its centre.
        radius: of the iris, pixels.
    """

    shape: EyeShape
    region: Region
    as_seen: Float[np.ndarray, "h w 3"]
    cleaned: Float[np.ndarray, "h w 3"]
    white: Float[np.ndarray, "h w 3"]
    disc: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    corners: Float[np.ndarray, "2 2"]
    iris: Float[np.ndarray, "2"]
    radius: float


def eyeball(photo: UInt8[np.ndarray, "s s 3"], mesh_px: Float[np.ndarray, "478 3"], shape: EyeShape) -> Eyeball:
    """Make the eyeball's picture from one photo."""
    points = mesh_px[:, :2].astype(np.float64)
    contour, corners, iris = points[list(shape.contour)], points[list(shape.corners)], points[list(shape.iris)]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    region = region_around(contour, 0.6 * width, len(photo)) or Region(0, 0, len(photo), len(photo))
    seen = photo[region.slices].astype(np.float32)
    opening = soft_polygon(contour, region)
    depth = depth_inside(opening)
    radius = float(np.linalg.norm(iris[1:] - iris[0], axis=1).mean())
    disc = 1 - smoothstep(np.linalg.norm(region.grid() - iris[0].astype(np.float32), axis=-1) / radius, 1.0, 1.2)
    if depth.max() < 0.5 * _OPEN_RATIO * width:
        iris_picture, white = _painted(seen, region, iris[0], radius)
        cleaned = white + disc[..., None] * (iris_picture - white)
        as_seen = cleaned
    else:
        edge = _LID_EDGE * width
        core = smoothstep(depth, 0.5 * edge, 1.5 * edge)
        white = fill_outside(seen, core * (1 - disc) + 1e-4 * core)
        iris_picture = _whole_iris(seen, core, region, iris[0], disc)
        cleaned = white + disc[..., None] * (iris_picture - white)
        as_seen = opening[..., None] * seen + (1 - opening[..., None]) * cleaned
    return Eyeball(shape, region, as_seen, cleaned, white, disc, depth, corners, iris[0], radius)


def _whole_iris(
    seen: np.ndarray, core: np.ndarray, region: Region, iris: np.ndarray, disc: np.ndarray
) -> Float[np.ndarray, "h w 3"]:
    """The iris with what the lids hide of it, mirrored from what they do not: up-down, then across."""
    offset = region.grid() - iris.astype(np.float32)
    known, colour = core * disc, seen
    for flip in ((1, -1), (-1, 1), (-1, -1)):
        mirrored = (iris + offset * np.array(flip) - region.origin).astype(np.float32)
        more = sample(core, mirrored, cubic=False) * disc * (1 - known)
        colour = colour + more[..., None] * (sample(seen, mirrored, cubic=False) - colour)
        known = known + more
    return fill_outside(colour, known + 1e-6)


def _painted(
    seen: np.ndarray, region: Region, iris: np.ndarray, radius: float
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    """A plain brown iris and white in the photo's light, for a photo whose eye is closed."""
    light = float(np.clip(np.median(seen.mean(-1)) / 170, 0.35, 1.1))
    distance = np.linalg.norm(region.grid() - iris.astype(np.float32), axis=-1)[..., None] / max(radius, 1.0)
    white, brown, black = (np.array(c, np.float32) * light for c in ((205, 196, 190), (78, 52, 38), (14, 11, 11)))
    picture = brown + (1 - smoothstep(distance, 0.35, 0.48)) * (black - brown)
    glint = np.linalg.norm(region.grid() - (iris + radius * np.array([0.25, -0.3])).astype(np.float32), axis=-1)
    glint = 1 - smoothstep(glint[..., None] / max(radius, 1.0), 0.1, 0.2)
    return (
        (picture + glint * (240 * light - picture)).astype(np.float32),
        np.broadcast_to(white, seen.shape).astype(np.float32),
    )


def draw_eye(picture: UInt8[np.ndarray, "s s 3"], eye: Eyeball, mesh_px: Float[np.ndarray, "478 3"]) -> None:
    """Draw the eyeball into the eye's opening at `mesh_px`, in place."""
    points = mesh_px[:, :2].astype(np.float64)
    contour = points[list(eye.shape.contour)]
    region = region_around(contour, 2, len(picture))
    if region is None:
        return
    # Closed lids enclose nothing, yet a polygon is drawn a pixel wide: a white sliver between the lashes.
    corners, iris = points[list(eye.shape.corners)], points[eye.shape.iris[0]]
    width = float(np.linalg.norm(corners[1] - corners[0]))
    height = _area(contour) / max(width, 1.0)
    opening = soft_polygon(contour, region) * smoothstep(height / max(width, 1.0), 0.02, 0.07)
    if opening.max() == 0:
        return
    turn = _turn(corners, eye.corners)
    middle, eye_middle = corners.mean(0), eye.corners.mean(0)
    position = (region.grid() - middle) @ turn.T + eye_middle
    depth_now = depth_inside(opening) * float(np.sqrt(abs(np.linalg.det(turn))))
    gaze = _inside_corners(turn @ (iris - middle) + eye_middle, eye) - eye.iris
    layer = _eyeball_at(eye, position - eye.region.origin, gaze, depth_now)
    fade = smoothstep(depth_now, 0, _FADE * float(np.linalg.norm(eye.corners[1] - eye.corners[0])))
    blend(picture, region, layer, opening * fade)


def _eyeball_at(
    eye: Eyeball,
    position: Float[np.ndarray, "h w 2"],
    gaze: Float[np.ndarray, "2"],
    depth_now: Float[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w 3"]:
    """The eyeball's colours at positions of its picture, with its iris moved by `gaze` and lids at `depth_now`."""
    edge = _LID_EDGE * float(np.linalg.norm(eye.corners[1] - eye.corners[0]))
    still, moved = position.astype(np.float32), (position - gaze).astype(np.float32)
    depth_then = sample(eye.depth, still, cubic=False)
    # Where the lid has moved away, its dark edge must not stay behind but goes along with it; where it has come
    # nearer, it casts a shadow.
    bared = smoothstep(depth_now - depth_then, 0.25 * edge, edge) * (depth_then < 2 * edge)
    fresh_edge = bared * (1 - smoothstep(depth_now, 0, 1.5 * edge))
    covered = smoothstep(depth_then - depth_now, 0.5 * edge, 3 * edge) * (1 - smoothstep(depth_now, 0, 2.5 * edge))
    # An iris that stays is the photo's own; one that moves is cut out and laid over the white.
    away = float(smoothstep(float(np.linalg.norm(gaze)) / max(eye.radius, 1e-6), 0.02, 0.25))
    layer = sample(eye.as_seen, still)
    if bared.any():
        layer = layer + bared[..., None] * (sample(eye.cleaned, still) - layer)
    if away > 0:
        gone = np.maximum(bared, sample(eye.disc, still, cubic=False))[..., None]
        white = sample(eye.as_seen, still) * (1 - gone) + sample(eye.white, still) * gone
        disc = sample(eye.disc, moved, cubic=False)[..., None]
        white = white + disc * (sample(eye.cleaned, moved) - white)
        layer = layer + away * (white - layer)
    return layer * (1 - _LID_SHADOW * np.maximum(covered, 1.8 * fresh_edge))[..., None]


def _inside_corners(iris: Float[np.ndarray, "2"], eye: Eyeball) -> Float[np.ndarray, "2"]:
    """An iris' position in the eyeball's picture, kept between the eye's corners."""
    along = eye.corners[1] - eye.corners[0]
    width = float(np.linalg.norm(along))
    along = along / max(width, 1e-6)
    middle = eye.corners.mean(0)
    sideways = float((iris - middle) @ along)
    most = max(0.5 * width - 0.55 * eye.radius, 0.0)
    return iris + (float(np.clip(sideways, -most, most)) - sideways) * along


def _area(contour: Float[np.ndarray, "n 2"]) -> float:
    """Area of a polygon whose corners run clockwise in the picture; negative where they do not."""
    after = np.roll(contour, -1, axis=0)
    return float((contour[:, 0] * after[:, 1] - contour[:, 1] * after[:, 0]).sum() / 2)


def _turn(corners: Float[np.ndarray, "2 2"], photo_corners: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 2"]:
    """Rotation and scale that take one pair of eye corners to the other."""
    a, b = complex(*(corners[1] - corners[0])), complex(*(photo_corners[1] - photo_corners[0]))
    z = b / a if abs(a) > 1e-6 else complex(1)
    return np.array([[z.real, -z.imag], [z.imag, z.real]])
