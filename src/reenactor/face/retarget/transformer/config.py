"""Settings of the landmark transformer and of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reenactor.face.retarget.transformer.points import PointSetName

GroupCounts = tuple[int, int, int, int, int]
"""One number for each of `points.GROUPS`."""


class LandmarkTransformerConfig(BaseModel):
    """The defaults are the paper's (supplement B), but that it reads landmarks alone, which is fast enough live."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: PointSetName = "mesh"
    """The dense mesh, or the paper's 68."""
    pca_bases: GroupCounts = (8, 8, 8, 16, 8)
    """Principal directions of expression."""
    ict_bases: GroupCounts = (0, 0, 0, 0, 0)
    """Further directions, from ICT-FaceKit's expressions."""
    image: Literal["none", "small", "resnet50"] = "none"
    """What the disentangler sees besides landmarks: nothing, or the face crop through one of two networks."""
    image_size: int = Field(default=128, ge=32, multiple_of=32)
    """Pixels a side that crops are resampled to."""
    hidden: int = Field(default=512, ge=0)
    """Units of the disentangler's hidden layer; 0: it is linear."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """In the hidden layer, while training. Ours: few people are seen."""
    intensity: float = Field(default=1.5, gt=0)
    """The paper's lambda_exp: a factor on expressions that are found."""

    @property
    def bases(self) -> int:
        """Coefficients of an expression."""
        return sum(self.pca_bases) + sum(self.ict_bases)


class PretrainedResNet50(BaseModel):
    """ResNet-50 as torchvision trained it on ImageNet: a .safetensors file or a PyTorch state dict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Of the file, in hexadecimal."""


class LandmarkTransformerObjectiveConfig(BaseModel):
    """How it is fitted and trained; what is not the paper's is for learning from few people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["landmark-transformer"] = "landmark-transformer"
    model: LandmarkTransformerConfig = LandmarkTransformerConfig()
    ict: Path | None = None
    """ICT-FaceKit's neutral face and expressions at the mesh's vertices (.npz: neutral, expr); for `ict_bases`."""
    resnet50: PretrainedResNet50 | None = None
    """Where its weights begin; None: at random."""
    swap: float = Field(default=1.0, ge=0, le=1)
    """Share of expressions that are laid on the face of another sample of the batch, who may be a photo. Ours."""
    mirror: float = Field(default=0.5, ge=0, le=1)
    """Share of faces that are mirrored. Ours."""
    noise: float = Field(default=0.02, ge=0)
    """Standard deviation of what is added to each coordinate, in outer-eye distances. Ours."""

    @model_validator(mode="after")
    def _complete(self) -> LandmarkTransformerObjectiveConfig:
        if any(self.model.ict_bases) and self.ict is None:
            raise ValueError("ict_bases ask for ICT-FaceKit's expressions, so ict must name their file")
        if self.resnet50 is not None and self.model.image != "resnet50":
            raise ValueError("resnet50 has weights but no place: set model.image to resnet50")
        return self
