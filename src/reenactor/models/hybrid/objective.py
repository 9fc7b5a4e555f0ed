"""The losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from reenactor.core import CheckpointError, MapKind, PairBatch
from reenactor.face.geometry.contours import LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from reenactor.models.contract import ModelConfig
from reenactor.models.hybrid.config import HybridConfig
from reenactor.models.hybrid.discriminator import PARTS, FeatureDiscriminator, face_crops, part_crops
from reenactor.models.hybrid.model import RASTER, Drawing, Hybrid, HybridGenerator
from reenactor.nn import resized
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, shipped_checkpoint
from reenactor.nn.losses import (
    Compared,
    MapsNeeded,
    Objective,
    Step,
    frozen,
    hinge_discriminator,
    hinge_generator,
    masked_psnr,
    truth_outside,
)
from reenactor.nn.losses.efficientnet import EfficientNetLite, efficientnet_lite, feature_distance

_QUADRATIC_BELOW = 0.05
"""Below this an error counts by its square."""
_STAGES, _CHANNELS = (0, 1, 2, 4), (16, 24, 40, 112)
"""Of EfficientNet-Lite0."""
_PART_PX = 64
"""Side of the crops of mouth and eyes that are judged."""
_Features: TypeAlias = tuple[Float[Tensor, "_ _ _ _"], ...]
DISCRIMINATOR = "hybrid-discriminator"
"""Kind of its checkpoints, and name of the one that ships: for tuning, and for runs that go on elsewhere."""
_PREFIX = "generator."
"""Prefix of the generator's tensors in the model's checkpoint."""


class HybridObjectiveConfig(ModelConfig):
    """Weights of the losses."""

    kind: Literal["hybrid"] = "hybrid"
    model: HybridConfig = HybridConfig()
    init: Path | None = None
    """A checkpoint to begin with."""
    init_discriminator: Path | None = None
    """A checkpoint of the discriminator to begin with; None for a new one, which sees little for a thousand steps."""
    pixel: float = Field(default=6, ge=0)
    """Charbonnier distance; mouth and eyes count `parts_weight`, the rest of the picture 1."""
    perceptual: float = Field(default=1, ge=0)
    """Distance of EfficientNet-Lite0's features in the picture at half its size, and in the square around the face."""
    gan: float = Field(default=0.03, ge=0)
    """Hinge loss of picture, face, mouth and eyes, by the same features. With this at 0 there is no discriminator."""
    parts: float = Field(default=0, ge=0)
    """Distance of the same features in the crops of mouth and eyes that the discriminator sees."""
    smooth: float = Field(default=0.1, ge=0)
    """Differences of the learned flow between neighbours, in patches."""
    parts_weight: float = Field(default=4, ge=1)
    fewer_photos: bool = True
    """Draw each batch from the first one, two, ... or all of the K photos; else always from all."""


@final
class HybridObjective(Objective[PairBatch]):
    """Generator and discriminator, on pairs of photos and a true picture of the same person.

    Outside of a pair's mask the drawn picture is replaced by the true one, so nothing is compared there.

    Raises:
        CheckpointError: EfficientNet-Lite0's weights are missing, or `init` is of another network.
    """

    maps = MapsNeeded(targets=(RASTER,), driver=(RASTER, MapKind.HULL_MASK))

    def __init__(self, config: HybridObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        self.G = HybridGenerator(config.model)
        self.D = FeatureDiscriminator(3 * _CHANNELS) if config.gan else None
        if config.init is not None:
            self.G.load_state_dict(_trained(config.init, config.model))
        if self.D is not None and config.init_discriminator is not None:
            self.D.load_state_dict(_of_kind(config.init_discriminator, DISCRIMINATOR).tensors)
        # In a plain tuple: what is frozen is no part of a training checkpoint.
        self._features: tuple[EfficientNetLite, ...] = ()
        if config.perceptual or config.gan or config.parts:
            network = efficientnet_lite("lite0", _STAGES)
            # That layout makes a step 7 % quicker on a CPU.
            self._features = (network.to(memory_format=torch.channels_last),)  # pyright: ignore[reportCallIssue]

    @property
    def generator(self) -> nn.Module:
        """The network."""
        return self.G

    @property
    def discriminator(self) -> nn.Module | None:
        """Of picture, face, mouth and eyes."""
        return self.D

    def generator_step(self, batch: PairBatch) -> Step:
        """The weighted sum of the config's terms. The discriminator is left as it was."""
        most = batch.targets.shape[1]
        fewer = self.config.fewer_photos and most > 1
        drawing = drawn_pair(self.G, batch, photos=1 + int(most * torch.rand(()).square()) if fewer else None)
        image = truth_outside(drawing.image, batch.truth, batch.mask)
        parts_weights = 1 + (self.config.parts_weight - 1) * _parts(batch).amax(1, keepdim=True)
        parts = {
            "pixel": charbonnier(image, batch.truth, batch.mask * parts_weights),
            "smooth": _roughness(drawing.flow_ndc) * drawing.flow_ndc.shape[-1] / 2,
        }
        features: tuple[_Features, ...] = ()
        for network in self._features:
            network.to(image.device)
            with torch.no_grad():
                true = _seen(network, batch.truth, batch.driver_mesh)
            ours = _seen(network, image, batch.driver_mesh)
            features = (true, tuple(one.detach() for one in ours))
            view = len(_STAGES)
            if self.config.perceptual:
                weights = face_crops(parts_weights, batch.driver_mesh)
                whole = feature_distance(ours[:view], true[:view])
                face = feature_distance(ours[view : 2 * view], true[view : 2 * view], weights)
                parts["perceptual"] = (whole + face).mean()
            if self.config.parts:
                parts["parts"] = feature_distance(ours[2 * view :], true[2 * view :]).mean()
            if self.D is not None:
                with frozen(self.D):
                    parts["gan"] = hinge_generator(self.D(ours, true))
        return Step.weighted(parts, dict(self.config), features)

    def discriminator_step(self, batch: PairBatch, drawn: tuple[_Features, _Features]) -> Step:
        """The hinge loss, and the mean scores of true and drawn pictures, whose features `generator_step` left."""
        assert self.D is not None
        true, ours = drawn
        real, fake = self.D(true, true), self.D(ours, true)
        return Step.of_scores(hinge_discriminator(real, fake), real, fake)

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: PairBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a pair: the K photos, their mesh warp, with the learned flow, the result, the true picture."""
        drawing = drawn_pair(generator, batch)
        warps = (resized(one, batch.truth.shape[-1]) for one in (drawing.mesh_warped, drawing.warped))
        row = [*batch.targets.unbind(dim=1), *warps, drawing.image, batch.truth]
        return torch.cat([picture.to(batch.truth.dtype).clamp(-1, 1) for picture in row], dim=3)

    @torch.no_grad()
    def compared(self, generator: nn.Module, batch: PairBatch) -> Compared:
        """By EfficientNet-Lite0: distances of the face and of mouth and eyes; means and deviations of the latter."""
        (network,), view = self._features, len(_STAGES)
        image = drawn_pair(generator, batch).image.float().clamp(-1, 1)
        network.to(image.device)
        true, ours = (_seen(network, one, batch.driver_mesh) for one in (batch.truth, image))
        face = feature_distance(ours[view : 2 * view], true[view : 2 * view])
        parts = feature_distance(ours[2 * view :], true[2 * view :]).unflatten(0, (-1, len(PARTS))).mean(1)
        drawn_looks, true_looks = (
            torch.cat([part for one in maps[2 * view :] for part in (one.mean((2, 3)), one.std((2, 3)))], 1)
            for maps in (ours, true)
        )
        of_parts = (one.unflatten(0, (-1, len(PARTS))).flatten(1) for one in (drawn_looks, true_looks))
        return Compared((face + parts) / 2, *of_parts)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: PairBatch) -> Mapping[str, Float[Tensor, ""]]:
        """PSNR of the picture, in the hull of the landmarks, around lips and eyes: means in dB.

        Also the same of the plain mesh warp (`warp_psnr`, ...).
        """
        drawing, parts = drawn_pair(generator, batch), (_parts(batch) > 0.5).float()
        mesh_warped = resized(drawing.mesh_warped, batch.truth.shape[-1])
        regions = {
            "psnr": batch.mask,
            "face_psnr": batch.mask * batch.driver_maps[MapKind.HULL_MASK],
            "mouth_psnr": batch.mask * parts[:, :1],
            "eyes_psnr": batch.mask * parts[:, 1:].amax(1, keepdim=True),
        }
        return {
            prefix + name: masked_psnr(picture.float().clamp(-1, 1), batch.truth, region)
            for prefix, picture in (("", drawing.image), ("warp_", mesh_warped))
            for name, region in regions.items()
        }

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `Hybrid` loads."""
        tensors = {f"{_PREFIX}{name}": tensor for name, tensor in generator.state_dict().items()}
        return Checkpoint(Hybrid.name, self.config.model.model_dump(mode="json"), tensors)


def tuning_objective(model: Hybrid, weights: Mapping[str, float]) -> HybridObjective:
    """The losses that tune a copy of the model to one person.

    Args:
        model: in float32.
        weights: of `HybridObjectiveConfig`, other than the usual.
    """
    shipped = shipped_checkpoint(DISCRIMINATOR)
    config = {"model": model.config, "fewer_photos": False, "init_discriminator": shipped, **weights}
    objective = HybridObjective(HybridObjectiveConfig.model_validate(config))
    objective.G.load_state_dict(model.generator.state_dict())
    return objective


def _seen(
    network: EfficientNetLite, pictures: Float[Tensor, "b 3 h w"], mesh_px: Float[Tensor, "b 478 3"]
) -> _Features:
    """The network's features of the picture at half its size, of the square around the face, of mouth and eyes."""
    parts = part_crops(pictures, mesh_px, _PART_PX).flatten(0, 1)
    return tuple(
        one for view in (F.avg_pool2d(pictures, 2), face_crops(pictures, mesh_px), parts) for one in network(view)
    )


def drawn_pair(generator: nn.Module, batch: PairBatch, *, photos: int | None = None) -> Drawing:
    """The drivers' frames as the generator makes them, from the first `photos` of each pair; None: from all."""
    of_targets = (batch.targets, batch.target_maps[RASTER], batch.target_mesh)
    return generator(batch.driver_maps[RASTER], batch.driver_mesh, *(part[:, :photos] for part in of_targets))


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


def charbonnier(ours: Tensor, theirs: Tensor, weights: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Weighted mean of `sqrt(d^2 + e^2) - e` in each picture, and the mean of that."""
    distance = ((ours.float() - theirs).square() + _QUADRATIC_BELOW**2).sqrt() - _QUADRATIC_BELOW
    whole = weights.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    return ((weights * distance.mean(dim=1, keepdim=True)).sum(dim=(1, 2, 3)) / whole).mean()


def _parts(batch: PairBatch) -> Float[Tensor, "b 3 h w"]:
    """Where mouth, right and left eye are."""
    size = batch.truth.shape[-1]
    return torch.cat([around(batch.driver_mesh, part, size) for part in (OUTER_LIPS, RIGHT_EYE, LEFT_EYE)], 1)


def _roughness(flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
    """Mean absolute difference of neighbours."""
    return (flow[..., 1:] - flow[..., :-1]).abs().mean() + (flow[..., 1:, :] - flow[..., :-1, :]).abs().mean()


def _of_kind(folder: Path, kind: str) -> Checkpoint:
    """A checkpoint.

    Raises:
        CheckpointError: of another kind.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.kind != kind:
        raise CheckpointError(f"{folder} holds another network, '{checkpoint.kind}' instead of '{kind}'; give another")
    return checkpoint


def _trained(folder: Path, config: HybridConfig) -> dict[str, Tensor]:
    """The weights of a trained generator of these settings.

    Raises:
        CheckpointError: the folder holds another network.
    """
    checkpoint = _of_kind(folder, Hybrid.name)
    if HybridConfig.model_validate(checkpoint.config) != config:
        raise CheckpointError(f"{folder} holds another network than objective.model; give another, or its settings")
    return {name.removeprefix(_PREFIX): tensor for name, tensor in checkpoint.tensors.items()}
