"""What every zoo entry is: a module that encodes a person once and then draws them frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor, nn

from reenactor.core import DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry.crop import FACE_CROP_SCALE


@dataclass(frozen=True)
class Needs:
    """What a model must be given; data and inference prepare no more than this.

    Args:
        crop_scale: side of the face crop over the larger side of the landmarks' bounding box.
        any_resolution: crops of any size (a multiple of 32) are fine, so a photo can keep its own pixels.
        max_targets: photos used at most; None for any number.
        maps: drawn from the landmarks and given with the photos and with each driver frame.
    """

    crop_scale: float = FACE_CROP_SCALE
    any_resolution: bool = False
    max_targets: int | None = None
    maps: tuple[MapKind, ...] = ()


class ReenactmentModel(nn.Module, ABC):
    """Abstract; every zoo entry is a final subclass. Models find no faces, read no files and know no devices.

    A subclass is made from its settings alone, `Model(config)`; if it is trained, its `state_dict` is what a checkpoint
    holds.

    Attributes:
        version: of the method; with a checkpoint's weights also the beginning of their digest.
        needs: may depend on the settings.
        resolution: pixels a side of the pictures that it was trained on; None where that says nothing.
    """

    name: ClassVar[str]
    version: str
    config_type: ClassVar[type[BaseModel]]
    trained: ClassVar[bool] = True
    needs: Needs = Needs()
    config: BaseModel
    resolution: int | None = None

    @abstractmethod
    def encode_target(self, targets: TargetSet) -> TargetCode:
        """All that depends on the photos alone; called once per person.

        Args:
            targets: K >= 1 photos. The first is the picture that is animated.
        """

    @abstractmethod
    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the person of `code` with the landmarks of each of `driver`'s B frames.

        Returns:
            RGB in [-1, 1], the size of the first target photo.
        """


def check_targets(targets: TargetSet) -> None:
    """Refuse photos that are not cropped to squares of a multiple of 32 pixels."""
    height, width = targets.images.shape[-2:]
    if height != width or height % 32:
        raise ValueError(f"target crops must be squares of a multiple of 32 pixels, not {width} x {height}")


def mesh_beside(mesh_px: Float[np.ndarray, "n 478 3"], beside: Tensor) -> Float[Tensor, "n 478 3"]:
    """On the GPU if there the network is, else on the CPU: of other devices not all know float64."""
    mesh = torch.from_numpy(np.asarray(mesh_px, np.float32))
    return mesh.to(beside.device) if beside.device.type == "cuda" else mesh
