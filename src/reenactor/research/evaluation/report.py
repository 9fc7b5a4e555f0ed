"""Folders of drawn pictures in; results, tables and figures out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reenactor.core import ReenactError
from reenactor.media import write_image
from reenactor.research.evaluation.figures import comparison_grid, failure_gallery, pose_curve, sequence_sheet
from reenactor.research.evaluation.likeness import face_features
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.predictions import Predictions, open_predictions
from reenactor.research.evaluation.scoring import Result, Scored, read_all, write_results
from reenactor.research.evaluation.tables import Form, result_tables, write_tables
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
    sets: Path | None = None,
    features: Path | None = None,
    figures: bool = True,
    pool: WorkerPool | None = None,
) -> list[Result]:
    """Score what was drawn; methods that drew for the same sets are compared.

    `out` gets `results.jsonl`, `tables.md`, `tables.html`, `figures/`, and `cache/`, which makes a second scoring fast.

    Args:
        folders: what `export` or another tool wrote.
        out: folder for the results.
        data, targets: the packs; None for those that the pictures were drawn from.
        sets: the list that another tool's pictures were drawn for.
        features: checkpoint of a shape encoder or verification network, for `likeness_distance`.
        figures: draw them too.
        pool: does the work; None for this process.

    Raises:
        ReenactError: a folder cannot be scored; says which, and what to do.
    """
    opened = [open_predictions(folder, sets) for folder in folders]
    network = None if features is None else face_features(features)
    results: list[Result] = []
    for some in _by_sets(opened):
        packs = packs_of(some, data, targets)
        scored = read_all(some, packs, out / "cache", features=network, pool=pool)
        results += scored.results()
        if figures:
            write_figures(scored, out / "figures")
    write_results(out / RESULTS, results)
    tables = result_tables(results)
    (out / "tables.md").write_text(write_tables(tables, Form.MARKDOWN))
    (out / "tables.html").write_text(write_tables(tables, Form.HTML))
    return results


def write_figures(scored: Scored, folder: Path) -> None:
    """Grid, failures of each method, curves."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = scored.sets.protocol.has_truth
    spread = np.linspace(0, len(scored.sets) - 1, min(_GRID_ROWS, len(scored.sets))).round().astype(int)
    name = scored.sets.name
    write_image(folder / f"grid_{name}.png", comparison_grid(scored, [scored.sets.sets[i] for i in spread]))
    for score in _CURVES[truth]:
        write_image(folder / f"{score}_{name}.png", pose_curve(scored, score))
    for method in scored.predictions:
        sheet = failure_gallery(scored, method, _SORTED_BY[truth])
        write_image(folder / f"failures_{name}_{method.replace('/', '-')}.png", sheet)
        if scored.sets.protocol.consecutive:
            write_image(folder / f"sequence_{name}_{method.replace('/', '-')}.png", sequence_sheet(scored, method))


def _by_sets(opened: Sequence[Predictions]) -> list[list[Predictions]]:
    groups: dict[str, list[Predictions]] = {}
    for one in opened:
        groups.setdefault(one.sets.digest, []).append(one)
    return list(groups.values())


def packs_of(predictions: Sequence[Predictions], data: Path | None, targets: Path | None) -> Packs:
    """Those named on the command line, or else those that were drawn from.

    Raises:
        ReenactError: neither is known.
    """
    known = next((one for one in predictions if one.data is not None), None)
    if data is not None:
        return Packs(data, targets)
    if known is None or known.data is None:
        raise ReenactError(f"{predictions[0].folder} does not say which data it was drawn from; give it with --data")
    return Packs(known.data, known.targets)
