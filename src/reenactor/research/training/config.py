"""The complete config of a run: printed when it begins, saved beside its checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reenactor.core import ReenactError
from reenactor.face.perception.covers_objective import CoverObjectiveConfig
from reenactor.face.perception.lids_objective import LidObjectiveConfig
from reenactor.face.retarget.neutral_objective import NeutralObjectiveConfig
from reenactor.face.retarget.transformer import LandmarkTransformerObjectiveConfig
from reenactor.models.hybrid import HybridObjectiveConfig
from reenactor.models.marionette import MarioNETteObjectiveConfig
from reenactor.models.oneshot import (
    FusionObjectiveConfig,
    OneShotObjectiveConfig,
    ShapeEncoderObjectiveConfig,
    VerificationObjectiveConfig,
)
from reenactor.research.data.pair_stream import PairData
from reenactor.research.data.streams import FrameData

ObjectiveConfig = Annotated[
    HybridObjectiveConfig
    | CoverObjectiveConfig
    | LidObjectiveConfig
    | MarioNETteObjectiveConfig
    | LandmarkTransformerObjectiveConfig
    | NeutralObjectiveConfig
    | OneShotObjectiveConfig
    | FusionObjectiveConfig
    | ShapeEncoderObjectiveConfig
    | VerificationObjectiveConfig,
    Field(discriminator="kind"),
]
"""What can be trained. A new one also needs an entry in `models.registry` or `training.state`."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimizers(_Settings):
    """One Adam for the generator, one for the discriminator."""

    generator_lr: float = Field(default=5e-5, gt=0)
    discriminator_lr: float = Field(default=2e-4, gt=0)
    betas: tuple[float, float] = (0.0, 0.999)
    clip_norm: float | None = Field(default=None, gt=0)
    """Gradients of each network are scaled down to this norm; None leaves them."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps in which the learning rates rise linearly from zero."""
    final_factor: float = Field(default=1.0, gt=0, le=1)
    """The learning rates fall to this fraction by the last step (half a cosine); 1 keeps them constant."""


class RunConfig(_Settings):
    """Everything that a run depends on, except the data pack and the machine."""

    recipe: str
    """Name of the recipe that made the config."""
    objective: ObjectiveConfig
    """What is trained, with which losses."""
    data: Annotated[PairData | FrameData, Field(discriminator="kind")] = PairData()
    """Which samples of the pack."""
    optimizers: Optimizers = Optimizers()
    steps: int = Field(ge=1)
    """Total steps of the optimizers."""
    batch_size: int = Field(default=8, ge=1)
    """Samples per step, over all processes and backward passes."""
    accumulate: int = Field(default=1, ge=1)
    """Backward passes per step: less memory, more time."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """bf16 uses autocast; weights and attention stay in fp32. auto: bf16 where the device computes with it."""
    channels_last: bool = False
    """Memory layout of images and weights that is faster on GPUs."""
    ema_halflife_ksamples: float = Field(default=10.0, ge=0)
    """Thousands of samples after which old weights count half in the moving average; 0: no average."""
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=2, ge=0)
    """Processes that load data, per process that trains; 0: none."""
    epoch_steps: int = Field(default=500, ge=1)
    """Steps after which the data streams restart; resuming repeats the loading of at most these steps."""
    log_every: int = Field(default=20, ge=1)
    """Steps between lines of log.jsonl."""
    sample_every: int = Field(default=500, ge=1)
    """Steps between sample images and validation measures."""
    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints; the newest two are kept."""
    keep_every: int | None = Field(default=None, ge=1)
    """Checkpoints of steps that are multiples of this are kept, too; None for no more than the newest two."""

    def learning_rate_factor(self, step: int) -> float:
        """Factor of the learning rates at step `step` (from 0): a linear rise, then half a cosine."""
        o = self.optimizers
        rise = min(1.0, (step + 1) / (o.warmup_steps + 1))
        done = max(0, step - o.warmup_steps) / max(1, self.steps - o.warmup_steps)
        return rise * (o.final_factor + (1 - o.final_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def updated(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """A copy with some settings changed, validated like a new config.

    Args:
        config: the run.
        changes: dotted name of a setting -> new value: `{"steps": 200, "data.mix": {...}, "objective": ...}`.

    Raises:
        ReenactError: there is no such setting, or it does not take such a value.
    """
    settings = config.model_dump(mode="json")
    for name, value in changes.items():
        *parts, last = name.split(".")
        part: Any = settings
        for key in parts:
            part = part.get(key) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            raise ReenactError(f"no such setting: {name}; the config that a run prints when it begins has all of them")
        part[last] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return _parsed(settings)


def changed(config: RunConfig, assignments: Iterable[str]) -> RunConfig:
    """As `updated`, from the command line's "name=value"; values are JSON or plain text.

    Raises:
        ReenactError: not of that form, no such setting, or not such a value.
    """
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ReenactError(f"no such setting: {assignment}; write --set name=value")
        try:
            changes[name.strip()] = json.loads(text)
        except ValueError:
            changes[name.strip()] = text
    return updated(config, changes)


def saved_config(path: Path) -> RunConfig:
    """The config of a run, from its `config.json`.

    Raises:
        ReenactError: the file cannot be read, or is from a release with other settings.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReenactError(f"cannot read {path}: {error}; begin a new run") from error
    return _parsed(settings)


def _parsed(settings: Any) -> RunConfig:
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ReenactError(f"the run's setting {name or 'config'} cannot be: {first['msg'].lower()}") from error
