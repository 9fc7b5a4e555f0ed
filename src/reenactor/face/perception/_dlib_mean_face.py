"""dlib's average face: where each landmark lies in an aligned chip.

The coordinates are those of `get_face_chip_details` in `dlib/image_transforms/interpolation.h`: averages
over many faces, in a square in which the face (brows to lower lip, without the jaw) spans about 0..1. Only
the points that dlib aligns with are kept; jaw, brows and lower lip move too much with expression.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

CHIP_PX = 150
CHIP_PADDING = 0.25
"""Border on each side, in units of the face square: the network was trained with it."""

ALIGNED_IBUG68: tuple[int, ...] = (*range(27, 36), *range(36, 48), *range(48, 55), *range(60, 65))
"""iBUG-68 landmarks that take part: nose, eyes, upper edge of the outer lip, upper edge of the inner lip."""

_MEAN_FACE = (
    # nose 27-35
    *((0.490127, 0.203352), (0.490127, 0.307009), (0.490127, 0.409805), (0.490127, 0.515625)),
    *(
        (0.366880, 0.587326),
        (0.426036, 0.609345),
        (0.490127, 0.628106),
        (0.554217, 0.609345),
        (0.613373, 0.587326),
    ),
    # eyes 36-41 (image left), 42-47 (image right)
    *((0.121737, 0.216423), (0.187122, 0.178758), (0.265825, 0.179852)),
    *((0.334606, 0.231733), (0.260918, 0.245099), (0.182743, 0.244077)),
    *((0.645647, 0.231733), (0.714428, 0.179852), (0.793132, 0.178758)),
    *((0.858516, 0.216423), (0.797510, 0.244077), (0.719335, 0.245099)),
    # outer lip 48-54
    *((0.254149, 0.780233), (0.340985, 0.745405), (0.428858, 0.727388), (0.490127, 0.742578)),
    *((0.551395, 0.727388), (0.639268, 0.745405), (0.726104, 0.780233)),
    # inner lip 60-64
    *(
        (0.290379, 0.784792),
        (0.428096, 0.778746),
        (0.490127, 0.785343),
        (0.552157, 0.778746),
        (0.689874, 0.784792),
    ),
)


def aligned_points_px() -> Float[np.ndarray, "33 2"]:
    """Place of each of `ALIGNED_IBUG68` in the chip, pixels."""
    return (np.array(_MEAN_FACE) + CHIP_PADDING) / (2 * CHIP_PADDING + 1) * CHIP_PX
