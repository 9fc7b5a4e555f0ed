"""`reenact bench`: how fast this machine is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reenact.core.errors import ReenactError


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "bench",
        help="measure speed on this machine",
        description="Time each stage and the whole way from file to file, with a shipped photo and motion.",
    )
    p.add_argument("--model", default="warp", help="which model (default: %(default)s)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    from reenact.inference.bench import measure, render

    if args.json and not args.json.parent.is_dir():
        raise ReenactError(f"there is no folder {args.json.parent} for the numbers; make it first")
    result = measure(args.model)
    print(render(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0
