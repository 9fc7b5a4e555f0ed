"""The landmark transformer (paper B): the driver's expression on the target's face shape."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from pydantic import ValidationError
from torch import Tensor, nn

from reenactor.core import CheckpointError, Head
from reenactor.face.geometry import Similarity, contours, face_crop, harmonic_weights, in_mean_pose
from reenactor.face.retarget.relative import HeadMovement, keep_apart, transfer_expression
from reenactor.face.retarget.transformer.config import LandmarkTransformerConfig
from reenactor.face.retarget.transformer.images import ResNet50Features
from reenactor.face.retarget.transformer.statistics import LandmarkStatistics, point_set
from reenactor.nn.checkpoint import Checkpoint

KIND = "landmark-transformer"
"""Kind of its checkpoints."""
_OPENINGS = (
    (contours.INNER_LIPS_UPPER, contours.INNER_LIPS_LOWER),
    (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
    (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
)


class LandmarkDisentangler(nn.Module):
    """`M(image, l - l_m)`: the expression of a face as coefficients of the bases, standardized.

    Args:
        config: sizes, and whether it sees the face crop.
    """

    scale: Tensor

    def __init__(self, config: LandmarkTransformerConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.image = ResNet50Features() if config.image == "resnet50" else None
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
        """Inputs and output.

        | | shape |
        |---|---|
        | offset | (B, N, 3) normalized landmarks minus the mean, l - l_m |
        | images | (B, 3, H, W) the face crops, in [-1, 1]; for disentanglers that see them |
        | result | (B, K) standardized coefficients, alpha^ of equation 6 |
        """
        features = offset.flatten(1) / self.scale
        if self.image is not None:
            if images is None:
                raise ValueError("this disentangler sees pictures: give the face crops")
            size = (self.image_size, self.image_size)
            resized = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
            features = torch.cat([features, self.image(resized)], dim=1)
        return self.mlp(features)


@final
class LandmarkTransformer(nn.Module):
    """The fitted statistics (mean, bases) and the learned disentangler.

    Landmarks are given as the mesh, or as the config's points, in any picture's pixels.

    Args:
        config: everything that a checkpoint does not hold as tensors.
        statistics: from `fit_statistics`; None if `load_state_dict` will fill them.
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
        """Read the checkpoint of a `LandmarkTransformerObjective`; in evaluation mode.

        Args:
            checkpoint: of this kind.
            intensity: lambda_exp; None for the checkpoint's.

        Raises:
            CheckpointError: it is of another kind, or does not fit its config.
        """
        if checkpoint.kind != KIND:
            raise CheckpointError(
                f"this checkpoint holds '{checkpoint.kind}', not a landmark transformer; give another one"
            )
        changes = {} if intensity is None else {"intensity": intensity}
        try:
            made = cls(LandmarkTransformerConfig.model_validate({**checkpoint.config, **changes}))
            made.load_state_dict(dict(checkpoint.tensors))
        except (ValidationError, RuntimeError) as error:
            raise CheckpointError(f"this landmark transformer does not fit its config: {error}") from error
        return made.eval()

    def checkpoint(self, card: str = "") -> Checkpoint:
        """The checkpoint that `from_checkpoint` reads."""
        return Checkpoint(KIND, self.config.model_dump(mode="json"), self.state_dict(), card)

    def coefficients(self, expression: Float[Tensor, "*b n 3"]) -> Float[Tensor, "*b k"]:
        """Standardized coefficients of a known expression: alpha of equation 5, over its standard deviations."""
        return torch.einsum("...nd,knd->...k", expression, self.basis) / self.std

    def expression_of(self, coefficients: Float[Tensor, "*b k"]) -> Float[Tensor, "*b n 3"]:
        """`b_exp^T alpha`, without lambda_exp."""
        return torch.einsum("...k,knd->...nd", coefficients * self.std, self.basis)

    def crop(
        self, picture: UInt8[np.ndarray, "h w 3"], mesh_px: Float[np.ndarray, "478 3"]
    ) -> UInt8[np.ndarray, "s s 3"]:
        """The square of a picture that the disentangler sees, cut as `reenactor prepare` cuts what it learns from.

        That is the square of a photo, or of a clip whose face keeps its position; where the face moves, a clip's square
        stays and grows, up to 2.5 faces.

        Args:
            picture: RGB.
            mesh_px: the face's landmarks in it.
        """
        picture_px = (picture.shape[1], picture.shape[0])
        square = face_crop(mesh_px, size=self.config.image_size, picture_px=picture_px)
        return square.cut(np.ascontiguousarray(picture))

    @torch.no_grad()
    def identity(
        self, landmarks: Float[np.ndarray, "k m 3"], images: Float[Tensor, "k 3 h w"] | None = None
    ) -> Float[np.ndarray, "n 3"]:
        """`l_id^ = l - l_m - l_exp^`, the mean over K photos of one person.

        Args:
            landmarks: of the photos, pixels.
            images: the face crops in [-1, 1], for disentanglers that see them.
        """
        return self._split(self.points.normalized(landmarks)[1], images)[0].mean(0)

    @torch.no_grad()
    def transform(
        self,
        identity: Float[np.ndarray, "n 3"],
        driver: Float[np.ndarray, "b m 3"],
        images: Float[Tensor, "b 3 h w"] | None = None,
    ) -> tuple[Similarity, Float[np.ndarray, "b n 3"]]:
        """`l_m + l_id^(target) + l_exp^(driver)` (equation 7).

        Args:
            identity: of the target (`identity`).
            driver: landmarks of B frames, pixels.
            images: the driver's face crops in [-1, 1], for disentanglers that see them.

        Returns:
            The driver's heads (scale, rotation, translation), and the shapes in normalized space to apply them to.
        """
        head, shapes = self.points.normalized(driver)
        return head, self.mean.double().cpu().numpy() + identity + self._split(shapes, images)[1]

    def _split(
        self, shapes: Float[np.ndarray, "b n 3"], images: Float[Tensor, "b 3 h w"] | None
    ) -> tuple[Float[np.ndarray, "b n 3"], Float[np.ndarray, "b n 3"]]:
        """Identity and expression of normalized landmarks, which are the sum of both and the mean."""
        offset = shapes - self.mean.double().cpu().numpy()
        on_device = torch.from_numpy(offset).to(self.mean)
        pictures = None if images is None else images.to(self.mean)
        found = self.config.intensity * self.expression_of(self.disentangler(on_device, pictures))
        expression = found.double().cpu().numpy()
        return offset - expression, expression


class TransformerRetargeter:
    """Maps one driver's landmarks to one target's face: shape by the transformer, head movement as in `Retargeter`.

    Only relative head movement needs the neutral frame, the transformer's expressions do not: a badly chosen one tilts
    the head but leaves expressions as they are.

    A transformer of 68 points leaves the rest of the mesh open: that is the relative transfer's, moved so that the 68
    are where the transformer has them, and smoothly in between (`geometry.harmonic_weights`).

    Args:
        transformer: trained.
        target_meshes: (K, 478, 3) landmarks of the target's photos, each in pixels of its crop; the first is animated.
        neutral_mesh: (478, 3) the driver's most neutral frame (`neutral_frame`), driver's pixels.
        target_faces: (K, s, s, 3) the photos' face crops (RGB), for transformers that see them.
        head: whether the head turns by as much as the driver's (paper B: to the driver's angles, ABSOLUTE).
    """

    def __init__(
        self,
        transformer: LandmarkTransformer,
        target_meshes: Float[np.ndarray, "k 478 3"],
        neutral_mesh: Float[np.ndarray, "478 3"],
        target_faces: UInt8[np.ndarray, "k s s 3"] | None = None,
        head: Head = Head.RELATIVE,
    ) -> None:
        self._transformer = transformer
        self._identity = transformer.identity(target_meshes, None if target_faces is None else _m1p1(target_faces))
        head_of = transformer.points.normalized
        self._moved = HeadMovement(
            head_of(target_meshes[0])[0], head_of(neutral_mesh)[0], absolute=head is Head.ABSOLUTE
        )
        self._target, self._neutral = (in_mean_pose(mesh)[1] for mesh in (target_meshes[0], neutral_mesh))

    def __call__(
        self, driver_mesh: Float[np.ndarray, "478 3"], driver_face: UInt8[np.ndarray, "s s 3"] | None = None
    ) -> Float[np.ndarray, "478 3"]:
        """Target landmarks (478, 3) float32 in pixels of the target's crop.

        Args:
            driver_mesh: landmarks of a driver frame, pixels.
            driver_face: its face crop (RGB), for transformers that see it.
        """
        images = None if driver_face is None else _m1p1(driver_face[None])
        heads, shapes = self._transformer.transform(self._identity, driver_mesh[None], images)
        shape = shapes[0] if self._transformer.config.points == "mesh" else self._on_mesh(shapes[0], driver_mesh)
        for upper, lower in _OPENINGS:
            keep_apart(shape, upper, lower)
        head = Similarity(np.asarray(heads.scale[0]), heads.R[0], heads.t[0])
        return self._moved(head).apply(shape).astype(np.float32)

    def _on_mesh(
        self, shape: Float[np.ndarray, "n 3"], driver_mesh: Float[np.ndarray, "478 3"]
    ) -> Float[np.ndarray, "478 3"]:
        """The whole mesh for the transformer's points, in their normalized space."""
        points = self._transformer.points
        relative = transfer_expression(self._target, self._neutral, in_mean_pose(driver_mesh)[1])
        head, own = points.normalized(relative)
        return head.inverse().apply(relative) + harmonic_weights(tuple(points.vertices.tolist())) @ (shape - own)


def _m1p1(pictures: UInt8[np.ndarray, "b s s 3"]) -> Float[Tensor, "b 3 s s"]:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
