"""What the papers report: other data, other judges (ArcFace, OpenFace), so not comparable with our measurements.

Paper B: tables 1, 2, 4 and 5 (PRMSE, AUCON and CSIM of OpenFace and ArcFace). Paper A: table 1 (and 3 for few-shot).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reenactor.research.evaluation.cases import Protocol


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
        rows: of the table.
    """

    source: str
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

_FILMS = PaperTable("paper A, table 3: 32 people of several films", _FEW_SHOT)
PAPERS: Mapping[Protocol, tuple[PaperTable, ...]] = {
    Protocol.SELF: (
        PaperTable("paper B, table 1: VoxCeleb1", _SELF),
        PaperTable("paper B, table 5 (ablation): VoxCeleb1", _SELF_ABLATION),
    ),
    Protocol.DIFFERENT: (
        PaperTable("paper B, table 2: CelebV", _DIFFERENT),
        PaperTable("paper B, table 4 (ablation): CelebV", _DIFFERENT_ABLATION),
    ),
    Protocol.SAME_SOURCE: (PaperTable("paper A, table 1: CelebA-HQ", _SAME_SOURCE), _FILMS),
    Protocol.CROSS_SOURCE: (PaperTable("paper A, table 1: FFHQ", _CROSS_SOURCE), _FILMS),
    Protocol.WILD: (PaperTable("paper A, table 1: RAF-DB", _WILD), _FILMS),
}
"""Both papers' tables by protocol."""
