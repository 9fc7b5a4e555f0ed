"""`reenactor VERB ...`: finds the verb, turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from reenactor import __version__
from reenactor.cli import (
    animate,
    bench,
    demo,
    evaluate,
    export,
    live,
    models,
    motion,
    prepare,
    serve,
    study,
    train,
    verify,
    web,
)
from reenactor.core.errors import ReenactError

BAD_INPUT = 2
INTERRUPTED = 130
"""What shells report for a program ended by Ctrl-C."""
READER_LEFT = 141
"""What shells report for a program whose output nobody reads any more (SIGPIPE): `reenactor ... | head -1`."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, as for all other bad input."""
        self.exit(BAD_INPUT, f"reenactor: {message}; see '{self.prog} --help'\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="reenactor", description="Make the person in a photo move like a driver.")
    top.add_argument("--version", action="version", version=f"reenactor {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in (
        animate,
        live,
        demo,
        motion,
        verify,
        bench,
        prepare,
        train,
        evaluate,
        study,
        export,
        models,
        serve,
        web,
    ):
        verb.add_parser(verbs)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, 2 for input that cannot be worked with (after one sentence on stderr), 130 when interrupted, or 141 when
        the output's reader went away.
    """
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still to be written when Python ends would be told as an error otherwise.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT


def _run(arguments: Sequence[str] | None) -> int:
    args = parser().parse_args(arguments)
    try:
        return args.run(args)
    except BrokenPipeError:
        raise
    except ReenactError as error:
        print(f"reenactor: {error}", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(
            f"reenactor: {(error.strerror or str(error)).lower()}{place}; check the disk and the names", file=sys.stderr
        )
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nreenact: {getattr(args, 'stopped', 'stopped')}", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
