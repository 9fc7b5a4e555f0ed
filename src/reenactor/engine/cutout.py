"""Photos that are cut out: their colours and opacity, and the files that hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import ReenactError
from reenactor.engine.portrait import Photo, shrunk_size
from reenactor.face.geometry.layers import fill_outside
from reenactor.media.images import read_rgba
from reenactor.media.video_writer import TRANSPARENT

HOLDS_ALPHA: Sequence[str] = (*TRANSPARENT, ".webp")
STILL_HOLDS_ALPHA: Sequence[str] = (".png", ".webp")
"""Suffixes of results that can be transparent."""

_TRUSTED = 64
"""Opacity from which on a pixel's own colour counts; below it is rounded."""
_EDGE_PX, _EDGE = 6, 0.01
"""Width of an edge, from opaque to transparent, whose own colours do not count, in pixels and of the longer side,
whichever is more: many programs cut out without taking the old background out of them."""


def cut_out(photo: Photo, max_side: int) -> UInt8[np.ndarray, "h w 4"]:
    """A cut-out photo's colours and opacity, shrunk to a longest side of `max_side` pixels.

    The colours are not multiplied by the opacity; those of the opaque part are continued under the transparent one, so
    that its edge has no fringe of another colour.

    Raises:
        MediaError: it cannot be read.
        ReenactError: nothing of it is transparent.
    """
    layers = None if isinstance(photo, np.ndarray) else read_rgba(photo, name="photo 1")
    if layers is None or layers[..., 3].min() == 255:
        name = str(photo) if isinstance(photo, (str, os.PathLike)) else "photo 1"
        raise ReenactError(
            f"nothing of {name} is transparent, so that there is no transparency to keep; give a cut-out picture "
            "(PNG, WebP or AVIF), or leave out alpha"
        )
    size = shrunk_size(layers, max_side)
    # Pillow, which weights colours by opacity when it resizes.
    layers = np.array(Image.fromarray(layers).resize(size, Image.Resampling.BOX))
    width = 2 * max(_EDGE_PX, round(_EDGE * max(size))) + 1
    opacity, disc = layers[..., 3], cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    edge = (opacity < 250) & (cv2.dilate(opacity, disc) >= 250) & (cv2.erode(opacity, disc) <= 5)
    known = np.where(edge, 0, np.minimum(opacity / np.float32(_TRUSTED), 1))
    colours = fill_outside(layers[..., :3].astype(np.float32), known)
    layers[..., :3] = np.clip(np.rint(colours), 0, 255)
    return layers
