"""`reenactor prepare`: turns a data set into shards to train from."""

from __future__ import annotations

import argparse
from pathlib import Path

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError
from reenactor.core.system import available_cores


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Add the verb `prepare` to the command line."""
    p = verbs.add_parser(
        "prepare",
        help="turn a data set into shards to train from",
        description="Find the faces in a data set's clips and photos, crop them steadily, and pack them into shards.",
        epilog="A run that was stopped continues when the same command is given again.",
    )
    p.add_argument("source", type=Path, help="the data set's folder (or its manifest.csv)")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the shards")
    p.add_argument(
        "--dataset",
        default="folder",
        metavar="NAME",
        help="how SOURCE is laid out: folder (default), manifest, voxceleb1, celebv, celeba, celeba-hq, ffhq, raf-db, "
        "wflw, mpiigaze, or together (subfolders named as these)",
    )
    p.add_argument("--size", type=int, default=256, metavar="PX", help="side of the crops (default: %(default)s)")
    p.add_argument(
        "--compact", action="store_true", help="smaller files: at most 12.5 frames a second, stronger compression"
    )
    p.add_argument(
        "--landmarks",
        type=Path,
        metavar="FOLDER",
        help="another detector's 68 landmarks in 3D instead of MediaPipe's: for each file of SOURCE, FILE.npy",
    )
    p.add_argument(
        "--shard-mb", type=float, default=64, metavar="MB", help="largest size of a shard (default: %(default)s)"
    )
    p.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="worker processes (default: one for each processor; 0: work in this process)",
    )
    p.add_argument("--ray", metavar="ADDRESS", help="use a Ray cluster instead: host:port, auto or local")
    p.add_argument("--limit", type=int, metavar="N", help="prepare only the first N files")
    p.add_argument(
        "--tiers",
        metavar="NAMES",
        help="prepare only rows of these licence tiers (the manifest's column 'tier'), separated by commas; "
        "'free' stands for all that allow trained weights to be shared",
    )
    p.add_argument(
        "--hold-out-people",
        type=int,
        default=0,
        metavar="N",
        help="make a validation split of N people where the data set has none (voxceleb1, celebv); a hash chooses",
    )
    p.set_defaults(run=run, stopped="stopped; the same command continues where it stopped")


def run(args: argparse.Namespace) -> int:
    """Prepare the data set and print what was made; returns the exit code."""
    from reenactor.research.data.packing import FREE_TIERS, Plan
    from reenactor.research.data.prepare import prepare
    from reenactor.research.data.samples import Settings

    workers = available_cores() if args.workers is None else args.workers
    if workers < 0:
        raise ReenactError(f"--workers must be 0 or more, not {workers}")
    if args.landmarks is not None and not args.landmarks.is_dir():
        raise ReenactError(f"there is no folder {args.landmarks}; check --landmarks")
    tiers = [name.strip() for name in args.tiers.split(",")] if args.tiers else []
    plan = Plan(
        source=args.source,
        out=args.out,
        dataset=args.dataset,
        settings=Settings(size=args.size, compact=args.compact, landmarks=args.landmarks),
        shard_mb=args.shard_mb,
        limit=args.limit,
        tiers=tuple(FREE_TIERS if tiers == ["free"] else tiers),
        hold_out=args.hold_out_people,
        workers=workers,
        ray=args.ray,
    )
    result = prepare(plan, Bar(unit="file"))
    print(result.text())
    if result.manifest["counts"]["samples"] == 0:
        raise ReenactError(f"nothing in {args.source} could be used; {args.out / 'report.html'} says why")
    return 0
