"""What the training loop needs of a model: which networks are trained, and their losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reenactor.core import Alignment, FrameBatch, MapKind, PairBatch
from reenactor.nn.checkpoint import Checkpoint
from reenactor.nn.losses.gan import Scores, mean_score

B = TypeVar("B", PairBatch, FrameBatch)


@dataclass(frozen=True)
class Step:
    """Result of the generator's or the discriminator's half of a step.

    Args:
        loss: the number to minimize.
        parts: its terms before their weights, detached, for the log.
        drawn: the generator's pictures, for the discriminator's half.
    """

    loss: Float[Tensor, ""]
    parts: Mapping[str, Float[Tensor, ""]]
    drawn: Any = None

    @classmethod
    def weighted(cls, parts: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, Any], drawn: Any = None) -> Step:
        """The generator's half: the sum of the terms times their weights.

        Args:
            parts: the terms.
            weights: by the same names, and perhaps more: `dict(config)`, say.
            drawn: see `Step`.
        """
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return cls(loss, {name: part.detach() for name, part in parts.items()}, drawn)

    @classmethod
    def of_scores(cls, loss: Float[Tensor, ""], real: Scores, fake: Scores) -> Step:
        """The discriminator's half: its loss, and its mean scores of true and drawn pictures for the log."""
        means = {f"score_{name}": mean_score(scores) for name, scores in (("real", real), ("fake", fake))}
        return cls(loss, {"discriminator": loss.detach(), **means})


@dataclass(frozen=True)
class MapsNeeded:
    """Maps that a batch must hold.

    Args:
        targets: of the target photos.
        driver: of the true picture.
    """

    targets: tuple[MapKind, ...] = ()
    driver: tuple[MapKind, ...] = ()


@dataclass(frozen=True)
class Compared:
    """Drawn pictures beside true ones.

    Args:
        distances: of each picture from the true one.
        drawn, true: what the pictures are like (how sharp, say), wherever things lie in them.
    """

    distances: Float[Tensor, " b"]
    drawn: Float[Tensor, "b d"]
    true: Float[Tensor, "b d"]


class Objective(nn.Module, ABC, Generic[B]):
    """Abstract; every trainable model has a final subclass in its `objective.py`.

    It holds its networks as modules, so that `state_dict` is all that a checkpoint must keep of them. Frozen networks
    (for perceptual losses, say) are not to be in it: keep them in a plain tuple or list.
    """

    maps: MapsNeeded = MapsNeeded()
    alignment: Alignment | None = Alignment.BOX
    """How faces must lie in its pictures; None if they may lie either way."""

    @property
    @abstractmethod
    def generator(self) -> nn.Module:
        """The network to train; the loop keeps a moving average of its parameters."""

    @property
    def discriminator(self) -> nn.Module | None:
        """Its discriminator, if there is one."""
        return None

    @abstractmethod
    def generator_step(self, batch: B) -> Step:
        """The generator's loss on a batch. The loop keeps the discriminator `frozen` meanwhile."""

    def discriminator_step(self, batch: B, drawn: Any) -> Step:
        """The discriminator's loss on the same batch and what `generator_step` drew."""
        raise NotImplementedError("an objective with a discriminator must define its loss")

    def pictures(self, generator: nn.Module, batch: B) -> Float[Tensor, "n 3 h w"] | None:
        """Pictures in [-1, 1] that show progress, a row each (target, truth, result, ... side by side).

        Args:
            generator: its moving average, in evaluation mode.
            batch: the same at each call.
        """
        return None

    def measure(self, generator: nn.Module, batch: B) -> Mapping[str, Float[Tensor, ""]]:
        """Named quality measures (a PSNR, say); arguments as for `pictures`."""
        return {}

    def compared(self, generator: nn.Module, batch: B) -> Compared:
        """How far drawn pictures are from the true ones; by it tuning to a person chooses weights."""
        raise NotImplementedError("an objective that tunes a model to a person must compare pictures")

    @abstractmethod
    def checkpoint(self, generator: nn.Module) -> Checkpoint:
        """What inference loads, from the generator's moving average."""


@contextmanager
def frozen(network: nn.Module | None) -> Iterator[None]:
    """Gradients pass through the network, if there is one, but are not gathered in it."""
    parameters = [p for p in network.parameters() if p.requires_grad] if network is not None else []
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
