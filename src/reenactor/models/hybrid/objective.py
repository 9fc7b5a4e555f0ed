"""The hybrid's losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from reenactor.core import MapKind, PairBatch
from reenactor.face.geometry.contours import LEFT_EYE, OPENINGS, OUTER_LIPS, RIGHT_EYE
from reenactor.face.geometry.openings import OPENS_MORE, opening
from reenactor.models.contract import ModelConfig
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.discriminator import PartsDiscriminator
from reenactor.models.hybrid.model import RASTER, Drawing, Hybrid, HybridGenerator
from reenactor.nn import resized
from reenactor.nn.checkpoint import Checkpoint
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

_BAND = 16
"""The band along the silhouette is this many times narrower than the picture."""
_MASK_SHARPNESS = 0.01
"""Width of the sigmoid from the difference of the two errors to the mask's target."""
_QUADRATIC_BELOW = 0.1
"""Below this an error counts by its square. Most of the warp is nearly right: with L1, the many pixels that need no
change hold back the few that need a large one."""
_REGION = 5
"""Errors are compared as means over squares of this many pixels a side."""
PREFIX = "generator."
"""Prefix of the generator's tensors in the model's checkpoint."""


class HybridObjectiveConfig(ModelConfig):
    """Weights of the losses. Where `gan` and `feature_matching` are 0, there is no discriminator."""

    removed: ClassVar[dict[str, Any]] = {
        "perceptual_holes": 1,
        "better_mouth": 0.02,
        "grid": 0,
        "init": None,
        "detail_only": False,
    }
    renamed: ClassVar[dict[str, str]] = {"better": "mask_margin"}

    kind: Literal["hybrid"] = "hybrid"
    model: HybridConfig = HybridConfig()
    pixel: float = Field(default=4, ge=0)
    """Charbonnier distance of the result."""
    perceptual: float = Field(default=1, ge=0)
    paint: float = Field(default=2, ge=0)
    """Charbonnier distance of the painting alone, so that it learns where the mask covers it, too."""
    mask: float = Field(default=0.2, ge=0)
    """Cross entropy of the mask with where the warp is nearer to the truth than the painting."""
    mask_margin: float = Field(default=0.02, ge=0)
    """The painting is preferred where its error is smaller by this (of 2: 2.5 grey levels)."""
    temporal: float = Field(default=2, ge=0)
    """Charbonnier distance of the changes from a frame to the next, where the data has pairs that follow each other."""
    smooth: float = Field(default=0.1, ge=0)
    """Differences of the learned flow between neighbours, in the network's pixels."""
    gan: float = Field(default=0.4, ge=0)
    """Hinge loss of mouths and eyes that open."""
    feature_matching: float = Field(default=2, ge=0)
    parts_weight: float = Field(default=4, ge=1)
    """Weight of mouth and eyes in the pixel and perceptual losses; the rest of the picture has 1 ..."""
    silhouette_weight: float = Field(default=7, ge=1)
    """... and a band along the silhouette this."""
    features: FeatureNetworkConfig | None = RandomVgg(width=0.25)
    """Network of the perceptual loss; None if its weight is 0."""

    @model_validator(mode="after")
    def _complete(self) -> HybridObjectiveConfig:
        if self.perceptual and self.features is None:
            raise ValueError(f"perceptual weighs {self.perceptual}, so features must name a network")
        if not (self.pixel or self.perceptual):
            raise ValueError("no loss compares pictures: give pixel or perceptual a weight")
        if self.model.mouth:
            raise ValueError("the mouth refiner is trained on its own, with kind hybrid-mouth: leave model.mouth 0")
        return self


@final
class HybridObjective(Objective[PairBatch]):
    """The generator, and a discriminator of mouths and eyes, on pairs of photos and a true picture of the same person.

    Outside of a pair's mask the drawn picture is replaced by the true one, so nothing is compared there.

    Args:
        config: network and weights.
        readers: for `TrainedFeatures`; see `build_features`.
    """

    maps = MapsNeeded(targets=(RASTER,), driver=(RASTER, MapKind.FACE_MASK, MapKind.HULL_MASK))

    def __init__(self, config: HybridObjectiveConfig, readers: Mapping[str, FeatureReader] | None = None) -> None:
        super().__init__()
        self.config = config
        self.G = HybridGenerator(config.model)
        adversarial = config.gan or config.feature_matching
        self.D = PartsDiscriminator(config.model.resolution // 4) if adversarial else None
        # In a plain tuple: what is frozen is no part of a training checkpoint.
        self._features: tuple[FeatureNetwork, ...] = ()
        if config.perceptual and config.features is not None:
            self._features = (build_features(config.features, readers),)

    @property
    def generator(self) -> nn.Module:
        """The network."""
        return self.G

    @property
    def discriminator(self) -> nn.Module | None:
        """The discriminator; None where the weights of its losses are 0."""
        return self.D

    def generator_step(self, batch: PairBatch) -> Step:
        """The weighted sum of the config's terms; README.md. The discriminator is left as it was."""
        # The first one, two, ... or all of the K photos, so that it learns to do with fewer.
        most = batch.targets.shape[1]
        drawing = drawn_pair(self.G, batch, photos=1 + int(most * torch.rand(()).square()) if most > 1 else 1)
        image = truth_outside(drawing.image, batch.truth, batch.mask)
        weights = batch.mask * self.pixel_weights(batch)
        parts = {
            "pixel": charbonnier(image, batch.truth, weights),
            "paint": charbonnier(truth_outside(drawing.paint, batch.truth, batch.mask), batch.truth, weights),
            "mask": self._mask_loss(drawing, batch),
            "smooth": _roughness(drawing.flow_ndc) * self.config.model.feature_size,
        }
        if self.config.temporal and batch.follows is not None and batch.follows[1:].any():
            later = batch.follows.nonzero()[:, 0]
            later = later[later > 0]
            changes = (image[later] - image[later - 1], batch.truth[later] - batch.truth[later - 1])
            parts["temporal"] = charbonnier(*changes, weights[later])
        for network in self._features:
            parts["perceptual"] = perceptual_loss(network, image, batch.truth, pixel_weights=weights)
        if self.D is not None:
            raster = batch.driver_maps[RASTER]
            with frozen(self.D):
                parts_seen = opening_parts(batch)
                fake = self.D(image, raster, batch.driver_mesh, parts_seen)
                with torch.no_grad():
                    real = self.D(batch.truth, raster, batch.driver_mesh, parts_seen)
            parts["gan"] = hinge_generator(fake.scores)
            parts["feature_matching"] = feature_matching(fake.features, real.features)
        step = Step.weighted(parts, dict(self.config), image.detach())
        return replace(step, parts={**step.parts, "mask_mean": drawing.mask.detach().mean()})

    def discriminator_step(self, batch: PairBatch, drawn: Float[Tensor, "b 3 h w"]) -> Step:
        """The hinge loss, and the mean scores of true and drawn parts."""
        assert self.D is not None
        raster, mesh = batch.driver_maps[RASTER], batch.driver_mesh
        parts = opening_parts(batch).repeat(2)
        result = self.D(torch.cat([batch.truth, drawn]), torch.cat([raster, raster]), torch.cat([mesh, mesh]), parts)
        real, fake = result.scores.chunk(2)
        return Step.of_scores(hinge_discriminator(real, fake), real, fake)

    def pixel_weights(self, batch: PairBatch) -> Float[Tensor, "b 1 h w"]:
        """Weight of each pixel: mouth and eyes most, then the silhouette, then the rest (1)."""
        size = batch.truth.shape[-1]
        parts = torch.cat(
            [around(batch.driver_mesh, contour, size) for contour in (OUTER_LIPS, RIGHT_EYE, LEFT_EYE)], 1
        )
        reach = size // _BAND // 2 * 2 + 1
        near = batch.driver_maps[MapKind.FACE_MASK]
        for window in ((reach, 1), (1, reach)):
            near = F.avg_pool2d(near, window, 1, (window[0] // 2, window[1] // 2), count_include_pad=False)
        band = 1 - (2 * near - 1).abs()
        of_parts = 1 + (self.config.parts_weight - 1) * parts.amax(1, keepdim=True)
        return torch.maximum(of_parts, 1 + (self.config.silhouette_weight - 1) * band)

    def _mask_loss(self, drawing: Drawing, batch: PairBatch) -> Float[Tensor, ""]:
        """Cross entropy with `sigmoid(((paint's error - warp's error) + mask_margin) / 0.01)`; holes do not count.

        The mask is supervised: minimizing the result's error alone closes it while all painting is still bad, and a
        sigmoid that has closed hardly learns.
        """
        with torch.no_grad():
            errors = [(x - batch.truth).abs().mean(1, keepdim=True) for x in (drawing.paint, drawing.warped)]
            worse = F.avg_pool2d(errors[0] - errors[1], _REGION, 1, _REGION // 2)
            target = resized(((worse + self.config.mask_margin) / _MASK_SHARPNESS).sigmoid(), drawing.logit.shape[-1])
            counts = resized(batch.mask * (1 - drawing.holes), drawing.logit.shape[-1])
        loss = F.binary_cross_entropy_with_logits(drawing.logit.float(), target, reduction="none")
        return (counts * loss).mean()

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a pair: the K photos, their mesh warp, the mask, the painting, the result, the true picture."""
        drawing, size = drawn_pair(generator, batch), batch.truth.shape[-1]
        warped = F.interpolate(drawing.mesh_warped, (size, size), mode="bilinear", align_corners=False)
        mask = (2 * drawing.mask - 1).expand(-1, 3, -1, -1)
        row = [*batch.targets.unbind(dim=1), warped, mask, drawing.paint, drawing.image, batch.truth]
        return torch.cat([picture.to(batch.truth.dtype).clamp(-1, 1) for picture in row], dim=3)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: PairBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`psnr` of the picture, `face_psnr` in the hull of the landmarks, `mouth_psnr` around the lips: means in dB.

        Also the same of the plain mesh warp (`warp_psnr`, ...), and the mask's mean (`mask_mean`).
        """
        drawing, size = drawn_pair(generator, batch), batch.truth.shape[-1]
        regions = {
            "psnr": batch.mask,
            "face_psnr": batch.mask * batch.driver_maps[MapKind.HULL_MASK],
            "mouth_psnr": batch.mask * (around(batch.driver_mesh, OUTER_LIPS, size) > 0.5),
        }
        measured = {"mask_mean": drawing.mask.float().mean()}
        warped = F.interpolate(drawing.mesh_warped, (size, size), mode="bilinear", align_corners=False)
        for prefix, picture in (("", drawing.image), ("warp_", warped)):
            shown = picture.float().clamp(-1, 1)
            measured |= {prefix + name: masked_psnr(shown, batch.truth, region) for name, region in regions.items()}
        return measured

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `Hybrid` loads."""
        return hybrid_checkpoint(self.config.model, generator.state_dict())


def hybrid_checkpoint(config: HybridConfig, weights: Mapping[str, Tensor]) -> Checkpoint:
    """The checkpoint that `Hybrid` loads, from a generator's config and weights."""
    tensors = {f"{PREFIX}{name}": tensor for name, tensor in weights.items()}
    return Checkpoint(kind=Hybrid.name, config=config.model_dump(mode="json"), tensors=tensors)


def around(mesh_px: Float[Tensor, "b 478 3"], vertices: tuple[int, ...], size: int) -> Float[Tensor, "b 1 s s"]:
    """1 in the box around some vertices and a quarter of its half beyond, falling to 0 at three quarters beyond.

    Args:
        mesh_px: in pixels of the map.
        vertices: at least two; the box is at least a third as high as wide.
        size: of the map.
    """
    points = mesh_px[:, list(vertices), :2]
    low, high = points.amin(1), points.amax(1)
    half = (high - low) / 2
    half = torch.maximum(half, half.amax(-1, keepdim=True) / 3).clamp_min(1.0)
    centre = (low + high) / 2
    steps = torch.arange(size, device=mesh_px.device)
    x = ((steps - centre[:, :1]) / half[:, :1]).abs()[:, None]
    y = ((steps - centre[:, 1:]) / half[:, 1:]).abs()[:, :, None]
    return ((1.75 - torch.maximum(x, y)) / 0.5).clamp(0, 1)[:, None]


def opening_parts(batch: PairBatch) -> Bool[Tensor, " b3"]:
    """Which of the `PARTS` of each pair open further than the first photo's, so that all of them is painted.

    The others are nearly right from the first step on, and a discriminator that sees them learns nothing. All parts if
    none opens.
    """
    photo, driver = batch.target_mesh[:, 0], batch.driver_mesh
    more = torch.stack([opening(driver, *edges) - opening(photo, *edges) for edges in OPENINGS], dim=1) > OPENS_MORE[1]
    return more.flatten() if more.any() else torch.ones_like(more).flatten()


def drawn_pair(generator: nn.Module, batch: PairBatch, *, photos: int | None = None) -> Drawing:
    """The drivers' frames as a `HybridGenerator` makes them, from the first `photos` of each pair; None: from all."""
    of_targets = (batch.targets, batch.target_maps[RASTER], batch.target_mesh)
    return generator(batch.driver_maps[RASTER], batch.driver_mesh, *(part[:, :photos] for part in of_targets))


def charbonnier(ours: Tensor, theirs: Tensor, weights: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Weighted mean of `sqrt(d^2 + 0.1^2) - 0.1` in each picture, and the mean of that."""
    distance = ((ours.float() - theirs).square() + _QUADRATIC_BELOW**2).sqrt() - _QUADRATIC_BELOW
    whole = weights.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    return ((weights * distance.mean(dim=1, keepdim=True)).sum(dim=(1, 2, 3)) / whole).mean()


def _roughness(flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbours."""
    return (flow[..., 1:] - flow[..., :-1]).abs().mean() + (flow[..., 1:, :] - flow[..., :-1, :]).abs().mean()
