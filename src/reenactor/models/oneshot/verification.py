"""A face verification network for paper A's identity loss, trained with ArcFace's margin (Deng et al. 2019).

In order: the network, the frozen features that losses compare, and the objective.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from reenactor.core import CheckpointError, FrameBatch, ReenactError
from reenactor.models.contract import ModelConfig
from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.nn import BasicBlock, conv_norm, resized
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step

VERIFICATION = "oneshot-verification"
"""Kind of its checkpoint."""
FACE_SIZE = 112
_LEAST_SINE2 = 1e-7


class VerificationConfig(ModelConfig):
    """Sizes of the verification network, and the margin it is trained with."""

    width: int = Field(default=32, ge=8)
    """Channels at half size; doubled with each further halving."""
    embedding: int = Field(default=128, ge=2)
    scale: float = Field(default=30.0, gt=0)
    """s: of the cosines, before the softmax."""
    margin: float = Field(default=0.5, ge=0, lt=math.pi / 2)
    """m: radians."""
    centre: float = Field(default=200 / 256, gt=0, le=1)
    """Fraction of a face crop's side that the network looks at (authors' code: 200 of 256 pixels)."""


class VerificationNet(nn.Module):
    """Face crops to embeddings: residual blocks, then a weight for each position of the last map (a depthwise 7x7)."""

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
        self.embed = nn.Linear(8 * w, config.embedding, bias=False)
        self.norm = nn.BatchNorm1d(config.embedding, affine=False)

    def forward(self, faces: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Input, output.

        | | shape |
        |---|---|
        | faces | (B, 3, 112, 112) face crops in [-1, 1] |
        | result | (B, 128) of length 1; the dot product of two is their cosine |
        """
        return F.normalize(self.standardized(faces))

    def standardized(self, faces: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e"]:
        """Embeddings before they are brought to length 1, (B, 128).

        Over the training set each component has a mean of 0 and a variance of 1, so if components are normally
        distributed, those of two strangers differ by 2 / sqrt(pi) = 1.13 on average.
        """
        return self.norm(self.embed(self.gather(self.features(faces)[-1]).flatten(1)))

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

    From theta = pi - m on, where the cosine would rise again, it continues as `s (cos(theta) - m sin(m))`.

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


class IdentityFeatures(nn.Module):
    """A frozen verification network's features of the face in the middle of a crop."""

    def __init__(self, network: VerificationNet) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ 1 1"]]:
        """(B, 128, 1, 1) of unit variance, as in the authors' code, of face crops of any size in [-1, 1]."""
        faces = face_centre(image_m1p1, self.network.config.centre)
        return (self.network.standardized(faces)[..., None, None],)


def face_centre(image_m1p1: Float[Tensor, "b 3 h w"], centre: float) -> Float[Tensor, "b 3 112 112"]:
    """The middle of a face crop, a fraction `centre` of its sides, at the verification network's size."""
    height, width = image_m1p1.shape[-2:]
    top, left = (round(side * (1 - centre) / 2) for side in (height, width))
    return resized(image_m1p1[..., top : height - top, left : width - left], FACE_SIZE, antialias=True)


def identity_features(checkpoint: Checkpoint) -> IdentityFeatures:
    """Reads a checkpoint of the kind `VERIFICATION`.

    Raises:
        CheckpointError: of a release without the last normalization.
    """
    network = VerificationNet(VerificationConfig.model_validate(checkpoint.config))
    try:
        network.load_state_dict(dict(checkpoint.tensors))
    except RuntimeError as error:
        raise CheckpointError("this verification network is of another release; train it again") from error
    return IdentityFeatures(network)


class VerificationObjectiveConfig(ModelConfig):
    """Ours: the paper does not describe the training."""

    kind: Literal["verification"] = "verification"
    model: VerificationConfig = VerificationConfig()
    augment: Augmentation = Augmentation.mild()


class Verifier(nn.Module):
    """The network, and the head that only training uses."""

    def __init__(self, config: VerificationConfig, identities: int) -> None:
        super().__init__()
        self.network = VerificationNet(config)
        self.head = AngularMargin(config, identities)

    def forward(self, images_m1p1: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b e"]:
        """Embeddings of face crops."""
        return self.network(face_centre(images_m1p1, self.network.config.centre))


@final
class VerificationObjective(Objective[FrameBatch]):
    """One player: cross-entropy over the people of the training set.

    Args:
        config: network and augmentation.
        identities: people in the training set.
    """

    alignment = None

    def __init__(self, config: VerificationObjectiveConfig, identities: int) -> None:
        super().__init__()
        if identities < 2:
            raise ReenactError("a verification network needs two people to tell apart at least; prepare more data")
        self.config = config
        self.V = Verifier(config.model, identities)

    @property
    def generator(self) -> nn.Module:
        """Network and head."""
        return self.V

    def generator_step(self, batch: FrameBatch) -> Step:
        """Cross-entropy; the log also has the accuracy of the head without its margin.

        Raises:
            ReenactError: the batch has one picture.
        """
        if len(batch.images) < 2:
            raise ReenactError("batch normalization needs two pictures or more at a time; choose a larger batch_size")
        images, _ = augmented(batch.images, batch.mesh_px, self.config.augment)
        embeddings = self.V(images).float()
        loss = F.cross_entropy(self.V.head(embeddings, batch.identity), batch.identity)
        with torch.no_grad():
            named = (embeddings @ F.normalize(self.V.head.directions).T).argmax(dim=1)
        right = (named == batch.identity).float().mean()
        return Step(loss, {"cross_entropy": loss.detach(), "accuracy": right})

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: FrameBatch) -> Mapping[str, Float[Tensor, ""]]:
        """Mean cosines of pairs of pictures of the same person and of different people, and `auc`.

        The head is not used, so the people need not be of the training set. Same-person pairs in a batch are mostly
        of one clip, in one light: the numbers flatter. Empty without pairs of both kinds.
        """
        embeddings = generator(batch.images).float()
        first, second = torch.triu_indices(len(embeddings), len(embeddings), offset=1, device=embeddings.device)
        cosines = (embeddings[first] * embeddings[second]).sum(dim=1)
        same = batch.identity[first] == batch.identity[second]
        if same.all() or not same.any():
            return {}
        ours, others = cosines[same], cosines[~same]
        return {"cosine_same": ours.mean(), "cosine_different": others.mean(), "auc": area_under_curve(ours, others)}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `identity_features` reads: the network without the head."""
        assert isinstance(generator, Verifier)
        config = self.config.model.model_dump(mode="json")
        return Checkpoint(VERIFICATION, config, generator.network.state_dict())


def area_under_curve(positive: Float[Tensor, " n"], negative: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Chance that a positive's score is above a negative's; equal ones count half (Mann and Whitney)."""
    difference = positive[:, None] - negative
    return (difference > 0).float().mean() + (difference == 0).float().mean() / 2
