"""`reenactor bench`: how fast this machine is."""

from __future__ import annotations

import argparse
from pathlib import Path

from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL, Runtime


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "bench",
        help="measure speed on this machine",
        description="Time each part, whole frames and whole jobs, with a shipped photo and motion. Parts are timed in "
        "turn, so that ratios hold on a busy machine too; CPU times count all threads.",
    )
    p.add_argument(
        "--model",
        action="append",
        metavar="NAME[=DIR]",
        help=f"which model, perhaps with its weights' folder; repeat it to compare (default: {DEFAULT_MODEL})",
    )
    p.add_argument(
        "--runtime",
        action="append",
        choices=[one.value for one in Runtime],
        help="what computes the models; repeat it to compare (default: torch)",
    )
    p.add_argument("--paper", action="store_true", help="also MarioNETte at the paper's size (a second a frame)")
    p.add_argument(
        "--threads", type=int, metavar="N", help="PyTorch's (default: one a core); 1 gives steady numbers on busy cores"
    )
    p.add_argument("--rounds", type=int, default=60, metavar="N", help="measurements of each part (default: 60)")
    p.add_argument("--no-jobs", action="store_true", help="leave out the whole jobs, which take a minute a model")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    from reenactor.engine.bench import Variant, measure
    from reenactor.engine.bench_tables import render, to_json
    from reenactor.nn.download import checkpoint_folder

    if args.json and not args.json.parent.is_dir():
        raise ReenactError(f"there is no folder {args.json.parent} for the numbers; make it first")
    if args.rounds < 1:
        raise ReenactError(f"--rounds must be at least 1, not {args.rounds}")
    if args.threads is not None and args.threads < 1:
        raise ReenactError(f"--threads must be at least 1, not {args.threads}")
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    runtimes = [Runtime(one) for one in args.runtime or ["torch"]]
    variants = []
    for given in args.model or [DEFAULT_MODEL]:
        name, _, weights = given.partition("=")
        for runtime in runtimes:
            variants.append(Variant.of(name, checkpoint_folder(weights) if weights else None, runtime))
    if args.paper:
        variants.append(Variant.paper())
    result = measure(variants, rounds=args.rounds, job_rounds=0 if args.no_jobs else 3)
    print(render(result))
    if args.json:
        args.json.write_text(to_json(result))
    return 0
