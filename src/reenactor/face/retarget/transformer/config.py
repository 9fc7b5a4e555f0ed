"""Settings of the landmark transformer and of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PointSetName = Literal["mesh", "ibug68"]
"""The sets of landmarks that can be transformed: the dense mesh and iBUG's 68."""

GroupCounts = tuple[int, int, int, int, int]
"""One number for each of `statistics.GROUPS`."""


class LandmarkTransformerConfig(BaseModel):
    """The defaults are the paper's (supplement B), except that it reads landmarks only, which is fast enough live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: PointSetName = "mesh"
    """The dense mesh, or the paper's 68."""
    pca_bases: GroupCounts = (8, 8, 8, 16, 8)
    """Principal directions of expression."""
    image: Literal["none", "resnet50"] = "none"
    """What the disentangler sees besides landmarks: nothing, or the face crop through ResNet-50 as in the paper."""
    image_size: int = Field(default=128, ge=32, multiple_of=32)
    """Side in pixels that crops are resampled to."""
    hidden: int = Field(default=512, ge=0)
    """Units of the disentangler's hidden layer; 0: it is linear."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """In the hidden layer, in training. Ours, because the training data shows few people."""
    intensity: float = Field(default=1.5, gt=0)
    """The paper's lambda_exp: a factor on estimated expressions."""

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, values: Any) -> Any:
        """Checkpoints before 2026-12 have `ict_bases`; bases from ICT-FaceKit were no better and are gone."""
        if isinstance(values, dict) and "ict_bases" in values:
            if any(values["ict_bases"]):
                raise ValueError("bases from ICT-FaceKit are no longer supported: train the landmark transformer again")
            values = {name: value for name, value in values.items() if name != "ict_bases"}
        return values

    @property
    def needs_pictures(self) -> bool:
        """Whether it sees face crops besides landmarks."""
        return self.image != "none"

    @property
    def bases(self) -> int:
        """Number of coefficients of an expression."""
        return sum(self.pca_bases)


class PretrainedResNet50(BaseModel):
    """ResNet-50 as torchvision trained it on ImageNet: a .safetensors file or a PyTorch state dict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of the file, in hexadecimal."""


class LandmarkTransformerObjectiveConfig(BaseModel):
    """How the landmark transformer is fitted and trained; what is not the paper's helps to learn from few people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["landmark-transformer"] = "landmark-transformer"
    model: LandmarkTransformerConfig = LandmarkTransformerConfig()
    resnet50: PretrainedResNet50 | None = None
    """Initial weights of ResNet-50; None for random ones."""
    swap: float = Field(default=1.0, ge=0, le=1)
    """Probability that an expression is put on the face of another sample of the batch, which may be a photo. Ours."""
    mirror: float = Field(default=0.5, ge=0, le=1)
    """Probability that a face is mirrored. Ours."""
    noise: float = Field(default=0.02, ge=0)
    """Standard deviation of the noise added to each coordinate, in outer-eye distances. Ours."""

    @model_validator(mode="after")
    def _complete(self) -> LandmarkTransformerObjectiveConfig:
        if self.resnet50 is not None and self.model.image != "resnet50":
            raise ValueError("resnet50 names weights, but the model has no ResNet-50: set model.image to resnet50")
        return self
