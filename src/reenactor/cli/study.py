"""`reenactor study`: asking people, as paper B does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reenactor.cli.evaluate import add_predictions_data
from reenactor.core.errors import ReenactError


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "study",
        help="ask people which results are better",
        description="Ask people: which of two results is better, and which of three pictures is not the person's.",
        epilog="Results come from 'reenactor evaluate export'. See docs/evaluation.md.",
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_make(actions)
    _add_serve(actions)
    _add_report(actions)


def _add_make(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("make", help="choose what is asked", description="Make a study of exported predictions.")
    p.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="what 'evaluate export' wrote, the same cases")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the study")
    add_predictions_data(p)
    p.add_argument("--against", metavar="NAME", help="compare all others with this method (default: all with each)")
    p.add_argument("--examples", type=int, default=150, metavar="N", help="cases to ask about (default: %(default)s)")
    p.add_argument("--pairs", type=int, default=20, metavar="N", help="for each participant (default: %(default)s)")
    p.add_argument("--odd", type=int, default=20, metavar="N", help="of three, for each (default: %(default)s)")
    p.add_argument("--checks", type=int, default=3, metavar="N", help="of attention, of each kind (default: 3)")
    p.add_argument("--seed", type=int, default=0, help="of choice, order and sides (default: %(default)s)")
    p.add_argument("--title", default="Faces", help="shown to participants (default: %(default)s)")
    p.set_defaults(run=_make)


def _add_serve(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("serve", help="ask in a browser", description="Serve a study's page; Ctrl-C ends it.")
    p.add_argument("study", type=Path, metavar="STUDY", help="what 'make' wrote: study.json, or its folder")
    p.add_argument("--db", type=Path, required=True, metavar="FILE", help="SQLite file for the answers")
    p.add_argument("--host", default="127.0.0.1", help="0.0.0.0 for other machines (default: %(default)s)")
    p.add_argument("--port", type=int, default=8017, help="default: %(default)s")
    p.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="a host name under which it is opened, too"
    )
    p.add_argument(
        "--per-address",
        type=int,
        default=4,
        metavar="N",
        help="participants from one address a day; 0 for any number, such as behind a proxy (default: %(default)s)",
    )
    p.set_defaults(run=_serve, stopped="stopped; answers are kept, and participants can go on when it serves again")


def _add_report(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("report", help="win ratios and ratios of deception", description="Say what people chose.")
    p.add_argument("db", type=Path, metavar="RESULTS", help="SQLite file of 'serve --db'")
    p.add_argument("--format", default="markdown", choices=("markdown", "latex", "html"), help="default: %(default)s")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    p.set_defaults(run=_report)


def _make(args: argparse.Namespace) -> int:
    from reenactor.research.evaluation import open_predictions, packs_of
    from reenactor.research.evaluation.study import Kind, make_study

    opened = [open_predictions(folder, args.cases) for folder in args.folders]
    study = make_study(
        opened,
        packs_of(opened, args.data, args.targets),
        args.out,
        against=args.against,
        examples=args.examples,
        pairs=args.pairs,
        odd=args.odd,
        checks=args.checks,
        seed=args.seed,
        title=args.title,
    )
    pairs, odd = (sum(one.kind is kind and not one.check for one in study.trials) for kind in Kind)
    checks = sum(one.check for one in study.trials)
    print(
        f"{pairs} pairs, {odd} of three, {checks} checks: {args.out}; 'reenactor study serve {args.out} --db FILE' asks"
    )
    return 0


def _serve(args: argparse.Namespace) -> int:
    from reenactor.research.evaluation.study import AnswerBook, StudyServer, read_study

    if not 0 <= args.port < 2**16:
        raise ReenactError(f"--port must be from 0 to 65535, not {args.port}")
    if args.per_address < 0:
        raise ReenactError(f"--per-address must be 0 or more, not {args.per_address}")
    study, folder = read_study(args.study)
    book = AnswerBook(args.db, study)
    more = {"names": args.name, "per_address": args.per_address}
    try:
        server = StudyServer(study, folder, book, host=args.host, port=args.port, **more)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ReenactError(f"cannot serve at {args.host}:{args.port}: {reason}; choose another --port") from error
    with server:
        print(f"{study.title}: {server.url}; answers: {args.db}", flush=True)
        server.serve_forever()
    return 0


def _report(args: argparse.Namespace) -> int:
    from reenactor.research.evaluation import TableFormat, write_tables
    from reenactor.research.evaluation.study import AnswerBook, deceptions, study_tables, valid_answers, win_ratios

    found = valid_answers(AnswerBook(args.db).answers())
    if not found.kept:
        raise ReenactError(f"{args.db} has no answers that count yet ({found.failed} participants failed the checks)")
    print(write_tables(study_tables(found), TableFormat(args.format)), end="")
    if args.json:
        wins = [{"methods": pair, **{q: vars(r) for q, r in of.items()}} for pair, of in win_ratios(found.kept).items()]
        numbers = {
            "participants": found.participants,
            "failed": found.failed,
            "unchecked": found.unchecked,
            "win_ratios": wins,
            "deceptions": {name: vars(ratio) for name, ratio in deceptions(found.kept).items()},
        }
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 0
