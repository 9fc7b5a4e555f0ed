"""The contract of every model: encode a person once, then draw them frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from reenactor.core import Alignment, DriverFrame, MapKind, TargetCode, TargetSet
from reenactor.face.geometry.crop import FACE_CROP_SCALE, Crop, aligned_crop, face_crop

ANY = object()
"""In `ModelConfig.removed`: the field had no effect, so any value is read."""


class ModelConfig(BaseModel):
    """Base of all model and objective settings; a model's settings are saved in its checkpoints.

    Attributes:
        removed: fields that older checkpoints have and this release does not -> the value that it still computes.
            A checkpoint with that value is read, one with another is refused.
        renamed: old name of a field -> its name now.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    removed: ClassVar[Mapping[str, Any]] = {}
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        kept = {cls.renamed.get(name, name): value for name, value in values.items()}
        for name, survivor in cls.removed.items():
            if name in kept and survivor is not ANY and kept[name] != survivor:
                raise ValueError(f"this release no longer has {name}={kept[name]!r}, only {survivor!r}")
            kept.pop(name, None)
        return kept


@dataclass(frozen=True)
class Needs:
    """Inputs that a model reads; data and inference prepare no more than this.

    Args:
        alignment: how its face crop lies on the face.
        crop_scale: side of the face crop over the larger side of the landmarks' bounding box, with `Alignment.BOX`.
        any_resolution: crops of any size (a multiple of 32) are fine, so a photo can keep its own pixels.
        max_targets: photos used at most; None for any number.
        video_frames: frames used of videos of the person, with the photos beside them.
        maps: drawn from the landmarks and given with the photos and with each driver frame.
    """

    alignment: Alignment = Alignment.BOX
    crop_scale: float = FACE_CROP_SCALE
    any_resolution: bool = False
    max_targets: int | None = None
    video_frames: int = 8
    maps: tuple[MapKind, ...] = ()

    def crop(
        self,
        mesh_px: Float[np.ndarray, "478 3"],
        *,
        size: int | None = None,
        picture_px: tuple[int, int] | None = None,
    ) -> Crop:
        """The square of a picture that the model is given, around the face with these landmarks.

        Args:
            mesh_px: in the picture's pixels.
            size: side of the crop in pixels; None keeps the picture's own resolution (rounded to a multiple of 32).
            picture_px: width and height, within which an upright crop stays if it can; None for an unlimited picture.
        """
        if self.alignment is Alignment.MEAN_SHAPE:
            return aligned_crop(mesh_px, size=size)
        return face_crop(mesh_px, size=size, scale=self.crop_scale, picture_px=picture_px)


class PhotoUse(StrEnum):
    """What a frame does with a position of a photo."""

    TAKEN = "taken over"
    """Its pixels are moved into the frame."""
    ATTENDED = "looked at"
    """The network's attention reads it."""


@dataclass(frozen=True)
class PhotoMap:
    """How much each position of each photo contributes to a frame.

    Args:
        use: how it contributes.
        weights: of the K photos; they sum to 1 over all photos, or to less where part of the frame is from no photo.
        brightest: the weight to draw brightest, the same for all photos.
    """

    use: PhotoUse
    weights: Float[np.ndarray, "k h w"]
    brightest: float


class ReenactmentModel(nn.Module, ABC):
    """Abstract; every entry of the registry is a final subclass. Models find no faces, read no files, know no devices.

    A subclass is made from its settings alone, `Model(config)`; if it is trained, its `state_dict` is what a checkpoint
    holds.

    Attributes:
        name: of the registry's entry.
        version: of the method; with a checkpoint's weights also the beginning of their digest.
        config_type: class of the settings.
        trained: whether it needs weights.
        needs: may depend on the settings.
        config: the settings.
        resolution: pixels a side of the pictures that it was trained on; None where that says nothing.
        photo_uses: kinds of maps that `photo_maps` returns, in their order; may depend on the settings.
    """

    name: ClassVar[str]
    version: str
    config_type: ClassVar[type[BaseModel]]
    trained: ClassVar[bool] = True
    needs: Needs = Needs()
    config: BaseModel
    resolution: int | None = None
    photo_uses: tuple[PhotoUse, ...] = ()

    @abstractmethod
    def encode_target(self, targets: TargetSet) -> TargetCode:
        """Encode everything that depends on the photos alone; called once per person.

        Args:
            targets: K >= 1 photos. The first is the picture that is animated.
        """

    @abstractmethod
    def synthesize(self, code: TargetCode, driver: DriverFrame) -> Float[Tensor, "b 3 h w"]:
        """Draw the person of `code` with the landmarks of each of `driver`'s B frames.

        Returns:
            RGB in [-1, 1], the size of the first target photo.
        """

    def photo_maps(self, code: TargetCode, driver: DriverFrame) -> list[PhotoMap]:
        """Heat maps over the photos that show where a frame comes from, one for each of `photo_uses`.

        Args:
            code: of the photos.
            driver: one frame.
        """
        return []


def check_targets(targets: TargetSet) -> None:
    """Refuse photos that are not cropped to squares of a multiple of 32 pixels."""
    height, width = targets.images.shape[-2:]
    if height != width or height % 32:
        raise ValueError(f"target crops must be squares of a multiple of 32 pixels, not {width} x {height}")


def needed_map(maps: Mapping[MapKind, Tensor], kind: MapKind, model: str, owner: str) -> Float[Tensor, "n c h w"]:
    """One of the maps that a model reads.

    Args:
        maps: of the target photos or of the driver frames.
        kind: the map.
        model, owner: what reads it and whose maps they are, for the message.

    Raises:
        ValueError: it is missing.
    """
    if kind not in maps:
        raise ValueError(f"{model} reads the {kind.value} of the {owner}: put it into their maps")
    return maps[kind]


def mesh_tensor(mesh_px: Float[np.ndarray, "n 478 3"], beside: Tensor | None = None) -> Float[Tensor, "n 478 3"]:
    """Landmarks as a tensor: on the device of `beside` if that is CUDA, else on the CPU (MPS has no float64)."""
    mesh = torch.from_numpy(np.asarray(mesh_px, np.float32))
    return mesh.to(beside.device) if beside is not None and beside.device.type == "cuda" else mesh


def to_uint8(image_m1p1: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture in [-1, 1] as OpenCV reads it; black for the meta device, which has shapes alone (`models.sizes`)."""
    if image_m1p1.is_meta:
        image_m1p1 = torch.zeros_like(image_m1p1, device="cpu")
    pixels = image_m1p1.detach().cpu().float().add(1).mul(127.5).round().clamp(0, 255)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).to(torch.uint8).numpy())


def shapes_only(kind: type[ReenactmentModel], config: BaseModel) -> ReenactmentModel:
    """A model of these settings on PyTorch's meta device: its weights have shapes and take no memory."""
    with torch.device("meta"):
        return kind(config).eval()
