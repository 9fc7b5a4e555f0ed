"""`reenactor evaluate ablate`: recipes trained by one budget, measured on the same sets, compared with the first."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from reenactor.research.evaluation import WorkerPool
    from reenactor.research.training import RunConfig

_PROTOCOLS = ("self", "different", "same-source")
_SAVE_S = 5.0
"""How often the time spent is written down."""
_CONFIG, _TIME, _DONE = "config.json", "time.jsonl", "done.json"


def add_parser(actions: argparse._SubParsersAction) -> None:
    """Describe the action."""
    p = actions.add_parser(
        "ablate",
        help="train and compare recipes",
        description="Train recipes by one budget each, measure all on the same sets, compare them with the first.",
    )
    p.add_argument("recipes", nargs="+", metavar="RECIPE", help="names that 'reenactor models' lists")
    p.add_argument("--data", type=Path, required=True, metavar="PACK", help="what 'reenactor prepare' wrote")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for runs, pictures and tables")
    budget = p.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, metavar="M", help="train each so long; schedules stay the recipes'")
    budget.add_argument("--steps", type=int, metavar="N", help="train each so many steps, with schedules to match")
    p.add_argument("--set", action="append", default=[], metavar="A.B=C", help="change a setting in all of them")
    p.add_argument("--images", type=int, default=200, metavar="N", help="sets to draw (default: %(default)s)")
    p.add_argument("--protocol", default="self", choices=_PROTOCOLS, help="who drives whom (default: %(default)s)")
    p.add_argument("--k", type=int, default=1, help="target pictures in each set (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the choice of sets (default: %(default)s)")
    p.add_argument("--split", default="val", choices=("train", "val", "test"), help="to draw (default: %(default)s)")
    p.add_argument("--size", type=int, default=256, metavar="PX", help="pictures compared (default: %(default)s)")
    p.add_argument("--features", type=Path, metavar="DIR", help="shape encoder or verification network to compare by")
    p.add_argument("--accelerator", default="auto", help="to train on: cpu, cuda, mps or auto (default)")
    p.add_argument("--device", default="cpu", help="to draw on: cpu (default), cuda...")
    p.add_argument("--workers", type=int, metavar="N", help="processes that draw (default: one a processor)")
    p.set_defaults(run=run, stopped="stopped; the same command continues where it stopped")


def run(args: argparse.Namespace) -> int:
    """Train, draw, score, compare."""
    from reenactor.research.evaluation import (
        Form,
        WorkerPool,
        ablation_tables,
        read_results,
        score_folders,
        write_tables,
    )
    from reenactor.research.evaluation.report import RESULTS
    from reenactor.research.training.machines import make_fabric

    configs = _configs(args)
    fabric = make_fabric(accelerator=args.accelerator, devices=1)
    spent = {name: _trained(name, config, args.out / "runs" / name, args, fabric) for name, config in configs.items()}
    with WorkerPool(args.workers, Bar(unit="picture")) as pool:
        folders = _drawn(args, configs, pool)
        score_folders(folders, args.out, features=args.features, figures=True, pool=pool)
    tables = ablation_tables(read_results(args.out / RESULTS), args.recipes[0], list(spent.values()))
    (args.out / "ablation.md").write_text(write_tables(tables, Form.MARKDOWN))
    print(write_tables(tables, Form.MARKDOWN), end="")
    return 0


def _configs(args: argparse.Namespace) -> dict[str, RunConfig]:
    """Of all recipes, before the first of them is trained for hours."""
    from reenactor.models import METHODS
    from reenactor.research.recipes import recipe
    from reenactor.research.training import changed

    for name in ("minutes", "steps"):
        if getattr(args, name) is not None and not getattr(args, name) > 0:
            raise ReenactError(f"--{name} must be more than 0, not {getattr(args, name)}")
    if len(set(args.recipes)) < max(2, len(args.recipes)):
        raise ReenactError("give at least two recipes, each once; the others are compared with the first")
    changes = [*args.set, *([] if args.steps is None else [f"steps={args.steps}"])]
    configs = {name: changed(recipe(name), changes) for name in args.recipes}
    for name, config in configs.items():
        if config.objective.kind not in METHODS:
            raise ReenactError(f"the recipe '{name}' makes no model that draws by itself; leave it out")
    return configs


def _trained(name: str, config: RunConfig, folder: Path, args: argparse.Namespace, fabric: Fabric) -> str:
    """Train a recipe until its budget is spent; goes on, or does nothing, where that was begun before.

    Returns:
        A sentence on how long it was trained.

    Raises:
        KeyboardInterrupt: training was asked to stop.
    """
    from reenactor.research.training import saved_config
    from reenactor.research.training.loop import train

    budget = {"minutes": args.minutes, "steps": args.steps}
    if (folder / _CONFIG).exists() and saved_config(folder / _CONFIG) != config:
        raise ReenactError(f"{folder} holds a run with other settings; choose another --out, or remove it")
    done = json.loads((folder / _DONE).read_text()) if (folder / _DONE).exists() else {}
    if done.get("budget") != budget:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CONFIG).write_text(config.model_dump_json(indent=1) + "\n")
        clock = Clock(folder / _TIME, spent_before(folder, config.batch_size))
        left_s = None if args.minutes is None else max(60 * args.minutes - clock.before_s, 1e-3)
        most = None if left_s is None else left_s / 60
        result = train(config, args.data, folder, fabric, max_minutes=most, progress=clock)
        if not result.finished and (left_s is None or clock.this_call_s < left_s):
            raise KeyboardInterrupt
        done = {"budget": budget, "steps": result.step, "minutes": (clock.before_s + clock.this_call_s) / 60}
        (folder / _DONE).write_text(json.dumps(done) + "\n")
    return f"{name}: {done['steps']} steps of {config.batch_size} samples, {done['minutes']:.3g} minutes."


class Clock:
    """Shows progress, and writes down how long training has taken, all calls together.

    Args:
        path: JSON lines of samples and seconds.
        before_s: what earlier calls took, up to the checkpoint that this one goes on from.
    """

    def __init__(self, path: Path, before_s: float) -> None:
        self._path, self.before_s, self._bar = path, before_s, Bar(unit="sample")
        self._began = time.monotonic()
        self._written = -_SAVE_S

    @property
    def this_call_s(self) -> float:
        """Seconds since this clock was made."""
        return time.monotonic() - self._began

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins."""
        self._bar.start(f"{what} {self._path.parent.name}", done, total)

    def step(self, done: int, total: int | None) -> None:
        """So many samples are done."""
        self._bar.step(done, total)
        if self.this_call_s - self._written >= _SAVE_S:
            self._written = self.this_call_s
            with self._path.open("a") as file:
                file.write(json.dumps({"samples": done, "seconds": self.before_s + self.this_call_s}) + "\n")

    def end(self) -> None:
        """The stage is over."""
        self._bar.end()


def spent_before(folder: Path, batch_size: int) -> float:
    """Seconds that training took up to the newest checkpoint; what was lost after it does not count."""
    from reenactor.research.training.loop import CHECKPOINTS
    from reenactor.research.training.state import checkpoints

    saved = checkpoints(folder / CHECKPOINTS)
    if not saved or not (folder / _TIME).exists():
        return 0.0
    samples = batch_size * int(saved[-1].name.removeprefix("step-"))
    lines = [json.loads(line) for line in (folder / _TIME).read_text().splitlines()]
    return max((line["seconds"] for line in lines if line["samples"] <= samples), default=0.0)


def _drawn(args: argparse.Namespace, configs: dict[str, RunConfig], pool: WorkerPool) -> list[Path]:
    """Pictures of all, in folders named after sets and weights: others of either are drawn beside them."""
    from reenactor.core.files import sha256
    from reenactor.nn.checkpoint import CONFIG
    from reenactor.research.data import Split
    from reenactor.research.evaluation import Entry, Packs, Protocol, choose_cases, export
    from reenactor.research.training.loop import MODEL

    packs = Packs(args.data)
    sets = choose_cases(
        packs,
        Protocol(args.protocol),
        k=args.k,
        count=args.images,
        seed=args.seed,
        split=Split(args.split),
        size=args.size,
    )
    folders = []
    for name, config in configs.items():
        weights = args.out / "runs" / name / MODEL
        place = args.out / "pictures" / f"{sets.name}-{sets.digest[:8]}"
        folders.append(place / f"{name}-{sha256(weights / CONFIG)[:8]}")
        entry = Entry(config.objective.kind, weights, name=name)
        export(packs, sets, entry, folders[-1], device=args.device, pool=pool)
    return folders
