"""Every model by its name, and how a checkpoint becomes a model."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from reenactor.core import CheckpointError, ReenactError
from reenactor.models.contract import ReenactmentModel
from reenactor.models.hybrid import Hybrid
from reenactor.models.marionette import MarioNETte
from reenactor.models.oneshot import OneShot
from reenactor.models.warp import Warp
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, shipped_checkpoint

ZOO: dict[str, type[ReenactmentModel]] = {
    "warp": Warp,
    "hybrid": Hybrid,
    "marionette": MarioNETte,
    "oneshot": OneShot,
}


def create_model(name: str, weights: str | os.PathLike[str] | None = None) -> ReenactmentModel:
    """A ready model, in evaluation mode.

    Args:
        name: an entry of the zoo.
        weights: folder of a checkpoint; None for the weights that ship.

    Raises:
        ReenactError: if the zoo has no such entry.
        CheckpointError: if there are no weights, or not of this model.
    """
    if name not in ZOO:
        raise ReenactError(f"there is no model '{name}'; choose one of: {', '.join(ZOO)}")
    kind = ZOO[name]
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


def model_of(checkpoint: Checkpoint) -> ReenactmentModel:
    """The model that a checkpoint describes, in evaluation mode.

    Raises:
        CheckpointError: its settings or weights do not fit any entry of the zoo.
    """
    kind = ZOO.get(checkpoint.kind)
    if kind is None:
        raise CheckpointError(f"'{checkpoint.kind}' is not a model that draws; choose one of: {', '.join(ZOO)}")
    try:
        model = kind(kind.config_type.model_validate(checkpoint.config))
        model.load_state_dict(dict(checkpoint.tensors))
    except (ValidationError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise CheckpointError(
            f"these weights of '{checkpoint.kind}' are of another release ({reason}); update reenactor or train again"
        ) from error
    if checkpoint.digest:
        model.version = f"{kind.version}-{checkpoint.digest[:12]}"
    return model.eval()
