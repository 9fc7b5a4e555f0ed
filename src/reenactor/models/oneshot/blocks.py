"""Appearance auto-encoder and semantically adaptive decoder (paper A, figure 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.models.oneshot.config import CONCATENATED, OneShotConfig
from reenactor.nn import SPADE, SPADEResidualBlock, conv3x3

PARSING_WIDTH = 9
"""Channels of the parsing map."""
FREE_HALVINGS = 5
"""Between a picture and a map of a 32nd of its size. Smaller maps have fixed sizes, whatever the picture's: on the way
to the code and back, maps of the trained resolution's 32nd are resized."""
_SLOPE = 0.2
_FIRST_CONTRAST = 0.2


def up_conv(channels_in: int, channels_out: int, *, bias: bool) -> nn.ConvTranspose2d:
    """A deconvolution that doubles the size: each output is a sum over 2 x 2 inputs."""
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=bias)


def resized(x: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """Bilinearly resized, if it must be."""
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def init_weights(module: nn.Module) -> None:
    """Normal weights that keep the variance, no biases; at the paper's widths about the authors' deviation of 0.02."""
    own = [spade.affine for spade in module.modules() if isinstance(spade, SPADE)]
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer not in own:
            taps = layer.kernel_size[0] * layer.kernel_size[1]
            if isinstance(layer, nn.ConvTranspose2d):
                taps //= layer.stride[0] * layer.stride[1]
            # Pictures begin near grey, where tanh has its slope.
            gain = _FIRST_CONTRAST if layer.out_channels == 3 else 1.0
            nn.init.normal_(layer.weight, std=gain * (layer.in_channels * taps) ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class AppearanceEncoder(nn.Module):
    """F's first half: [4x4 convolution with stride 2, instance norm, LeakyReLU 0.2], down to one pixel.

    No norm follows the first convolution, nothing follows the last.
    """

    def __init__(self, config: OneShotConfig) -> None:
        super().__init__()
        self.start = config.resolution // 2**FREE_HALVINGS
        self.down = nn.ModuleList()
        for j in range(1, config.levels + 1):
            normed = 1 < j < config.levels
            layers: list[nn.Module] = [
                # A bias that goes straight into instance normalization is subtracted again.
                nn.Conv2d(config.encoder_width(j - 1), config.encoder_width(j), 4, stride=2, padding=1, bias=not normed)
            ]
            if normed:
                layers.append(nn.InstanceNorm2d(config.encoder_width(j)))
            if j < config.levels:
                layers.append(nn.LeakyReLU(_SLOPE))
            self.down.append(nn.Sequential(*layers))
        init_weights(self)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c 1 1"]:
        """Input, output; sizes of the `paper` config.

        | | shape |
        |---|---|
        | images | (N, 3, 256, 256) in [-1, 1] |
        | result | (N, 1024, 1, 1) the code |
        """
        x = images
        for halvings, block in enumerate(self.down, start=1):
            x = block(x)
            if halvings == FREE_HALVINGS:
                x = resized(x, (self.start, self.start))
        return x


class AppearanceDecoder(nn.Module):
    """F's second half: [4x4 deconvolution, instance norm, ReLU], and a deconvolution with tanh at the end."""

    def __init__(self, config: OneShotConfig) -> None:
        super().__init__()
        self.free = config.levels - FREE_HALVINGS
        self.up = nn.ModuleList()
        for j in range(config.levels - 1, 0, -1):
            channels_in = config.max_width if j == config.levels - 1 else config.appearance_width(j + 1)
            channels = config.appearance_width(j)
            self.up.append(
                nn.Sequential(up_conv(channels_in, channels, bias=False), nn.InstanceNorm2d(channels), nn.ReLU())
            )
        self.to_rgb = up_conv(config.appearance_width(1), 3, bias=True)
        init_weights(self)

    def forward(
        self, code: Float[Tensor, "n c 1 1"], size: tuple[int, int]
    ) -> tuple[tuple[Float[Tensor, "n _ _ _"], ...], Float[Tensor, "n 3 h w"]]:
        """Input, output; sizes of the `paper` config.

        | | shape |
        |---|---|
        | code | (N, 1024, 1, 1) |
        | size | height and width of the picture |
        | maps | (N, 1024, 16, 16), (N, 512, 32, 32), (N, 256, 64, 64), (N, 128, 128, 128) |
        | picture | (N, 3, 256, 256) in (-1, 1), F's reconstruction |
        """
        maps, x = [], code
        for doublings, block in enumerate(self.up, start=1):
            x = block(x)
            if doublings == self.free:
                x = resized(x, (size[0] >> FREE_HALVINGS, size[1] >> FREE_HALVINGS))
            maps.append(x)
        return tuple(maps[-CONCATENATED:]), torch.tanh(self.to_rgb(x))


class UpModule(nn.Module):
    """One of D's modules: [appearance beside it, SPADE residual block, 1x1 convolution,] 4x4 deconvolution.

    Modules without a SPADE block are a deconvolution and a ReLU: normalized, a map of one pixel would be zero.

    Args:
        channels_in: of the map.
        appearance: channels of the map that is laid beside it; 0 for none.
        channels_out: of the result.
        spade_kernel: side of the SPADE block's convolutions; None for no SPADE block.
        last: no instance normalization follows.
    """

    def __init__(
        self, channels_in: int, appearance: int, channels_out: int, *, spade_kernel: int | None, last: bool
    ) -> None:
        super().__init__()
        self.spade = None
        self.mix = None
        channels = channels_in + appearance
        plain = spade_kernel is None
        if spade_kernel is not None:
            self.spade = SPADEResidualBlock(channels, PARSING_WIDTH, kernel=spade_kernel)
            self.mix = nn.Conv2d(channels, channels_out, 1)
            channels = channels_out
        self.up = up_conv(channels, channels_out, bias=plain or last)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        appearance: Float[Tensor, "b _ h w"] | None,
        parsing: Float[Tensor, "b 9 h w"],
    ) -> Float[Tensor, "b c2 h2 w2"]:
        """Input, output.

        | | shape |
        |---|---|
        | x | (B, channels_in, h, w) |
        | appearance | (B, appearance, h, w), or None |
        | parsing | (B, 9, h, w), the parsing map averaged down to x's size |
        | result | (B, channels_out, 2h, 2w) |
        """
        if appearance is not None:
            x = torch.cat([x, appearance], dim=1)
        if self.spade is None or self.mix is None:
            return F.relu(self.up(x))
        return self.up(self.mix(self.spade(x, parsing)))


class SemanticDecoder(nn.Module):
    """D: upsampling modules from the code to the picture; the last ones read appearance and the parsing map."""

    def __init__(self, config: OneShotConfig) -> None:
        super().__init__()
        self.free = config.levels - FREE_HALVINGS
        self.modules_up = nn.ModuleList()
        for j in range(config.levels, 0, -1):
            self.modules_up.append(
                UpModule(
                    config.max_width if j == config.levels else config.decoder_width(j),
                    config.appearance_width(j) if config.concatenate and j <= CONCATENATED else 0,
                    config.decoder_width(j - 1),
                    spade_kernel=config.spade_kernel if config.resolution >> j >= config.spade_from else None,
                    last=j == 1,
                )
            )
        self.to_rgb = conv3x3(config.decoder_width(0), 3)
        self.concatenate = config.concatenate
        init_weights(self)

    def forward(
        self,
        code: Float[Tensor, "b c 1 1"],
        maps: tuple[Float[Tensor, "b _ _ _"], ...],
        parsing: Float[Tensor, "b 9 h w"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Input, output; sizes of the `paper` config.

        | | shape |
        |---|---|
        | code | (B, 1024, 1, 1) |
        | maps | (B, 1024, 16, 16), (B, 512, 32, 32), (B, 256, 64, 64), (B, 128, 128, 128), the appearance decoder's |
        | parsing | (B, 9, 256, 256) in [0, 1] |
        | result | (B, 3, 256, 256) in (-1, 1) |
        """
        height, width = parsing.shape[-2:]
        x, modules = code, len(self.modules_up)
        for number, module in enumerate(self.modules_up):
            if number == self.free:
                x = resized(x, (height >> FREE_HALVINGS, width >> FREE_HALVINGS))
            here = number - (modules - CONCATENATED)
            appearance = maps[here] if self.concatenate and here >= 0 else None
            x = module(x, appearance, F.adaptive_avg_pool2d(parsing, (x.shape[2], x.shape[3])))
        return torch.tanh(self.to_rgb(x))
