"""A part of a model that converters take: tensors in, tensors out, by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jaxtyping
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

PHOTOS, SIDE = "photos", "side"
"""Axes that are free: the number of photos, and the side of crops."""
MAX_PHOTOS = 8


@dataclass(frozen=True)
class Graph:
    """What `encode_target` or `synthesize` has of a network, on its own.

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


class _Convertible(TorchFunctionMode):
    """Leaves out what no converter knows and nobody needs: a trained network's flows are numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.nan_to_num:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def converting() -> Iterator[None]:
    """Around a converter's work: no gradients, no warnings about branches on sizes that are fixed.

    Nor are shape annotations checked, which tests do: for converters, sizes are symbols.
    """
    unchecked = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings(), torch.no_grad(), _Convertible():
            warnings.simplefilter("ignore")
            yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", unchecked)
