"""Models, published systems and landmark transformers by name or folder, ready to compute."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from reenactor.core import CheckpointError, ReenactError, Runtime, Transfer
from reenactor.engine.portrait import placed, torch_device
from reenactor.engine.runtimes.fast import fast_model
from reenactor.face.retarget.transformer import KIND as LANDMARK_TRANSFORMER
from reenactor.face.retarget.transformer import LandmarkTransformer
from reenactor.models import METHODS, ReenactmentModel, create_model
from reenactor.nn.checkpoint import read_checkpoint, shipped_checkpoint


@dataclass(frozen=True)
class System:
    """A published system: a model, and how the driver's movement reaches it.

    Args:
        model: name of the model.
        transfer: used where no other is chosen.
        about: one line for lists; empty to use the model's own.
    """

    model: str
    transfer: Transfer = Transfer.PARTS
    about: str = ""


SYSTEMS: dict[str, System] = {name: System(name) for name in METHODS} | {
    "marionette-lt": System("marionette", Transfer.TRANSFORMER, "MarioNETte+LT (2020): with the landmark transformer."),
}
"""By name; every model is a system by itself."""


def system(name: str) -> System:
    """The system of that name. An unknown name is taken for a model's, and refused where that is loaded."""
    return SYSTEMS.get(name, System(name))


def load_model(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    runtime: Runtime = Runtime.TORCH,
    device: str = "auto",
) -> ReenactmentModel:
    """A model, in evaluation mode, in a runtime and on a device.

    Args:
        name: of the model.
        weights: folder of a checkpoint; None for the weights that ship.
        runtime: what computes it.
        device: what PyTorch computes on, see `torch_device`.

    Raises:
        ReenactError: there is no such model, runtime or device.
        CheckpointError: there are no weights, or not of this model.
    """
    if name not in METHODS:
        raise ReenactError(f"there is no model '{name}'; choose one of: {', '.join(SYSTEMS)}")
    place = torch_device(device)
    if runtime is Runtime.TORCH:
        return placed(create_model(name, weights), place)
    return fast_model(name, weights, runtime, device=place)


def transformer_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The given folder of a landmark transformer's checkpoint, or that of the one that ships.

    Raises:
        CheckpointError: none ships.
    """
    folder = given if given is not None else shipped_checkpoint(LANDMARK_TRANSFORMER)
    if folder is None:
        raise CheckpointError("no landmark transformer ships with this release; train one and give its folder")
    return Path(folder)


def load_transformer(folder: str | os.PathLike[str] | None = None) -> LandmarkTransformer:
    """A landmark transformer for animation, on the CPU.

    Args:
        folder: of its checkpoint; None for the one that ships.

    Raises:
        CheckpointError: there is none.
    """
    return LandmarkTransformer.from_checkpoint(read_checkpoint(transformer_folder(folder)))
