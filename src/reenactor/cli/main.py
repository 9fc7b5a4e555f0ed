"""`reenactor COMMAND ...`: finds the command, turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
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
    person,
    prepare,
    serve,
    study,
    train,
    verify,
    web,
)
from reenactor.core.errors import ReenactError
from reenactor.core.system import plain_output

BAD_INPUT = 2
INTERRUPTED = 130
"""What shells report for a program ended by Ctrl-C."""
OUTPUT_CLOSED = 141
"""What shells report for a program whose output nobody reads any more (SIGPIPE): `reenactor ... | head -1`."""

COMMANDS: dict[str, tuple[ModuleType, ...]] = {
    "animate": (animate, live, person, motion, demo, verify),
    "page and service": (web, serve),
    "models": (models, export, bench),
    "research": (prepare, train, evaluate, study),
}
"""The modules of the commands, in the order and groups of the help."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one sentence, as for all other bad input."""
        self.exit(BAD_INPUT, f"reenactor: {message}; see '{self.prog} --help'\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; each command has a parser of its own in it."""
    top = _Parser(
        prog="reenactor",
        usage="reenactor COMMAND ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"reenactor {__version__}")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="reenactor"
    )
    lines = ["Make the person in a photo move like a driver. `reenactor COMMAND --help` explains a command."]
    for group, modules in COMMANDS.items():
        lines += ["", f"{group}:"]
        for module in modules:
            module.add_parser(commands)
            added = commands._choices_actions.pop()  # argparse would list all commands in one group
            lines.append(f"  {added.dest:<10}{added.help}")
    top.description = "\n".join(lines)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `reenactor`; None for those of this process.

    Returns:
        The exit code: 0; 2 for bad input (after one sentence on stderr); 130 when interrupted; 141 when the reader of
        the output went away. Commands may have others.
    """
    try:
        try:
            with plain_output():
                return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would report what is still to be written as an error when it ends.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED


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
        file = f" ({error.filename})" if error.filename else ""
        reason = (error.strerror or str(error)).lower()
        print(f"reenactor: {reason}{file}; check the disk and the names", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nreenactor: {getattr(args, 'stopped', 'stopped')}", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
