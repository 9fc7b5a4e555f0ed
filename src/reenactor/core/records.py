"""Records that flow between the packages: observations, target sets and codes, driver frames, batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from reenactor.core.landmarks import Landmarks

if TYPE_CHECKING:
    from torch import Tensor  # takes a second to import, and only the annotation needs it


class MapKind(Enum):
    """Images drawn from landmarks, which `reenactor.face.maps.draw_maps` makes (docs/maps.md)."""

    LANDMARK_RASTER = "landmark raster"
    """(B, 3, H, W) in [-1, 1], paper B."""
    IRIS_RASTER = "landmark raster with irises"
    """(B, 3, H, W) in [-1, 1]; ours."""
    BOUNDARIES = "boundaries"
    """(B, 17, H, W) in [0, 1], paper A: 15 boundaries and two gazes."""
    PARSING = "parsing map"
    """(B, 9, H, W) in [0, 1], paper A."""
    HULL_MASK = "hull mask"
    """(B, 1, H, W) in [0, 1], convex hull of the 68 landmarks."""
    FACE_MASK = "face mask"
    """(B, 1, H, W) in [0, 1], convex hull of the mesh: with the forehead."""


class Alignment(StrEnum):
    """How a face crop lies on the face."""

    BOX = "box"
    """Upright in the picture, around the box of the landmarks (`face.geometry.face_crop`)."""
    MEAN_SHAPE = "mean_shape"
    """Turned, scaled and placed by a similarity fit of landmarks to the mean shape (`face.geometry.aligned_crop`)."""


@dataclass(frozen=True)
class HeadPose:
    """Head rotation in degrees; signs in docs/conventions.md (all zero: facing the camera)."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True)
class FaceObservation:
    """One face found in one image.

    Args:
        landmarks: in pixels of that image.
        pose: rotation of the head.
        score: the detector's confidence, 0..1.
    """

    landmarks: Landmarks
    pose: HeadPose
    score: float


@dataclass(frozen=True)
class TargetSet:
    """K photos of the person to be animated, all cropped the same way. The first one is animated.

    Args:
        images: (K, 3, H, W) float32 RGB in [-1, 1].
        mesh_px: (K, 478, 3) float32 landmarks in pixels of each crop.
        maps: the maps that the model needs, (K, C, H, W) each.
    """

    images: Float[Tensor, "k 3 h w"]
    mesh_px: Float[np.ndarray, "k 478 3"]
    maps: Mapping[MapKind, Float[Tensor, "k _ h w"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.mesh_px) or len(self.images) == 0:
            raise ValueError(f"{len(self.images)} target images but landmarks for {len(self.mesh_px)}")


@dataclass(frozen=True)
class TargetCode:
    """What a model computes once per person and reuses for every frame; each model has its own subclass."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = TargetCode.__repr__  # else that of the data class, with all the numbers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(one.name for one in fields(self))})"


@dataclass(frozen=True)
class DriverFrame:
    """B frames to draw: the wanted shape of the target's face.

    Args:
        mesh_px: (B, 478, 3) float32 landmarks in pixels of the target's crop, already retargeted.
        maps: the maps that the model needs, (B, C, H, W) each, drawn from these landmarks.
    """

    mesh_px: Float[np.ndarray, "b 478 3"]
    maps: Mapping[MapKind, Float[Tensor, "b _ h w"]] = field(default_factory=dict)


@dataclass(frozen=True)
class PairBatch:
    """B training pairs on the device: photos of a person, and a true image with the driver's landmarks.

    Args:
        targets: (B, K, 3, H, W) in [-1, 1].
        target_mesh: (B, K, 478, 3) pixels.
        target_maps: the maps that the objective needs, (B, K, C, H, W) each.
        truth: (B, 3, H, W) in [-1, 1].
        driver_mesh: (B, 478, 3) pixels, the landmarks of `truth`.
        driver_maps: the maps that the objective needs, (B, C, H, W) each.
        mask: (B, 1, H, W) in [0, 1], where `truth` is valid (everywhere, except in contour pairs).
        identity: (B,) number of the person.
        follows: (B,) whether the pair before it in the batch has the same photos and the previous frame; None: none.
    """

    targets: Float[Tensor, "b k 3 h w"]
    target_mesh: Float[Tensor, "b k 478 3"]
    target_maps: Mapping[MapKind, Float[Tensor, "b k _ h w"]]
    truth: Float[Tensor, "b 3 h w"]
    driver_mesh: Float[Tensor, "b 478 3"]
    driver_maps: Mapping[MapKind, Float[Tensor, "b _ h w"]]
    mask: Float[Tensor, "b 1 h w"]
    identity: Int[Tensor, " b"]
    follows: Bool[Tensor, " b"] | None = None


@dataclass(frozen=True)
class FrameBatch:
    """B frames of clips on the device, for training on single images and their landmarks.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        mesh_px: (B, 478, 3) pixels of the images.
        identity: (B,) number of the person.
        clip: (B,) number of the clip or photo: its row in the pack's index.
    """

    images: Float[Tensor, "b 3 h w"]
    mesh_px: Float[Tensor, "b 478 3"]
    identity: Int[Tensor, " b"]
    clip: Int[Tensor, " b"]


@dataclass(frozen=True)
class ActionUnits:
    """Action units of N frames, from any estimator.

    Args:
        numbers: FACS number of each of the A columns.
        intensity: (N, A) from 0 (none) to 5; NaN if the estimator gives presence only.
        presence: (N, A) whether the unit is active.
        seen: (N,) whether a face was found; the other fields of a frame without a face mean nothing.
    """

    numbers: tuple[int, ...]
    intensity: Float[np.ndarray, "n a"]
    presence: Bool[np.ndarray, "n a"]
    seen: Bool[np.ndarray, " n"]

    def __post_init__(self) -> None:
        shape = (len(self.seen), len(self.numbers))
        if self.intensity.shape != shape or self.presence.shape != shape:
            raise ValueError(f"{shape[0]} frames of {shape[1]} AUs, but {self.intensity.shape}, {self.presence.shape}")

    def __len__(self) -> int:
        return len(self.seen)
