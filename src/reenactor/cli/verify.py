"""`reenactor verify`: what a file says about its origin."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "verify",
        help="read the provenance of a file",
        description="Read the signed provenance (C2PA) of a picture or video, whoever made it. "
        "Exit code 0: signed and unchanged; 1: not signed, or changed since.",
    )
    p.add_argument("file", type=Path)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from reenactor.media import read_provenance, render_provenance

    report = read_provenance(args.file)
    print(render_provenance(report))
    return 0 if report.valid and not report.tampered else 1
