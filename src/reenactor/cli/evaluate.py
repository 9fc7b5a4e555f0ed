"""`reenactor evaluate`: measure methods by the papers' protocols."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli import ablate, papers
from reenactor.cli.animate import add_weights, weights_folder
from reenactor.cli.judging import STOPPED, add_report, add_split, add_work, judges_of, pool_of, say_split
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL, Background, Head, Transfer

if TYPE_CHECKING:
    from reenactor.research.evaluation import CaseList, Entry, JudgeConfig, Packs, WorkerPool

_PROTOCOLS = ("self", "different", "same-source", "cross-source", "wild", "video", "video-different", "person")


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "evaluate",
        help="measure methods by the papers' protocols",
        description="Draw a protocol's pictures once, score them, print tables beside the papers' numbers.",
        epilog="Results of other tools are scored the same way. See docs/evaluation.md.",
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_run(actions)
    _add_export(actions)
    _add_score(actions)
    _add_table(actions)
    _add_retargeting(actions)
    ablate.add_parser(actions)
    papers.add_parsers(actions)


def _add_run(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("run", help="export, score and print tables", description="Evaluate several models.")
    models = "names, each perhaps with its weights: a folder or a zip file (default: %(default)s)"
    p.add_argument("--models", default=DEFAULT_MODEL, metavar="A,B=DIR", help=models)
    p.add_argument("--protocol", default="self", metavar="A,B", help=f"of {', '.join(_PROTOCOLS)} (default: self)")
    p.add_argument("--k", default="1", metavar="K,K", help="target pictures in each case (default: 1)")
    _add_data(p)
    _add_transfer(p, "A,B")
    add_work(p)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for pictures, results and figures")
    add_report(p)
    p.set_defaults(run=_run, stopped=STOPPED)


def _add_export(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("export", help="draw a protocol's pictures", description="Draw a protocol's pictures.")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME", help="which model ('reenactor models' lists them)")
    what.add_argument("--inputs", action="store_true", help="write the input pictures for another tool")
    add_weights(p)
    p.add_argument("--name", help="of the method, in tables (default: the model's)")
    p.add_argument("--protocol", default="self", choices=_PROTOCOLS, help="who drives whom (default: %(default)s)")
    p.add_argument("--k", type=int, default=1, help="target pictures in each case (default: %(default)s)")
    _add_data(p)
    _add_transfer(p, "NAME")
    add_work(p)
    attention = "draw where the model looks (marionette), for N cases"
    p.add_argument("--attention", type=int, default=0, metavar="N", help=attention)
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    p.set_defaults(run=_export, stopped=STOPPED)


def _add_score(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser(
        "score",
        help="score drawn pictures",
        description="Score folders of pictures, named '<case id>.png' or '.webp', and compare those of the same cases.",
    )
    p.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="what 'export' or another tool wrote")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results, tables and figures")
    add_predictions_data(p)
    p.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each processor)")
    add_report(p)
    p.set_defaults(run=_score, stopped=STOPPED)


def _add_table(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser("table", help="print results beside the papers'", description="Print tables of results.")
    p.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="results.jsonl, or the folder it is in")
    p.add_argument("--format", default="markdown", choices=("markdown", "latex", "html"), help="default: %(default)s")
    p.add_argument("--scores", metavar="A,B", help="columns, named as in results.jsonl (default: all)")
    p.add_argument("--against", metavar="METHOD", help="print only differences to this method (default: all)")
    p.set_defaults(run=_table)


def _add_retargeting(actions: argparse._SubParsersAction) -> None:
    p = actions.add_parser(
        "retargeting",
        help="score retargeting, without pictures",
        description="Score transfers on ICT-FaceKit's faces (person A with the expression of person B: exact truth), "
        "or on a pack's clips (do lips and lids meet, whose face is it).",
    )
    given = p.add_mutually_exclusive_group(required=True)
    given.add_argument("--ict", type=Path, metavar="FILE", help="neutral, ident, expr and names, as .npz")
    given.add_argument(
        "--data",
        type=Path,
        metavar="PACK",
        help="prepared data: its clips of the split 'val' (without it: test, else train)",
    )
    p.add_argument("--transformer", type=Path, metavar="DIR", help="landmark transformer (default: the one that ships)")
    blinks = "with --data: CSV file of blinks that people saw (columns source, time_s), to count those that are missed"
    p.add_argument("--blinks", type=Path, metavar="FILE", help=blinks)
    p.add_argument("--people", type=int, default=40, metavar="N", help="pairs of people (default: %(default)s)")
    photo = "strength of an expression in the target's photo (default: %(default)s, at rest)"
    p.add_argument("--photo-expression", type=float, default=0.0, metavar="X", help=photo)
    p.add_argument("--seed", type=int, default=0, help="of the random faces (default: %(default)s)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    p.set_defaults(run=_retargeting)


def add_predictions_data(p: argparse.ArgumentParser) -> None:
    """Arguments for the data of drawn pictures."""
    p.add_argument("--data", type=Path, metavar="PACK", help="prepared data (default: what was drawn from)")
    p.add_argument("--targets", type=Path, metavar="PACK", help="targets' data, for cross-source and wild")
    p.add_argument("--cases", type=Path, metavar="FILE", help="cases.json that another tool's pictures were drawn for")
    p.add_argument("--sets", type=Path, dest="cases", help=argparse.SUPPRESS)  # until version 0.1


def _add_data(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", type=Path, required=True, metavar="PACK", help="what 'reenactor prepare' wrote")
    p.add_argument("--targets", type=Path, metavar="PACK", help="targets' data, for cross-source and wild")
    p.add_argument("--cases", type=int, metavar="N", help="how many (default: as in the paper, or as the data allows)")
    p.add_argument("--sets", type=int, dest="cases", help=argparse.SUPPRESS)  # until version 0.1
    p.add_argument("--frames", type=int, default=50, metavar="N", help="in a sequence of video (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="of the choice of cases (default: %(default)s)")
    add_split(p)
    p.add_argument("--size", type=int, default=256, metavar="PX", help="pictures compared (default: %(default)s)")


def _add_transfer(p: argparse.ArgumentParser, transfer: str) -> None:
    names = ", ".join(one.value for one in Transfer)
    about = f"between people, of {names} (default: parts; marionette-lt's is transformer)"
    p.add_argument("--transfer", metavar=transfer, help=about)
    p.add_argument(
        "--head",
        choices=[one.value for one in Head],
        help="relative turns it by as much as the driver's (default); absolute to the driver's own angles (as "
        "--transfer absolute does)",
    )
    p.add_argument("--transformer", type=Path, metavar="DIR", help="for that transfer (default: the one that ships)")
    background = "as the model draws it (default), or put back as 'animate' does"
    choices = [one.value for one in Background]
    p.add_argument("--background", choices=choices, default=Background.MOVING.value, help=background)
    tune = "with --protocol person: first tune the model to each clip's first half, for so long"
    p.add_argument("--tune", type=float, default=0.0, metavar="MINUTES", help=tune)


def _run(args: argparse.Namespace) -> int:
    """Export each model for each protocol and K, then score all."""
    from reenactor.research.evaluation import export

    if not all(k.isdigit() for k in args.k.split(",")):
        raise ReenactError(f"--k must be whole numbers with commas, not {args.k}")
    several = [int(k) for k in args.k.split(",")]
    entries, judges, packs = _entries(args), judges_of(args), _packs(args)
    folders = []
    with pool_of(args) as pool:
        for protocol in args.protocol.split(","):
            if protocol not in _PROTOCOLS:
                raise ReenactError(f"there is no protocol '{protocol}'; choose of: {', '.join(_PROTOCOLS)}")
            for k in several:
                cases = _cases(args, packs, protocol, k, photos=max(several))
                for entry in entries:
                    folders.append(args.out / cases.name / entry.title(cases.protocol))
                    export(packs, cases, entry, folders[-1], device=args.device, pool=pool)
        _score_and_print(args, folders, None, judges, pool)
    return 0


def _export(args: argparse.Namespace) -> int:
    from reenactor.research.evaluation import export, export_inputs

    packs = _packs(args)
    cases = _cases(args, packs, args.protocol, args.k, photos=args.k)
    with pool_of(args) as pool:
        if args.inputs:
            export_inputs(packs, cases, args.out, pool=pool)
            print(f"{len(cases)} cases: {args.out}; name each result '<case id>.png'")
            return 0
        entry = _entry(args, args.model, weights_folder(args), args.name, args.transfer)
        if args.attention:
            _draw_attention(args, entry, packs, cases)
        export(packs, cases, entry, args.out, device=args.device, pool=pool)
    print(f"{len(cases)} pictures: {args.out}")
    return 0


def _score(args: argparse.Namespace) -> int:
    with pool_of(args) as pool:
        _score_and_print(args, args.folders, args.cases, judges_of(args), pool)
    return 0


def _score_and_print(
    args: argparse.Namespace, folders: list[Path], cases: Path | None, judges: JudgeConfig, pool: WorkerPool
) -> None:
    from reenactor.research.evaluation import TableFormat, result_tables, score_folders, write_tables

    results = score_folders(
        folders,
        args.out,
        data=args.data,
        targets=args.targets,
        cases=cases,
        judges=judges,
        figures=not args.no_figures,
        pool=pool,
    )
    print(write_tables(result_tables(results), TableFormat.MARKDOWN), end="")


def _table(args: argparse.Namespace) -> int:
    from reenactor.research.evaluation import RESULTS, TableFormat, read_results, result_tables, write_tables

    files = [path / RESULTS if path.is_dir() else path for path in args.results]
    results = [one for path in files for one in read_results(path)]
    known = list(dict.fromkeys(one.score for one in results))
    scores = args.scores.split(",") if args.scores else known
    if unknown := [name for name in scores if name not in known]:
        raise ReenactError(f"there is no score {', '.join(unknown)} in these results; choose of: {', '.join(known)}")
    chosen = [one for one in results if one.score in scores and one.against in (None, args.against or one.against)]
    print(write_tables(result_tables(chosen), TableFormat(args.format)), end="")
    return 0


def _retargeting(args: argparse.Namespace) -> int:
    from reenactor.research.data import ShardReader
    from reenactor.research.evaluation import usual_split
    from reenactor.research.evaluation.contacts import measure_contacts
    from reenactor.research.evaluation.retargeting import markdown, measure_transfers

    if args.data is not None:
        pack = ShardReader(args.data)
        say_split(None, pack)
        judge = "MediaPipe's face mesh"
        found = measure_contacts(args.data, args.transformer, args.blinks, usual_split(pack))
    else:
        judge = "ICT-FaceKit's exact truth"
        found = measure_transfers(
            args.ict,
            args.transformer,
            people=args.people,
            target_expression=args.photo_expression,
            seed=args.seed,
        )
    print(markdown(found, judge), end="")
    if args.json:
        numbers = {name: {part: vars(interval) for part, interval in row.items()} for name, row in found.items()}
        args.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 0


def _packs(args: argparse.Namespace) -> Packs:
    from reenactor.research.evaluation import Packs

    packs = Packs(args.data, args.targets)
    say_split(args.split, packs.drivers, packs.targets)
    return packs


def _cases(args: argparse.Namespace, packs: Packs, protocol: str, k: int, *, photos: int) -> CaseList:
    from reenactor.research.data import Split
    from reenactor.research.evaluation import Protocol, choose_cases

    return choose_cases(
        packs,
        Protocol(protocol),
        k=k,
        count=args.cases,
        frames=args.frames,
        seed=args.seed,
        split=args.split and Split(args.split),
        photos=photos,
        size=args.size,
    )


def _entry(args: argparse.Namespace, model: str, weights: Path | None, name: str | None, transfer: str | None) -> Entry:
    from reenactor.engine.loading import system
    from reenactor.research.evaluation import Entry

    if not 0 <= args.tune < float("inf"):
        raise ReenactError(f"--tune must be minutes, 0 or more, not {args.tune}")
    chosen = system(model)
    name = name or (model if chosen.model != model and transfer is None else None)
    return Entry(
        chosen.model,
        weights,
        Transfer(transfer or chosen.transfer),
        args.transformer,
        Background(args.background),
        name,
        Head(args.head) if args.head else None,
        args.tune,
    )


def _entries(args: argparse.Namespace) -> list[Entry]:
    """Entries of `A,B=DIR` with each transfer; a model that is given several times has its folder in its names."""
    from reenactor.nn.download import checkpoint_folder

    pairs = [item.partition("=")[::2] for item in args.models.split(",")]
    models = [model for model, _ in pairs]
    transfers = args.transfer.split(",") if args.transfer else [None]
    entries = []
    for model, folder in pairs:
        weights = checkpoint_folder(folder) if folder else None
        for transfer in transfers:
            parts = [model, Path(folder).name, transfer if len(transfers) > 1 else ""]
            name = " ".join(filter(None, parts)) if models.count(model) > 1 else None
            entries.append(_entry(args, model, weights, name, transfer))
    return entries


def _draw_attention(args: argparse.Namespace, entry: Entry, packs: Packs, cases: CaseList) -> None:
    from reenactor.media import write_image
    from reenactor.models import PhotoUse, create_model
    from reenactor.research.evaluation.export import drawn_at
    from reenactor.research.evaluation.figures import attention_figure

    model = create_model(entry.model, entry.weights)
    if PhotoUse.ATTENDED not in model.photo_uses:
        raise ReenactError(f"the model '{entry.model}' has no attention to show; leave out --attention")
    args.out.mkdir(parents=True, exist_ok=True)
    landmarks = entry.landmarks(packs, drawn_at(model, cases.size), cases.protocol)
    write_image(args.out / "attention.png", attention_figure(model, cases.cases[: args.attention], packs, landmarks))
