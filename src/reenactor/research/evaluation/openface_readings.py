"""OpenFace as the judge of pose and action units: pictures for it, and what it says of them.

Each sequence is a folder of pictures `<name>/` and a table `<name>.csv` beside it, where the name is a digest of what
the pictures show. So a table belongs to exactly these pictures, whoever let OpenFace write it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.core.files import sha256
from reenactor.media import write_image
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.cases import Case, CaseList
from reenactor.research.evaluation.packs import Frame, Packs
from reenactor.research.evaluation.predictions import Predictions, read_prediction
from reenactor.research.evaluation.workers import WorkerPool, batches
from reenactor.research.metrics import OpenFaceReading, find_openface, read_openface, run_openface
from reenactor.research.metrics.openface import EXECUTABLE, OPTIONS

_VERSION = 1
"""Raised when OpenFace is called in another way."""


@dataclass(frozen=True)
class _Sequence:
    """Different pictures in the order in which OpenFace sees them: files, or frames of a pack."""

    name: str
    pictures: tuple[Path | Frame, ...]
    of_driver: bool


def openface_readings(
    packs: Packs, cases: CaseList, predictions: Mapping[str, Predictions], folder: Path, pool: WorkerPool
) -> dict[str, OpenFaceReading]:
    """What OpenFace reads in all pictures: from tables that exist, or else by running it.

    Args:
        packs: the cases' data.
        cases: what was drawn.
        predictions: the drawn pictures by method.
        folder: for the tables.
        pool: shows the progress.

    Returns:
        Of each method and both copies, a row for each case.

    Raises:
        ReenactError: OpenFace is not installed (its pictures are then written to `folder`, to be read elsewhere), or
            failed, or a table does not fit its pictures or the other tables.
    """
    rows_of: dict[str, list[tuple[str, int]]] = {}
    sequences: dict[str, _Sequence] = {}
    for method in (TARGET_COPY, DRIVER_COPY, *predictions):
        places: dict[int, tuple[str, int]] = {}
        for rows in cases.sequences:
            shown = [_picture(method, cases[row], predictions) for row in rows]
            one = _sequence(shown, cases, of_driver=method == DRIVER_COPY)
            sequences[one.name] = one
            places |= {row: (one.name, one.pictures.index(picture)) for row, picture in zip(rows, shown, strict=True)}
        rows_of[method] = [places[row] for row in range(len(cases))]
    folder.mkdir(parents=True, exist_ok=True)
    missing = [one for one in sequences.values() if not (folder / f"{one.name}.csv").exists()]
    if missing:
        _read_pictures(_Writer(packs, cases.size), missing, folder, pool, f"OpenFace on sequences of {cases.name}")
    found = {one.name: read_openface(folder / f"{one.name}.csv", len(one.pictures)) for one in sequences.values()}
    first = next(iter(found))
    for name, reading in found.items():
        if reading.action_units.numbers != found[first].action_units.numbers:
            raise ReenactError(
                f"{name}.csv and {first}.csv in {folder} list different action units; remove both, and let one "
                "OpenFace write them"
            )
    whole = OpenFaceReading.joined(list(found.values()))
    ends = accumulate(len(one.pictures) for one in sequences.values())
    starts = dict(zip(sequences, (0, *ends), strict=False))
    return {m: whole.rows([starts[name] + place for name, place in places]) for m, places in rows_of.items()}


def _picture(method: str, case: Case, predictions: Mapping[str, Predictions]) -> Path | Frame:
    if method not in predictions:
        return case.driver if method == DRIVER_COPY else case.targets[0]
    path = predictions[method].path(case)
    assert path is not None
    return path


def _sequence(shown: Sequence[Path | Frame], cases: CaseList, *, of_driver: bool) -> _Sequence:
    pictures = tuple(dict.fromkeys(shown))
    data_sha256 = cases.data_sha256 if of_driver else cases.targets_sha256
    shows = [f"{data_sha256} {one}" if isinstance(one, Frame) else sha256(one) for one in pictures]
    digest = hashlib.sha256("\n".join([f"{_VERSION} {cases.size}", *shows]).encode()).hexdigest()
    return _Sequence(digest[:24], pictures, of_driver)


@dataclass(frozen=True)
class _Writer:
    """Writes sequences as folders of PNG files, which OpenFace can read."""

    packs: Packs
    size: int

    def __call__(self, sequences: Sequence[_Sequence], out: Path) -> list[Path]:
        folders = []
        for one in sequences:
            frames = [picture for picture in one.pictures if isinstance(picture, Frame)]
            real = (self.packs.driver if one.of_driver else self.packs.target).pictures(frames, self.size)
            folders.append(out / one.name)
            folders[-1].mkdir(exist_ok=True)
            for number, picture in enumerate(one.pictures, start=1):
                pixels = real[picture] if isinstance(picture, Frame) else read_prediction(picture, self.size)
                write_image(folders[-1] / f"{number:06d}.png", pixels)
        return folders


def _read_pictures(write: _Writer, missing: Sequence[_Sequence], folder: Path, pool: WorkerPool, what: str) -> None:
    executable = find_openface()
    if executable is None:
        write(missing, folder)
        raise ReenactError(
            f"OpenFace's {EXECUTABLE} was not found; put that of OpenFace 2 (github.com/TadasBaltrusaitis/OpenFace) on "
            f"the PATH, or run it elsewhere on the {len(missing)} folders in {folder} that have no table "
            f"('{EXECUTABLE} -fdir FOLDER {' '.join(OPTIONS)} -out_dir {folder}') and repeat this command, or choose "
            "--pose-au reenactor"
        )

    def read(part: Sequence[_Sequence]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            tables = Path(work) / "tables"
            tables.mkdir()
            run_openface(executable, write(part, Path(work)), tables)
            for one in part:
                # Only whole tables are kept.
                os.replace(tables / f"{one.name}.csv", folder / f"{one.name}.csv")
                shutil.rmtree(folder / one.name, ignore_errors=True)

    for _ in pool.spread(read, batches(missing), what=what, alone=True):
        pass
