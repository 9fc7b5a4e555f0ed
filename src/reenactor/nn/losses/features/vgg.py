"""The convolutions of VGG networks (Simonyan and Zisserman 2015, configurations D and E)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five blocks; between blocks, maps are halved."""
VGG16 = (2, 2, 3, 3, 3)
"""Convolutions in each block."""
VGG19 = (2, 2, 4, 4, 4)


@dataclass(frozen=True)
class InputScale:
    """What a network was trained on: `(rgb - mean) / std`, rgb in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = InputScale(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""torchvision's networks."""
VGG_FACE = InputScale(mean=(129.1863 / 255, 104.7624 / 255, 93.5940 / 255), std=(1 / 255, 1 / 255, 1 / 255))
"""Parkhi, Vedaldi and Zisserman 2015: 0..255 less the mean face's colour."""


class VggFeatures(nn.Module):
    """Feature maps after some of a VGG's ReLUs. What lies above the last of them is left out.

    Its weights have no values yet: `build_features` gives them some.

    Args:
        convolutions: in each of the five blocks.
        taps: which ReLUs, lowest first: "relu3_1" is the first of the third block.
        scale: of its input.
        width: factor on the channels.
    """

    gain: Tensor
    shift: Tensor

    def __init__(
        self, convolutions: Sequence[int], taps: Sequence[str], *, scale: InputScale, width: float = 1.0
    ) -> None:
        super().__init__()
        names = [f"{block}_{i}" for block, count in enumerate(convolutions, 1) for i in range(1, count + 1)]
        wanted = [tap.removeprefix("relu") for tap in taps]
        if not wanted or [name for name in names if name in wanted] != wanted:
            raise ValueError(f"{', '.join(taps)}: not ReLUs of this network, lowest first")
        self.taps = frozenset(f"conv{name}" for name in wanted)
        self.convs = nn.ModuleDict()
        channels_in = 3
        for name in names[: names.index(wanted[-1]) + 1]:
            channels = max(1, round(width * WIDTHS[int(name[0]) - 1]))
            # PyTorch's own start would draw 20 million random numbers, from everybody's generator.
            self.convs[f"conv{name}"] = nn.utils.skip_init(nn.Conv2d, channels_in, channels, 3, padding=1)
            channels_in = channels
        mean, std = torch.tensor(scale.mean), torch.tensor(scale.std)
        self.register_buffer("gain", (0.5 / std)[:, None, None], persistent=False)
        self.register_buffer("shift", ((0.5 - mean) / std)[:, None, None], persistent=False)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Input, output, with the taps relu1_1 to relu5_1.

        | | shape |
        |---|---|
        | image_m1p1 | (B, 3, H, W) in [-1, 1] |
        | result | (B, 64, H, W), (B, 128, H/2, W/2), (B, 256, H/4, W/4), (B, 512, H/8, W/8), (B, 512, H/16, W/16) |
        """
        x = image_m1p1 * self.gain + self.shift
        maps = []
        for name, conv in self.convs.items():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            x = F.relu(conv(x))
            if name in self.taps:
                maps.append(x)
        return tuple(maps)
