"""Both papers' tables and figures as data: their numbers, and what of ours stands for each of their methods.

Paper A: One-shot Face Reenactment (2019). Paper B: MarioNETte (2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reenactor.core import Head, Transfer
from reenactor.research.evaluation.cases import Protocol

REFERENCE = "reference shown as output"
"""Paper A's name of the target's copy."""


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

    @property
    def label(self) -> str:
        """Method and K, as in the papers."""
        return f"{self.method} ({self.k})"


@dataclass(frozen=True)
class PaperTable:
    """Numbers of a paper's table on one data set.

    Args:
        number: paper and number of the table: `paper B, table 1`.
        data: the data set.
        judges: who measured, as far as the paper says.
        rows: of the table.
    """

    number: str
    data: str
    judges: str
    rows: tuple[PaperRow, ...]

    @property
    def source(self) -> str:
        """Paper, number of the table, data set."""
        return f"{self.number}: {self.data}"

    @property
    def scores(self) -> tuple[str, ...]:
        """The columns in the paper's order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.values))

    def row(self, method: str, k: int) -> PaperRow:
        """The row of a method."""
        return next(row for row in self.rows if (row.method, row.k) == (method, k))


@dataclass(frozen=True)
class StandIn:
    """What of ours stands for a method of a paper.

    Args:
        name: on the command line, and of its folders.
        model: in the zoo.
        run: the recipe that trains it.
        config: settings of the model by which its weights are known.
        ships: whether the weights that ship stand for it if none are given.
        transfer, head: between two people. Without a landmark transformer both papers draw the driver's own landmarks.
    """

    name: str
    model: str
    run: str
    config: Mapping[str, Any]
    ships: bool = False
    transfer: Transfer = Transfer.ABSOLUTE
    head: Head | None = None


def _oneshot(run: str, fusion: str = "none", *, concatenate: bool = True, ships: bool = False) -> StandIn:
    return StandIn(run, "oneshot", run, {"fusion": fusion, "concatenate": concatenate}, ships)


def _ablation(run: str, blender: str, *, alignment: bool) -> StandIn:
    return StandIn(run, "marionette", run, {"blender": blender, "alignment": alignment})


_WHOLE = {"blender": "attention", "alignment": True}
STAND_INS: Mapping[str, StandIn] = {
    "MarioNETte": StandIn("marionette", "marionette", "marionette", _WHOLE, ships=True),
    # Equation 7 gives a face that is turned as the driver's.
    "MarioNETte+LT": StandIn(
        "marionette-lt", "marionette", "marionette", _WHOLE, True, Transfer.TRANSFORMER, Head.ABSOLUTE
    ),
    "AdaIN": _ablation("marionette-adain", "adain", alignment=False),
    "+Attention": _ablation("marionette-attention", "attention", alignment=False),
    "+Alignment": _ablation("marionette-alignment", "adain", alignment=True),
    "ours": _oneshot("oneshot-fusion", "learned", ships=True),
    "ours without fusion": _oneshot("oneshot"),
    "no concat": _oneshot("oneshot-no-concat", concatenate=False),
    "lambda = 3": _oneshot("oneshot-lambda-3"),
    "lambda = 10": _oneshot("oneshot-lambda-10"),
    "lambda = 25": _oneshot("oneshot"),
    "lambda = 50": _oneshot("oneshot-lambda-50"),
}
"""By the names in the papers; the zoo has no others of their methods."""


@dataclass(frozen=True)
class Experiment:
    """A table of a paper that is measured on drawn pictures.

    Args:
        title: what it shows.
        sources: protocols, and the paper's numbers in each; side by side.
        across: whether methods are columns: a table of one score.
    """

    title: str
    sources: Mapping[Protocol, PaperTable]
    across: bool = False

    @property
    def rows(self) -> tuple[PaperRow, ...]:
        """The rows in the paper's order."""
        return next(iter(self.sources.values())).rows


@dataclass(frozen=True)
class Figure:
    """A figure of a paper with a row for each case: target, driver, results.

    Args:
        title: what it shows, with the paper's data set.
        protocol: who drives whom.
        k: number of target pictures, of which the first is shown.
        methods: the columns, in the paper's order.
    """

    title: str
    protocol: Protocol
    k: int
    methods: tuple[str, ...]


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
    MarioNETte (1) | .755 | 3.125 | .825
    AdaIN (8)      | .188 | 3.649 | .787
    +Attention (8) | .717 | 2.909 | .843
    +Alignment (8) | .826 | 2.563 | .845
    MarioNETte (8) | .828 | 2.571 | .850
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
    MarioNETte (1) | .520 | 3.41 | .710
    AdaIN (8)      | .069 | 3.40 | .723
    +Attention (8) | .472 | 3.22 | .727
    +Alignment (8) | .605 | 3.27 | .709
    MarioNETte (8) | .608 | 3.26 | .717
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

_LAMBDA = _rows(
    "id_percent",
    """
    no concat (1)   | 77.7
    lambda = 3 (1)  | 84.9
    lambda = 10 (1) | 86.9
    lambda = 25 (1) | 89.1
    lambda = 50 (1) | 85.2
    """,
)

_A = "a fixed recognition model; it does not name its estimators of pose and AUs"
_B = "ArcFace and OpenFace"
_A1 = {
    Protocol.SAME_SOURCE: PaperTable("paper A, table 1", "CelebA-HQ", _A, _SAME_SOURCE),
    Protocol.CROSS_SOURCE: PaperTable("paper A, table 1", "FFHQ", _A, _CROSS_SOURCE),
    Protocol.WILD: PaperTable("paper A, table 1", "RAF-DB", _A, _WILD),
}
_A2 = PaperTable("paper A, table 2 (ablation)", "CelebA-HQ", _A, _LAMBDA)
_A3 = PaperTable("paper A, table 3", "32 people of several films", _A, _FEW_SHOT)
_B1 = PaperTable("paper B, table 1", "VoxCeleb1", _B, _SELF)
_B2 = PaperTable("paper B, table 2", "CelebV", _B, _DIFFERENT)
_B4 = PaperTable("paper B, table 4 (ablation)", "CelebV", _B, _DIFFERENT_ABLATION)
_B5 = PaperTable("paper B, table 5 (ablation)", "VoxCeleb1", _B, _SELF_ABLATION)
PAPERS: Mapping[Protocol, tuple[PaperTable, ...]] = {
    Protocol.SELF: (_B1, _B5),
    Protocol.DIFFERENT: (_B2, _B4),
    **{protocol: (table, _A3) for protocol, table in _A1.items()},
}
"""The papers' numbers that stand beside any results of a protocol."""

EXPERIMENTS: Mapping[str, Mapping[int, Experiment]] = {
    "paper-a": {
        1: Experiment("Paper A, table 1: three sources of targets", _A1),
        2: Experiment("Paper A, table 2: ablation", {Protocol.SAME_SOURCE: _A2}, across=True),
        3: Experiment("Paper A, table 3: few shots", {Protocol.SAME_SOURCE: _A3}, across=True),
    },
    "paper-b": {
        1: Experiment("Paper B, table 1: self-reenactment", {Protocol.SELF: _B1}),
        2: Experiment("Paper B, table 2: different identity", {Protocol.DIFFERENT: _B2}),
        4: Experiment("Paper B, table 4: ablation, different identity", {Protocol.DIFFERENT: _B4}),
        5: Experiment("Paper B, table 5: ablation, self-reenactment", {Protocol.SELF: _B5}),
    },
}
"""The tables that are measured on drawn pictures, by paper and number."""

_ALL = ("X2Face", "Monkey-Net", "NeuralHead-FF", "MarioNETte", "MarioNETte+LT")
_ABLATION = ("AdaIN", "+Attention", "+Alignment", "MarioNETte")
_FIGURES = {
    6: ("different identity, CelebV", Protocol.DIFFERENT, 1, _ALL),
    9: ("ablation, different identity, CelebV", Protocol.DIFFERENT, 1, _ABLATION),
    10: ("ablation, different identity, CelebV", Protocol.DIFFERENT, 8, _ABLATION),
    11: ("self-reenactment, VoxCeleb1", Protocol.SELF, 1, _ALL),
    12: ("self-reenactment, VoxCeleb1", Protocol.SELF, 8, _ALL),
    13: ("different identity, VoxCeleb1", Protocol.DIFFERENT, 1, _ALL),
    14: ("different identity, VoxCeleb1", Protocol.DIFFERENT, 8, _ALL),
    15: ("self-reenactment, CelebV", Protocol.SELF, 1, _ALL),
    16: ("self-reenactment, CelebV", Protocol.SELF, 8, _ALL),
    17: ("different identity, CelebV", Protocol.DIFFERENT, 8, _ALL),
}
FIGURES: Mapping[str, Mapping[int, Figure]] = {
    "paper-a": {
        5: Figure(
            "Paper A, figure 5: same source, CelebA-HQ",
            Protocol.SAME_SOURCE,
            1,
            ("GANimation", "VU-Net", "PG2", "GauGAN", "ours without fusion", "ours"),
        )
    },
    "paper-b": {
        number: Figure(f"Paper B, figure {number}: {what}", protocol, k, methods)
        for number, (what, protocol, k, methods) in _FIGURES.items()
    },
}
"""The figures whose rows are cases, by paper and number."""

STUDY = _rows(
    "MarioNETte MarioNETte+LT realism",
    """
    X2Face (1)        | .07 | .09 | .093
    Monkey-Net (1)    | .05 | .09 | .100
    NeuralHead-FF (1) | .17 | .17 | .087
    MarioNETte (1)    | -   | .51 | .140
    MarioNETte+LT (1) | -   | -   | .187
    X2Face (8)        | .09 | .07 | .047
    NeuralHead-FF (8) | .15 | .16 | .080
    MarioNETte (8)    | -   | .52 | .147
    MarioNETte+LT (8) | -   | -   | .280
    """,
)
"""Paper B, table 3: how often a method won against the two of the paper's, and its ratio of deception."""

LATENCIES_MS: Mapping[str, float] = {
    "T_P": 101,
    "T_E,1": 44,
    "T_E,8": 111,
    "T_TLT,1": 22,
    "T_TLT,8": 19,
    "T_G,1": 35,
    "T_G,8": 36,
    "T_DLT": 26,
}
"""Paper B, table 6, by its symbols with K, on a Titan Xp."""
