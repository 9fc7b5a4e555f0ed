"""Looking pixels up at fractional places."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float


def sample(image: np.ndarray, place_px: Float[np.ndarray, "h w 2"], *, cubic: bool = True) -> np.ndarray:
    """The image's values at given pixel coordinates.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32. Colours beyond the border repeat it; a single channel is 0 there.
        place_px: x and y for each pixel of the result, float32.
        cubic: bicubic (sharper, may overshoot) or bilinear.

    Returns:
        (h, w) or (h, w, C), the image's type.
    """
    interpolation = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    border = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    return cv2.remap(image, place_px[..., 0], place_px[..., 1], interpolation, borderMode=border)
