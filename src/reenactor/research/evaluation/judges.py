"""Who judges: which networks and rules the scores come from, what they are called, and the networks themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import MESH_POINTS
from reenactor.face.perception import FaceFinder
from reenactor.face.perception.identity import (
    EMBEDDING_SIZE,
    SAME_PERSON_DISTANCE,
    IdentityEmbedder,
    identity_mean,
)
from reenactor.face.perception.observe import face_side_px
from reenactor.models.oneshot import FEATURE_READERS
from reenactor.nn.checkpoint import read_checkpoint
from reenactor.nn.losses import FeatureNetwork, TrainedFeatures, build_features
from reenactor.research.metrics import ArcFaceEmbedder, ArcFaceFile
from reenactor.research.metrics.arcface import SAME_PERSON_COSINE

Picture = UInt8[np.ndarray, "s s 3"]
Mesh = Float[np.ndarray, "478 3"]


class PoseAu(StrEnum):
    """What measures head angles and action units."""

    REENACTOR = "reenactor"
    """`face.geometry.head_angles` and `face.perception.action_units`."""
    OPENFACE = "openface"
    """A user's OpenFace 2, as in paper B."""


class Masked(StrEnum):
    """What M-PSNR and M-SSIM make of the pixels outside the face."""

    MEAN = "mean"
    """They are left out: the mean is over the mask."""
    BLACK = "black"
    """They are black in both pictures, and the mean is over the whole picture, as the papers' numbers suggest."""


class Judge(Enum):
    """Who judges a score; the value is its name in tables, unless `JudgeConfig.name` knows another."""

    IDENTITY = f"dlib's network (its mean subtracted; one person below {SAME_PERSON_DISTANCE:g})"
    POSE_AU = "reenactor's own estimators"
    PIXELS = "the pixels"
    MASKED = "the pixels (mean over the face's hull)"
    MESH = "MediaPipe's face mesh"
    LIDS = "reenactor's reader of eyelids"
    REALISM = "EfficientNet-Lite2"
    FEATURES = "a network's features"


@dataclass(frozen=True)
class FaceFeatures:
    """A network of this project that compares faces.

    Args:
        folder: its checkpoint: a shape encoder or a verification network.
        kind: of the checkpoint.
        digest: SHA-256 of the checkpoint.
    """

    folder: Path
    kind: str
    digest: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.kind} {self.digest[:12]}"


def face_features(folder: Path) -> FaceFeatures:
    """Read a checkpoint that gives features.

    Raises:
        ReenactError: it is missing, damaged, or of another kind.
    """
    build_features(TrainedFeatures(folder=folder), FEATURE_READERS)
    checkpoint = read_checkpoint(folder)
    return FaceFeatures(folder, checkpoint.kind, checkpoint.digest)


@dataclass(frozen=True)
class JudgeConfig:
    """Which judges are used.

    Args:
        arcface: network for CSIM and Id %; None for dlib's.
        pose_au: for PRMSE, pose, AUCON and AU %.
        masked: for M-PSNR and M-SSIM.
        features: network for `feature_distance`; None to leave that out.
    """

    arcface: ArcFaceFile | None = None
    pose_au: PoseAu = PoseAu.REENACTOR
    masked: Masked = Masked.MEAN
    features: FaceFeatures | None = None

    def name(self, judge: Judge) -> str:
        """Name in tables; two judges never share one."""
        file = self._file(judge)
        if file is not None:
            return file.name
        if judge is Judge.POSE_AU and self.pose_au is PoseAu.OPENFACE:
            return "OpenFace 2 (static)"
        if judge is Judge.MASKED and self.masked is Masked.BLACK:
            return "the pixels (black outside the face's hull)"
        return judge.value

    def digest(self, judge: Judge) -> str:
        """SHA-256 of the file that judges; empty if what judges is part of reenactor."""
        file = self._file(judge)
        return "" if file is None else file.digest

    @property
    def embedding_size(self) -> int:
        """Numbers in an identity embedding."""
        return EMBEDDING_SIZE if self.arcface is None else self.arcface.size

    @property
    def embedding_mean(self) -> Float[np.ndarray, " d"]:
        """What CSIM subtracts; nothing from ArcFace's embeddings (paper B)."""
        return identity_mean() if self.arcface is None else np.zeros(self.arcface.size, np.float32)

    @property
    def same_person_distance(self) -> float:
        """Euclidean distance below which two embeddings show one person. ArcFace's have unit length."""
        return SAME_PERSON_DISTANCE if self.arcface is None else (2 - 2 * SAME_PERSON_COSINE) ** 0.5

    def _file(self, judge: Judge) -> ArcFaceFile | FaceFeatures | None:
        return {Judge.IDENTITY: self.arcface, Judge.FEATURES: self.features}.get(judge)


class Judges:
    """The networks that look at pictures, loaded when first needed.

    Args:
        config: which.
    """

    def __init__(self, config: JudgeConfig | None = None) -> None:
        self.config = config or JudgeConfig()

    @cached_property
    def finder(self) -> FaceFinder:
        """Finds faces and their landmarks."""
        return FaceFinder()

    @cached_property
    def embedder(self) -> IdentityEmbedder | ArcFaceEmbedder:
        """Embeds faces for identity."""
        return IdentityEmbedder() if self.config.arcface is None else ArcFaceEmbedder(self.config.arcface)

    @cached_property
    def features(self) -> FeatureNetwork:
        """Features that faces are compared by."""
        assert self.config.features is not None
        return build_features(TrainedFeatures(folder=self.config.features.folder), FEATURE_READERS)

    def mesh(self, picture: Picture) -> Mesh:
        """Landmarks of the largest face, pixels; NaN without one. Face crops need no search for small faces."""
        found = self.finder.observe_all(picture, thorough=False)
        if not found:
            return np.full((MESH_POINTS, 3), np.nan, np.float32)
        return max(found, key=lambda face: face_side_px(face.landmarks.mesh)).landmarks.mesh.astype(np.float32)
