"""A face verification network for paper A's identity loss, trained with ArcFace's margin (Deng et al. 2019)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from reenactor.nn import BasicBlock, conv_norm

FACE_SIZE = 112
_LEAST_SINE2 = 1e-7


class VerificationConfig(BaseModel):
    """Sizes of the verification network, and the margin it is trained with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(default=32, ge=8)
    """Channels at half size; doubled with each further halving."""
    embedding: int = Field(default=128, ge=2)
    scale: float = Field(default=30.0, gt=0)
    """s: of the cosines, before the softmax."""
    margin: float = Field(default=0.5, ge=0, lt=math.pi / 2)
    """m: radians."""


class VerificationNet(nn.Module):
    """Face crops to embeddings: residual blocks, then a weight for each place of the last map (a depthwise 7x7)."""

    def __init__(self, config: VerificationConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.stem = nn.Sequential(conv_norm(3, w, stride=2), nn.ReLU())
        self.down = nn.ModuleList(
            nn.Sequential(BasicBlock(w << j, w << j + 1, stride=2), BasicBlock(w << j + 1, w << j + 1))
            for j in range(3)
        )
        side = FACE_SIZE // 2**4
        self.gather = nn.Conv2d(8 * w, 8 * w, side, groups=8 * w, bias=False)
        self.embed = nn.Linear(8 * w, config.embedding)

    def forward(self, faces: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Input, output.

        | | shape |
        |---|---|
        | faces | (B, 3, 112, 112) face crops in [-1, 1] |
        | result | (B, 128) of length 1; the dot product of two is their cosine |
        """
        return F.normalize(self.embed(self.gather(self.features(faces)[-1]).flatten(1)))

    def features(self, faces: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Maps of 56, 28, 14 and 7 pixels a side, all >= 0, for perceptual losses."""
        if faces.shape[-2:] != (FACE_SIZE, FACE_SIZE):
            height, width = faces.shape[-2:]
            raise ValueError(f"faces to verify must have {FACE_SIZE} x {FACE_SIZE} pixels, not {width} x {height}")
        maps = [self.stem(faces)]
        for block in self.down:
            maps.append(block(maps[-1]))
        return tuple(maps)


class AngularMargin(nn.Module):
    """The head of training: one direction for each identity.

    Args:
        config: of the network.
        identities: people in the training set.
    """

    def __init__(self, config: VerificationConfig, identities: int) -> None:
        super().__init__()
        self.scale, self.margin = config.scale, config.margin
        self.directions = nn.Parameter(torch.randn(identities, config.embedding))

    def forward(self, embeddings: Float[Tensor, "b e"], identity: Int[Tensor, " b"]) -> Float[Tensor, "b n"]:
        """Logits for cross-entropy against `identity`.

        | | shape |
        |---|---|
        | embeddings | (B, 128) of any length |
        | identity | (B,) whole numbers 0..identities-1 |
        | result | (B, identities) |
        """
        cosines = F.normalize(embeddings) @ F.normalize(self.directions).T
        return angular_margin_logits(cosines, identity, scale=self.scale, margin=self.margin)


def angular_margin_logits(
    cosines: Float[Tensor, "b n"], identity: Int[Tensor, " b"], *, scale: float, margin: float
) -> Float[Tensor, "b n"]:
    """`s cos(theta + m)` for each one's own identity, `s cos(theta)` for the others (ArcFace, equation 3).

    From theta = pi - m on, where the cosine would rise again, it goes on as `s (cos(theta) - m sin(m))`.

    Args:
        cosines: of the angles to each identity.
        identity: each one's own.
        scale: s.
        margin: m, radians.
    """
    own = cosines.gather(1, identity[:, None])
    # A sine of 0 has no slope.
    sine = (1 - own.square()).clamp_min(_LEAST_SINE2).sqrt()
    added = own * math.cos(margin) - sine * math.sin(margin)
    farther = torch.where(own > -math.cos(margin), added, own - margin * math.sin(margin))
    return scale * cosines.scatter(1, identity[:, None], farther)
