"""The measurement cache, and the one loop that fills it: every picture is decoded once, and measured once."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reenactor.core.files import sha256, write_atomically
from reenactor.research.evaluation.cases import Case, CaseList
from reenactor.research.evaluation.judges import JudgeConfig, Judges, Masked, Picture
from reenactor.research.evaluation.measurements import MEASUREMENTS, Batch
from reenactor.research.evaluation.packs import Frame, Packs
from reenactor.research.evaluation.predictions import Predictions, read_prediction
from reenactor.research.evaluation.workers import WorkerPool, batches

CACHE = "measurements.npz"
TARGET_COPY, DRIVER_COPY = "target shown as output", "driver shown as output"
"""Methods that are always measured: they show a real picture."""
MEASURED_AGAIN = 300
"""Drivers' frames that are measured a second time, for AUCON's ceiling."""

_Value = np.ndarray | np.generic
"""A row of a measurement's result: a scalar where it gives one number for each picture."""


class _Key(NamedTuple):
    """What a value belongs to: what drew the picture and for which cases, or a real picture's pack; case or frame; the
    measurement, with the SHA-256 of the file that judged."""

    method: str
    case: str
    measurement: str


class MeasurementCache:
    """A file of measured values. A missing or damaged file is an empty one.

    A value is only given for the stamp it was stored with: version of the measurement and digest of the picture.

    Args:
        path: the .npz file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[_Key, tuple[str, _Value]] = {}
        self._changed = False
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self._load(path)

    def get(self, key: _Key, stamp: str) -> _Value | None:
        """The value; None if there is none with this stamp."""
        known, value = self._values.get(key, ("", None))
        return value if known == stamp else None

    def put(self, key: _Key, stamp: str, value: _Value) -> None:
        """Store a value; all values of a measurement have the same shape."""
        self._values[key] = stamp, value
        self._changed = True

    def save(self) -> None:
        """Write the file, if anything was stored."""
        if not self._changed:
            return
        columns: dict[str, np.ndarray] = {}
        for name in {key.measurement for key in self._values}:
            rows = [(key.method, key.case, *row) for key, row in self._values.items() if key.measurement == name]
            for column, values in zip(("method", "case", "stamp", "value"), zip(*rows, strict=True), strict=True):
                columns[f"{name}.{column}"] = np.stack(values)
        buffer = io.BytesIO()
        np.savez(buffer, **columns)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, buffer.getvalue())
        self._changed = False

    def _load(self, path: Path) -> None:
        # Opened here, because NumPy leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            for name in {column.partition(".")[0] for column in file.files}:
                columns = (file[f"{name}.{column}"] for column in ("method", "case", "stamp", "value"))
                for method, case, stamp, value in zip(*columns, strict=True):
                    self._values[_Key(str(method), str(case), name)] = str(stamp), value


class _Entry(NamedTuple):
    """One measurement on one picture: a drawn picture's file, or a frame of the driver or the target."""

    method: str
    case: Case
    picture: Path | Frame
    measurement: str
    key: _Key
    stamp: str


def measure(
    packs: Packs,
    cases: CaseList,
    predictions: Mapping[str, Predictions],
    folder: Path,
    *,
    judges: JudgeConfig,
    pool: WorkerPool,
) -> dict[str, dict[str, np.ndarray]]:
    """Measure all pictures of all methods; what is in the caches is not measured again.

    Args:
        packs: the cases' data.
        cases: what was drawn.
        predictions: the drawn pictures by method; each folder has its own cache.
        folder: for the cache of real pictures.
        judges: who measures.
        pool: does the work.

    Returns:
        Of each method, the two copies first, each measurement with a row for each case. `mesh_again` of the driver has
        rows for the first `MEASURED_AGAIN` cases.
    """
    plan = _Plan(cases, predictions, judges)
    shared = MeasurementCache(folder / CACHE)
    caches = {method: MeasurementCache(one.folder / CACHE) for method, one in predictions.items()}
    caches |= {DRIVER_COPY: shared, TARGET_COPY: shared}
    missing: dict[int, list[_Entry]] = {}
    planned: set[_Key] = set()
    for row in plan.order:
        for entry in plan.entries[row]:
            if entry.key not in planned and caches[entry.method].get(entry.key, entry.stamp) is None:
                planned.add(entry.key)
                missing.setdefault(row, []).append(entry)
    work = _Measure(packs.folders, cases.size, judges)
    try:
        for part, values in pool.spread(work, _parts(cases, missing), what=f"measure {cases.name}"):
            for entry, value in zip(chain(*part), values, strict=True):
                caches[entry.method].put(entry.key, entry.stamp, np.asarray(value))
    finally:
        for one in caches.values():
            one.save()
    found: dict[str, dict[str, list[_Value]]] = {name: defaultdict(list) for name in plan.methods}
    for entry in chain(*plan.entries):
        value = caches[entry.method].get(entry.key, entry.stamp)
        assert value is not None
        found[entry.method][entry.measurement].append(value)
    return {method: {name: np.stack(rows) for name, rows in of.items()} for method, of in found.items()}


class _Plan:
    """Which pictures there are, and what is measured on each.

    Attributes:
        methods: the two copies, then those that drew.
        entries: of each case, what is measured for it.
        order: numbers of the cases; neighbours share a driver's clip, and sequences stay in order.
    """

    def __init__(self, cases: CaseList, predictions: Mapping[str, Predictions], judges: JudgeConfig) -> None:
        self._cases, self._judges = cases, judges
        self.methods = [TARGET_COPY, DRIVER_COPY, *predictions]
        paths = {method: [one.path(case) for case in cases] for method, one in predictions.items()}
        digests = {m: [sha256(path) if path is not None else "" for path in some] for m, some in paths.items()}
        of_sequence = {
            (method, cases[rows[0]].clip): hashlib.sha256("".join(some[row] for row in rows).encode()).hexdigest()
            for method, some in digests.items()
            for rows in cases.sequences
        }
        truth = cases.protocol.has_truth
        face = ("mesh", "embedding", "sharpness", "lids")
        parts = ("parts",) if truth else ()
        black = ("masked_black",) if judges.masked is Masked.BLACK else ()
        features = ("feature_distance",) if judges.features else ()
        compared = ("comparison", *black, *parts, *features) if truth else ()
        flicker = ("flicker",) if truth and cases.protocol.consecutive else ()
        self.entries: list[list[_Entry]] = []
        for i, case in enumerate(cases):
            again = ("mesh_again",) if i < MEASURED_AGAIN else ()
            entries = [self._entry(TARGET_COPY, case, case.targets[0], name, "") for name in face + compared]
            entries += [
                self._entry(DRIVER_COPY, case, case.driver, name, "") for name in face + parts + flicker + again
            ]
            for method, some in paths.items():
                path = some[i]
                assert path is not None
                for name in face + compared + flicker:
                    # A picture that changed changes its neighbours' differences.
                    whole = MEASUREMENTS[name].of_sequence
                    digest = of_sequence[method, case.clip] if whole else digests[method][i]
                    entries.append(self._entry(method, case, path, name, digest))
            self.entries.append(entries)
        if cases.protocol.consecutive:
            self.order = [row for rows in cases.sequences for row in rows]
        else:
            self.order = sorted(range(len(cases)), key=lambda i: (cases[i].driver.key, cases[i].driver.number))

    def _entry(self, method: str, case: Case, picture: Path | Frame, name: str, digest: str) -> _Entry:
        cases, measurement = self._cases, MEASUREMENTS[name]
        judge = self._judges.digest(measurement.judge)
        judged = f"{name} {judge}" if judge else name
        key = _Key(f"{method}, cases {cases.digest[:16]}", case.id, judged)
        if isinstance(picture, Frame) and not measurement.needs_truth:
            data = cases.data_sha256 if method == DRIVER_COPY else cases.targets_sha256
            key = _Key(f"data {data[:16]}, {cases.size} px", str(picture), judged)
        return _Entry(method, case, picture, name, key, f"{measurement.version} {digest} {judge}")


def _parts(cases: CaseList, missing: Mapping[int, list[_Entry]]) -> Sequence[Sequence[list[_Entry]]]:
    """Cases that are measured together: a whole sequence, or `PART` of them."""
    if not cases.protocol.consecutive:
        return batches(list(missing.values()))
    by_clip: dict[str, list[list[_Entry]]] = defaultdict(list)
    for row, entries in missing.items():
        by_clip[cases[row].clip].append(entries)
    return list(by_clip.values())


@dataclass(frozen=True)
class _Measure:
    """Measures some cases, in a worker: a value for each entry."""

    folders: tuple[Path, Path | None]
    size: int
    judges: JudgeConfig

    def __call__(self, part: Sequence[Sequence[_Entry]]) -> list[_Value]:
        packs, judges = _tools(self.folders, self.judges)
        entries = list(chain(*part))
        pictures, truth = self._decoded(packs, entries)
        grouped: dict[tuple[str, str], list[int]] = defaultdict(list)
        for i, entry in enumerate(entries):
            grouped[entry.method, entry.measurement].append(i)
        values: list[_Value] = [np.zeros(0)] * len(entries)
        made: dict[tuple[str, tuple[str, ...]], Batch] = {}
        for (method, name), rows in grouped.items():
            some = [entries[i] for i in rows]
            group = method, tuple(entry.case.id for entry in some)
            if group not in made:
                drivers = [entry.case.driver for entry in some]
                meshes = [packs.driver.mesh(frame, self.size) for frame in drivers]
                true = [truth[frame] for frame in drivers if frame in truth]
                made[group] = Batch(judges, [pictures[method, entry.picture] for entry in some], true, meshes)
            for i, value in zip(rows, MEASUREMENTS[name].measure(made[group]), strict=True):
                values[i] = value
        return values

    def _decoded(
        self, packs: Packs, entries: Sequence[_Entry]
    ) -> tuple[dict[tuple[str, Path | Frame], Picture], dict[Frame, Picture]]:
        """The pictures to measure by method, and the true pictures."""
        needed = {(entry.method, entry.picture) for entry in entries}
        drivers = {one for method, one in needed if method == DRIVER_COPY and isinstance(one, Frame)}
        targets = {one for method, one in needed if method == TARGET_COPY and isinstance(one, Frame)}
        true = {entry.case.driver for entry in entries if MEASUREMENTS[entry.measurement].needs_truth}
        of_driver = packs.driver.pictures(drivers | true, self.size)
        of_target = packs.target.pictures(targets, self.size)
        pictures = {
            (method, one): read_prediction(one, self.size)
            if isinstance(one, Path)
            else (of_driver if method == DRIVER_COPY else of_target)[one]
            for method, one in needed
        }
        return pictures, {frame: of_driver[frame] for frame in true}


@lru_cache(maxsize=1)
def _tools(folders: tuple[Path, Path | None], judges: JudgeConfig) -> tuple[Packs, Judges]:
    return Packs(*folders), Judges(judges)
