"""Shape encoder E (paper A, section 3.1): a photo's boundaries and gaze as heatmaps, and the points along them.

In order: the network, its frozen features for losses, and its objective: on augmented pictures, with landmarks found in
the clean ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from reenactor.core import MESH_POINTS, FrameBatch
from reenactor.core.landmarks import OUTER_EYE_CORNERS
from reenactor.face.geometry import contours
from reenactor.models.contract import ModelConfig
from reenactor.models.oneshot.augment import Augmentation, augmented
from reenactor.nn import BasicBlock, conv_norm, resized
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses import Objective, Step

SHAPE_ENCODER = "oneshot-shape-encoder"
"""Kind of its checkpoint."""
HEATMAPS = 17
"""15 boundaries and 2 gazes."""

_FIRST_LOGIT = -4.0
"""Heat of 0.02, about the fraction of pixels that a boundary goes through."""

CURVE_POINTS: tuple[int, ...] = (
    *(contours.RIGHT_EYE + contours.LEFT_EYE + contours.RIGHT_IRIS + contours.LEFT_IRIS),
    *(contours.INNER_LIPS + contours.OUTER_LIPS_UPPER),
    # Lower lip, brows, bridge and base of the nose, jaw; and what the profile line adds to them.
    *contours.OUTER_LIPS_LOWER[1:-1],
    *(70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 336, 296, 334, 293, 300, 285, 295, 282, 283, 276),
    *(168, 6, 197, 195, 5, 4, 131, 49, 102, 64, 98, 97, 2, 326, 327, 294, 331, 279, 360),
    *(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
    *(377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356),
    *(9, 8, 1, 19, 94, 164, 18, 200, 199, 175),
)
"""The mesh vertices that `face.maps` draws paper A's maps through (a test compares), and the irises' centres."""


class ShapeEncoderConfig(ModelConfig):
    """Sizes of the shape encoder."""

    resolution: int = Field(default=128, ge=32, multiple_of=32)
    """Pixels a side of the face crops that it is trained on; it takes any multiple of 32."""
    width: int = Field(default=16, ge=8, multiple_of=8)
    """Channels at half size; twice as many at a quarter, four times at an eighth, six times at a sixteenth."""
    sharpness: float = Field(default=8.0, gt=0)
    """Factor on the points' logits. A softmax as narrow as a landmark needs large logits; a fresh layer would take
    hundreds of steps to get there."""


@dataclass(frozen=True)
class Shape:
    """The shape encoder's results for each picture.

    Args:
        heat_logits: boundaries and gaze before the sigmoid, in the order of `maps.BOUNDARY_CHANNELS`, at half size.
        points_px: where the vertices `CURVE_POINTS` are, in pixels of the picture.
    """

    heat_logits: Float[Tensor, "b 17 hh wh"]
    points_px: Float[Tensor, "b p 2"]

    @property
    def heatmaps(self) -> Float[Tensor, "b 17 hh wh"]:
        """In (0, 1)."""
        return torch.sigmoid(self.heat_logits)

    @property
    def mesh_px(self) -> Float[Tensor, "b 478 2"]:
        """The points at their mesh vertices, all that `maps.parsing_map` and `boundary_maps` read; 0 elsewhere."""
        mesh = self.points_px.new_zeros(len(self.points_px), MESH_POINTS, 2)
        mesh[:, list(CURVE_POINTS)] = self.points_px
        return mesh


class ShapeEncoder(nn.Module):
    """An hourglass with residual blocks; its points are read off the features and the boundaries' heat together."""

    def __init__(self, config: ShapeEncoderConfig) -> None:
        super().__init__()
        self.config = config
        w2, w4, w8, w16 = (count * config.width for count in (1, 2, 4, 6))
        self.stem = nn.Sequential(conv_norm(3, w2, stride=2), nn.ReLU(), BasicBlock(w2, w2))
        self.down4 = BasicBlock(w2, w4, stride=2)
        self.down8 = nn.Sequential(BasicBlock(w4, w8, stride=2), BasicBlock(w8, w8))
        self.down16 = nn.Sequential(BasicBlock(w8, w16, stride=2), BasicBlock(w16, w16))
        self.up8 = conv_norm(w16, w8, kernel=1)
        self.mix8 = BasicBlock(w8, w8)
        self.up4 = conv_norm(w8, w4, kernel=1)
        self.mix4 = BasicBlock(w4, w4)
        self.up2 = conv_norm(w4, w2, kernel=1)
        self.mix2 = nn.Sequential(conv_norm(w2, w2), nn.ReLU())
        self.heat = nn.Conv2d(w2, HEATMAPS, 1)
        # A fresh network sees no boundaries, as is right nearly everywhere, and its loss leaves room for the points'.
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, _FIRST_LOGIT)
        self.read = nn.Sequential(conv_norm(w4 + HEATMAPS, w8), nn.ReLU())
        # A bias would be the same at all positions of a map, and cancel in the softmax.
        self.points = nn.Conv2d(w8, len(CURVE_POINTS), 1, bias=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Shape:
        """Heatmaps and points.

        | | shape, for 128 pixels |
        |---|---|
        | images | (B, 3, 128, 128) face crops in [-1, 1] |
        | heat_logits | (B, 17, 64, 64) |
        | points_px | (B, 154, 2), each the mean position of a softmax over a map of 32 x 32 |
        """
        half, quarter, eighth, sixteenth = self.features(images)
        x = self.mix8(eighth + _doubled(self.up8(sixteenth)))
        at_quarter = self.mix4(quarter + _doubled(self.up4(x)))
        heat_logits = self.heat(self.mix2(half + _doubled(self.up2(at_quarter))))
        heat = F.avg_pool2d(torch.sigmoid(heat_logits), 2)
        point_logits = self.points(self.read(torch.cat([at_quarter, heat], dim=1)))
        return Shape(heat_logits, soft_argmax(self.config.sharpness * point_logits, pixels=4))

    def features(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Maps at a half, a quarter, an eighth and a sixteenth of the size, all >= 0, for perceptual losses."""
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"face crops must be multiples of 32 pixels, not {width} x {height}")
        half = self.stem(images)
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        return half, quarter, eighth, self.down16(eighth)


def soft_argmax(logits: Float[Tensor, "b p h w"], *, pixels: int) -> Float[Tensor, "b p 2"]:
    """The mean position of each map's softmax, in single precision at least.

    Args:
        logits: any values.
        pixels: of the picture, that one position of the map covers in each direction.

    Returns:
        x and y in pixels of the picture.
    """
    kind = torch.promote_types(logits.dtype, torch.float32)
    weights = logits.to(kind).flatten(2).softmax(dim=2).view(logits.shape)
    height, width = logits.shape[-2:]
    x, y = ((torch.arange(n, device=logits.device, dtype=kind) + 0.5) * pixels - 0.5 for n in (width, height))
    return torch.stack([weights.sum(dim=2) @ x, weights.sum(dim=3) @ y], dim=-1)


def _doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ShapeFeatures(nn.Module):
    """A frozen shape encoder's features at a half to a sixteenth of its size, for losses."""

    def __init__(self, network: ShapeEncoder) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Four maps, largest first, of pictures of any size in [-1, 1]."""
        return self.network.features(resized(image_m1p1, self.network.config.resolution, antialias=True))


def shape_features(checkpoint: Checkpoint) -> ShapeFeatures:
    """Reads a checkpoint of the kind `SHAPE_ENCODER`."""
    network = ShapeEncoder(ShapeEncoderConfig.model_validate(checkpoint.config))
    network.load_state_dict(dict(checkpoint.tensors))
    return ShapeFeatures(network)


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

    alignment = None

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
