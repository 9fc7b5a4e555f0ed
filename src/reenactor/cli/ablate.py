"""`reenactor evaluate ablate`: recipes trained with one budget, measured on the same cases, compared with the first."""

from __future__ import annotations

import argparse
from pathlib import Path

from reenactor.cli.judging import add_split, say_split
from reenactor.cli.progress import Bar


def add_parser(actions: argparse._SubParsersAction) -> None:
    """Describe the action."""
    p = actions.add_parser(
        "ablate",
        help="train and compare recipes",
        description="Train recipes with one budget each, measure all on the same cases, compare them with the first.",
    )
    p.add_argument("recipes", nargs="+", metavar="RECIPE", help="names that 'reenactor models' lists")
    p.add_argument("--data", type=Path, required=True, metavar="PACK", help="what 'reenactor prepare' wrote")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for runs, pictures and tables")
    budget = p.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, metavar="M", help="train each so long; schedules stay the recipes'")
    budget.add_argument("--steps", type=int, metavar="N", help="train each so many steps, with schedules to match")
    p.add_argument("--set", action="append", default=[], metavar="A.B=C", help="change a setting in all of them")
    p.add_argument("--images", type=int, default=200, metavar="N", help="cases to draw (default: %(default)s)")
    protocols = ("self", "different", "same-source")
    p.add_argument("--protocol", default="self", choices=protocols, help="who drives whom (default: %(default)s)")
    p.add_argument("--k", type=int, default=1, help="target pictures in each case (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the choice of cases (default: %(default)s)")
    add_split(p)
    p.add_argument("--size", type=int, default=256, metavar="PX", help="pictures compared (default: %(default)s)")
    p.add_argument("--features", type=Path, metavar="DIR", help="shape encoder or verification network to compare by")
    p.add_argument("--accelerator", default="auto", help="to train on: cpu, cuda, mps or auto (default)")
    p.add_argument("--device", default="auto", help="to draw on: auto (default), cpu, cuda, cuda:N or mps")
    p.add_argument("--workers", type=int, metavar="N", help="processes that draw (default: one for each processor)")
    p.set_defaults(run=run, stopped="stopped; the same command continues where it stopped")


def run(args: argparse.Namespace) -> int:
    """Train, draw, score, compare."""
    from reenactor.research.ablation import Budget, ablation_configs, draw_trained, train_within
    from reenactor.research.data import Split
    from reenactor.research.evaluation import (
        JudgeConfig,
        Packs,
        Protocol,
        TableFormat,
        WorkerPool,
        ablation_tables,
        choose_cases,
        face_features,
        score_folders,
        write_tables,
    )
    from reenactor.research.training.machines import make_fabric

    judges = JudgeConfig(features=face_features(args.features) if args.features else None)
    budget = Budget(args.minutes, args.steps)
    configs = ablation_configs(args.recipes, args.set, budget)
    fabric = make_fabric(accelerator=args.accelerator, devices=1)
    notes = [
        train_within(budget, name, config, args.data, args.out / "runs" / name, fabric, Bar(unit="sample"))
        for name, config in configs.items()
    ]
    packs = Packs(args.data)
    say_split(args.split, packs.drivers)
    cases = choose_cases(
        packs,
        Protocol(args.protocol),
        k=args.k,
        count=args.images,
        seed=args.seed,
        split=args.split and Split(args.split),
        size=args.size,
    )
    with WorkerPool(args.workers, Bar(unit="case")) as pool:
        folders = draw_trained(packs, cases, configs, args.out, device=args.device, pool=pool)
        results = score_folders(folders, args.out, judges=judges, pool=pool)
    text = write_tables(ablation_tables(results, args.recipes[0], notes), TableFormat.MARKDOWN)
    (args.out / "ablation.md").write_text(text, encoding="utf-8")
    print(text, end="")
    return 0
