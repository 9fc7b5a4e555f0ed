"""`reenactor train`: train a model by a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError
from reenactor.core.files import write_atomically

if TYPE_CHECKING:
    from reenactor.research.training import RunConfig

CONFIG = "config.json"


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Add the verb to the command line."""
    p = verbs.add_parser(
        "train",
        help="train a model by a recipe",
        description="Train a model by a recipe ('reenactor models' lists them) on what 'reenactor prepare' wrote.",
        epilog="Several machines: start the same command on each with torchrun or 'fabric run'. See docs/training.md.",
    )
    p.add_argument("recipe", metavar="RECIPE", help="a name that 'reenactor models' lists")
    p.add_argument("--data", type=Path, required=True, metavar="DIR", help="prepared data")
    p.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change a setting, e.g. optimizers.generator_lr=1e-4; may be repeated",
    )
    p.add_argument("--resume", action="store_true", help="continue where RUN stopped, or begin it")
    p.add_argument("--max-minutes", type=float, metavar="M", help="stop after this time, with a checkpoint")
    p.add_argument("--overfit", type=int, metavar="N", help="overfit N samples, to find mistakes in a network")
    p.add_argument("--accelerator", default="auto", help="cpu, cuda, mps or auto (default)")
    p.add_argument("--devices", default="auto", metavar="N", help="processes on this machine (default: one per GPU)")
    p.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and print the config and where the weights are."""
    from reenactor.research.training.loop import train
    from reenactor.research.training.machines import is_first_process, make_fabric

    for name in ("max_minutes", "overfit"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ReenactError(f"--{name.replace('_', '-')} must be more than 0, not {value}")
    config = _config(args) if is_first_process() else None
    devices = args.devices if args.devices == "auto" else _count(args.devices)
    fabric = make_fabric(accelerator=args.accelerator, devices=devices, nodes=args.nodes)
    config = fabric.broadcast(config)
    assert config is not None
    if fabric.is_global_zero:
        args.out.mkdir(parents=True, exist_ok=True)
        text = config.model_dump_json(indent=1)
        write_atomically(args.out / CONFIG, text + "\n")
        print(text, flush=True)
    result = train(
        config,
        args.data,
        args.out,
        fabric,
        max_minutes=args.max_minutes,
        overfit=args.overfit,
        progress=Bar(unit="sample") if fabric.is_global_zero else None,
    )
    if fabric.is_global_zero:
        if result.finished:
            print(f"finished after {result.step} steps; weights: {result.model}")
        else:
            print(f"stopped after {result.step} of {config.steps} steps; the same command with --resume continues")
    return 0


def _config(args: argparse.Namespace) -> RunConfig:
    from reenactor.research.recipes import recipe
    from reenactor.research.training import changed, saved_config
    from reenactor.research.training.loop import CHECKPOINTS
    from reenactor.research.training.state import checkpoints

    config = recipe(args.recipe)
    if checkpoints(args.out / CHECKPOINTS):
        if not args.resume:
            raise ReenactError(f"{args.out} holds a run already; add --resume to continue it, or choose another --out")
        config = saved_config(args.out / CONFIG)
        if config.recipe != args.recipe:
            raise ReenactError(f"{args.out} holds a run of the recipe '{config.recipe}'; choose another --out")
    return changed(config, args.set)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise ReenactError(f"--devices must be a whole number or auto, not {text}")
    return int(text)
