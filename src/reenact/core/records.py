"""What flows between the rooms: observations, target sets and codes, driver frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from reenact.core.landmarks import Landmarks

if TYPE_CHECKING:
    from torch import Tensor  # takes a second to import, and only the annotation needs it


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
    """

    images: Float[Tensor, "k 3 h w"]
    mesh_px: Float[np.ndarray, "k 478 3"]

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
    """

    mesh_px: Float[np.ndarray, "b 478 3"]
