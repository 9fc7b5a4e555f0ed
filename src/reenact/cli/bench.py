"""`reenact bench`: how fast this machine is."""

from __future__ import annotations

import argparse


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser("bench", help="measure speed on this machine")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the tables."""
    raise NotImplementedError
