"""The landmark transformer (paper B): the driver's expression on the target's face shape."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import ValidationError
from torch import Tensor, nn

from reenactor.core import CheckpointError
from reenactor.face.geometry.similarity import Similarity
from reenactor.face.retarget.transformer.config import LandmarkTransformerConfig
from reenactor.face.retarget.transformer.images import ResNet50Features, SmallImageFeatures
from reenactor.face.retarget.transformer.points import point_set
from reenactor.face.retarget.transformer.statistics import LandmarkStatistics
from reenactor.nn.checkpoint import Checkpoint

KIND = "landmark-transformer"


class LandmarkDisentangler(nn.Module):
    """`M(image, l - l_m)`: which expression a face shows, in units of how far expressions usually go.

    Args:
        config: sizes, and which picture it sees.
    """

    scale: Tensor

    def __init__(self, config: LandmarkTransformerConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        kind = {"none": None, "small": SmallImageFeatures, "resnet50": ResNet50Features}[config.image]
        self.image = None if kind is None else kind()
        features = 3 * len(point_set(config.points)) + (0 if self.image is None else self.image.width)
        if config.hidden:
            hidden = nn.Linear(features, config.hidden)
            self.mlp = nn.Sequential(
                hidden, nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(config.hidden, config.bases)
            )
        else:
            self.mlp = nn.Sequential(nn.Linear(features, config.bases))
        self.register_buffer("scale", torch.ones(()))

    def forward(
        self, offset: Float[Tensor, "b n 3"], images: Float[Tensor, "b 3 h w"] | None = None
    ) -> Float[Tensor, "b k"]:
        """Input, output.

        | | shape |
        |---|---|
        | offset | (B, N, 3) normalized landmarks less the mean, l - l_m |
        | images | (B, 3, H, W) the face crops, in [-1, 1]; for disentanglers that see them |
        | result | (B, K) standardized coefficients, alpha^ of equation 6 |
        """
        features = offset.flatten(1) / self.scale
        if self.image is not None:
            if images is None:
                raise ValueError("this disentangler looks at pictures: give the face crops")
            size = (self.image_size, self.image_size)
            resized = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
            features = torch.cat([features, self.image(resized)], dim=1)
        return self.mlp(features)


@final
class LandmarkTransformer(nn.Module):
    """What is fitted (mean, bases) and what is learned (the disentangler), together.

    Landmarks go in as the mesh, or as the config's points, in any picture's pixels.

    Args:
        config: all that a checkpoint does not hold as tensors.
        statistics: what was fitted; None to have it filled by `load_state_dict`.
    """

    mean: Tensor
    basis: Tensor
    std: Tensor

    def __init__(self, config: LandmarkTransformerConfig, statistics: LandmarkStatistics | None = None) -> None:
        super().__init__()
        self.config = config
        self.points = point_set(config.points)
        self.disentangler = LandmarkDisentangler(config)
        n, k = len(self.points), config.bases
        self.register_buffer("mean", torch.zeros(n, 3))
        self.register_buffer("basis", torch.zeros(k, n, 3))
        self.register_buffer("std", torch.ones(k))
        if statistics is not None:
            self.mean.copy_(torch.from_numpy(statistics.mean))
            self.basis.copy_(torch.from_numpy(statistics.basis))
            self.std.copy_(torch.from_numpy(statistics.std))
            self.disentangler.scale.fill_(statistics.scale)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, intensity: float | None = None) -> LandmarkTransformer:
        """As `LandmarkTransformerObjective` left it, in evaluation mode.

        Args:
            checkpoint: of this kind.
            intensity: another lambda_exp than the checkpoint's.

        Raises:
            CheckpointError: it is of another kind, or does not fit its config.
        """
        if checkpoint.kind != KIND:
            raise CheckpointError(
                f"a landmark transformer cannot be made of '{checkpoint.kind}'; give another checkpoint"
            )
        changes = {} if intensity is None else {"intensity": intensity}
        try:
            made = cls(LandmarkTransformerConfig.model_validate({**checkpoint.config, **changes}))
            made.load_state_dict(dict(checkpoint.tensors))
        except (ValidationError, RuntimeError) as error:
            raise CheckpointError(f"this landmark transformer does not fit its config: {error}") from error
        return made.eval()

    def checkpoint(self, card: str = "") -> Checkpoint:
        """What `from_checkpoint` reads."""
        return Checkpoint(KIND, self.config.model_dump(mode="json"), self.state_dict(), card)

    def coefficients(self, expression: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b k"]:
        """Standardized coefficients of a known expression: alpha of equation 5, over its standard deviations."""
        return torch.einsum("...nd,knd->...k", expression, self.basis) / self.std

    def expression_of(self, coefficients: Float[Tensor, "*b k"]) -> Float[Tensor, "*b n 3"]:
        """`b_exp^T alpha`, without lambda_exp."""
        return torch.einsum("...k,knd->...nd", coefficients * self.std, self.basis)

    @torch.no_grad()
    def expression(
        self, landmarks: Float[np.ndarray, "b m 3"], images: Float[Tensor, "b 3 h w"] | None = None
    ) -> Float[np.ndarray, "b n 3"]:
        """`l_exp^ = lambda_exp b_exp^T alpha^` (equation 6) of B faces, in normalized space."""
        return self._split(self.points.normalized(landmarks)[1], images)[1]

    @torch.no_grad()
    def identity(
        self, landmarks: Float[np.ndarray, "k m 3"], images: Float[Tensor, "k 3 h w"] | None = None
    ) -> Float[np.ndarray, "n 3"]:
        """`l_id^ = l - l_m - l_exp^`, the mean over K photos of one person."""
        return self._split(self.points.normalized(landmarks)[1], images)[0].mean(0)

    def transform(
        self,
        identity: Float[np.ndarray, "n 3"],
        driver: Float[np.ndarray, "b m 3"],
        images: Float[Tensor, "b 3 h w"] | None = None,
    ) -> Float[np.ndarray, "b n 3"]:
        """`l_m + l_id^(target) + l_exp^(driver)` (equation 7), with the driver's scale, translation and rotation.

        Args:
            identity: of the target.
            driver: landmarks of B frames, pixels.
            images: of the driver's face crops, for disentanglers that see them.
        """
        head, shape = self.transformed(identity, driver, images)
        return head.apply(shape).astype(np.float32)

    @torch.no_grad()
    def transformed(
        self,
        identity: Float[np.ndarray, "n 3"],
        driver: Float[np.ndarray, "b m 3"],
        images: Float[Tensor, "b 3 h w"] | None = None,
    ) -> tuple[Similarity, Float[np.ndarray, "b n 3"]]:
        """The driver's heads, and what `transform` would put there, in normalized space."""
        head, shapes = self.points.normalized(driver)
        return head, self.mean.double().cpu().numpy() + identity + self._split(shapes, images)[1]

    def _split(
        self, shapes: Float[np.ndarray, "b n 3"], images: Float[Tensor, "b 3 h w"] | None
    ) -> tuple[Float[np.ndarray, "b n 3"], Float[np.ndarray, "b n 3"]]:
        """Identity and expression of normalized landmarks; with the mean they add up to them."""
        offset = shapes - self.mean.double().cpu().numpy()
        on_device = torch.from_numpy(offset).to(self.mean)
        pictures = None if images is None else images.to(self.mean)
        found = self.config.intensity * self.expression_of(self.disentangler(on_device, pictures))
        expression = found.double().cpu().numpy()
        return offset - expression, expression
