"""Where the person is in a picture: MediaPipe's selfie segmentation (hair, face, body, clothes)."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from reenactor.face.perception._native import quiet_stderr, solutions

_SIDE_PX = 256
"""The network's; pictures are shrunk to it by area first."""


def person_share(picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w"]:
    """How surely each pixel shows a person, 0..1; of any person in it.

    Args:
        picture: RGB.
    """
    height, width = picture.shape[:2]
    shrunk = min(height, width) > _SIDE_PX
    seen = cv2.resize(picture, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA) if shrunk else picture
    with quiet_stderr():
        network = solutions().selfie_segmentation.SelfieSegmentation(model_selection=0)
        try:
            found = network.process(np.ascontiguousarray(seen)).segmentation_mask
        finally:
            network.close()
    return cv2.resize(np.asarray(found, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
