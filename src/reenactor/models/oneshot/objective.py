"""Losses of F and D (paper A, equation 1); FusionNet has its own objective, `fusion_objective.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError, model_validator
from torch import Tensor, nn

from reenactor.core import CheckpointError, MapKind, PairBatch
from reenactor.models.contract import ModelConfig
from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.models.oneshot.config import OneShotConfig
from reenactor.models.oneshot.discriminator import oneshot_discriminator
from reenactor.models.oneshot.model import Appearance, OneShot, OneShotGenerator
from reenactor.models.oneshot.shape_encoder import SHAPE_ENCODER, shape_features
from reenactor.models.oneshot.verification import VERIFICATION, identity_features
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint
from reenactor.nn.losses import (
    FeatureNetwork,
    FeatureNetworkConfig,
    FeatureReader,
    LayerWeights,
    MapsNeeded,
    Objective,
    Step,
    TrainedFeatures,
    build_features,
    least_squares_discriminator,
    least_squares_generator,
    masked_psnr,
    perceptual_loss,
    truth_outside,
    weighted_l1,
)

FEATURE_READERS: Mapping[str, FeatureReader] = {SHAPE_ENCODER: shape_features, VERIFICATION: identity_features}
"""Networks of this project that losses can compare pictures with, for `losses.build_features`."""
_PREFIX = "generator."
"""Prefix of the generator's tensors in the model's checkpoint."""


class PartWeights(ModelConfig):
    """How much each part of the parsing map adds to a pixel's weight in the L1 loss (authors' code)."""

    everywhere: float = Field(default=0.5, ge=0)
    face: float = Field(default=1, ge=0)
    brows: float = Field(default=2, ge=0)
    eyes: float = Field(default=3, ge=0)
    gaze: float = Field(default=4, ge=0)
    nose: float = Field(default=2, ge=0)
    lips: float = Field(default=3, ge=0)
    teeth: float = Field(default=2, ge=0)
    nose_bridge: float = Field(default=1, ge=0)

    def of(self, parsing: Float[Tensor, "b 9 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Each pixel's weight; parts that lie on top of each other add up."""
        brows_to_nose = (self.brows, self.eyes, self.gaze, self.nose)
        channels = (self.face, *brows_to_nose, self.lips, self.lips, self.teeth, self.nose_bridge)
        return (parsing * parsing.new_tensor(channels)[:, None, None]).sum(dim=1, keepdim=True) + self.everywhere


class OneShotObjectiveConfig(ModelConfig):
    """The defaults are the paper's weights; its feature networks must be named."""

    kind: Literal["oneshot"] = "oneshot"
    model: OneShotConfig = OneShotConfig.paper()
    init: Path | None = None
    """Folder of a trained model of the same settings to start from (fine-tuning); None for fresh weights."""
    reconstruction: float = Field(default=25, ge=0)
    """The paper's lambda: L1 between the target photos and the appearance auto-encoder's reconstructions."""
    pixel: float = Field(default=25, ge=0)
    """alpha_r: L1 between the drawn face and the true one, weighted by part."""
    perceptual: float = Field(default=1, ge=0)
    """alpha_p."""
    gan: float = Field(default=1, ge=0)
    """alpha_g; where it is 0, there is no discriminator."""
    identity: float = Field(default=1, ge=0)
    """alpha_i: L1 between their verification features, of unit variance: about 1.1 between two strangers."""
    parts: PartWeights = PartWeights()
    features: FeatureNetworkConfig | None = None
    """VGG16 or a substitute; None if its weight is 0."""
    layer_weights: LayerWeights = "sum"
    """Of the perceptual loss: the sum over layers (authors' code), `PIX2PIXHD_LAYERS` with VGG19 (the work that the
    paper cites), or the mean."""
    verification: TrainedFeatures | None = None
    """A trained verification network; None if its weight is 0."""
    augment: Augmentation = Augmentation.placed()
    """Of the target photos, so that F learns that looks do not depend on where a face is."""

    @model_validator(mode="after")
    def _complete(self) -> OneShotObjectiveConfig:
        for loss, network in (("perceptual", "features"), ("identity", "verification")):
            if getattr(self, loss) and getattr(self, network) is None:
                raise ValueError(f"{loss} weighs {getattr(self, loss)}, so {network} must name a network")
        if not (self.pixel or self.perceptual):
            raise ValueError("no loss compares pictures: give pixel or perceptual a weight")
        return self


@final
class OneShotObjective(Objective[PairBatch]):
    """F and D against the patch discriminators; FusionNet, if the model has one, stays fixed.

    D's own picture is compared, before fusion. Outside of a pair's mask (a contour pair's is the face) it is replaced
    by the true one, so nothing is compared there. Contour pairs are the paper's data; others serve as well.

    Args:
        config: networks and weights.
        readers: for `TrainedFeatures`; see `build_features`.
    """

    maps = MapsNeeded(driver=(MapKind.PARSING,))

    def __init__(self, config: OneShotObjectiveConfig, readers: Mapping[str, FeatureReader] = FEATURE_READERS) -> None:
        super().__init__()
        self.config = config
        self.alignment = config.model.alignment
        self.G = OneShotGenerator(config.model)
        if config.init is not None:
            trained = trained_generator(config.init)
            if trained.config != config.model:
                raise CheckpointError(
                    f"{config.init} has other settings than objective.model; give it those of that folder's config.json"
                )
            self.G.load_state_dict(trained.state_dict())
        if self.G.fusion is not None:
            self.G.fusion.requires_grad_(False)
        self.D = oneshot_discriminator(config.model) if config.gan else None
        chosen = {
            "perceptual": config.features if config.perceptual else None,
            "identity": config.verification if config.identity else None,
        }
        # In a plain dictionary: what is frozen is no part of a training checkpoint.
        self._features: dict[str, FeatureNetwork] = {
            name: build_features(network, readers) for name, network in chosen.items() if network is not None
        }

    @property
    def generator(self) -> nn.Module:
        """F, D, and FusionNet, which does not learn here."""
        return self.G

    @property
    def discriminator(self) -> nn.Module | None:
        """The patch discriminators; None where their loss weighs nothing."""
        return self.D

    def generator_step(self, batch: PairBatch) -> Step:
        """`25 L_pixel + L_perceptual + L_GAN + L_identity + 25 L_reconstruction`, with the config's weights."""
        targets, count = batch.targets, batch.targets.shape[1]
        moved, _ = augmented(targets.flatten(0, 1), batch.target_mesh.flatten(0, 1), self.config.augment)
        targets = moved.unflatten(0, (-1, count))
        found = self.G.encode(targets)
        drawn = truth_outside(self._decoded(self.G, found, batch), batch.truth, batch.mask)
        parsing = batch.driver_maps[MapKind.PARSING]
        parts = {
            "reconstruction": weighted_l1(found.reconstructions.flatten(0, 1), targets.flatten(0, 1)),
            "pixel": weighted_l1(drawn, batch.truth, batch.mask * self.config.parts.of(parsing)),
        }
        for name, network in self._features.items():
            how: dict[str, Any] = {}
            if name == "perceptual":
                how = {"pixel_weights": batch.mask, "layer_weights": self.config.layer_weights}
            parts[name] = perceptual_loss(network, drawn, batch.truth, **how)
        if self.D is not None:
            parts["gan"] = least_squares_generator([scale.scores for scale in self.D(drawn)])
        return Step.weighted(parts, dict(self.config), drawn.detach())

    def discriminator_step(self, batch: PairBatch, drawn: Float[Tensor, "b 3 h w"]) -> Step:
        """The least-squares loss at all scales, and the mean scores of true and drawn pictures."""
        assert self.D is not None
        # In one batch: nothing in the networks mixes the pictures of a batch.
        pairs = [scale.scores.float().chunk(2) for scale in self.D(torch.cat([batch.truth, drawn]))]
        real, fake = [one for one, _ in pairs], [other for _, other in pairs]
        return Step.of_scores(least_squares_discriminator(real, fake), real, fake)

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a pair: the first target photo, F's reconstruction of it, the parsing map, what D draws, the truth."""
        found, face = self._drawn(generator, batch)
        parsing = parsing_picture(batch.driver_maps[MapKind.PARSING])
        row = [batch.targets[:, 0], found.reconstructions[:, 0], parsing, face, batch.truth]
        return torch.cat([picture.to(batch.truth.dtype) for picture in row], dim=3)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: PairBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`psnr` where the truth is true, `face_psnr` on the parsing map's face, `reconstruction_psnr`; dB."""
        found, face = self._drawn(generator, batch)
        part = batch.driver_maps[MapKind.PARSING][:, :1] * batch.mask
        photo = batch.targets[:, 0]
        return {
            "psnr": masked_psnr(face, batch.truth, batch.mask),
            "face_psnr": masked_psnr(face, batch.truth, part),
            "reconstruction_psnr": masked_psnr(found.reconstructions[:, 0], photo, torch.ones_like(batch.mask)),
        }

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `OneShot` loads."""
        return model_checkpoint(self.config.model, generator.state_dict())

    def _drawn(self, generator: nn.Module, batch: PairBatch) -> tuple[Appearance, Float[Tensor, "b 3 h w"]]:
        """As in inference: targets not augmented."""
        assert isinstance(generator, OneShotGenerator)
        found = generator.encode(batch.targets)
        return found, self._decoded(generator, found, batch)

    @staticmethod
    def _decoded(generator: OneShotGenerator, found: Appearance, batch: PairBatch) -> Float[Tensor, "b 3 h w"]:
        return generator.decode(found.z, found.maps, batch.driver_maps[MapKind.PARSING])


def trained_generator(folder: Path) -> OneShotGenerator:
    """The generator in a checkpoint of the model.

    Raises:
        CheckpointError: there is none, or it holds something else.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.kind != OneShot.name:
        raise CheckpointError(
            f"{folder} holds '{checkpoint.kind}', not '{OneShot.name}'; give the folder of such a model"
        )
    try:
        generator = OneShotGenerator(OneShotConfig.model_validate(checkpoint.config))
        generator.load_state_dict({name.removeprefix(_PREFIX): tensor for name, tensor in checkpoint.tensors.items()})
    except (ValidationError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise CheckpointError(f"{folder} is of another release ({reason}); train it again") from error
    return generator


def model_checkpoint(config: OneShotConfig, tensors: Mapping[str, Tensor]) -> Checkpoint:
    """The checkpoint that `OneShot` loads, from the generator's settings and weights."""
    named = {f"{_PREFIX}{name}": tensor for name, tensor in tensors.items()}
    return Checkpoint(OneShot.name, config.model_dump(mode="json"), named)


_COLOURS = (
    *((-0.5, -0.5, -0.5), (0.6, 0.2, -0.8), (1.0, 1.0, 1.0), (-0.2, 0.2, 1.0), (0.0, -0.3, 0.2)),
    *((1.0, -0.6, -0.4), (0.8, -0.8, 0.0), (1.0, 1.0, 0.6), (0.2, 0.4, 0.0)),
)


def parsing_picture(parsing: Float[Tensor, "b 9 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Each part in a colour of its own, later parts on top."""
    picture = -torch.ones_like(parsing[:, :3])
    for part, colour in zip(parsing.split(1, dim=1), _COLOURS, strict=True):
        picture = picture + part * (parsing.new_tensor(colour)[:, None, None] - picture)
    return picture
