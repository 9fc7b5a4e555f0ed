"""Photos into a person's code and landmarks into pixels: the one place where models are given their inputs.

`Portrait` encodes a person once and then draws any number of frames. It keeps everything on the model's device; callers
see NumPy arrays only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Union

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from reenactor.core import DriverFrame, Landmarks, MapKind, ReenactError, TargetSet
from reenactor.core.options import check_device
from reenactor.engine.notices import Notice
from reenactor.face.geometry import Crop
from reenactor.face.maps import draw_maps
from reenactor.face.perception.identity import SAME_PERSON_DISTANCE, IdentityEmbedder, identity_distance
from reenactor.face.perception.observe import check_picture
from reenactor.face.perception.photo_check import Finding
from reenactor.media import read_image
from reenactor.models import ReenactmentModel

Picture = UInt8[np.ndarray, "_h _w 3"] | Image.Image
"""RGB pixels, or a Pillow picture of any mode."""
Photo = Union[str, "os.PathLike[str]", Picture]

STANDARD_SIZE = 256
"""Side of the face crop, pixels, for models that prefer none."""
_LARGEST_CROP = 1024
GPU_BATCH = 8
"""Frames drawn together on a GPU."""


def torch_device(name: str = "auto") -> torch.device:
    """The device of that name, if this machine has it.

    Args:
        name: "auto" for a CUDA GPU if there is one, else the CPU; "cpu", "cuda", "cuda:1", "mps". Apple's GPUs are used
            only when asked for, since PyTorch computes bicubic sampling there only with PYTORCH_ENABLE_MPS_FALLBACK=1.

    Raises:
        ReenactError: no such name, or no such device here.
    """
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ReenactError(f"there is no GPU for the device {name} that PyTorch can use; choose cpu, or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ReenactError(f"there is no device {name}, the GPUs are 0 to {torch.cuda.device_count() - 1}; choose one")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ReenactError("there is no Apple GPU for the device mps that PyTorch can use; choose cpu, or auto")
    return device


def device_of(model: ReenactmentModel) -> torch.device:
    """Where a model computes: where its weights are; the CPU for a model without weights, or in another runtime."""
    weights = next(model.parameters(), None)
    return torch.device("cpu") if weights is None else weights.device


def placed(model: ReenactmentModel, device: torch.device) -> ReenactmentModel:
    """The model itself, moved to a device; on a GPU its weights are laid out channels last."""
    model = model.to(device)
    return model if device.type == "cpu" else channels_last(model)


def channels_last(model: ReenactmentModel) -> ReenactmentModel:
    """The model itself, its convolutions' weights laid out as GPUs compute them fastest."""
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def half_precision(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 on a GPU, or to float16 where it has no bfloat16; nothing on the CPU."""
    if device.type == "cpu":
        return nullcontext()
    bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16 if bfloat16 else torch.float16)


def usual_size(model: ReenactmentModel) -> int:
    """Side of the face crops that a model mostly draws, pixels: what it was trained at, but at least 256 if any."""
    size = model.resolution or STANDARD_SIZE
    return max(size, STANDARD_SIZE) if model.needs.any_resolution else size


def model_crop(
    model: ReenactmentModel,
    mesh_px: Float[np.ndarray, "478 3"],
    picture: UInt8[np.ndarray, "_h _w 3"],
    size: int | None,
) -> Crop:
    """The square of a picture that a model is given, around the face with these landmarks.

    Args:
        model: decides how much is around the face.
        mesh_px: in the picture's pixels.
        picture: RGB.
        size: side of the crop in pixels; None for the one the model was trained at, or, for models that work at any
            resolution, the picture's own (256 to 1024).
    """
    picture_px = (picture.shape[1], picture.shape[0])
    if size is None and model.needs.any_resolution:
        own = model.needs.crop(mesh_px, picture_px=picture_px)
        if STANDARD_SIZE <= own.size <= _LARGEST_CROP:
            return own
        size = STANDARD_SIZE if own.size < STANDARD_SIZE else _LARGEST_CROP
    size = size or model.resolution or STANDARD_SIZE
    return model.needs.crop(mesh_px, size=size, picture_px=picture_px)


def target_set(
    model: ReenactmentModel, crops: UInt8[np.ndarray, "k s s 3"], mesh_px: Float[np.ndarray, "k 478 3"]
) -> TargetSet:
    """What a model is given of a person, on its device.

    Args:
        model: decides which maps are drawn.
        crops: RGB face crops, the one that is animated first.
        mesh_px: float32, their landmarks in crop pixels.
    """
    device = device_of(model)
    return TargetSet(images_of(crops, device), mesh_px, _maps(model, mesh_px, crops.shape[1], device))


def driver_frame(model: ReenactmentModel, mesh_px: Float[np.ndarray, "b 478 3"], size: int) -> DriverFrame:
    """What a model is given of B frames, on its device.

    Args:
        model: decides which maps are drawn.
        mesh_px: float32, the target landmarks of each frame in crop pixels.
        size: side of the crop, pixels.
    """
    return DriverFrame(mesh_px, _maps(model, mesh_px, size, device_of(model)))


def images_of(rgb: UInt8[np.ndarray, "*b h w 3"], device: torch.device) -> Float[Tensor, "*b 3 h w"]:
    """8-bit RGB as images in [-1, 1]."""
    return torch.from_numpy(rgb).to(device).movedim(-1, -3).float().div_(127.5).sub_(1)


def pixels(images_m1p1: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Images in [-1, 1] as 8-bit RGB."""
    scaled = images_m1p1.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())


class Portrait:
    """One person as one model draws them.

    Args:
        model: in evaluation mode, on its device.
        crops: (K, S, S, 3) RGB face crops, cut as the model needs them; the first one is animated.
        mesh_px: (K, 478, 3) float32, their landmarks in crop pixels.
        exact: compute in float32 on a GPU too. The CPU always does.

    Attributes:
        model, crops: as given.
        size: S.
        code: what the model keeps of the photos.
    """

    def __init__(
        self,
        model: ReenactmentModel,
        crops: UInt8[np.ndarray, "k s s 3"],
        mesh_px: Float[np.ndarray, "k 478 3"],
        *,
        exact: bool = False,
    ) -> None:
        self.model, self.crops = model, crops
        self.size = crops.shape[1]
        self._exact = exact
        with torch.inference_mode():
            targets = target_set(model, crops, mesh_px)
            with self._precision():
                self.code = model.encode_target(targets)

    def draw(self, mesh_px: Float[np.ndarray, "b 478 3"]) -> UInt8[np.ndarray, "b s s 3"]:
        """The person's face crop with the landmarks of each of B frames (crop pixels, float32)."""
        with torch.inference_mode():
            driver = driver_frame(self.model, mesh_px, self.size)
            with self._precision():
                images = self.model.synthesize(self.code, driver)
            return pixels(images)

    def _precision(self) -> AbstractContextManager:
        # Around the networks alone: maps drawn with coordinates in half precision would be off by pixels.
        return nullcontext() if self._exact else half_precision(device_of(self.model))


def _maps(
    model: ReenactmentModel, mesh_px: Float[np.ndarray, "b 478 3"], size: int, device: torch.device
) -> dict[MapKind, Tensor]:
    return draw_maps(model.needs.maps, torch.from_numpy(mesh_px).to(device), size)


@dataclass(frozen=True)
class UsedVideo:
    """What was taken of a video of the person.

    Args:
        photo: its number among the photos, from 1.
        frames: how many of its frames are used.
        still: number of the first one, from 0; of the first video it is the one that moves.
        time_s: when that is shown.
    """

    photo: int
    frames: int
    still: int
    time_s: float

    def text(self, names: Sequence[str]) -> str:
        """One line; the names are those of the photos."""
        used = "1 frame is used" if self.frames == 1 else f"{self.frames} frames are used"
        moves = f"; frame {self.still} ({self.time_s:.2f} s) is the one that moves" if self.photo == 1 else ""
        return f"{names[self.photo - 1]}: {used}{moves}"


@dataclass(frozen=True)
class Target:
    """The person to animate, encoded.

    Args:
        photo: (H, W, 3) the first photo, in the size of the result.
        crop: the square of it that moves.
        all_mesh_px: (K, 478, 3) the landmarks of all photos, each in its crop's pixels.
        portrait: the person, encoded.
        warnings: what about the photos will make the result look wrong.
        videos: what was taken of those photos that are videos.
        neutral: the face at rest, in mean pose, if a person file says it.
        sources: numbers of the photos that the K pictures are from, from 1.
    """

    photo: UInt8[np.ndarray, "h w 3"]
    crop: Crop
    all_mesh_px: Float[np.ndarray, "k 478 3"]
    portrait: Portrait
    warnings: tuple[Notice, ...] = ()
    videos: tuple[UsedVideo, ...] = ()
    neutral: Float[np.ndarray, "478 3"] | None = None
    sources: tuple[int, ...] = ()

    @property
    def mesh_px(self) -> Float[np.ndarray, "478 3"]:
        """The first photo's landmarks."""
        return self.all_mesh_px[0]

    @property
    def upright_mesh_px(self) -> Float[np.ndarray, "k 478 3"]:
        """All landmarks as they would be if the first photo's crop were not turned."""
        if not self.crop.angle_deg:
            return self.all_mesh_px
        return np.stack([self.crop.upright.to_crop(self.crop.to_picture(self.mesh_px)), *self.all_mesh_px[1:]])

    @property
    def other_people(self) -> tuple[int, ...]:
        """Numbers, from 1, of photos that seem to show another person than the first."""
        return tuple(one.photo for one in self.warnings if one.finding is Finding.OTHER_PERSON)

    def __repr__(self) -> str:
        photos = "1 photo" if len(self.all_mesh_px) == 1 else f"{len(self.all_mesh_px)} photos"
        height, width = self.photo.shape[:2]
        size = f"{width} x {height}, face crop {self.crop.size} px"
        return f"Target({photos}, {size}, {self.portrait.model.name})"


@dataclass(frozen=True)
class ResultFrame:
    """One frame of the result.

    Args:
        image: (H, W, 3) the photo with the moving face in it; with `alpha` (H, W, 4), see `Reenactor`.
        face: (s, s, 3) the face crop alone; with `alpha` (s, s, 4).
        mesh_px: (478, 3) the target landmarks, crop pixels.
        time_s: when the frame is shown.
        driver_seen: the driver's face was seen; if not, the last pose is held.
    """

    image: UInt8[np.ndarray, "h w c"]
    face: UInt8[np.ndarray, "s s c"]
    mesh_px: Float[np.ndarray, "478 3"]
    time_s: float
    driver_seen: bool = True


def other_people(pictures: list[UInt8[np.ndarray, "_h _w 3"]], faces: list[Landmarks]) -> tuple[int, ...]:
    """Numbers, from 1, of the pictures that seem to show another person than the first."""
    embeddings = IdentityEmbedder().embed_batch(pictures, faces)
    apart = identity_distance(embeddings, embeddings[:1]) >= SAME_PERSON_DISTANCE
    return tuple(int(i) + 1 for i in np.flatnonzero(apart))


def pixels_of(photo: Photo, name: str) -> UInt8[np.ndarray, "_h _w 3"]:
    """A photo's pixels; files and Pillow pictures are read as they are meant to be seen.

    Args:
        photo: a path, a Pillow picture or (H, W, 3) uint8 RGB.
        name: what messages call one that has no path.

    Raises:
        MediaError: it cannot be read, or is too small.
        ReenactError: it is nothing of these.
        ValueError: an array of another shape or type.
    """
    if isinstance(photo, np.ndarray):
        check_picture(photo, name)
        return photo
    if not isinstance(photo, (str, os.PathLike, Image.Image)):
        kind = type(photo).__name__
        raise ReenactError(f"{name} must be a path, a Pillow picture or an array of pixels, not {kind}")
    return read_image(photo, name=name)


def shrunk(picture: UInt8[np.ndarray, "h w 3"], max_side: int) -> UInt8[np.ndarray, "_h _w 3"]:
    """The picture, made smaller if a side is longer than `max_side` pixels."""
    size = shrunk_size(picture, max_side)
    if size == picture.shape[1::-1]:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def shrunk_size(picture: UInt8[np.ndarray, "h w _c"], max_side: int) -> tuple[int, int]:
    """Width and height of a picture once its longer side is at most `max_side` pixels."""
    h, w = picture.shape[:2]
    scale = min(1.0, max_side / max(h, w))
    return max(1, round(w * scale)), max(1, round(h * scale))
