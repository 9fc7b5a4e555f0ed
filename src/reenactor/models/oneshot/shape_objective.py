"""How the shape encoder is trained: on augmented pictures, with landmarks found in the clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from reenactor.core import FrameBatch
from reenactor.core.landmarks import OUTER_EYE_CORNERS
from reenactor.models.contract import ModelConfig
from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.models.oneshot.shape_encoder import CURVE_POINTS, SHAPE_ENCODER, ShapeEncoder, ShapeEncoderConfig
from reenactor.nn import resized
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step

WING_WIDTH, WING_CURVE = 10.0, 2.0
"""w and epsilon of the wing loss, in pixels of a picture of 256 (Feng et al. 2018, Table 1)."""
_DOT = (-1.0, 1.0, -1.0)

DrawBoundaries = Callable[[Tensor, int], Tensor]
"""Mesh in pixels (B, 478, 3), size -> (B, 17, size, size) in [0, 1]: `maps.boundary_maps`, which models may not see."""


class ShapeEncoderObjectiveConfig(ModelConfig):
    """Ours: the paper does not describe the training."""

    kind: Literal["shape-encoder"] = "shape-encoder"
    model: ShapeEncoderConfig = ShapeEncoderConfig()
    heat: float = Field(default=100, ge=0)
    """Weight of the heatmaps' cross-entropy, which is a few hundredths: most pixels are empty."""
    points: float = Field(default=1, ge=0)
    """Weight of the points' wing loss, which is a few units."""
    augment: Augmentation = Augmentation.strong()


@final
class ShapeEncoderObjective(Objective[FrameBatch]):
    """One player: cross-entropy on the heatmaps, wing loss on the points.

    Args:
        config: network and weights.
        draw_boundaries: makes the target heatmaps.
    """

    def __init__(self, config: ShapeEncoderObjectiveConfig, draw_boundaries: DrawBoundaries) -> None:
        super().__init__()
        self.config = config
        self.E = ShapeEncoder(config.model)
        self._draw_boundaries = draw_boundaries

    @property
    def generator(self) -> nn.Module:
        """The shape encoder."""
        return self.E

    def generator_step(self, batch: FrameBatch) -> Step:
        """`100 L_heat + L_points` on the pictures, changed at random.

        What has left the picture with a shift or a turn counts in neither.
        """
        with torch.no_grad():
            images, mesh_px = self._scaled(batch)
            images, mesh_px = augmented(images, mesh_px, self.config.augment)
            heat, points_px = self._targets(mesh_px)
        shape = self.E(images)
        side = self.config.model.resolution
        inside = ((points_px > -0.5) & (points_px < side - 0.5)).all(dim=-1)
        parts = {
            "heat": F.binary_cross_entropy_with_logits(shape.heat_logits.float(), heat),
            "points": wing_loss(shape.points_px, points_px, inside, unit_px=side / 256),
        }
        return Step.weighted(parts, dict(self.config))

    @torch.no_grad()
    def pictures(self, generator: nn.Module, batch: FrameBatch) -> Float[Tensor, "b 3 h w_all"]:
        """A row a picture: with the points found, the target heatmaps, the heatmaps found (all boundaries in one)."""
        images, mesh_px = self._scaled(batch)
        shape, (heat, _) = generator(images), self._targets(mesh_px)
        row = [_dotted(images, shape.points_px)]
        for maps in (heat, shape.heatmaps.float()):
            one = 2 * F.interpolate(maps, images.shape[-2:], mode="bilinear").amax(dim=1, keepdim=True) - 1
            row.append(one.expand(-1, 3, -1, -1))
        return torch.cat(row, dim=3)

    @torch.no_grad()
    def measure(self, generator: nn.Module, batch: FrameBatch) -> Mapping[str, Float[Tensor, ""]]:
        """`points_error`: mean distance of the points to the true ones, in % of the outer eye corners' distance."""
        images, mesh_px = self._scaled(batch)
        off = (generator(images).points_px - self._targets(mesh_px)[1]).norm(dim=-1).mean(dim=1)
        right, left = (mesh_px[:, corner, :2] for corner in OUTER_EYE_CORNERS)
        return {"points_error": (100 * off / (left - right).norm(dim=-1)).mean()}

    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """The checkpoint that `shape_features` reads."""
        return Checkpoint(SHAPE_ENCODER, self.config.model.model_dump(mode="json"), generator.state_dict())

    def _scaled(self, batch: FrameBatch) -> tuple[Float[Tensor, "b 3 s s"], Float[Tensor, "b 478 3"]]:
        """Pictures at the network's size, and their landmarks."""
        side = self.config.model.resolution
        return resized(batch.images, side, antialias=True), rescaled(batch.mesh_px, side / batch.images.shape[-1])

    def _targets(self, mesh_px: Tensor) -> tuple[Float[Tensor, "b 17 hh wh"], Float[Tensor, "b p 2"]]:
        """Heatmaps at half size, and points."""
        heat = self._draw_boundaries(rescaled(mesh_px, 0.5), self.config.model.resolution // 2)
        return heat, mesh_px[:, list(CURVE_POINTS), :2]


def wing_loss(
    ours_px: Float[Tensor, "b p 2"], theirs_px: Float[Tensor, "b p 2"], counts: Tensor, *, unit_px: float = 1.0
) -> Float[Tensor, ""]:
    """Mean of `w ln(1 + |x| / e)` below w and `|x| - C` above (Feng et al. 2018, equation 5), over x and y.

    Args:
        ours_px: points found.
        theirs_px: true points.
        counts: (B, P) whether a point counts.
        unit_px: pixels that a pixel of the constants is.
    """
    off = (ours_px - theirs_px).abs() / unit_px
    constant = WING_WIDTH - WING_WIDTH * math.log(1 + WING_WIDTH / WING_CURVE)
    loss = torch.where(off < WING_WIDTH, WING_WIDTH * torch.log1p(off / WING_CURVE), off - constant)
    return (loss.mean(dim=-1) * counts).sum() / counts.sum().clamp_min(1)


def rescaled(mesh_px: Float[Tensor, "b n 3"], factor: float) -> Float[Tensor, "b n 3"]:
    """Landmarks in a picture that is `factor` times as large; docs/conventions.md has the pixels' centres."""
    half = mesh_px.new_tensor([0.5, 0.5, 0.0])
    return (mesh_px + half) * factor - half


def _dotted(images: Float[Tensor, "b 3 s s"], points_px: Float[Tensor, "b p 2"]) -> Float[Tensor, "b 3 s s"]:
    """Pictures with a green pixel at each point."""
    x, y = points_px.round().long().clamp(0, images.shape[-1] - 1).unbind(dim=-1)
    dotted, which = images.clone(), torch.arange(len(images), device=images.device)[:, None]
    dotted[which, :, y, x] = images.new_tensor(_DOT)
    return dotted
