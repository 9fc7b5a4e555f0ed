"""Arguments of `evaluate`'s actions: of which part of the data, who draws, and who judges."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    from reenactor.research.data import ShardReader
    from reenactor.research.evaluation import JudgeConfig, WorkerPool

STOPPED = "stopped; the same command continues where it stopped"


def add_split(p: argparse.ArgumentParser) -> None:
    """The argument for a part of the data; `say_split` tells which one is used without it."""
    about = "which part of the data (default: val; of data without it test, else train)"
    p.add_argument("--split", choices=("train", "val", "test"), help=about)


def say_split(chosen: str | None, *packs: ShardReader) -> None:
    """Print one line for each pack without a validation split, unless a split was chosen."""
    from reenactor.research.data import Split
    from reenactor.research.evaluation import usual_split

    for pack in dict.fromkeys(packs) if chosen is None else ():
        split = usual_split(pack)
        if split is not Split.VAL:
            said = f"{pack.folder} has no split val; its split {split.value} is used (choose with --split)"
            print(said, file=sys.stderr)


def add_work(p: argparse.ArgumentParser) -> None:
    """What draws."""
    p.add_argument("--device", default="auto", help="what models run on: auto (default), cpu, cuda, cuda:N or mps")
    p.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each processor)")


def add_report(p: argparse.ArgumentParser, *, masked: str = "mean") -> None:
    """Who judges, and whether figures are drawn.

    Args:
        p: gets the arguments.
        masked: the default of `--masked`.
    """
    p.add_argument("--features", type=Path, metavar="DIR", help="shape encoder or verification network to compare by")
    judge = "of CSIM and Id: dlib (default), or arcface and the ONNX file of your network"
    p.add_argument("--judge", nargs="+", default=["dlib"], metavar=("dlib|arcface", "FILE"), help=judge)
    pose = "of head pose and action units: reenactor (default), or openface, your OpenFace 2"
    p.add_argument("--pose-au", default="reenactor", choices=("reenactor", "openface"), help=pose)
    about = "M-PSNR and M-SSIM: mean over the mask, or black outside it, as the papers' numbers suggest (default: "
    about += f"{masked})"
    p.add_argument("--masked", default=masked, choices=("mean", "black"), help=about)
    p.add_argument("--no-figures", action="store_true", help="tables only")


def judges_of(args: argparse.Namespace) -> JudgeConfig:
    """The judges that `add_report`'s arguments name.

    Raises:
        ReenactError: there are no such judges, or a file cannot be one.
    """
    from reenactor.research.evaluation import JudgeConfig, Masked, PoseAu, face_features
    from reenactor.research.metrics import read_arcface

    name, *files = args.judge
    if (name, len(files)) not in (("dlib", 0), ("arcface", 1)):
        raise ReenactError(f"--judge must be dlib, or arcface and one ONNX file, not {' '.join(args.judge)}")
    return JudgeConfig(
        read_arcface(files[0]) if files else None,
        PoseAu(args.pose_au),
        Masked(args.masked),
        face_features(args.features) if args.features else None,
    )


def pool_of(args: argparse.Namespace) -> WorkerPool:
    """The processes that `add_work`'s arguments name.

    Raises:
        ReenactError: their number cannot be.
    """
    from reenactor.research.evaluation import WorkerPool

    if args.workers is not None and args.workers < 0:
        raise ReenactError(f"--workers must be 0 or more, not {args.workers}")
    return WorkerPool(args.workers, Bar(unit="case"))
