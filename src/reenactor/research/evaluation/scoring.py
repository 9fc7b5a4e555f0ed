"""Scoring: measure what was drawn, and say how good it is, with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from reenactor import __version__
from reenactor.core import ReenactError
from reenactor.core.files import write_atomically
from reenactor.face.geometry import mean_face, with_lips_closed
from reenactor.face.perception.action_units import AU_NUMBERS, action_units, rest_of
from reenactor.research.data import Kind
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY, measure
from reenactor.research.evaluation.cases import CaseList
from reenactor.research.evaluation.judges import JudgeConfig, PoseAu
from reenactor.research.evaluation.measurements import COMPARISON, IDEAL_COMPARISON
from reenactor.research.evaluation.openface_readings import openface_readings
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.predictions import Method, Predictions, check_comparable
from reenactor.research.evaluation.scores import SCORES, Faces, Scene, Values, aucon_chance_of
from reenactor.research.evaluation.workers import WorkerPool
from reenactor.research.metrics import Interval, OpenFaceReading, aucon, bootstrap_interval, paired_difference

FEATURE_DISTANCE = "feature_distance"
RESAMPLES = 2000
"""Of people, for each interval."""


@dataclass(frozen=True)
class Result:
    """One line of results: a score of a method, or the difference of two methods.

    Args:
        metric: name with its protocol: `csim_k1_self`.
        score: name in `scores.SCORES`.
        protocol, k: of the cases.
        method: what was scored; of a difference the first method.
        against: of a difference the second method; None for a plain score.
        value: None if it cannot be measured.
        low, high: 95% bootstrap interval over people.
        people: number of people in the interval.
        cases: number of cases.
        failures: number of results without a face.
        better: which values are better.
        unit: of the value.
        chance, ceiling: of AUCON: with frames shuffled within clips; of a second measurement of the driver itself.
        version, weights_sha256, transfer, config: of the method.
        data_sha256, targets_sha256, cases_sha256: of the data.
        judge: name of the network or rule that measured it.
        software: release of reenactor.
        counted: number of cases, or of sequences, that have a value.
        judge_sha256: of the file that holds the judge, if it is not part of reenactor.
    """

    metric: str
    score: str
    protocol: str
    k: int
    method: str
    against: str | None
    value: float | None
    low: float | None
    high: float | None
    people: int
    cases: int
    failures: int
    better: str
    unit: str
    chance: float | None
    ceiling: float | None
    version: str | None
    weights_sha256: str | None
    transfer: str | None
    config: Mapping[str, Any]
    data_sha256: str
    targets_sha256: str
    cases_sha256: str
    judge: str
    software: str = __version__
    counted: int = 0
    judge_sha256: str | None = None

    @property
    def shown(self) -> bool:
        """Whether it is a difference whose interval excludes 0."""
        if self.low is None or self.high is None:
            return False
        # A single person gives no interval: both ends are the estimate.
        return self.people > 1 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Scored:
    """Measured methods of a protocol.

    Args:
        packs: the cases' data.
        cases: the same for all methods.
        scenes: measurements by method, the two copies first.
        predictions: drawn pictures by method.
        ceiling: AUCON of second measurements of the drivers' frames.
        judges: who measured.
    """

    packs: Packs
    cases: CaseList
    scenes: Mapping[str, Scene]
    predictions: Mapping[str, Predictions]
    ceiling: float
    judges: JudgeConfig

    def values(self, score: str) -> dict[str, Values]:
        """Values of a score for each method, before averaging."""
        return {name: SCORES[score].measure(scene) for name, scene in self.scenes.items()}

    def results(self) -> Iterator[Result]:
        """Every score of every method, then the differences between methods and to the target's copy."""
        for name, score in SCORES.items():
            if not score.applies(self.cases.protocol) or (name == FEATURE_DISTANCE and self.judges.features is None):
                continue
            values = self.values(name)
            for method in values:
                yield self._result(name, method, None, values)
            drawn = [m for m in values if m != DRIVER_COPY]
            for b, a in combinations(drawn, 2):
                yield self._result(name, a, b, values)

    def _result(self, score: str, method: str, against: str | None, values: Mapping[str, Values]) -> Result:
        scene, ours = self.scenes[method], values[method]
        about = self.predictions[method].method if method in self.predictions else Method(method)
        rng = np.random.default_rng(0)
        known = _known(ours) if against is None else _known(ours) & _known(values[against])
        found: Interval | None = None
        if known.any() and against is None:
            found = bootstrap_interval(ours.values, ours.identities, rng, statistic=ours.statistic, resamples=RESAMPLES)
        elif known.any() and against is not None:
            pair = ours.values, values[against].values
            found = paired_difference(
                *pair,
                ours.identities,
                rng,
                statistic=ours.statistic,
                their_statistic=values[against].statistic,
                resamples=RESAMPLES,
            )
        plain_aucon = score == "aucon" and against is None
        return Result(
            metric=f"{score}_{self.cases.name}",
            score=score,
            protocol=self.cases.protocol.value,
            k=self.cases.k,
            method=method,
            against=against,
            value=None if found is None else _number(found.estimate),
            low=None if found is None else _number(found.low),
            high=None if found is None else _number(found.high),
            people=0 if found is None else found.identities,
            cases=len(self.cases),
            counted=int(known.sum()),
            failures=int(scene.failed.sum()),
            better=SCORES[score].better.value,
            unit=SCORES[score].unit,
            judge=self.judges.name(SCORES[score].judge),
            judge_sha256=self.judges.digest(SCORES[score].judge) or None,
            chance=_number(aucon_chance_of(scene)) if plain_aucon else None,
            ceiling=_number(self.ceiling) if plain_aucon else None,
            version=about.version,
            weights_sha256=about.weights_sha256,
            transfer=about.transfer,
            config=about.config,
            data_sha256=self.cases.data_sha256,
            targets_sha256=self.cases.targets_sha256,
            cases_sha256=self.cases.digest,
        )


def measure_all(
    predictions: Sequence[Predictions],
    packs: Packs,
    cache: Path,
    *,
    judges: JudgeConfig | None = None,
    pool: WorkerPool | None = None,
) -> Scored:
    """Measure everything that methods of one protocol are judged by; nothing is measured twice (`cache`).

    Args:
        predictions: of the same cases.
        packs: the data that the cases were chosen from.
        cache: folder for measurements of real pictures; those of drawn pictures are kept beside them.
        judges: who measures; None for the default.
        pool: does the work; None for this process.

    Raises:
        ReenactError: pictures are missing, or were drawn from other data or for other cases, or two methods have one
            name, or OpenFace is to measure and cannot.
    """
    cases = predictions[0].cases
    by_name: dict[str, Predictions] = {}
    for one in predictions:
        check_comparable(one, cases, packs)
        name = one.method.name
        if name in (*by_name, TARGET_COPY, DRIVER_COPY):
            raise ReenactError(f"two methods are called '{name}'; export {one.folder} under another --name")
        by_name[name] = one
    judges, pool = judges or JudgeConfig(), pool or WorkerPool()
    readings: dict[str, OpenFaceReading] = {}
    if judges.pose_au is PoseAu.OPENFACE:
        readings = openface_readings(packs, cases, by_name, cache / "openface", pool)
    measured = measure(packs, cases, by_name, cache, judges=judges, pool=pool)
    for values in measured.values():
        if "masked_black" in values:
            values["comparison"][:, [COMPARISON.index(name) for name in ("m_ssim", "m_psnr")]] = values["masked_black"]
    if cases.protocol.has_truth:
        measured[DRIVER_COPY]["comparison"] = np.tile(IDEAL_COMPARISON, (len(cases), 1))
        measured[DRIVER_COPY][FEATURE_DISTANCE] = np.zeros(len(cases))
    firsts = [rows[0] for rows in cases.sequences]
    flickers = {name: values["flicker"][firsts] for name, values in measured.items() if "flicker" in values}
    unknown = np.full(len(firsts), np.nan)
    true_flicker = flickers.get(DRIVER_COPY, unknown)
    flickers[TARGET_COPY] = 0 * true_flicker
    rests = _Rests(packs, cases)
    faces = {name: _faces(values, readings.get(name)) for name, values in measured.items()}
    driver, target = faces[DRIVER_COPY], faces[TARGET_COPY]
    scenes = {}
    for name, values in measured.items():
        drawn = faces[name]
        scenes[name] = Scene(
            cases,
            drawn,
            driver,
            target,
            values.get("comparison", np.full((len(cases), len(COMPARISON)), np.nan)),
            rests.driver if name == DRIVER_COPY else rests.drawn(drawn),
            rests.driver,
            np.stack([flickers.get(name, unknown), true_flicker], axis=1),
            values.get(FEATURE_DISTANCE, np.full(len(cases), np.nan)),
            values["lids"],
            measured[DRIVER_COPY]["lids"],
            measured[TARGET_COPY]["lids"],
            judges,
            values.get("parts"),
            measured[DRIVER_COPY].get("parts"),
        )
    # OpenFace measures nothing a second time.
    ceiling = math.nan if readings else _ceiling(scenes[DRIVER_COPY], measured[DRIVER_COPY]["mesh_again"])
    return Scored(packs, cases, scenes, by_name, ceiling, judges)


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write results as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(asdict(one), allow_nan=False) + "\n" for one in results))


def read_results(path: Path) -> list[Result]:
    """Read what `write_results` wrote. Results of before judges could be chosen are by those of `Judge`.

    Raises:
        ReenactError: the file is missing, or holds something else.
    """
    try:
        return [_result(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise ReenactError(f"{path} is missing; 'reenactor evaluate score' writes it") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ReenactError(f"{path} holds no results ({error}); score the pictures again") from error


def _result(found: dict[str, Any]) -> Result:
    judge = found.pop("features", None) or SCORES[found["score"]].judge.value
    found.setdefault("judge", judge)
    return Result(**found)


class _Rests:
    """Faces at rest, for action units, of each sequence."""

    def __init__(self, packs: Packs, cases: CaseList) -> None:
        self._packs, self._cases = packs, cases
        self.driver = np.stack([self._of_driver(cases[rows[0]].driver.key) for rows in cases.sequences])

    def drawn(self, drawn: Faces) -> Float[np.ndarray, "c 10"]:
        """Rest of the target: from its clip's real frames, or for a portrait from what was drawn of it."""
        return np.stack([self._of_drawn(drawn, np.array(rows)) for rows in self._cases.sequences])

    def _of_driver(self, key: str) -> Float[np.ndarray, "10"]:
        sample = self._packs.driver.sample(key)
        if sample.kind is Kind.CLIP:
            return rest_of(sample.landmarks[sample.seen])
        return rest_of(with_lips_closed(mean_face().points)[None])

    def _of_drawn(self, drawn: Faces, rows: np.ndarray) -> Float[np.ndarray, "10"]:
        sample = self._packs.target.sample(self._cases[rows[0]].targets[0].key)
        if sample.kind is Kind.CLIP:
            return rest_of(sample.landmarks[sample.seen])
        seen = rows[drawn.seen[rows]]
        return rest_of(drawn.mesh_px[seen]) if len(seen) else np.zeros(len(AU_NUMBERS))


def _ceiling(scene: Scene, meshes: Float[np.ndarray, "n 478 3"]) -> float:
    """AUCON between two measurements of the same drivers' frames."""
    once = scene.units[1].presence
    values, weights = [], []
    for rows, rest in zip(scene.sequences, scene.driver_rest, strict=True):
        some = rows[rows < len(meshes)]
        some = some[scene.driver.seen[some] & ~np.isnan(meshes[some]).any(axis=(1, 2))]
        if len(some):
            values.append(aucon(action_units(meshes[some], rest).presence, once[some]))
            weights.append(len(some))
    return float(np.average(values, weights=weights)) if values else math.nan


def _faces(values: Mapping[str, np.ndarray], openface: OpenFaceReading | None) -> Faces:
    return Faces(values["mesh"], values["embedding"], values["sharpness"], openface)


def _known(values: Values) -> np.ndarray:
    """(m,) whether there is a value."""
    return ~np.isnan(values.values).all(axis=tuple(range(1, values.values.ndim)))


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
