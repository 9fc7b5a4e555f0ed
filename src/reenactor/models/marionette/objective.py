"""MarioNETte's losses (paper B, equations 10 to 12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from reenactor.core import MapKind, PairBatch
from reenactor.models.contract import ModelConfig
from reenactor.models.marionette.config import MarioNETteConfig
from reenactor.models.marionette.discriminator import MarioNETteDiscriminator
from reenactor.models.marionette.model import MarioNETte, MarioNETteGenerator
from reenactor.nn import fold_spectral_norm
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import (
    Divisor,
    FeatureNetwork,
    FeatureNetworkConfig,
    FeatureReader,
    MapsNeeded,
    Objective,
    Step,
    build_features,
    feature_matching,
    frozen,
    hinge_discriminator,
    hinge_generator,
    masked_psnr,
    perceptual_loss,
    truth_outside,
    weighted_l1,
)

HULL_WEIGHT = 3.0
"""Weight of the landmarks' convex hull in the perceptual losses; the rest has 1 (paper B, appendix)."""


class MarioNETteObjectiveConfig(ModelConfig):
    """The defaults are the paper's weights; its feature networks must be named."""

    kind: Literal["marionette"] = "marionette"
    model: MarioNETteConfig = MarioNETteConfig()
    gan: float = Field(default=1, ge=0)
    perceptual_vgg19: float = Field(default=10, ge=0)
    """The paper's lambda_P."""
    perceptual_vgg_face: float = Field(default=0.01, ge=0)
    """lambda_PF; small, because VGG-Face's features are of pictures in 0..255."""
    feature_matching: float = Field(default=10, ge=0)
    """lambda_FM. Where this and `gan` are 0, there is no discriminator."""
    hull_divided_by: Divisor = "pixels"
    """The perceptual losses give pixels in the landmarks' hull three-fold weights. "pixels": as the paper's sentence
    reads, so that the hull adds to the loss; "weights": a weighted mean, so that it only shifts attention."""
    pixel_l1: float = Field(default=0, ge=0)
    """Ours, not the paper's."""
    vgg19: FeatureNetworkConfig | None = None
    """VGG19 or a substitute; None if its weight is 0."""
    vgg_face: FeatureNetworkConfig | None = None
    """VGG-Face or a substitute; None if its weight is 0."""

    @model_validator(mode="after")
    def _complete(self) -> MarioNETteObjectiveConfig:
        for loss, network in (("perceptual_vgg19", "vgg19"), ("perceptual_vgg_face", "vgg_face")):
            if getattr(self, loss) and getattr(self, network) is None:
                raise ValueError(f"{loss} weighs {getattr(self, loss)}, so {network} must name a network")
        if not (self.gan or self.perceptual_vgg19 or self.perceptual_vgg_face or self.pixel_l1):
            raise ValueError("no loss compares pictures: give one besides feature matching a weight")
        return self


@final
class MarioNETteObjective(Objective[PairBatch]):
    """Generator against discriminator, on pairs of photos and a true picture of the same person.

    Outside of a pair's mask the drawn picture is replaced by the true one, so nothing is compared there.

    Args:
        config: networks and weights.
        identities: people in the training set, whom the discriminator tells apart.
        readers: for `TrainedFeatures`; see `build_features`.
    """

    def __init__(
        self, config: MarioNETteObjectiveConfig, identities: int, readers: Mapping[str, FeatureReader] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        raster = config.model.raster
        self.maps = MapsNeeded(targets=(raster,), driver=(raster, MapKind.HULL_MASK))
        self.G = MarioNETteGenerator(config.model)
        adversarial = config.gan or config.feature_matching
        self.D = MarioNETteDiscriminator(config.model, identities) if adversarial else None
        chosen = {
            "perceptual": config.vgg19 if config.perceptual_vgg19 else None,
            "perceptual_face": config.vgg_face if config.perceptual_vgg_face else None,
        }
        # In a plain dictionary: what is frozen is no part of a training checkpoint.
        self._features: dict[str, FeatureNetwork] = {
            name: build_features(network, readers) for name, network in chosen.items() if network is not None
        }

    @property
    def generator(self) -> nn.Module:
        """The generator, spectrally normalized."""
        return self.G

    @property
    def discriminator(self) -> nn.Module | None:
        """The discriminator; None where the weights of its losses are 0."""
        return self.D

    def generator_step(self, batch: PairBatch) -> Step:
        """`L_GAN + 10 L_P + 0.01 L_PF + 10 L_FM` (paper B, equation 12), with the config's weights.

        The discriminator is left as it was: it gets no gradients, and no power iteration moves its spectral norms.
        """
        drawn = truth_outside(self._draw(self.G, batch), batch.truth, batch.mask)
        pixel_weights = batch.mask * (1 + (HULL_WEIGHT - 1) * batch.driver_maps[MapKind.HULL_MASK])
        parts: dict[str, Tensor] = {}
        for name, network in self._features.items():
            parts[name] = perceptual_loss(
                network, drawn, batch.truth, pixel_weights=pixel_weights, divide_by=self.config.hull_divided_by
            )
        if self.D is not None:
            raster = batch.driver_maps[self.config.model.raster]
            with _unchanged(self.D):
                fake = self.D(drawn, raster, batch.identity)
                with torch.no_grad():
                    real = self.D(batch.truth, raster, batch.identity)
            parts["gan"] = hinge_generator(fake.scores)
            parts["feature_matching"] = feature_matching(fake.features, real.features)
        if self.config.pixel_l1:
            parts["pixel"] = weighted_l1(drawn, batch.truth, batch.mask)
        weights = {
            "gan": self.config.gan,
            "perceptual": self.config.perceptual_vgg19,
            "perceptual_face": self.config.perceptual_vgg_face,
            "feature_matching": self.config.feature_matching,
            "pixel": self.config.pixel_l1,
        }
        return Step.weighted(parts, weights, drawn.detach())

    def discriminator_step(self, batch: PairBatch, drawn: Float[Tensor, "b 3 h w"]) -> Step:
        """The hinge loss (paper B, equation 10), and the mean scores of true and drawn pictures.

        Both go through in one batch, so that one power iteration a step serves both. Nothing in the network mixes
        the pictures of a batch.
        """
        assert self.D is not None
        raster = batch.driver_maps[self.config.model.raster]
        pictures = torch.cat([batch.truth, drawn])
        result = self.D(pictures, torch.cat([raster, raster]), torch.cat([batch.identity, batch.identity]))
        real, fake = result.scores.chunk(2)
        return Step.of_scores(hinge_discriminator(real, fake), real, fake)

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a pair: the K target photos, the driver's raster, what is drawn, the true picture."""
        raster = batch.driver_maps[self.config.model.raster]
        row = [*batch.targets.unbind(dim=1), raster, self._draw(generator, batch).to(batch.truth.dtype), batch.truth]
        return torch.cat(row, dim=3)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: PairBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`psnr` of the whole picture, and `face_psnr` inside the landmarks' hull, dB; means over the pairs."""
        drawn, hull = self._draw(generator, batch), batch.driver_maps[MapKind.HULL_MASK] * batch.mask
        regions = {"psnr": batch.mask, "face_psnr": hull}
        return {name: masked_psnr(drawn, batch.truth, region) for name, region in regions.items()}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `MarioNETte` loads: weights divided by their spectral norms."""
        folded = fold_spectral_norm(generator).state_dict()
        return Checkpoint(
            kind=MarioNETte.name,
            config=self.config.model.model_dump(mode="json"),
            tensors={f"generator.{name}": tensor for name, tensor in folded.items()},
        )

    def _draw(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w"]:
        raster = self.config.model.raster
        return generator(
            batch.driver_maps[raster], batch.targets, batch.target_maps[raster], batch.driver_mesh, batch.target_mesh
        )


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """The network takes part in a loss but does not learn: no gradients, no power iterations."""
    training = network.training
    network.eval()
    try:
        with frozen(network):
            yield
    finally:
        network.train(training)
