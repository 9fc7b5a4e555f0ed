"""The training loop for every model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.utils.data import default_collate

from reenactor.core import ReenactError
from reenactor.core.progress import Progress, Silent
from reenactor.nn.checkpoint import write_checkpoint
from reenactor.nn.losses import Objective, Step, frozen
from reenactor.nn.precision import fast_bf16
from reenactor.research.data import ShardReader, Split
from reenactor.research.training.batches import (
    Batches,
    OverfitSource,
    Raw,
    StreamSource,
    fixed_batch,
    people_of,
    seed_step,
)
from reenactor.research.training.config import PairData, RunConfig
from reenactor.research.training.log import Means, RunLog
from reenactor.research.training.machines import Fabric, average_gradients, stop_signals
from reenactor.research.training.state import (
    RunState,
    all_finite,
    average_of,
    checkpoints,
    make_objective,
    update_average,
)

CHECKPOINTS, MODEL = "checkpoints", "model"
GENERATOR, DISCRIMINATOR = "generator", "discriminator"
_SAMPLES = 8
"""Validation samples for images and measures."""
_MOST_OVERFIT_SAMPLES = 32
"""The same when the run overfits."""


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Args:
        step: steps made so far.
        finished: whether these are all of the config's steps.
        checkpoint: folder of the newest checkpoint.
        model: folder of the weights for inference.
    """

    step: int
    finished: bool
    checkpoint: Path
    model: Path


def train(
    config: RunConfig,
    pack: Path,
    out: Path,
    fabric: Fabric,
    *,
    max_minutes: float | None = None,
    overfit: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Train until the last step, `max_minutes`, or a signal to stop; resume if `out` holds a checkpoint.

    Each step: gradients of the generator, gradients of the discriminator on the generator's images, both averaged over
    the processes, one step of each optimizer, the moving average. The samples and random numbers of step n follow from
    `config` and n alone, so an interrupted run ends with the same weights as an undisturbed one.

    Args:
        config: the run's config.
        pack: folder of prepared data.
        out: the run's folder.
        fabric: the processes, launched.
        max_minutes: wall-clock limit of this call.
        overfit: train on the first `overfit` samples instead of the whole pack, to find mistakes in a network.
        progress: reports samples.

    Raises:
        ReenactError: the loss or a weight became NaN or infinite; the last good checkpoint stays.
    """
    return _Run(config, pack, out, fabric, overfit).go(max_minutes, progress or Silent())


class _Run:
    """The parts of `train`, sharing its arguments."""

    def __init__(self, config: RunConfig, pack: Path, out: Path, fabric: Fabric, overfit: int | None) -> None:
        self.config, self.out, self.fabric = config, out, fabric
        reader = ShardReader(pack)
        people = people_of(reader)
        torch.manual_seed(config.seed)
        self.objective = make_objective(config.objective, reader, identities=len(people)).to(fabric.device)
        if self.objective.alignment not in (None, config.data.alignment):
            raise ReenactError(
                f"this model's faces are aligned to '{self.objective.alignment}', and the data's to "
                f"'{config.data.alignment}'; add --set data.alignment={self.objective.alignment}"
            )
        if config.channels_last:
            self.objective.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.batches = Batches(self.objective.maps, people, fabric.device, channels_last=config.channels_last)
        process = {"rank": fabric.global_rank, "world": fabric.world_size}
        if overfit is None:
            self.source = StreamSource(config, pack, **process)
            self.shown_name, self.shown = _shown(config, pack)
        else:
            self.source = OverfitSource(config, pack, count=overfit, **process)
            self.shown_name, self.shown = "overfit", default_collate(self.source.samples[:_MOST_OVERFIT_SAMPLES])
        self.state = RunState(self.objective, average_of(self.objective.generator), _optimizers(self.objective, config))

    def go(self, max_minutes: float | None, progress: Progress) -> Result:
        config = self.config
        started = time.monotonic()
        saved = checkpoints(self.out / CHECKPOINTS)
        step = self.state.load(saved[-1]) if saved else 0
        checkpoint = saved[-1] if saved else None
        log = RunLog(self.out, first_step=step) if self.fabric.is_global_zero else None
        means = Means(self.fabric)
        progress.start("training", step * config.batch_size, config.steps * config.batch_size)
        try:
            with stop_signals() as stop_asked:
                source = self.source.steps(step)
                while step < config.steps:
                    means.add(self._step(step, next(source)), samples=config.batch_size)
                    step += 1
                    progress.step(step * config.batch_size, config.steps * config.batch_size)
                    late = max_minutes is not None and time.monotonic() - started > 60 * max_minutes
                    stopping = self._anyone(late or stop_asked.is_set())
                    last = stopping or step == config.steps
                    save = last or step % config.save_every == 0
                    if save or step % config.log_every == 0:
                        self._log(log, step, means, checkpoint)
                    if log and (step == config.steps or step % config.sample_every == 0):
                        self._show(log, step)
                    if save:
                        checkpoint = self._save(step)
                    if stopping:
                        break
        finally:
            progress.end()
            if log:
                log.close()
        assert checkpoint is not None
        return Result(step, step >= config.steps, checkpoint, self.out / MODEL)

    def _step(self, step: int, raws: list[Raw]) -> dict[str, Tensor]:
        """One step of both networks; returns the terms of their losses."""
        config, objective = self.config, self.objective
        seed_step(config.seed, step, self.fabric.global_rank)
        factor = config.learning_rate_factor(step)
        for player, optimizer in self.state.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * _learning_rate(config, player)
            optimizer.zero_grad(set_to_none=True)
        parts: dict[str, Tensor] = {}
        for raw in raws:
            batch = self.batches.pairs(raw) if isinstance(config.data, PairData) else self.batches.frames(raw)
            with frozen(objective.discriminator), self._autocast():
                half = objective.generator_step(batch)
            (half.loss / len(raws)).backward()
            _collect(parts, GENERATOR, half, len(raws))
            if objective.discriminator is not None:
                with self._autocast():
                    half = objective.discriminator_step(batch, half.drawn)
                (half.loss / len(raws)).backward()
                _collect(parts, DISCRIMINATOR, half, len(raws))
        for optimizer in self.state.optimizers.values():
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            average_gradients(self.fabric, parameters)
            if config.optimizers.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, config.optimizers.clip_norm)
            optimizer.step()
        update_average(
            self.state.average,
            objective.generator,
            samples=config.batch_size,
            halflife_samples=1000 * config.ema_halflife_ksamples,
        )
        return parts

    def _autocast(self) -> torch.autocast:
        precision, device = self.config.precision, self.fabric.device
        enabled = fast_bf16(device) if precision == "auto" else precision == "bf16"
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)

    def _anyone(self, flag: bool) -> bool:
        """Whether the flag is set in any process: all of them must stop at the same step."""
        if self.fabric.world_size == 1:
            return flag
        count = self.fabric.all_reduce(torch.tensor(float(flag), device=self.fabric.device), reduce_op="sum")
        assert isinstance(count, Tensor)
        return bool(count > 0)

    def _log(self, log: RunLog | None, step: int, means: Means, checkpoint: Path | None) -> None:
        values = means.take()
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad or not all_finite(self.objective):
            what = bad[0] if bad else "a weight"
            good = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
            raise ReenactError(
                f"{what} became NaN or infinite at step {step}; {good}; resume with a smaller learning rate "
                "(--resume --set optimizers.generator_lr=...)"
            )
        if log:
            log.scalars(step, values)

    def _show(self, log: RunLog, step: int) -> None:
        shown, average = self.shown, self.state.average
        batch = self.batches.pairs(shown) if isinstance(self.config.data, PairData) else self.batches.frames(shown)
        with torch.no_grad(), self._autocast():
            rows = self.objective.pictures(average, batch)
            measured = self.objective.measure(average, batch)
        if rows is not None:
            log.pictures(step, rows)
        if measured:
            log.scalars(step, {f"{self.shown_name}/{name}": float(value) for name, value in measured.items()})

    def _save(self, step: int) -> Path:
        folder = self.out / CHECKPOINTS
        if self.fabric.is_global_zero:
            self.state.save(folder, step, keep_every=self.config.keep_every)
            trained = self.objective.checkpoint(self.state.average)
            write_checkpoint(self.out / MODEL, replace(trained, card=trained.card + _card(self.config, step)))
        self.fabric.barrier()
        return checkpoints(folder)[-1]


def _shown(config: RunConfig, pack: Path) -> tuple[str, Raw]:
    """Samples for images and measures: of the validation split, or of the training split if there is none."""
    try:
        return Split.VAL.value, fixed_batch(config, pack, split=Split.VAL, count=_SAMPLES)
    except ReenactError:
        return Split.TRAIN.value, fixed_batch(config, pack, split=Split.TRAIN, count=_SAMPLES)


def _card(config: RunConfig, step: int) -> str:
    return (
        f"\nTrained by the recipe `{config.recipe}`: {step} of {config.steps} steps of {config.batch_size} samples "
        f"({config.precision}, seed {config.seed}).\n"
    )


def _learning_rate(config: RunConfig, player: str) -> float:
    return config.optimizers.generator_lr if player == GENERATOR else config.optimizers.discriminator_lr


def _optimizers(objective: Objective[Any], config: RunConfig) -> dict[str, Optimizer]:
    players = {GENERATOR: objective.generator, DISCRIMINATOR: objective.discriminator}
    return {
        player: Adam(
            [p for p in network.parameters() if p.requires_grad],
            lr=_learning_rate(config, player),
            betas=config.optimizers.betas,
        )
        for player, network in players.items()
        if network is not None
    }


def _collect(parts: dict[str, Tensor], player: str, half: Step, count: int) -> None:
    for name, value in {"loss": half.loss, **half.parts}.items():
        key = f"{player}/{name}"
        term = value.detach().float() / count
        parts[key] = parts[key] + term if key in parts else term
