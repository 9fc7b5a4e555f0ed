"""The methods by name: each one's network, training objectives and graphs in one entry; checkpoints become models."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from reenactor.core import CheckpointError, ReenactError
from reenactor.models.contract import ReenactmentModel, shapes_only
from reenactor.models.graphs import GraphAdapter
from reenactor.models.hybrid import Hybrid, HybridObjective, tuning_objective
from reenactor.models.hybrid.graphs import HybridGraphs
from reenactor.models.marionette import MarioNETte, MarioNETteObjective
from reenactor.models.marionette.graphs import MarioNETteGraphs
from reenactor.models.oneshot import FEATURE_READERS, FusionObjective, OneShot, OneShotObjective
from reenactor.models.oneshot.graphs import OneShotGraphs
from reenactor.models.warp import Warp
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, shipped_checkpoint
from reenactor.nn.losses import Objective

MakeObjective = Callable[[Any, int], Objective[Any]]
"""Settings, number of people in the training set -> the objective."""
TuneObjective = Callable[[Any, Mapping[str, float]], Objective[Any]]
"""A model, weights of losses other than the usual -> the objective that tunes a copy of it to a person."""


@dataclass(frozen=True)
class Method:
    """A method's entry.

    Args:
        model: its class; `model.photo_maps` tells where a picture comes from.
        graphs: what fast runtimes export; None for a model without a network.
        objectives: how it is trained, by `kind` of the objective's settings; empty for an untrained model.
        tuned: how it is tuned to a person; None if it cannot be.
    """

    model: type[ReenactmentModel]
    graphs: Callable[[Any], GraphAdapter] | None = None
    objectives: Mapping[str, MakeObjective] = field(default_factory=dict)
    tuned: TuneObjective | None = None


METHODS: dict[str, Method] = {
    "warp": Method(Warp),
    "hybrid": Method(Hybrid, HybridGraphs, {"hybrid": lambda config, _: HybridObjective(config)}, tuning_objective),
    "marionette": Method(
        MarioNETte,
        MarioNETteGraphs,
        {"marionette": lambda config, identities: MarioNETteObjective(config, identities, FEATURE_READERS)},
    ),
    "oneshot": Method(
        OneShot,
        OneShotGraphs,
        {
            "oneshot": lambda config, _: OneShotObjective(config),
            "oneshot-fusion": lambda config, _: FusionObjective(config),
        },
    ),
}


def create_model(name: str, weights: str | os.PathLike[str] | None = None) -> ReenactmentModel:
    """A ready model, in evaluation mode.

    Args:
        name: one of `METHODS`.
        weights: folder of a checkpoint; None for the weights that ship.

    Raises:
        ReenactError: there is no such method.
        CheckpointError: there are no weights, or not of this model.
    """
    kind = method(name).model
    if not kind.trained:
        if weights is not None:
            raise ReenactError(f"the model '{name}' needs no weights; leave them out")
        return kind(kind.config_type()).eval()
    folder = Path(weights) if weights is not None else shipped_checkpoint(name)
    if folder is None:
        raise CheckpointError(f"no weights of '{name}' ship with this release; train some and give their folder")
    checkpoint = read_checkpoint(folder)
    if checkpoint.kind != name:
        raise CheckpointError(f"{folder} holds weights of '{checkpoint.kind}', not of '{name}'; choose that model")
    return model_of(checkpoint)


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        ReenactError: there is none.
    """
    if name not in METHODS:
        raise ReenactError(f"there is no model '{name}'; choose one of: {', '.join(METHODS)}")
    return METHODS[name]


def model_of(checkpoint: Checkpoint) -> ReenactmentModel:
    """The model that a checkpoint describes, in evaluation mode.

    Raises:
        CheckpointError: its settings or weights do not fit any method.
    """
    if checkpoint.kind not in METHODS:
        raise CheckpointError(f"'{checkpoint.kind}' is not a model that draws; choose one of: {', '.join(METHODS)}")
    kind = METHODS[checkpoint.kind].model
    try:
        config = kind.config_type.model_validate(checkpoint.config)
        # A config that asks for more than the weights hold takes no memory.
        shapes_only(kind, config).load_state_dict(dict(checkpoint.tensors), assign=True)
        model = kind(config)
        model.load_state_dict(dict(checkpoint.tensors))
    except (ValidationError, RuntimeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error).splitlines()[0]
        reason = first.removeprefix("Value error, ").rstrip(":")
        raise CheckpointError(
            f"these weights of '{checkpoint.kind}' are of another release ({reason}); update reenactor or train again"
        ) from error
    if checkpoint.digest:
        model.version = f"{kind.version}-{checkpoint.digest[:12]}"
    return model.eval()


def graph_adapter(name: str, config: BaseModel) -> GraphAdapter:
    """The adapter between photos, landmarks and a model's graphs.

    Raises:
        ReenactError: the model has no network.
    """
    graphs = method(name).graphs
    if graphs is None:
        exported = ", ".join(one for one, entry in METHODS.items() if entry.graphs is not None)
        raise ReenactError(f"'{name}' cannot be exported; choose one of: {exported}")
    return graphs(config)
