"""What a run learns: the objective, its moving average, the optimizers; checkpoints to resume from."""

from __future__ import annotations

import copy
import csv
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from reenactor.core import CheckpointError, ReenactError
from reenactor.face.maps import boundary_maps
from reenactor.face.perception.covers_objective import CoverObjective
from reenactor.face.perception.lids_objective import LidObjective, lid_statistics
from reenactor.face.retarget.neutral_objective import NeutralObjective, neutral_statistics
from reenactor.face.retarget.transformer import LandmarkTransformerObjective, fit_statistics
from reenactor.models import METHODS
from reenactor.models.oneshot import ShapeEncoderObjective, VerificationObjective
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from reenactor.nn.losses import Objective
from reenactor.research.data import ShardReader
from reenactor.research.data.items import Kind, Split
from reenactor.research.data.streams import by_name, clip_landmarks, rows_of
from reenactor.research.training.config import ObjectiveConfig

KIND = "training-run"
_KEPT = 2
"""Checkpoints of a run that are kept: the last, and one more in case the last is bad."""

M = TypeVar("M", bound=nn.Module)


def _landmark_transformer(config: Any, pack: ShardReader, _: int) -> Objective[Any]:
    if config.model.needs_pictures and config.resnet50 is None:
        raise ReenactError(
            "this landmark transformer looks at pictures through ResNet-50 and would begin with random weights; "
            """name a file of torchvision's with --set objective.resnet50='{"path": "resnet50.pth"}'"""
        )
    return LandmarkTransformerObjective(config, fit_statistics(clip_landmarks(pack), config.model))


def _covers(config: Any, pack: ShardReader, _: int) -> Objective[Any]:
    if config.glasses is None:
        raise ReenactError("who wears glasses is not known; add --set objective.glasses=docs/assets/glasses.csv")
    with open(config.glasses, newline="") as file:
        labels = {row["source"]: int(row["glasses"]) for row in csv.DictReader(file)}
    # All portraits of real people were looked at, and nothing else.
    sources = pack.column("source").astype(str)
    known = [labels.get(source, 0 if re.match("portraits/(?!synth_)", source) else -1) for source in sources]
    return CoverObjective(config, np.array(known))


def _lids(config: Any, pack: ShardReader, _: int) -> Objective[Any]:
    clips = ((row, pack[row]) for split in Split for row in rows_of(pack, Kind.CLIP, split).tolist())
    rates = pack.column("fps")
    seen = ((row, sample.landmarks[sample.seen], float(rates[row])) for row, sample in clips if sample.seen.any())
    return LidObjective(config, lid_statistics(sorted(seen, key=lambda one: one[0])))


def _neutral(config: Any, pack: ShardReader, _: int) -> Objective[Any]:
    photos = rows_of(pack, Kind.PHOTO, Split.TRAIN)
    albums = (rows for rows in by_name(photos, pack.column("identity").astype(str)[photos]) if len(rows) > 1)
    shown = ([pack[row].landmarks[0] for row in rows] for rows in albums)
    return NeutralObjective(config, neutral_statistics(clip_landmarks(pack), shown, clip_landmarks(pack, Split.VAL)))


_OTHERS: dict[str, Callable[[Any, ShardReader, int], Objective[Any]]] = {
    "covers": _covers,
    "lids": _lids,
    "landmark-transformer": _landmark_transformer,
    "neutral-face": _neutral,
    "shape-encoder": lambda config, _, __: ShapeEncoderObjective(config, boundary_maps),
    "verification": lambda config, _, identities: VerificationObjective(config, identities),
}
"""Networks that are no models of their own, by `kind`; models register theirs in `models.registry`."""


def make_objective(config: ObjectiveConfig, pack: ShardReader, *, identities: int) -> Objective[Any]:
    """The objective that `config` describes, with fresh weights from PyTorch's generator.

    Args:
        config: settings of anything that can be trained.
        pack: for objectives that measure something of the data first.
        identities: people in the training split.
    """
    if config.kind in _OTHERS:
        return _OTHERS[config.kind](config, pack, identities)
    makers = {kind: make for method in METHODS.values() for kind, make in method.objectives.items()}
    return makers[config.kind](config, identities)


@dataclass(frozen=True)
class RunState:
    """Everything that changes while a run trains.

    Args:
        objective: the losses with all their networks.
        average: moving average of the generator.
        optimizers: by the name of the network that each one trains.
    """

    objective: nn.Module
    average: nn.Module
    optimizers: dict[str, Optimizer]

    def save(self, folder: Path, step: int, *, keep_every: int | None = None) -> Path:
        """Write `folder/step-N` atomically, and remove all but the newest checkpoints.

        Args:
            folder: of the run's checkpoints.
            step: steps made so far.
            keep_every: checkpoints of multiples of this stay.

        Returns:
            the new checkpoint's folder.
        """
        tensors = {f"objective.{name}": value for name, value in self.objective.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        groups = {}
        for player, optimizer in self.optimizers.items():
            state = optimizer.state_dict()
            groups[player] = state["param_groups"]
            for number, values in state["state"].items():
                tensors |= {f"optimizer.{player}.{number}.{name}": value for name, value in values.items()}
        checkpoint = folder / f"step-{step:08d}"
        # safetensors does not store two tensors that share memory.
        own = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        write_checkpoint(checkpoint, Checkpoint(KIND, {"step": step, "param_groups": groups}, own))
        for old in checkpoints(folder)[:-_KEPT]:
            if keep_every is None or int(old.name.removeprefix("step-")) % keep_every:
                shutil.rmtree(old)
        return checkpoint

    def load(self, checkpoint: Path) -> int:
        """Restore what `save` wrote.

        Returns:
            the step of the checkpoint.

        Raises:
            CheckpointError: damaged, or from a run with other networks.
        """
        saved = read_checkpoint(checkpoint)
        if saved.kind != KIND:
            raise CheckpointError(f"{checkpoint} is not a checkpoint of a training run; give a run's folder")
        try:
            self.objective.load_state_dict(_under("objective.", saved.tensors))
            self.average.load_state_dict(_under("average.", saved.tensors))
            for player, optimizer in self.optimizers.items():
                values: dict[int, dict[str, Tensor]] = {}
                for name, tensor in _under(f"optimizer.{player}.", saved.tensors).items():
                    number, _, what = name.partition(".")
                    values.setdefault(int(number), {})[what] = tensor
                optimizer.load_state_dict({"state": values, "param_groups": saved.config["param_groups"][player]})
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0].rstrip(":")
            raise CheckpointError(
                f"{checkpoint} is from a run with other networks ({reason}); begin a new run"
            ) from error
        return int(saved.config["step"])


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    found = folder.glob("step-*") if folder.is_dir() else ()
    return sorted(path for path in found if re.fullmatch(r"step-\d{8}", path.name))


def _under(prefix: str, tensors: Any) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def all_finite(module: nn.Module) -> bool:
    """Whether no parameter is NaN or infinite."""
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())


def average_of(network: M) -> M:
    """A copy of the network to hold its moving average: evaluation mode, no gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, samples: int, halflife_samples: float) -> None:
    """Move the average of the parameters towards the network's; buffers are copied.

    Args:
        average: changed in place.
        network: the network as it is now.
        samples: samples seen since the last update.
        halflife_samples: samples after which old weights count half; 0 copies the network.
    """
    keep = 0.5 ** (samples / halflife_samples) if halflife_samples > 0 else 0.0
    for mine, their in zip(average.parameters(), network.parameters(), strict=True):
        mine.lerp_(their, 1 - keep)
    for mine_buffer, their_buffer in zip(average.buffers(), network.buffers(), strict=True):
        mine_buffer.copy_(their_buffer)
