"""Results as tables beside the papers' numbers: Markdown, LaTeX, HTML.

The papers measure on other data, and with other judges unless theirs are chosen (`judges`), so their numbers are not
comparable with ours. Every table names the judges of its numbers. `papers` has the papers' numbers.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reenactor.core import ReenactError
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.cases import Protocol
from reenactor.research.evaluation.papers import PAPERS, REFERENCE, Experiment, PaperTable
from reenactor.research.evaluation.scores import SCORES, Better
from reenactor.research.evaluation.scoring import Result

NOT_COMPARABLE = "other data, not comparable"
_ARROWS = {
    Better.HIGHER: "↑",
    Better.LOWER: "↓",
    Better.NEAR_ONE: "→1",
    Better.NEAR_ZERO: "→0",
    Better.AT_MOST_ONE: "≤1",
}


class TableFormat(StrEnum):
    """How a table is written."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    HTML = "html"


@dataclass(frozen=True)
class Table:
    """A table before it is written.

    Args:
        title: heading above it.
        heads: headings of the columns; the first is that of the methods.
        sections: named groups of rows; a row has a cell for each column.
        notes: sentences below it.
    """

    title: str
    heads: Sequence[str]
    sections: Sequence[tuple[str, Sequence[Sequence[str]]]]
    notes: Sequence[str] = ()


def write_tables(tables: Iterable[Table], form: TableFormat) -> str:
    """Write the tables one after the other."""
    write: dict[TableFormat, Callable[[Table], str]] = {
        TableFormat.MARKDOWN: _markdown,
        TableFormat.LATEX: _latex,
        TableFormat.HTML: _html,
    }
    return "\n\n".join(write[form](table) for table in tables) + "\n"


def result_tables(results: Sequence[Result]) -> list[Table]:
    """For each protocol and K: every method with the papers' rows, and the differences between methods.

    Raises:
        ReenactError: different judges measured one score.
    """
    _check_judges(results)
    tables = []
    for protocol, k in dict.fromkeys((one.protocol, one.k) for one in results):
        some = [one for one in results if (one.protocol, one.k) == (protocol, k)]
        tables.append(_scores(some, Protocol(protocol), k))
        if any(one.against for one in some):
            tables.append(_differences(some, Protocol(protocol), k))
    return tables


def ablation_tables(results: Sequence[Result], first: str, notes: Sequence[str]) -> list[Table]:
    """For each protocol and K: every method without the copies, and the differences of the others to the first.

    Args:
        results: of `Scored.results`; the first method must have been scored first.
        first: name of that method.
        notes: sentences below the table.
    """
    tables = []
    for protocol, k in dict.fromkeys((one.protocol, one.k) for one in results):
        some = [one for one in results if (one.protocol, one.k) == (protocol, k)]
        plain = [one for one in some if one.against is None and one.method not in (TARGET_COPY, DRIVER_COPY)]
        scores = [name for name in SCORES if any(one.score == name for one in plain)]
        cells = {(one.method, one.against, one.score): one for one in some}
        methods = list(dict.fromkeys(one.method for one in plain))
        rows = [[m, *(_cell(cells.get((m, None, name))) for name in scores)] for m in methods]
        others = [[m, *(_cell(cells.get((m, first, name))) for name in scores)] for m in methods if m != first]
        sections = [("", rows), (f"minus {first}", others)]
        heads = ["recipe", *(_head(name) for name in scores)]
        below = [
            *notes,
            *_basis_notes(plain),
            *_judges_notes(plain),
            "Differences are paired; * the interval excludes 0.",
        ]
        tables.append(Table(f"{_title(Protocol(protocol), k)}: ablation", heads, sections, below))
    return tables


def paper_table(
    experiment: Experiment, results: Sequence[Result], ours: Mapping[str, str], places: Mapping[Protocol, str]
) -> Table:
    """A paper's table: its rows and columns in its order, with what was measured here beside each number.

    Args:
        experiment: the table.
        results: of its protocols; may be empty.
        ours: by the paper's name of a method, the method in `results`, or why there is none.
        places: by protocol, the data that was measured on.

    Raises:
        ReenactError: different judges measured one score.
    """
    _check_judges(results)
    scores = {name for table in experiment.sources.values() for name in table.scores}
    plain = [one for one in results if one.against is None and one.score in scores]
    cells = {(one.protocol, one.k, one.method, one.score): one for one in plain}
    drawn_by = {one.method: _drawn_by(one) for one in plain}
    methods = {**ours, REFERENCE: TARGET_COPY}
    columns = [(protocol, table, name) for protocol, table in experiment.sources.items() for name in table.scores]

    def pairs(method: str, k: int, paper: Sequence[float | None]) -> Iterator[str]:
        for (protocol, _, name), theirs in zip(columns, paper, strict=True):
            yield "" if theirs is None else f"{theirs:g}"
            yield _cell(cells.get((protocol, k, method, name)))

    rows = []
    for row in experiment.rows:
        paper = [table.row(row.method, row.k).values.get(name) for _, table, name in columns]
        method = methods.get(row.method, "not in the zoo")
        rows.append([row.label, drawn_by.get(method, method), *pairs(method, row.k, paper)])
    notes = [
        f"{protocol.value}: {table.data} in the paper, by {table.judges}; here {places.get(protocol, 'not measured')}."
        for protocol, table in experiment.sources.items()
    ]
    for protocol, k in dict.fromkeys((one.protocol, one.k) for one in plain):
        some = [one for one in plain if (one.protocol, one.k) == (protocol, k)]
        failures = [f"{one.method} {one.failures}" for one in some if one.failures and one.score == some[0].score]
        faceless = [f"Results without a face: {', '.join(failures)}."] if failures else []
        notes.append(
            f"{_title(Protocol(protocol), k)}: {' '.join([*_basis_notes(some), *_aucon_notes(some), *faceless])}"
        )
    notes += _judges_notes(plain)
    if experiment.across:
        label, method, paper, here = zip(*rows, strict=True)
        turned = [["paper", *paper], ["here", *here], ["drawn by", *method]]
        return Table(experiment.title, [_head(columns[0][2]), *label], [("", turned)], notes)
    heads = ["method (target pictures)", "drawn by"]
    for protocol, _, name in columns:
        heads += [f"{f'{protocol.value}: ' if len(experiment.sources) > 1 else ''}{_head(name)}, paper", "here"]
    sections: list[tuple[str, Sequence[Sequence[str]]]] = [("", rows)]
    used = [methods.get(row.method) for row in experiment.rows]
    copies = [copy for copy in (TARGET_COPY, DRIVER_COPY) if copy in drawn_by and copy not in used]
    if copies:
        ks = dict.fromkeys(row.k for row in experiment.rows)
        nothing = [None] * len(columns)
        floor = [[f"{copy} ({k})", "", *pairs(copy, k, nothing)] for k in ks for copy in copies]
        sections.append(("floor and ceiling", floor))
    return Table(experiment.title, heads, sections, notes)


def _drawn_by(one: Result) -> str:
    """Method, version, resolution, and what it was asked to draw."""
    if one.version is None:
        return one.method
    landmarks = "the driver's own" if Protocol(one.protocol).has_truth else one.transfer
    return f"{one.method} {one.version}, {one.config.get('resolution')} px, {landmarks} landmarks"


def _scores(results: Sequence[Result], protocol: Protocol, k: int) -> Table:
    plain = [one for one in results if one.against is None]
    scores = [name for name in SCORES if any(one.score == name for one in plain)]
    cells = {(one.method, one.score): one for one in plain}
    methods = list(dict.fromkeys(one.method for one in plain))

    def row(method: str) -> list[str]:
        found = [cells.get((method, name)) for name in scores]
        failures = next((one.failures for one in found if one is not None), 0)
        return [method, *map(_cell, found), str(failures)]

    ordered = [TARGET_COPY, *(m for m in methods if m not in (TARGET_COPY, DRIVER_COPY)), DRIVER_COPY]
    sections = [("measured here", [row(m) for m in ordered if m in methods])]
    for paper in PAPERS.get(protocol, ()):
        if rows := _paper_rows(paper, scores, k):
            sections.append((f"{paper.source}, by {paper.judges} ({NOT_COMPARABLE})", rows))
    notes = [
        *_basis_notes(plain),
        *_judges_notes(plain),
        *_aucon_notes(plain),
    ]
    return Table(_title(protocol, k), ["method", *(_head(name) for name in scores), "failures"], sections, notes)


def _paper_rows(paper: PaperTable, scores: Sequence[str], k: int) -> list[list[str]]:
    return [
        [row.label, *(f"{row.values[n]:g}" if n in row.values else "" for n in scores), ""]
        for row in paper.rows
        if row.k == k
    ]


def _differences(results: Sequence[Result], protocol: Protocol, k: int) -> Table:
    pairs = [one for one in results if one.against is not None]
    scores = [name for name in SCORES if any(one.score == name for one in pairs)]
    cells = {(one.method, one.against, one.score): one for one in pairs}
    rows = []
    for method, against in dict.fromkeys((one.method, one.against) for one in pairs):
        found = [cells.get((method, against, name)) for name in scores]
        rows.append([f"{method} - {against}", *map(_cell, found)])
    note = "Paired over the same cases; * the interval excludes 0."
    heads = ["difference", *(_head(name) for name in scores)]
    return Table(f"{_title(protocol, k)}: differences", heads, [("", rows)], [note, *_judges_notes(pairs)])


def _basis_notes(plain: Sequence[Result]) -> list[str]:
    """The data behind the numbers."""
    one = plain[0]
    people = max(r.people for r in plain)
    return [
        f"{one.cases} cases, {people} people; 95% bootstrap intervals over people"
        + (" (fewer than 10: too narrow)." if people < 10 else "."),
        f"Data {one.data_sha256[:12]}, cases {one.cases_sha256[:12]}, reenactor {one.software}.",
        *_subset_notes(plain),
    ]


def _check_judges(results: Sequence[Result]) -> None:
    """Refuse numbers of one score by several judges in one table."""
    first: dict[tuple[str, int, str], Result] = {}
    for one in results:
        other = first.setdefault((one.protocol, one.k, one.score), one)
        if (one.judge, one.judge_sha256) != (other.judge, other.judge_sha256):
            raise ReenactError(
                f"{SCORES[one.score].title} was judged by {other.judge} in some of these results and by {one.judge} in "
                "others, which cannot be compared; score all with the same --judge, --pose-au and --masked, or print "
                "the tables one by one"
            )


def _judges_notes(results: Sequence[Result]) -> list[str]:
    """Who judged which columns, a line for each judge."""
    by_judge: dict[str, list[str]] = {}
    for name, score in SCORES.items():
        for judge in dict.fromkeys(one.judge for one in results if one.score == name):
            by_judge.setdefault(judge, []).append(score.title)
    return [f"Judged by {judge}: {'; '.join(titles)}." for judge, titles in by_judge.items()]


def _subset_notes(plain: Sequence[Result]) -> list[str]:
    """For scores of some of the cases: how many cases."""
    counted = {one.score: one for one in plain if SCORES[one.score].only}
    return [f"{SCORES[name].title}: {one.counted} cases where {SCORES[name].only}." for name, one in counted.items()]


def _aucon_notes(plain: Sequence[Result]) -> list[str]:
    found = [one for one in plain if one.score == "aucon" and one.chance is not None]
    if not found:
        return []
    chances = ", ".join(f"{one.method} {one.chance:.3g}" for one in found)
    ceiling = f"; a second measurement of the drivers themselves {found[0].ceiling:.3g}" if found[0].ceiling else ""
    return [f"AUCON by chance (frames shuffled within clips): {chances}{ceiling}."]


def _title(protocol: Protocol, k: int) -> str:
    return f"{protocol.value}, {k} target picture{'s' if k > 1 else ''}"


def _head(name: str) -> str:
    """Title, unit, and direction."""
    score = SCORES[name]
    return f"{score.title}{f' [{score.unit}]' if score.unit else ''} {_ARROWS[score.better]}"


def _cell(one: Result | None) -> str:
    """Value and interval."""
    if one is None:
        return ""
    if one.value is None:
        return "-"
    spread = "" if one.low is None or one.high is None else f" [{one.low:.3g}, {one.high:.3g}]"
    return f"{one.value:.3g}{spread}{' *' if one.against is not None and one.shown else ''}"


def _markdown(table: Table) -> str:
    lines = [f"### {table.title}", "", _line(table.heads), "|---|" + "---:|" * (len(table.heads) - 1)]
    for name, rows in table.sections:
        if name:
            lines.append(_line([f"*{name}*", *[""] * (len(table.heads) - 1)]))
        lines += [_line([cell.replace("*", r"\*") for cell in row]) for row in rows]
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip()


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _latex(table: Table) -> str:
    columns = len(table.heads)
    lines = [r"\begin{table}", rf"\caption{{{_tex(table.title)}. {_tex(' '.join(table.notes))}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}", r"\hline", _tex_line(table.heads), r"\hline"]
    for name, rows in table.sections:
        if name:
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{_tex(name)}}}}} \\")
        lines += [_tex_line(row) for row in rows] + [r"\hline"]
    return "\n".join([*lines, r"\end{tabular}", r"\end{table}"])


def _tex_line(cells: Iterable[str]) -> str:
    return " & ".join(_tex(cell) for cell in cells) + r" \\"


def _tex(text: str) -> str:
    for special in "&%$#_{}":
        text = text.replace(special, f"\\{special}")
    return text.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$").replace("→", r"$\to$").replace("≤", r"$\leq$")


def _html(table: Table) -> str:
    columns = len(table.heads)
    lines = [f"<h3>{html.escape(table.title)}</h3>", "<table>", _html_row(table.heads, "th")]
    for name, rows in table.sections:
        if name:
            lines.append(f'<tr><th colspan="{columns}" align="left"><em>{html.escape(name)}</em></th></tr>')
        lines += [_html_row(row, "td") for row in rows]
    lines.append("</table>")
    return "\n".join(lines + [f"<p>{html.escape(note)}</p>" for note in table.notes])


def _html_row(cells: Iterable[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
