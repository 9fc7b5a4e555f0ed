"""Training of the mouth refiner, on top of a trained hybrid that stays fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from reenactor.core import CheckpointError, PairBatch
from reenactor.models.contract import ModelConfig
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.model import RASTER, Hybrid, HybridGenerator
from reenactor.models.hybrid.mouth import MouthRefiner, mouth_box, mouth_crop, mouth_layers, reference_mouth
from reenactor.models.hybrid.objective import PREFIX, charbonnier, drawn_pair, hybrid_checkpoint, opening_parts
from reenactor.nn import PatchGAN
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint
from reenactor.nn.losses import (
    FeatureNetwork,
    FeatureNetworkConfig,
    FeatureReader,
    MapsNeeded,
    Objective,
    RandomVgg,
    Step,
    build_features,
    feature_matching,
    frozen,
    hinge_discriminator,
    hinge_generator,
    masked_psnr,
    perceptual_loss,
    truth_outside,
)

_COARSE = 4
"""Pixels of a crop a side whose mean is compared."""
_MOUTH = 0
"""Index of the mouth in `discriminator.PARTS`."""


class MouthObjectiveConfig(ModelConfig):
    """Weights of the losses, all of crops of the mouth."""

    kind: Literal["hybrid-mouth"] = "hybrid-mouth"
    hybrid: Path
    """Folder of the trained hybrid that gets a mouth refiner; one that it has already is replaced."""
    side: int = Field(default=96, ge=32, multiple_of=32)
    """Side of the crops, pixels."""
    pixel: float = Field(default=6, ge=0)
    """Charbonnier distance of means over squares of 4 x 4 pixels: of colours, not of teeth, which may lie elsewhere."""
    perceptual: float = Field(default=1, ge=0)
    gan: float = Field(default=0.5, gt=0)
    """Hinge loss of mouths that open."""
    feature_matching: float = Field(default=2, ge=0)
    features: FeatureNetworkConfig = RandomVgg(width=0.25)
    """Network of the perceptual loss."""


@final
class MouthObjective(Objective[PairBatch]):
    """The mouth refiner and a discriminator, on what the frozen hybrid draws.

    Args:
        config: the hybrid and the weights.
        readers: for `TrainedFeatures`; see `build_features`.
    """

    maps = MapsNeeded(targets=(RASTER,), driver=(RASTER,))

    def __init__(self, config: MouthObjectiveConfig, readers: Mapping[str, FeatureReader] | None = None) -> None:
        super().__init__()
        self.config = config
        trained, weights = _without_mouth(read_checkpoint(config.hybrid))
        self._model = trained.model_copy(update={"mouth": config.side})
        self.M = MouthRefiner(self._model)
        self.D = PatchGAN(3 + 3, width=32, max_width=128)
        # In tuples: what stays fixed is no part of a training checkpoint.
        hybrid = HybridGenerator(trained).requires_grad_(False).eval()
        hybrid.load_state_dict(weights)
        self._hybrid = (hybrid,)
        self._features: tuple[FeatureNetwork, ...] = (build_features(config.features, readers),)

    @property
    def generator(self) -> nn.Module:
        """The mouth refiner."""
        return self.M

    @property
    def discriminator(self) -> nn.Module:
        """The discriminator of crops of mouths and of their rasters."""
        return self.D

    def generator_step(self, batch: PairBatch) -> Step:
        """The weighted sum of the config's terms."""
        mouths = self._crops(batch, photos=int(torch.randint(1, batch.targets.shape[1] + 1, ())))
        truth, raster, counts = mouths.truth, mouths.raster, mouths.mask * self.M.window
        image = truth_outside(mouths.refined(self.M), truth, mouths.mask)
        parts = {"pixel": charbonnier(*(F.avg_pool2d(one, _COARSE) for one in (image, truth, counts)))}
        for network in self._features:
            parts["perceptual"] = perceptual_loss(network, image, truth, pixel_weights=counts)
        opening = _opening(batch, mouths.mask)
        with frozen(self.D):
            fake = self.D(torch.cat([image, raster], dim=1)[opening])
            with torch.no_grad():
                real = self.D(torch.cat([truth, raster], dim=1)[opening])
        parts["gan"] = hinge_generator(fake.scores)
        parts["feature_matching"] = feature_matching(fake.features, real.features)
        shown = torch.cat([truth, image.detach(), raster], dim=1)
        return Step.weighted(parts, dict(self.config), shown[opening])

    def discriminator_step(self, batch: PairBatch, drawn: Float[Tensor, "n 9 h w"]) -> Step:
        """The hinge loss, and the mean scores of true and drawn mouths.

        Args:
            batch: not used.
            drawn: crops of true and drawn mouths, and their rasters.
        """
        truth, image, raster = drawn.chunk(3, dim=1)
        scores = self.D(torch.cat([torch.cat([picture, raster], dim=1) for picture in (truth, image)]))
        real, fake = scores.scores.chunk(2)
        return Step.of_scores(hinge_discriminator(real, fake), real, fake)

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a pair: the mouths of a photo, of its warp, of what the hybrid draws, of the result, of the truth."""
        mouths = self._crops(batch)
        drawn, warped, _ = mouths.pictures.split([3, 3, 1], dim=1)
        row = [mouths.reference, warped, drawn, mouths.refined(generator), mouths.truth]
        return torch.cat([picture.float().clamp(-1, 1) for picture in row], dim=3)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: PairBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`psnr` of the crops, and `before`, what the hybrid alone has there, dB."""
        mouths = self._crops(batch)
        shown = {"psnr": mouths.refined(generator), "before": mouths.pictures[:, :3]}
        return {n: masked_psnr(one.float().clamp(-1, 1), mouths.truth, mouths.mask) for n, one in shown.items()}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `Hybrid` loads: the hybrid as it was, with this mouth refiner."""
        (hybrid,) = self._hybrid
        weights = hybrid.state_dict() | {f"mouth.{name}": tensor for name, tensor in generator.state_dict().items()}
        return hybrid_checkpoint(self._model, weights)

    @torch.no_grad()
    def _crops(self, batch: PairBatch, *, photos: int | None = None) -> _Mouths:
        """Crops of what the frozen hybrid draws from the first `photos` of each pair."""
        (hybrid,) = self._hybrid
        hybrid.to(batch.truth.device)
        drawing = drawn_pair(hybrid, batch, photos=photos)
        side, size = self.config.side, batch.truth.shape[-1]
        people = zip(batch.targets, batch.target_maps[RASTER], batch.target_mesh, strict=True)
        references = [
            reference_mouth(photo[:photos], raster[:photos], mesh[:photos], self._model)
            for photo, raster, mesh in people
        ]
        box = mouth_box(batch.driver_mesh, size, self._model)
        whole = (drawing.pictures, batch.driver_maps[RASTER], batch.truth, batch.mask)
        return _Mouths(
            torch.stack([one.photo for one in references]),
            torch.stack([one.raster for one in references]),
            mouth_layers(references, batch.driver_mesh, box, size, side).to(box),
            *(mouth_crop(one, box, side) for one in whole),
        )


@dataclass(frozen=True)
class _Mouths:
    """Crops of B mouths: what `MouthRefiner` reads of a person and of a frame, the truth, and where it is true."""

    reference: Float[Tensor, "b 3 n n"]
    reference_raster: Float[Tensor, "b 3 n n"]
    layer: Float[Tensor, "b 4 n n"]
    pictures: Float[Tensor, "b 7 n n"]
    raster: Float[Tensor, "b 3 n n"]
    truth: Float[Tensor, "b 3 n n"]
    mask: Float[Tensor, "b 1 n n"]

    def refined(self, network: nn.Module) -> Float[Tensor, "b 3 n n"]:
        assert isinstance(network, MouthRefiner)
        reference = network.encode(self.reference, self.reference_raster)
        learned = network(self.pictures, self.layer, self.raster, reference)
        return self.pictures[:, :3] + network.classical(self.pictures, self.layer) + learned


def _without_mouth(checkpoint: Checkpoint) -> tuple[HybridConfig, dict[str, Tensor]]:
    """A trained generator's config and weights, without the mouth refiner that it may have.

    Raises:
        CheckpointError: the checkpoint holds another model.
    """
    if checkpoint.kind != Hybrid.name:
        raise CheckpointError(f"a hybrid is needed to start from; the checkpoint holds '{checkpoint.kind}'")
    config = HybridConfig.model_validate({**checkpoint.config, "mouth": 0})
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint.tensors.items()}
    return config, {name: tensor for name, tensor in weights.items() if not name.startswith("mouth.")}


def _opening(batch: PairBatch, mask: Float[Tensor, "b 1 n n"]) -> Bool[Tensor, " b"]:
    """Mouths that open further than in the first photo and are true everywhere; all mouths if there are none."""
    opens = opening_parts(batch).unflatten(0, (len(mask), -1))[:, _MOUTH] & (mask.flatten(1).amin(1) > 0.5)
    return opens if opens.any() else torch.ones_like(opens)
