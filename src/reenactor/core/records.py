"""What flows between the rooms: observations, target sets and codes, driver frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from reenactor.core.landmarks import Landmarks

if TYPE_CHECKING:
    from torch import Tensor  # takes a second to import, and only the annotation needs it


class MapKind(Enum):
    """Pictures drawn from landmarks, which `reenactor.face.maps.draw_maps` makes (docs/maps.md)."""

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


@dataclass(frozen=True)
class HeadPose:
    """Head rotation in degrees; signs in docs/conventions.md (all zero: facing the camera)."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


@dataclass(frozen=True)
class FaceObservation:
    """One face as seen in one picture.

    Args:
        landmarks: in the pixels of that picture.
        pose: rotation of the head.
        score: the detector's confidence, 0..1.
    """

    landmarks: Landmarks
    pose: HeadPose
    score: float


@dataclass(frozen=True)
class TargetSet:
    """The K photos of the person to be animated, cropped alike. The first one is the picture that is animated.

    Args:
        images: (K, 3, H, W) float32 RGB in [-1, 1].
        mesh_px: (K, 478, 3) float32 landmarks in the pixels of each crop.
        maps: those that the model needs, (K, C, H, W) each.
    """

    images: Float[Tensor, "k 3 h w"]
    mesh_px: Float[np.ndarray, "k 478 3"]
    maps: Mapping[MapKind, Float[Tensor, "k _ h w"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.images) != len(self.mesh_px) or len(self.images) == 0:
            raise ValueError(f"{len(self.images)} target images but landmarks for {len(self.mesh_px)}")


@dataclass(frozen=True)
class TargetCode:
    """What a model keeps of a person between frames; every model has its own subclass."""


@dataclass(frozen=True)
class DriverFrame:
    """What the target's face shall look like now.

    Args:
        mesh_px: (B, 478, 3) float32 landmarks wanted, in the pixels of the target's crop (already retargeted).
        maps: those that the model needs, (B, C, H, W) each, drawn from these landmarks.
    """

    mesh_px: Float[np.ndarray, "b 478 3"]
    maps: Mapping[MapKind, Float[Tensor, "b _ h w"]] = field(default_factory=dict)


@dataclass(frozen=True)
class PairBatch:
    """B training pairs, on the device: what photos show, and the true picture of the driver's landmarks.

    Args:
        targets: (B, K, 3, H, W) in [-1, 1].
        target_mesh: (B, K, 478, 3) pixels.
        target_maps: those that the objective needs, (B, K, C, H, W) each.
        truth: (B, 3, H, W) in [-1, 1].
        driver_mesh: (B, 478, 3) pixels, the landmarks of `truth`.
        driver_maps: those that the objective needs, (B, C, H, W) each.
        mask: (B, 1, H, W) in [0, 1], where `truth` is true (all of it, but for contour pairs).
        identity: (B,) numbers of people.
        follows: (B,) whether the pair before has the same photos and the frame before; None: none does.
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
    """B frames of clips, on the device: for what learns from single pictures and their landmarks.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        mesh_px: (B, 478, 3) pixels of them.
        identity: (B,) numbers of people.
        clip: (B,) numbers of clips (or photos): the row in the pack's index.
    """

    images: Float[Tensor, "b 3 h w"]
    mesh_px: Float[Tensor, "b 478 3"]
    identity: Int[Tensor, " b"]
    clip: Int[Tensor, " b"]
