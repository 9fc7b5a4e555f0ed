"""Folders of drawn pictures in; results, tables and figures out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reenactor.media import write_image
from reenactor.research.evaluation.figures import comparison_grid, failure_gallery, pose_curve, sequence_sheet
from reenactor.research.evaluation.judges import JudgeConfig
from reenactor.research.evaluation.predictions import Predictions, open_predictions, packs_of
from reenactor.research.evaluation.scoring import Result, Scored, measure_all, write_results
from reenactor.research.evaluation.tables import TableFormat, result_tables, write_tables
from reenactor.research.evaluation.workers import WorkerPool

RESULTS = "results.jsonl"
_GRID_ROWS = 8
_CURVES = {True: ("csim", "m_psnr", "pose_mae", "aucon"), False: ("csim", "pose_mae", "aucon")}
_SORTED_BY = {True: "mouth_psnr", False: "csim"}
"""Figures with a true picture, and without."""


def score_folders(
    folders: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    targets: Path | None = None,
    cases: Path | None = None,
    judges: JudgeConfig | None = None,
    figures: bool = True,
    pool: WorkerPool | None = None,
) -> list[Result]:
    """Score folders of pictures; methods that drew the same cases are compared.

    `out` gets `results.jsonl`, `tables.md`, `tables.html`, `figures/`, and `cache/` with the measurements
    of real pictures.

    Args:
        folders: what `export` or another tool wrote.
        out: folder for the results.
        data, targets: the packs; None for those that the pictures were drawn from.
        cases: the list that another tool's pictures were drawn for.
        judges: who measures; None for the default.
        figures: whether to draw figures.
        pool: does the work; None for this process.

    Raises:
        ReenactError: a folder cannot be scored; says what to do.
    """
    opened = [open_predictions(folder, cases) for folder in folders]
    results: list[Result] = []
    for some in _by_cases(opened):
        packs = packs_of(some, data, targets)
        scored = measure_all(some, packs, out / "cache", judges=judges, pool=pool)
        results += scored.results()
        if figures:
            write_figures(scored, out / "figures")
    write_results(out / RESULTS, results)
    tables = result_tables(results)
    (out / "tables.md").write_text(write_tables(tables, TableFormat.MARKDOWN), encoding="utf-8")
    (out / "tables.html").write_text(write_tables(tables, TableFormat.HTML), encoding="utf-8")
    return results


def write_figures(scored: Scored, folder: Path) -> None:
    """Write the figures of a protocol: grid, curves, and each method's failures and roughest sequence."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = scored.cases.protocol.has_truth
    spread = np.linspace(0, len(scored.cases) - 1, min(_GRID_ROWS, len(scored.cases))).round().astype(int)
    name = scored.cases.name
    write_image(folder / f"grid_{name}.png", comparison_grid(scored, [scored.cases[i] for i in spread]))
    for score in _CURVES[truth]:
        write_image(folder / f"{score}_{name}.png", pose_curve(scored, score))
    for method in scored.predictions:
        sheet = failure_gallery(scored, method, _SORTED_BY[truth])
        write_image(folder / f"failures_{name}_{method.replace('/', '-')}.png", sheet)
        if scored.cases.protocol.consecutive:
            write_image(folder / f"sequence_{name}_{method.replace('/', '-')}.png", sequence_sheet(scored, method))


def _by_cases(opened: Sequence[Predictions]) -> list[list[Predictions]]:
    groups: dict[str, list[Predictions]] = {}
    for one in opened:
        groups.setdefault(one.cases.digest, []).append(one)
    return list(groups.values())
