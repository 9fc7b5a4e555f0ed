"""Models, published systems and landmark transformers by name or folder, ready to compute."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from reenactor.core import CheckpointError, ReenactError, Runtime, Transfer
from reenactor.engine.portrait import placed, torch_device
from reenactor.engine.runtimes.fast import fast_model
from reenactor.face.retarget.transformer import KIND as LANDMARK_TRANSFORMER
from reenactor.face.retarget.transformer import LandmarkTransformer
from reenactor.media.person_file import Tuning
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
    tuning: Tuning | None = None,
) -> ReenactmentModel:
    """A model, in evaluation mode, in a runtime and on a device.

    Args:
        name: of the model.
        weights: folder of a checkpoint; None for the weights that ship.
        runtime: what computes it.
        device: what PyTorch computes on, see `torch_device`.
        tuning: of these weights to a person.

    Raises:
        ReenactError: there is no such model, runtime or device.
        CheckpointError: there are no weights, or not of this model; or the tuning is of others.
    """
    if name not in METHODS:
        raise ReenactError(f"there is no model '{name}'; choose one of: {', '.join(SYSTEMS)}")
    place = torch_device(device)
    model = create_model(name, weights)
    if tuning is not None:
        model = tuned_model(model, tuning)
    return placed(model, place) if runtime is Runtime.TORCH else fast_model(model, runtime, device=place)


def fits(tuning: Tuning, model: ReenactmentModel) -> bool:
    """Whether this is the model, with the weights, that was tuned; it may be in another runtime."""
    return tuning.model == model.name and f"{model.version}-".startswith(f"{tuning.version}-")


def tuned_model(model: ReenactmentModel, tuning: Tuning) -> ReenactmentModel:
    """A copy of the model with the tuning's weights.

    Raises:
        CheckpointError: the tuning is of other weights.
    """
    other = CheckpointError(
        f"this person was tuned on other weights than these of '{model.name}'; make the person file again"
    )
    if not fits(tuning, model):
        raise other
    model, digest = copy.deepcopy(model), hashlib.sha256()
    weights = model.state_dict()
    for name, change in sorted(tuning.difference.items()):
        if name not in weights or weights[name].shape != change.shape:
            raise other
        weights[name] += torch.from_numpy(change.astype("float32")).to(weights[name])
        digest.update(name.encode() + change.tobytes())
    model.version = f"{model.version}-{digest.hexdigest()[:12]}"
    return model


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
