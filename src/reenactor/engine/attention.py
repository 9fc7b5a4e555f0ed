"""Where a drawn frame comes from: places of the photos, as heat over them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from reenactor.core import DriverFrame, TargetCode
from reenactor.models import ReenactmentModel
from reenactor.models.contract import mesh_beside
from reenactor.models.hybrid import Hybrid, HybridCode, photo_use
from reenactor.models.hybrid.model import raster_of
from reenactor.models.marionette import MarioNETte, MarioNETteCode, attention_received


class Use(str, Enum):
    """What is done with a place of a photo."""

    TAKEN = "taken over"
    """Its pixels are moved into the frame."""
    LOOKED = "looked at"
    """The network's attention reads it."""


@dataclass(frozen=True)
class PhotoMap:
    """How much of a frame each place of each photo gives.

    Args:
        use: how.
        shares: of the K photos; the sum over all places is 1, or less where the rest of the frame is from no photo.
        brightest: the share that shall be drawn brightest, the same for all photos.
    """

    use: Use
    shares: Float[np.ndarray, "k h w"]
    brightest: float


def has_photo_maps(model: ReenactmentModel) -> bool:
    """Whether `photo_maps` has any."""
    return isinstance(model, Hybrid) or has_attention(model)


def has_attention(model: ReenactmentModel) -> bool:
    """Whether `photo_maps` ends with what the network looks at."""
    if isinstance(model, Hybrid):
        return model.generator.config.attention
    return isinstance(model, MarioNETte) and model.generator.config.blender == "attention"


def photo_maps(model: ReenactmentModel, code: TargetCode, driver: DriverFrame) -> list[PhotoMap]:
    """Of one frame; empty for models that look at no places of the photos.

    Args:
        model: with PyTorch.
        code: of the photos.
        driver: one frame.
    """
    with torch.inference_mode():
        if isinstance(model, Hybrid) and isinstance(code, HybridCode):
            raster = raster_of(driver.maps, "driver frames")
            used = photo_use(model.generator, code, raster, mesh_beside(driver.mesh_px, raster))
            taken = used.taken[0].cpu().numpy()
            # Brightest is a place that is used once; where the frame is magnified, one pixel is used several times.
            maps = [PhotoMap(Use.TAKEN, taken, 1 / taken[0].size)]
            return maps if used.looked is None else [*maps, _looked(used.looked)]
        if has_attention(model) and isinstance(model, MarioNETte) and isinstance(code, MarioNETteCode):
            raster = driver.maps[model.generator.config.raster]
            return [_looked(attention_received(model.generator.attention_maps(code, raster)))]
    return []


def _looked(received: Float[torch.Tensor, "1 k h w"]) -> PhotoMap:
    shares = received[0].cpu().numpy()
    return PhotoMap(Use.LOOKED, shares, float(shares.max()))


def heat_over(
    picture: UInt8[np.ndarray, "s s 3"], heat: Float[np.ndarray, "u v"], brightest: float
) -> UInt8[np.ndarray, "s s 3"]:
    """A picture in grey with a map laid over it in colour, `brightest` being the value of the brightest one."""
    size = len(picture)
    wide = cv2.resize(np.asarray(heat, np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    share = np.clip(wide / max(brightest, 1e-12), 0, 1)
    colours = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    return np.asarray(cv2.addWeighted(grey, 0.4, np.ascontiguousarray(colours), 0.6, 0), np.uint8)
