"""The four parts of the generator (paper B, figure 2 and appendix A1), and the mesh prior (ours, not the paper's)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.face.geometry.mesh_flow import FLAGS, MeshFlow, frame_flows, photo_weights
from reenactor.models.marionette.config import MarioNETteConfig
from reenactor.nn import (
    AdaINResidualBlock,
    ImageAttentionBlock,
    Norm,
    Resample,
    ResidualBlock,
    conv3x3,
    norm_layer,
    pool_flow,
    warp,
)

_OPENINGS = [FLAGS.index("mouth"), FLAGS.index("eyes")]


def down_blocks(config: MarioNETteConfig, count: int, norm: Norm) -> nn.ModuleList:
    """Residual blocks that halve the map `count` times, starting at full size."""
    return nn.ModuleList(
        ResidualBlock(config.width(j), config.width(j + 1), resample=Resample.DOWN, norm=norm, wide=config.wide)
        for j in range(count)
    )


class DriverEncoder(nn.Module):
    """E_x: the driver's pose and expression."""

    def __init__(self, config: MarioNETteConfig) -> None:
        super().__init__()
        self.stem = conv3x3(3, config.width(0))
        self.down = down_blocks(config, config.levels, Norm.INSTANCE)

    def forward(self, raster_x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c hx wx"]:
        """Input, output; sizes of the `paper` config.

        | | shape | paper |
        |---|---|---|
        | raster_x | (B, 3, 256, 256) in [-1, 1] | r_x |
        | result | (B, 512, 16, 16) | z_x |
        """
        z = self.stem(raster_x)
        for block in self.down:
            z = block(z)
        return z


@dataclass(frozen=True)
class TargetFeatures:
    """The target encoder's features of each of N pictures.

    Args:
        z_y: the smallest feature map.
        s: s_0 (full size) .. as they are, but for z_y.
        s_hat: s_1 .. pose-normalized; empty without alignment, and with the mesh prior.
        flow_ndc: f_y, which normalized them; None where there is none.
    """

    z_y: Float[Tensor, "n c h w"]
    s: tuple[Float[Tensor, "n _ _ _"], ...]
    s_hat: tuple[Float[Tensor, "n _ _ _"], ...]
    flow_ndc: Float[Tensor, "n 2 hf wf"] | None


class TargetEncoder(nn.Module):
    """E_y: a U-Net without normalization layers. Its upper half makes the flow, and is left out without a flow."""

    def __init__(self, config: MarioNETteConfig) -> None:
        super().__init__()
        self.stem = conv3x3(6, config.width(0))
        self.down = down_blocks(config, config.levels + 1, Norm.NONE)
        self.up = nn.ModuleList()
        self.flow = None
        if config.alignment and not config.mesh_prior:
            channels = config.width(config.levels + 1)
            for j in range(config.levels, 0, -1):
                self.up.append(ResidualBlock(channels, config.width(j), resample=Resample.UP, norm=Norm.NONE))
                channels = 2 * config.width(j)
            self.flow = conv3x3(channels, 2)

    def forward(self, images: Float[Tensor, "n 3 h w"], rasters: Float[Tensor, "n 3 h w"]) -> TargetFeatures:
        """Input, output; sizes of the `paper` config.

        | | shape | paper |
        |---|---|---|
        | images, rasters | (N, 3, 256, 256) in [-1, 1] | y, r_y |
        | z_y | (N, 512, 8, 8) | z_y = s_5 |
        | s_hat | (N, 128, 128, 128), (N, 256, 64, 64), (N, 512, 32, 32), (N, 512, 16, 16) | S^, equation 8 |
        | flow_ndc | (N, 2, 128, 128) in (-1, 1) | f_y, figure 4 (1) |
        """
        s = [self.stem(torch.cat([images, rasters], dim=1))]
        for block in self.down:
            s.append(block(s[-1]))
        z_y, skips = s[-1], s[1:-1]
        if self.flow is None:
            return TargetFeatures(z_y, tuple(s[:-1]), (), None)
        u = z_y
        for block, skip in zip(self.up, reversed(skips), strict=True):
            u = torch.cat([block(u), skip], dim=1)
        flow_ndc = torch.tanh(self.flow(F.relu(u)))
        s_hat = tuple(warp(skip, pool_flow(flow_ndc, (skip.shape[2], skip.shape[3]))) for skip in skips)
        return TargetFeatures(z_y, tuple(s[:-1]), s_hat, flow_ndc)


class AttentionBlender(nn.Module):
    """B: image attention blocks, one after the other."""

    def __init__(self, config: MarioNETteConfig) -> None:
        super().__init__()
        c_x, c_y = config.width(config.levels), config.width(config.levels + 1)
        self.blocks = nn.ModuleList(ImageAttentionBlock(c_x, c_y, c_x) for _ in range(config.blender_blocks))

    def forward(
        self, z_x: Float[Tensor, "b cx hx wx"], z_y: Float[Tensor, "#b k cy hy wy"]
    ) -> tuple[Float[Tensor, "b cx hx wx"], tuple[Float[Tensor, "b hx wx k hy wy"], ...]]:
        """Input, output; sizes of the `paper` config.

        | | shape | paper |
        |---|---|---|
        | z_x | (B, 512, 16, 16) | z_x |
        | z_y | (B or 1, K, 512, 8, 8) | Z_y |
        | result | (B, 512, 16, 16) | z_xy, figure 3 |
        | attention | three of (B, 16, 16, K, 8, 8) | figure 7 |
        """
        attention = []
        for block in self.blocks:
            z_x, weights = block(z_x, z_y)
            attention.append(weights)
        return z_x, tuple(attention)


class AdaINBlender(nn.Module):
    """The ablations' blender: the targets become one style vector, the mean over photos and positions."""

    def __init__(self, config: MarioNETteConfig) -> None:
        super().__init__()
        c_x, c_y = config.width(config.levels), config.width(config.levels + 1)
        self.blocks = nn.ModuleList(AdaINResidualBlock(c_x, c_y) for _ in range(config.blender_blocks))

    def forward(
        self, z_x: Float[Tensor, "b cx hx wx"], z_y: Float[Tensor, "#b k cy hy wy"]
    ) -> tuple[Float[Tensor, "b cx hx wx"], tuple[()]]:
        """As `AttentionBlender.forward`, without attention to return (paper B, "Ablation test")."""
        style = F.relu(z_y).mean(dim=(1, 3, 4))
        for block in self.blocks:
            z_x = block(z_x, style)
        return z_x, ()


def mesh_flows(
    mesh_y: Float[Tensor, "#b k 478 3"], mesh_x: Float[Tensor, "b 478 3"], side: int, device: torch.device
) -> MeshFlow:
    """`frame_flows` at half of the photos' size."""
    return frame_flows(mesh_y, mesh_x, side, side // 2, device)


@dataclass(frozen=True)
class MeshWarp:
    """For the mesh prior: a feature map of each of K photos, and how each of B frames moves it.

    Args:
        s: S_j, before it is moved.
        flow_ndc, flags: `MeshFlow`'s.
        weights: of the photos; they sum to 1.
    """

    s: Float[Tensor, "b k c h w"]
    flow_ndc: Float[Tensor, "bk 2 h w"]
    flags: Float[Tensor, "bk 5 h w"]
    weights: Float[Tensor, "b k h w"]


def mesh_warps(s: tuple[Float[Tensor, "#b k _ _ _"], ...], mesh: MeshFlow) -> tuple[MeshWarp, ...]:
    """Each feature map with the flow of its size."""
    k = s[0].shape[1]
    batch = mesh.flags.shape[0] // k
    weights = photo_weights(mesh.flags, k)
    cues = torch.cat([mesh.flow_ndc, mesh.flags, weights.flatten(0, 1)[:, None]], dim=1)
    levels = []
    for s_j in s:
        flow_ndc, flags, weights = _sized(cues, s_j.shape[-1]).split([2, len(FLAGS), 1], dim=1)
        weights = weights[:, 0].unflatten(0, (-1, k))
        levels.append(MeshWarp(s_j.expand(batch, *s_j.shape[1:]), flow_ndc, flags, weights))
    return tuple(levels)


def _sized(maps: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c s s"]:
    """Averages where it shrinks, bilinear where it grows."""
    if maps.shape[-1] > size:
        return F.avg_pool2d(maps, maps.shape[-1] // size)
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)


class WarpAlignment(nn.Module):
    """Warps the target's features to the driver's pose and concatenates them with the driver's."""

    def __init__(self, channels: int, flow_scale: float) -> None:
        super().__init__()
        self.flow = nn.Conv2d(channels, 2, 1)
        self.flow_scale = flow_scale

    def forward(self, u: Float[Tensor, "b c h w"], s_hat: Float[Tensor, "b cs h w"]) -> Float[Tensor, "b c2 h w"]:
        """`concat(u, T(S^_j; f_u))`, f_u a 1x1 convolution of u, times `flow_scale`.

        | | shape | paper |
        |---|---|---|
        | u | (B, c, h, w) | output of the decoder's block before |
        | s_hat | (B, c_s, h, w) | S^_j, averaged over the K targets |
        | result | (B, c + c_s, h, w) | figure 4 (2) |
        """
        return torch.cat([u, warp(s_hat, self.flow_scale * self.flow(u))], dim=1)


class MeshAlignment(nn.Module):
    """`WarpAlignment` with the mesh prior: the mesh's flow plus a learned one, and marks where the mesh's is wrong."""

    def __init__(self, channels: int, flow_scale: float) -> None:
        super().__init__()
        self.flow = nn.Conv2d(channels, 2, 1)
        self.mark = nn.Conv2d(len(FLAGS), channels, 1, bias=False)
        self.flow_scale = flow_scale

    def forward(self, u: Float[Tensor, "b c h w"], photos: MeshWarp) -> Float[Tensor, "b c2 h w"]:
        """`concat(u, sum_k w_k (T(S_j; mesh flow + f_u) + mark))`; what would fill mouth or eyes with skin is cut out.

        | | shape |
        |---|---|
        | u | (B, c, h, w), output of the decoder's block before |
        | photos | S_j of K photos, c channels |
        | result | (B, 2 c, h, w) |
        """
        k = photos.s.shape[1]
        learned = (self.flow_scale * self.flow(u)).repeat_interleave(k, dim=0)
        moved = warp(photos.s.flatten(0, 1), photos.flow_ndc + learned)
        unseen = photos.flags[:, _OPENINGS].amax(1, keepdim=True)
        marked = ((1 - unseen) * moved + self.mark(photos.flags.to(u.dtype))).unflatten(0, (-1, k))
        return torch.cat([u, (marked * photos.weights[:, :, None]).sum(1).to(u.dtype)], dim=1)


class Decoder(nn.Module):
    """Q: from the mixed features to the picture."""

    def __init__(self, config: MarioNETteConfig) -> None:
        super().__init__()
        scale = config.flow_scale * (config.mesh_correction if config.mesh_prior else 1)
        self.align = nn.ModuleList()
        self.up = nn.ModuleList()
        for j in range(config.levels, 0, -1):
            channels = config.width(j)
            if config.alignment:
                align = MeshAlignment if config.mesh_prior else WarpAlignment
                self.align.append(align(channels, scale))
                channels *= 2
            self.up.append(ResidualBlock(channels, config.width(j - 1), resample=Resample.UP, norm=Norm.INSTANCE))
        channels = config.width(0)
        self.norm = norm_layer(Norm.INSTANCE, channels)
        if config.mesh_prior:
            self.align.append(MeshAlignment(channels, scale))
            self.up.append(ResidualBlock(2 * channels, channels, resample=Resample.SAME, norm=Norm.INSTANCE))
            # Instance normalization would take off how bright each picture is, which s_0 brings.
            self.norm = nn.GroupNorm(1, channels)
        self.to_rgb = conv3x3(config.width(0), 3)

    def forward(
        self, z_xy: Float[Tensor, "b c hx wx"], s_hat: tuple[Float[Tensor, "b _ _ _"] | MeshWarp, ...]
    ) -> Float[Tensor, "b 3 h w"]:
        """Input, output; sizes of the `paper` config.

        | | shape | paper |
        |---|---|---|
        | z_xy | (B, 512, 16, 16) | z_xy |
        | s_hat | as in `TargetEncoder`, averaged over K; empty without alignment; with the mesh prior, s_0 .. | S^ |
        | result | (B, 3, 256, 256) in (-1, 1) | the picture |
        """
        u = z_xy
        for step, up in enumerate(self.up):
            if len(self.align) > 0:
                u = self.align[step](u, s_hat[-1 - step])
            u = up(u)
        return torch.tanh(self.to_rgb(F.relu(self.norm(u))))
