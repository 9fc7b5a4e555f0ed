"""Checkpoints of a run: all that going on needs, in safetensors and JSON, written whole or not at all."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from reenactor.core import CheckpointError
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

KIND = "training-run"
_KEPT = 2
"""Checkpoints of a run that stay; the one before the last is there should the last turn out to be bad."""


@dataclass(frozen=True)
class RunState:
    """What learns.

    Args:
        objective: with all of its networks.
        average: of the generator.
        optimizers: by the players' names.
    """

    objective: nn.Module
    average: nn.Module
    optimizers: dict[str, Optimizer]

    def save(self, folder: Path, step: int, *, max_file_mb: float) -> Path:
        """Write `folder/step-N` and remove older ones.

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
        place = folder / f"step-{step:08d}"
        # safetensors stores no two names for one memory.
        own = {name: value.detach().cpu().clone() for name, value in tensors.items()}
        write_checkpoint(place, Checkpoint(KIND, {"step": step, "param_groups": groups}, own), max_file_mb=max_file_mb)
        for old in checkpoints(folder)[:-_KEPT]:
            shutil.rmtree(old)
        return place

    def load(self, place: Path) -> int:
        """Take over what `save` wrote.

        Returns:
            the step it was at.

        Raises:
            CheckpointError: damaged, or of a run with other networks.
        """
        saved = read_checkpoint(place)
        if saved.kind != KIND:
            raise CheckpointError(f"{place} is no checkpoint of a training run; give a run's folder")
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
            raise CheckpointError(f"{place} is of a run with other networks ({reason}); begin a new run") from error
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
