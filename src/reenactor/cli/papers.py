"""`reenactor evaluate paper-a` and `paper-b`: a table or a figure of a paper, as the paper has it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.judging import STOPPED, add_report, add_work, judges_of, pool_of
from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    from reenactor.research.evaluation import CaseList, Entry, Packs, Protocol, WorkerPool
    from reenactor.research.evaluation.papers import StandIn
    from reenactor.research.evaluation.tables import Table

_PAPERS = {
    "paper-a": ("One-shot Face Reenactment (2019)", (1, 2, 3), (5,)),
    "paper-b": ("MarioNETte (2020)", (1, 2, 3, 4, 5, 6, 7), (6, *range(9, 18))),
}
_TARGETS = {"same-source": "targets", "cross-source": "cross", "wild": "wild"}
"""Options that name the targets' packs of paper A's protocols."""
_ROWS = 8
"""Of a figure."""


def add_parsers(actions: argparse._SubParsersAction) -> None:
    """Describe the two actions."""
    for paper, (title, tables, figures) in _PAPERS.items():
        p = actions.add_parser(paper, help=f"a table or a figure of {title}", description=f"Repeat {title}.")
        kinds = p.add_subparsers(dest="kind", required=True, metavar="table|figure")
        for kind, numbers, run in (("table", tables, _table), ("figure", figures, _figure)):
            one = kinds.add_parser(
                kind, help=f"number {', '.join(map(str, numbers))}", description=f"{title}: {kind}s."
            )
            one.add_argument("number", type=int, choices=numbers, help="of the paper")
            _add_what(one, paper)
            add_work(one)
            if kind == "table":
                _add_table(one, paper)
            one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures and results")
            one.set_defaults(run=run, paper=paper, stopped=STOPPED)


def _add_what(p: argparse.ArgumentParser, paper: str) -> None:
    p.add_argument("--data", type=Path, metavar="PACK", help="what 'reenactor prepare' wrote; of it are the drivers")
    if paper == "paper-a":
        p.add_argument("--targets", type=Path, metavar="PACK", help="targets of the same source (default: of --data)")
        p.add_argument("--cross", type=Path, metavar="PACK", help="table 1: targets of another source")
        p.add_argument("--wild", type=Path, metavar="PACK", help="table 1: targets in the wild")
    p.add_argument("--runs", type=Path, metavar="DIR", help="folder of runs, each named as its recipe")
    p.add_argument("--models", default="", metavar="A=DIR,B=DIR", help="weights of single rows, by the recipe's name")
    p.add_argument("--transformer", type=Path, metavar="DIR", help="landmark transformer (default: the one that ships)")
    p.add_argument("--cases", type=int, metavar="N", help="how many (default: as in the paper; in a figure 8)")
    p.add_argument("--seed", type=int, default=0, help="of the choice of cases (default: %(default)s)")
    split = "which part of the data (default: test; of data without it val, else train)"
    p.add_argument("--split", choices=("train", "val", "test"), help=split)
    p.add_argument("--size", type=int, default=256, metavar="PX", help="pictures compared (default: %(default)s)")


def _add_table(p: argparse.ArgumentParser, paper: str) -> None:
    add_report(p, masked="black")
    if paper == "paper-b":
        answers = "table 3: answers to the studies of K target pictures"
        p.add_argument("--answers", nargs="+", default=[], metavar="K=FILE", help=answers)
        p.add_argument("--rounds", type=int, default=300, metavar="N", help="tables 6, 7: runs at most (default: 300)")
    p.add_argument("--format", default="markdown", choices=("markdown", "latex", "html"), help="default: %(default)s")


def _table(args: argparse.Namespace) -> int:
    from reenactor.research.evaluation import TableFormat, write_tables
    from reenactor.research.evaluation.papers import EXPERIMENTS

    if args.number in EXPERIMENTS[args.paper]:
        table = _measured(args)
    else:
        table = _asked(args) if args.number == 3 else _timed(args)
    args.out.mkdir(parents=True, exist_ok=True)
    written = write_tables([table], TableFormat.MARKDOWN)
    (args.out / f"{args.paper}-table-{args.number}.md").write_text(written, encoding="utf-8")
    print(write_tables([table], TableFormat(args.format)), end="")
    return 0


def _measured(args: argparse.Namespace) -> Table:
    """Draw the cases of each source and K with each method that there is, and score them."""
    from reenactor.research.evaluation import score_folders
    from reenactor.research.evaluation.papers import EXPERIMENTS
    from reenactor.research.evaluation.tables import paper_table

    experiment = EXPERIMENTS[args.paper][args.number]
    judges, packs = judges_of(args), _packs(args, list(experiment.sources))
    entries, missing = _entries(args, list(dict.fromkeys(row.method for row in experiment.rows)))
    rows = {(row.method, row.k) for row in experiment.rows}
    numbers = sorted({k for _, k in rows})
    places, folders = {}, []
    with pool_of(args) as pool:
        for protocol, pack in packs.items():
            for k in numbers:
                cases = _cases(args, pack, protocol, k, photos=numbers[-1])
                places[protocol] = _place(pack, cases)
                drawn = {label: entry for label, entry in entries.items() if (label, k) in rows}
                folders += _export(args, pack, cases, drawn, pool).values()
        figures = not args.no_figures
        results = score_folders(folders, args.out, judges=judges, figures=figures, pool=pool) if folders else []
    first = next(iter(experiment.sources))
    return paper_table(experiment, results, {**missing, **{k: e.title(first) for k, e in entries.items()}}, places)


def _figure(args: argparse.Namespace) -> int:
    """Draw the rows of a figure."""
    from reenactor.media import write_image
    from reenactor.research.evaluation.figures import results_grid
    from reenactor.research.evaluation.papers import FIGURES
    from reenactor.research.evaluation.predictions import open_predictions

    figure = FIGURES[args.paper][args.number]
    packs = _packs(args, [figure.protocol])[figure.protocol]
    entries, missing = _entries(args, figure.methods)
    args.cases = args.cases or _ROWS
    cases = _cases(args, packs, figure.protocol, figure.k, photos=figure.k)
    with pool_of(args) as pool:
        folders = _export(args, packs, cases, entries, pool)
    drawn = {label: open_predictions(folder) for label, folder in folders.items()}
    path = args.out / f"{args.paper}-figure-{args.number}.png"
    write_image(path, results_grid(packs, drawn, cases.cases[: args.cases], size=args.size, targets=1))
    print(f"{figure.title}; here {_place(packs, cases)}: {path}")
    for label, why in missing.items():
        print(f"{label}: {why}")
    return 0


def _asked(args: argparse.Namespace) -> Table:
    from reenactor.research.evaluation import Protocol
    from reenactor.research.evaluation.paper_tables import study_table
    from reenactor.research.evaluation.papers import STAND_INS
    from reenactor.research.evaluation.study import AnswerBook, valid_answers

    pairs = [one.partition("=")[::2] for one in args.answers]
    if not pairs or any(k not in ("1", "8") or not file for k, file in pairs):
        raise ReenactError("table 3 is made of answers; give --answers 1=FILE 8=FILE, or one of them")
    names = {label: _entry(args, one, None).title(Protocol.DIFFERENT) for label, one in STAND_INS.items()}
    return study_table({int(k): valid_answers(AnswerBook(Path(file)).answers()) for k, file in pairs}, names)


def _timed(args: argparse.Namespace) -> Table:
    from reenactor.engine.bench import Variant, measure
    from reenactor.research.evaluation.paper_tables import latency_table, speed_table

    if args.rounds < 1:
        raise ReenactError(f"--rounds must be at least 1, not {args.rounds}")
    weights = _weights(args, ["MarioNETte"])["MarioNETte"]
    variant = Variant.paper() if weights is None else Variant.of("marionette", weights, device=args.device)
    bench = measure([variant], device=args.device, rounds=args.rounds, job_rounds=0)
    return latency_table(bench) if args.number == 6 else speed_table(bench)


def _packs(args: argparse.Namespace, protocols: list[Protocol]) -> dict[Protocol, Packs]:
    """The packs of each protocol; none for another source that is not given."""
    from reenactor.research.evaluation import Packs

    if args.data is None:
        raise ReenactError(f"this {args.kind} is measured on prepared data; give --data PACK")
    targets = {protocol: getattr(args, _TARGETS.get(protocol, ""), None) for protocol in protocols}
    first = protocols[0]
    return {one: Packs(args.data, folder) for one, folder in targets.items() if folder is not None or one is first}


def _cases(args: argparse.Namespace, packs: Packs, protocol: Protocol, k: int, *, photos: int) -> CaseList:
    from reenactor.research.data import Split
    from reenactor.research.evaluation import choose_cases, usual_split

    splits = [
        Split(args.split) if args.split else usual_split(one, paper=True) for one in (packs.drivers, packs.targets)
    ]
    common = {"count": args.cases, "seed": args.seed, "size": args.size, "photos": photos}
    return choose_cases(packs, protocol, k=k, split=splits[0], targets_split=splits[1], **common)


def _place(packs: Packs, cases: CaseList) -> str:
    """The data in words."""
    drivers, targets = packs.drivers, packs.targets
    whole = f"{drivers.manifest['dataset']}, split {cases.split.value}"
    return (
        whole
        if targets is drivers
        else f"{targets.manifest['dataset']}, split {cases.targets_split.value}, driven by {whole}"
    )


def _export(
    args: argparse.Namespace, packs: Packs, cases: CaseList, entries: dict[str, Entry], pool: WorkerPool
) -> dict[str, Path]:
    """Folders of the drawn cases, by the methods' names in the paper; tables with the same cases share them."""
    from reenactor.research.evaluation import export

    folder = args.out / f"{cases.name}-{cases.digest[:8]}"
    folders = {label: folder / entry.title(cases.protocol) for label, entry in entries.items()}
    for label, folder in folders.items():
        export(packs, cases, entries[label], folder, device=args.device, pool=pool)
    return folders


def _entries(args: argparse.Namespace, methods: list[str] | tuple[str, ...]) -> tuple[dict[str, Entry], dict[str, str]]:
    """By the methods' names in the paper: what draws, and why others do not."""
    from reenactor.models import create_model
    from reenactor.research.evaluation.papers import REFERENCE, STAND_INS

    entries, missing = {}, {}
    weights = _weights(args, methods)
    for label in methods:
        one = STAND_INS.get(label)
        if one is None:
            if label != REFERENCE:
                missing[label] = "not in the zoo"
        elif weights[label] is None and not one.ships:
            missing[label] = f"no weights: reenactor train {one.run}"
        else:
            entry = _entry(args, one, weights[label])
            config = create_model(one.model, entry.weights).config.model_dump()
            wrong = [f"{name}={config[name]}" for name, value in one.config.items() if config[name] != value]
            if wrong:
                raise ReenactError(
                    f"the weights of {one.name} have {', '.join(wrong)}; give those of the recipe '{one.run}'"
                )
            entries[label] = entry
    return entries, missing


def _entry(args: argparse.Namespace, one: StandIn, weights: Path | None) -> Entry:
    from reenactor.research.evaluation import Entry

    return Entry(one.model, weights, one.transfer, args.transformer, name=one.name, head=one.head)


def _weights(args: argparse.Namespace, methods: list[str] | tuple[str, ...]) -> dict[str, Path | None]:
    """The folder of weights that is given for each method: by its recipe, else in the folder of runs."""
    from reenactor.nn.download import checkpoint_folder
    from reenactor.research.evaluation.papers import STAND_INS

    given = dict(one.partition("=")[::2] for one in args.models.split(",") if one)
    runs = {label: STAND_INS[label].run for label in methods if label in STAND_INS}
    if unknown := [name for name, folder in given.items() if name not in runs.values() or not folder]:
        rows = ", ".join(dict.fromkeys(runs.values()))
        raise ReenactError(f"--models has no weights of a row in '{unknown[0]}'; give RECIPE=DIR, of {rows}")
    if args.runs is not None and not args.runs.is_dir():
        raise ReenactError(f"{args.runs} is no folder of runs; train first, or leave out --runs")
    found: dict[str, Path | None] = {}
    for label, run in runs.items():
        trained = args.runs / run / "model" if args.runs is not None else None
        if run in given:
            found[label] = checkpoint_folder(given[run])
        else:
            found[label] = trained if trained is not None and trained.is_dir() else None
    return found
