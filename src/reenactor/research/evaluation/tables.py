"""Results as tables beside the papers' numbers: Markdown, LaTeX, HTML.

The papers measure on other data, and with other judges unless theirs are chosen (`judges`), so their numbers are not
comparable with ours. Every table names the judges of its numbers. Paper B: tables 1, 2, 4 and 5. Paper A: table 1 (and
3 for few-shot).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reenactor.core import ReenactError
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.cases import Protocol
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
        [f"{row.method} ({row.k})", *(f"{row.values[n]:g}" if n in row.values else "" for n in scores), ""]
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


@dataclass(frozen=True)
class PaperRow:
    """A row of a paper's table.

    Args:
        method: its name in the paper.
        k: number of target pictures.
        values: numbers by the names of `scores.SCORES`.
    """

    method: str
    k: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper.

    Args:
        source: paper, number of the table, data set.
        judges: who measured, as far as the paper says.
        rows: of the table.
    """

    source: str
    judges: str
    rows: tuple[PaperRow, ...]


def _rows(scores: str, table: str) -> tuple[PaperRow, ...]:
    """Parse lines of `method (k) | number | number...`; `-` stands for no number."""
    names = scores.split()
    rows = []
    for line in table.strip().splitlines():
        head, *cells = (cell.strip() for cell in line.split("|"))
        method, _, k = head.rpartition(" (")
        values = {name: float(cell) for name, cell in zip(names, cells, strict=True) if cell != "-"}
        rows.append(PaperRow(method, int(k.rstrip(")")), values))
    return tuple(rows)


_SELF = _rows(
    "csim ssim m_ssim psnr m_psnr prmse aucon",
    """
    X2Face (1)        | .689 | .719 | .941 | 22.537 | 31.529 | 3.26 | .813
    Monkey-Net (1)    | .697 | .734 | .934 | 23.472 | 30.580 | 3.46 | .770
    NeuralHead-FF (1) | .229 | .635 | .923 | 20.818 | 29.599 | 3.76 | .791
    MarioNETte (1)    | .755 | .744 | .948 | 23.244 | 32.380 | 3.13 | .825
    X2Face (8)        | .762 | .776 | .956 | 24.326 | 33.328 | 3.21 | .826
    NeuralHead-FF (8) | .239 | .645 | .925 | 21.362 | 29.952 | 3.69 | .795
    MarioNETte (8)    | .828 | .786 | .958 | 24.905 | 33.645 | 2.57 | .850
    """,
)
_SELF_ABLATION = _rows(
    "csim prmse aucon",
    """
    AdaIN (1)      | .183 | 3.719 | .781
    +Attention (1) | .611 | 3.257 | .825
    +Alignment (1) | .756 | 3.069 | .827
    AdaIN (8)      | .188 | 3.649 | .787
    +Attention (8) | .717 | 2.909 | .843
    +Alignment (8) | .826 | 2.563 | .845
    """,
)
_DIFFERENT = _rows(
    "csim prmse aucon",
    """
    X2Face (1)        | .450 | 3.62 | .679
    Monkey-Net (1)    | .451 | 4.81 | .584
    NeuralHead-FF (1) | .108 | 3.30 | .722
    MarioNETte (1)    | .520 | 3.41 | .710
    MarioNETte+LT (1) | .568 | 3.70 | .684
    X2Face (8)        | .484 | 3.15 | .709
    NeuralHead-FF (8) | .120 | 3.26 | .723
    MarioNETte (8)    | .608 | 3.26 | .717
    MarioNETte+LT (8) | .661 | 3.57 | .691
    """,
)
_DIFFERENT_ABLATION = _rows(
    "csim prmse aucon",
    """
    AdaIN (1)      | .063 | 3.47 | .724
    +Attention (1) | .333 | 3.17 | .729
    +Alignment (1) | .530 | 3.44 | .700
    AdaIN (8)      | .069 | 3.40 | .723
    +Attention (8) | .472 | 3.22 | .727
    +Alignment (8) | .605 | 3.27 | .709
    """,
)
_SAME_SOURCE = _rows(
    "au_percent pose_mae id_percent",
    """
    reference shown as output (1) | 0.00 | 7.49 | -
    GANimation, given AU labels (1) | 18.2 | 7.49 | 99.6
    VU-Net (1)            | 80.2 | 3.04 | 46.1
    PG2 (1)               | 82.7 | 3.19 | 52.3
    GauGAN (1)            | 81.1 | 2.98 | 79.3
    ours without fusion (1) | 80.0 | 2.79 | 89.1
    ours (1)              | 75.1 | 2.72 | 98.2
    """,
)
_CROSS_SOURCE = _rows(
    "au_percent pose_mae id_percent",
    """
    reference shown as output (1) | 0.00 | 7.77 | -
    GANimation, given AU labels (1) | 17.1 | 7.77 | 99.5
    VU-Net (1)            | 79.4 | 3.03 | 47.7
    PG2 (1)               | 82.6 | 3.18 | 53.7
    GauGAN (1)            | 79.72 | 2.98 | 75.3
    ours without fusion (1) | 80.22 | 2.84 | 88.2
    ours (1)              | 70.9 | 2.74 | 98.5
    """,
)
_WILD = _rows(
    "au_percent pose_mae id_percent",
    """
    reference shown as output (1) | 0.00 | 7.51 | -
    GANimation, given AU labels (1) | 13.5 | 7.50 | 99.3
    VU-Net (1)            | 79.6 | 3.03 | 52.2
    PG2 (1)               | 82.3 | 3.18 | 51.9
    GauGAN (1)            | 79.7 | 3.00 | 78.7
    ours without fusion (1) | 80.0 | 2.91 | 90.2
    ours (1)              | 71.1 | 2.63 | 98.3
    """,
)
_FEW_SHOT = _rows(
    "id_percent",
    """
    ours (1) | 97.2
    ours (3) | 99.3
    ours (5) | 99.4
    """,
)

_A = "a fixed recognition model; it does not name its estimators of pose and AUs"
_B = "ArcFace and OpenFace"
_FILMS = PaperTable("paper A, table 3: 32 people of several films", _A, _FEW_SHOT)
PAPERS: Mapping[Protocol, tuple[PaperTable, ...]] = {
    Protocol.SELF: (
        PaperTable("paper B, table 1: VoxCeleb1", _B, _SELF),
        PaperTable("paper B, table 5 (ablation): VoxCeleb1", _B, _SELF_ABLATION),
    ),
    Protocol.DIFFERENT: (
        PaperTable("paper B, table 2: CelebV", _B, _DIFFERENT),
        PaperTable("paper B, table 4 (ablation): CelebV", _B, _DIFFERENT_ABLATION),
    ),
    Protocol.SAME_SOURCE: (PaperTable("paper A, table 1: CelebA-HQ", _A, _SAME_SOURCE), _FILMS),
    Protocol.CROSS_SOURCE: (PaperTable("paper A, table 1: FFHQ", _A, _CROSS_SOURCE), _FILMS),
    Protocol.WILD: (PaperTable("paper A, table 1: RAF-DB", _A, _WILD), _FILMS),
}
"""Both papers' tables by protocol."""
