"""A run, completely: printed when it begins, saved beside its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reenactor.core import ReenactError
from reenactor.face.retarget.transformer import LandmarkTransformerObjectiveConfig
from reenactor.models.hybrid import HybridObjectiveConfig, MouthObjectiveConfig
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
    | MouthObjectiveConfig
    | MarioNETteObjectiveConfig
    | LandmarkTransformerObjectiveConfig
    | OneShotObjectiveConfig
    | FusionObjectiveConfig
    | ShapeEncoderObjectiveConfig
    | VerificationObjectiveConfig,
    Field(discriminator="kind"),
]
"""What can be trained. A new one also needs an entry in `models.registry` or `training.tasks`."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Optimizers(_Settings):
    """Adam, one for each player."""

    generator_lr: float = Field(default=5e-5, gt=0)
    discriminator_lr: float = Field(default=2e-4, gt=0)
    betas: tuple[float, float] = (0.0, 0.999)
    clip_norm: float | None = Field(default=None, gt=0)
    """Gradients of a player are scaled down to this norm."""
    warmup_steps: int = Field(default=0, ge=0)
    """The learning rates rise linearly from zero."""
    final_factor: float = Field(default=1.0, gt=0, le=1)
    """The learning rates fall to this share of themselves by the last step (half a cosine); 1 keeps them."""


class RunConfig(_Settings):
    """All that a run depends on, but for the pack and the machine."""

    recipe: str
    objective: ObjectiveConfig
    data: Annotated[PairData | FrameData, Field(discriminator="kind")] = PairData()
    optimizers: Optimizers = Optimizers()
    steps: int = Field(ge=1)
    """Steps of the optimizers in all."""
    batch_size: int = Field(default=8, ge=1)
    """Samples a step, over all processes and accumulated gradients."""
    accumulate: int = Field(default=1, ge=1)
    """Backward passes a step: memory for time."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast; weights and attention stay in fp32."""
    channels_last: bool = False
    """Memory layout of pictures and weights; GPUs like it."""
    ema_halflife_ksamples: float = Field(default=10.0, ge=0)
    """Thousands of samples after which weights count half in the moving average that is kept; 0: no average."""
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=2, ge=0)
    """Processes that prepare data, for each process that trains; 0: none."""
    epoch_steps: int = Field(default=500, ge=1)
    """The data's order begins anew every so many steps; a resumed run goes through no more than these again."""
    log_every: int = Field(default=20, ge=1)
    """Steps between lines of the log."""
    sample_every: int = Field(default=500, ge=1)
    """Steps between pictures."""
    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    max_file_mb: float = Field(default=1024.0, gt=0)
    """Largest file of a checkpoint, in MiB."""


def changed(config: RunConfig, assignments: Iterable[str]) -> RunConfig:
    """The run with some settings changed.

    Args:
        config: the run.
        assignments: "a.b=c": the setting b in the part a; values in JSON, or plain text.

    Raises:
        ReenactError: no such setting, or not such a value.
    """
    settings = config.model_dump(mode="json")
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        *parts, last = path.strip().split(".")
        place: Any = settings
        for part in parts:
            place = place.get(part) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or last not in place:
            raise ReenactError(f"--set {assignment}: no such setting; the config printed when a run begins has all")
        place[last] = _value(text)
    return parsed(settings)


def saved_config(path: Path) -> RunConfig:
    """The run that a `config.json` describes.

    Raises:
        ReenactError: it cannot be read, or is of another release.
    """
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ReenactError(f"cannot read {path}: {error}; begin a new run") from error
    return parsed(settings)


def parsed(settings: Any) -> RunConfig:
    """A run from what `config.json` holds.

    Raises:
        ReenactError: one sentence about the first thing that is wrong.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ReenactError(f"the run's setting {place or 'config'} cannot be: {first['msg'].lower()}") from error


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
