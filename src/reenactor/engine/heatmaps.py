"""Heat maps over photos."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8


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
