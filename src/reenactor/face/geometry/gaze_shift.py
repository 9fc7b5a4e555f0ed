"""Within an eye: the photo's iris, along the eye, to where the iris shall be, whatever the lids do."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry.contours import LEFT_EYE_LOWER, LEFT_IRIS, RIGHT_EYE_LOWER, RIGHT_IRIS

EYE_POINTS = tuple(
    (lid[0], lid[-1], *iris) for lid, iris in ((RIGHT_EYE_LOWER, RIGHT_IRIS), (LEFT_EYE_LOWER, LEFT_IRIS))
)
"""Of each eye, as `gaze_shift_px` wants them: its corners, the iris' centre, four points of its rim."""
_WHITE = 0.03
"""Share of the eye's length that the white has on either side at least, ..."""
_IRIS = 0.05
"""... and the iris."""


def gaze_shift_px(
    pixels: Float[Tensor, "#*b p 2"],
    places: Float[Tensor, "*b p 2"],
    photo_eye: Float[Tensor, "*b 7 2"],
    wanted_eye: Float[Tensor, "*b 7 2"],
) -> Float[Tensor, "*b p 2"]:
    """What to add to `places`, along the photo's eye.

    A point between a corner and the iris stays between them, at the same share of the way, and points within the iris
    stay in it: the white is stretched on one side and squeezed on the other, and nothing folds.

    Args:
        pixels: of the result.
        places: where the photo shows them if eyes do not turn, in the photo's pixels.
        photo_eye, wanted_eye: the landmarks `EYE_POINTS` of photo and result.
    """
    first, last = _iris_ends(photo_eye)
    wanted_first, wanted_last = _iris_ends(wanted_eye)
    along = _along(pixels, wanted_eye)
    share = (
        first * (along / wanted_first).clip(0, 1)
        + (last - first) * ((along - wanted_first) / (wanted_last - wanted_first)).clip(0, 1)
        + (1 - last) * ((along - wanted_last) / (1 - wanted_last)).clip(0, 1)
    )
    return (share - _along(places, photo_eye))[..., None] * (photo_eye[..., 1:2, :] - photo_eye[..., :1, :])


def _iris_ends(eye: Float[Tensor, "*b 7 2"]) -> tuple[Float[Tensor, "*b 1"], Float[Tensor, "*b 1"]]:
    """Where between the corners, 0 and 1, the iris begins and ends."""
    length = (eye[..., 1:2, :] - eye[..., :1, :]).norm(dim=-1).clamp_min(1e-6)
    radius = (eye[..., 3:, :] - eye[..., 2:3, :]).norm(dim=-1).mean(-1, keepdim=True) / length
    centre = _along(eye[..., 2:3, :], eye)
    first = (centre - radius).clip(_WHITE, 1 - _WHITE - _IRIS)
    return first, (centre + radius).clip(max=1 - _WHITE).maximum(first + _IRIS)


def _along(points: Float[Tensor, "#*b p 2"], eye: Float[Tensor, "*b 7 2"]) -> Float[Tensor, "*b p"]:
    """0 at the first corner, 1 at the other."""
    corner, axis = eye[..., :1, :], eye[..., 1:2, :] - eye[..., :1, :]
    return ((points - corner) * axis).sum(-1) / axis.square().sum(-1).clamp_min(1e-9)
