"""A model as graphs for fast runtimes: what is in them, what stays outside, and networks with less to compute.

`engine.runtimes` exports and runs the graphs. A model's own part is the `GraphAdapter` in its folder's `graphs.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reenactor.core import DriverFrame, ReenactError, TargetCode, TargetSet
from reenactor.models.contract import Needs, ReenactmentModel
from reenactor.nn import Resample, ResidualBlock, fold_spectral_norm

M = TypeVar("M", bound=ReenactmentModel)
N = TypeVar("N", bound=nn.Module)

PHOTOS, SIDE = "photos", "side"
"""Axes that are free: the number of photos, and the side of crops."""
MAX_PHOTOS = 32
ENCODE, SYNTHESIZE, ENLARGE = "encode_target", "synthesize", "enlarge"
"""Names of the graphs."""


@dataclass(frozen=True)
class Graph:
    """The network part of `encode_target` or `synthesize`: tensors in, tensors out, by name.

    Args:
        module: its `forward` takes the inputs in their order and returns the outputs in theirs.
        inputs: an example of each, with two photos, and crops of another side than the network's own: converters
            take an axis of 1, or two that agree by chance, for fixed.
        outputs: their names.
        free: input -> axis -> `PHOTOS` or `SIDE`; all other axes are fixed.
        exact: names of modules whose layers stay in fp32 where the rest is quantized.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    free: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    exact: tuple[str, ...] = ()

    def shapes(self) -> dict[str, list[int | str]]:
        """Input -> its axes: a size, or the name of a free one."""
        return {
            name: [self.free.get(name, {}).get(axis, size) for axis, size in enumerate(example.shape)]
            for name, example in self.inputs.items()
        }


@dataclass(frozen=True)
class ExportedCode(TargetCode):
    """A person, encoded by an exported model.

    Args:
        tensors: inputs of `SYNTHESIZE` that stay the same for all frames.
        geometry: what the adapter needs of the photos outside of the graph.
        side: of the crops, pixels.
    """

    tensors: Mapping[str, Tensor]
    geometry: Any
    side: int


class GraphAdapter(ABC, Generic[M]):
    """Turns photos and landmarks into inputs of a model's graphs; made from the settings alone, without weights.

    Attributes:
        name: of the model.
        config: its settings.
        needs, resolution: the model's.
    """

    name: ClassVar[str]
    config: BaseModel
    needs: Needs
    resolution: int

    @abstractmethod
    def graphs(self, model: M) -> dict[str, Graph]:
        """`ENCODE` and `SYNTHESIZE`, simplified (`simplified`).

        With an `ENLARGE`, `SYNTHESIZE` draws at the network's resolution, and `ENLARGE` makes pictures of other sizes
        from what that gives and all inputs.
        """

    @abstractmethod
    def target_inputs(self, targets: TargetSet) -> dict[str, Tensor]:
        """Inputs of `ENCODE`."""

    @abstractmethod
    def code(self, targets: TargetSet, given: Mapping[str, Tensor], encoded: Mapping[str, Tensor]) -> ExportedCode:
        """The encoded person.

        Args:
            targets: the photos.
            given: what `target_inputs` made of them.
            encoded: outputs of `ENCODE`.
        """

    @abstractmethod
    def frame_inputs(self, code: ExportedCode, driver: DriverFrame) -> dict[str, Tensor]:
        """Inputs of `SYNTHESIZE` that differ from frame to frame; `driver` holds one."""

    def check(self, targets: TargetSet) -> None:
        """Refuse what the graphs do not take.

        Raises:
            ReenactError: too many photos, or not of the export's size.
        """
        count, side = len(targets.images), targets.images.shape[-1]
        if count > MAX_PHOTOS:
            raise ReenactError(f"{count} photos were given; an exported model takes one to {MAX_PHOTOS}")
        if not self.needs.any_resolution and side != self.resolution:
            raise ReenactError(
                f"this export of '{self.name}' draws crops of {self.resolution} pixels, not {side}; leave the size out"
            )
        if side < self.resolution:
            raise ReenactError(
                f"this export of '{self.name}' draws crops of {self.resolution} pixels or more, not {side}; "
                "choose a larger size"
            )


def simplified(module: N) -> N:
    """A copy in evaluation mode: spectral and batch norms folded into weights, upsampling into convolutions."""
    module = fold_spectral_norm(module).requires_grad_(False)
    fold_batch_norm(module)
    fold_upsampling(module)
    _unfold_group_norm(module)
    return module


class _GroupNorm(nn.Module):
    """`nn.GroupNorm` from means of channels; the groups' own axis would cost runtimes a copy into another layout."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        x = x - self._of_groups(x.mean((2, 3)))
        gain = (self._of_groups((x * x).mean((2, 3))) + self.norm.eps).rsqrt()
        return x * (gain * self.norm.weight[:, None, None]) + self.norm.bias[:, None, None]

    def _of_groups(self, of_channels: Float[Tensor, "b c"]) -> Float[Tensor, "b c 1 1"]:
        each = of_channels.unflatten(1, (self.norm.num_groups, -1))
        return each.mean(2, keepdim=True).expand_as(each).flatten(1)[..., None, None]


def _unfold_group_norm(module: nn.Module) -> None:
    """Every group normalization becomes a `_GroupNorm`, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, _GroupNorm(child))
        else:
            _unfold_group_norm(child)


def fold_batch_norm(module: nn.Module) -> None:
    """Every convolution that batch normalization follows takes over its gain and bias, in place."""
    for inner in module.modules():
        if isinstance(inner, nn.Sequential):
            for i in range(len(inner) - 1):
                conv, norm = inner[i], inner[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    inner[i], inner[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def fold_upsampling(module: nn.Module) -> None:
    """Every residual block that doubles the size becomes an `UpsamplingBlock`, in place."""
    for name, child in module.named_children():
        if isinstance(child, ResidualBlock) and child.resample is Resample.UP:
            setattr(module, name, UpsamplingBlock(child))
        else:
            fold_upsampling(child)


class UpsamplingBlock(nn.Module):
    """`ResidualBlock` with `Resample.UP`: doubling and 3x3 convolution as one deconvolution, 4 taps a pixel, not 9."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.norm1, self.norm2, self.conv2, self.skip = block.norm1, block.norm2, block.conv2, block.skip
        self.conv1 = upsampling_conv(block.conv1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """(B, channels_in, h, w) -> (B, channels_out, 2h, 2w)."""
        h = self.conv1(F.relu(self.norm1(x)))
        h = self.conv2(F.relu(self.norm2(h)))
        return h + F.interpolate(self.skip(x), scale_factor=2.0, mode="nearest")


def upsampling_conv(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """A deconvolution that equals doubling by nearest neighbours and then `conv`, 3x3 with a padding of 1.

    Along one axis, rows 2i and 2i + 1 of the doubled map both are row i. So row 2i of the result is w0 x[i-1] +
    (w1 + w2) x[i], and row 2i + 1 is (w0 + w1) x[i] + w2 x[i+1]: the deconvolution's taps are w2, w1 + w2, w0 + w1, w0.
    """
    folded = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, stride=2, padding=1, bias=conv.bias is not None)
    w = conv.weight.detach()
    for axis in (2, 3):
        w0, w1, w2 = w.unbind(axis)
        w = torch.stack([w2, w1 + w2, w0 + w1, w0], axis)
    folded.weight = nn.Parameter(w.transpose(0, 1).contiguous(), requires_grad=False)
    if conv.bias is not None:
        folded.bias = nn.Parameter(conv.bias.detach().clone(), requires_grad=False)
    return folded
