"""The landmark transformer in the place of `retarget.Retargeter`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from reenactor.face.geometry import Similarity, contours
from reenactor.face.retarget.head_movement import HeadMovement
from reenactor.face.retarget.relative import keep_apart
from reenactor.face.retarget.transformer.model import LandmarkTransformer

_OPENINGS = (
    (contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER),
    (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
    (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
)


class TransformerRetargeter:
    """Maps one driver's landmarks to one target's face: shape by the transformer, head movement as `Retargeter` does.

    Expressions need no neutral frame, only head movement does; so a driver's frame chosen badly tilts the head but
    leaves no expression behind.

    Args:
        transformer: trained.
        target_meshes: (K, 478, 3) landmarks of the target's photos, each in pixels of its crop; the first is animated.
        neutral_mesh: (478, 3) the driver's most neutral frame (`neutral_frame`), driver's pixels.
        target_images: (K, 3, H, W) the crops in [-1, 1], for transformers that see them.
    """

    def __init__(
        self,
        transformer: LandmarkTransformer,
        target_meshes: Float[np.ndarray, "k m 3"],
        neutral_mesh: Float[np.ndarray, "m 3"],
        target_images: Float[Tensor, "k 3 h w"] | None = None,
    ) -> None:
        self._transformer = transformer
        self._identity = transformer.identity(target_meshes, target_images)
        head_of = transformer.points.normalized
        self._moved = HeadMovement(head_of(target_meshes[0])[0], head_of(neutral_mesh)[0])

    def __call__(
        self, driver_mesh: Float[np.ndarray, "m 3"], driver_image: Float[Tensor, "3 h w"] | None = None
    ) -> Float[np.ndarray, "n 3"]:
        """The landmarks wanted of the target, in the pixels of its crop; as many as the transformer has points."""
        images = None if driver_image is None else driver_image[None]
        heads, shapes = self._transformer.transformed(self._identity, driver_mesh[None], images)
        if self._transformer.config.points == "mesh":
            for upper, lower in _OPENINGS:
                keep_apart(shapes[0], upper, lower)
        head = Similarity(np.asarray(heads.scale[0]), heads.R[0], heads.t[0])
        return self._moved(head).apply(shapes[0]).astype(np.float32)
