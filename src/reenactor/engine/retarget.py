"""A driver's landmarks, moderated, on the target's face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.face.geometry import Crop
from reenactor.face.retarget import Moderation

Mesh = Float[np.ndarray, "478 3"]


@dataclass(frozen=True)
class Retarget:
    """Carries a driver's landmarks over to the target: `retarget(driver_mesh, picture=None)`.

    Args:
        moderation: how far the driver is followed.
        carry: moderated landmarks -> the target's, crop pixels.
        crop: (driver's picture, its landmarks) -> the face crop that `carry` looks at; None if it looks at none.
        target: the target's crop. If it is turned, `carry` works in the upright one, so that the driver's directions
            and angles are the photo's for every model.
    """

    moderation: Moderation
    carry: Callable[..., Mesh]
    crop: Callable[[UInt8[np.ndarray, "_h _w 3"], Mesh], UInt8[np.ndarray, "s s 3"]] | None = None
    target: Crop | None = None

    def __call__(self, driver_mesh: Mesh, picture: UInt8[np.ndarray, "_h _w 3"] | None = None) -> Mesh:
        """The target's landmarks (478, 3), crop pixels."""
        moderated = self.moderation(driver_mesh)
        looked_at = () if self.crop is None or picture is None else (self.crop(picture, driver_mesh),)
        carried = self.carry(moderated, *looked_at)
        if self.target is None or not self.target.angle_deg:
            return carried
        return self.target.to_crop(self.target.upright.to_picture(carried))
