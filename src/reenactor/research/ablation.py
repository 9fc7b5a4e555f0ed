"""Ablations: recipes trained with one budget, drawn and scored on the same cases, compared with the first."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.core.files import sha256, write_atomically
from reenactor.core.progress import Progress
from reenactor.models import METHODS
from reenactor.nn.checkpoint import CONFIG
from reenactor.research.evaluation import Entry, Packs, WorkerPool, export
from reenactor.research.evaluation.cases import CaseList
from reenactor.research.recipes import recipe
from reenactor.research.training import RunConfig, changed, saved_config
from reenactor.research.training.loop import CHECKPOINTS, MODEL, train
from reenactor.research.training.machines import Fabric
from reenactor.research.training.state import checkpoints

_SAVE_S = 5.0
"""How often the training time is written down, seconds."""
_CONFIG, _TIME, _DONE = "config.json", "time.jsonl", "done.json"


@dataclass(frozen=True)
class Budget:
    """Length of each run: one of the two.

    Args:
        minutes: training time; learning rates keep the recipes' schedules.
        steps: number of steps; the schedules end with them.
    """

    minutes: float | None = None
    steps: int | None = None


def ablation_configs(recipes: Sequence[str], settings: Sequence[str], budget: Budget) -> dict[str, RunConfig]:
    """Configs of the recipes, checked before the first of them is trained for hours.

    Args:
        recipes: names; two or more.
        settings: `A.B=C`, changed in all of them.
        budget: length of each run.

    Raises:
        ReenactError: a name, a setting or the budget is wrong, or a recipe makes no model that draws.
    """
    for name, value in asdict(budget).items():
        if value is not None and not value > 0:
            raise ReenactError(f"--{name} must be more than 0, not {value}")
    if len(set(recipes)) < max(2, len(recipes)):
        raise ReenactError("give at least two recipes, each once; the others are compared with the first")
    changes = [*settings, *([] if budget.steps is None else [f"steps={budget.steps}"])]
    configs = {name: changed(recipe(name), changes) for name in recipes}
    for name, config in configs.items():
        if config.objective.kind not in METHODS:
            raise ReenactError(f"the recipe '{name}' makes no model that draws by itself; leave it out")
    return configs


def train_within(
    budget: Budget, name: str, config: RunConfig, data: Path, folder: Path, fabric: Fabric, progress: Progress
) -> str:
    """Train a recipe until its budget is spent; continues, or does nothing, if that was begun before.

    Args:
        budget: length of the run.
        name: of the recipe.
        config: what to train.
        data: what `reenactor prepare` wrote.
        folder: of the run.
        fabric: what it is trained on.
        progress: reports samples.

    Returns:
        A sentence on how long it was trained.

    Raises:
        ReenactError: the folder holds a run with other settings.
        KeyboardInterrupt: training was asked to stop.
    """
    if (folder / _CONFIG).exists() and saved_config(folder / _CONFIG) != config:
        raise ReenactError(f"{folder} holds a run with other settings; choose another --out, or remove it")
    done = json.loads((folder / _DONE).read_text()) if (folder / _DONE).exists() else {}
    if done.get("budget") != asdict(budget):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _CONFIG, config.model_dump_json(indent=1) + "\n")
        clock = Clock(folder / _TIME, spent_before(folder, config.batch_size), progress)
        left_s = None if budget.minutes is None else max(60 * budget.minutes - clock.before_s, 1e-3)
        most = None if left_s is None else left_s / 60
        result = train(config, data, folder, fabric, max_minutes=most, progress=clock)
        if not result.finished and (left_s is None or clock.this_call_s < left_s):
            raise KeyboardInterrupt
        minutes = (clock.before_s + clock.this_call_s) / 60
        done = {"budget": asdict(budget), "steps": result.step, "minutes": minutes}
        write_atomically(folder / _DONE, json.dumps(done) + "\n")
    return f"{name}: {done['steps']} steps of {config.batch_size} samples, {done['minutes']:.3g} minutes."


def draw_trained(
    packs: Packs, cases: CaseList, configs: Mapping[str, RunConfig], out: Path, *, device: str, pool: WorkerPool
) -> list[Path]:
    """Draw the cases with all trained recipes.

    Args:
        packs: the cases' data.
        cases: what to draw.
        configs: by name; their runs are in `out/runs`.
        out: gets `pictures/`, with folders named by cases and weights, so that others are drawn beside them.
        device: where models run.
        pool: does the work.
    """
    folders = []
    for name, config in configs.items():
        weights = out / "runs" / name / MODEL
        folders.append(out / "pictures" / f"{cases.name}-{cases.digest[:8]}" / f"{name}-{sha256(weights / CONFIG)[:8]}")
        export(packs, cases, Entry(config.objective.kind, weights, name=name), folders[-1], device=device, pool=pool)
    return folders


class Clock:
    """Progress that also writes down how long training has taken, all calls together.

    Args:
        path: JSON lines of samples and seconds.
        before_s: seconds that earlier calls took, up to the checkpoint that this one continues from.
        progress: reports samples.
    """

    def __init__(self, path: Path, before_s: float, progress: Progress) -> None:
        self._path, self.before_s, self._progress = path, before_s, progress
        self._began = time.monotonic()
        self._written = -_SAVE_S

    @property
    def this_call_s(self) -> float:
        """Seconds since this clock was made."""
        return time.monotonic() - self._began

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins."""
        self._progress.start(f"{what} {self._path.parent.name}", done, total)

    def step(self, done: int, total: int | None) -> None:
        """So many samples are done."""
        self._progress.step(done, total)
        if self.this_call_s - self._written >= _SAVE_S:
            self._written = self.this_call_s
            with self._path.open("a") as file:
                file.write(json.dumps({"samples": done, "seconds": self.before_s + self.this_call_s}) + "\n")

    def end(self) -> None:
        """The stage is over."""
        self._progress.end()


def spent_before(folder: Path, batch_size: int) -> float:
    """Seconds of training up to the newest checkpoint of a run; what was lost after it does not count."""
    saved = checkpoints(folder / CHECKPOINTS)
    if not saved or not (folder / _TIME).exists():
        return 0.0
    samples = batch_size * int(saved[-1].name.removeprefix("step-"))
    lines = [json.loads(line) for line in (folder / _TIME).read_text().splitlines()]
    return max((line["seconds"] for line in lines if line["samples"] <= samples), default=0.0)
