"""The second pass: read what was drawn, and say how good it is, with error bars."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float

from reenactor import __version__
from reenactor.core import ReenactError
from reenactor.face.geometry import mean_face, with_lips_closed
from reenactor.face.perception.action_units import AU_NUMBERS, action_units, rest_of
from reenactor.research.data import Kind
from reenactor.research.evaluation.likeness import FaceFeatures, read_distances
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.predictions import Method, Predictions, check_fresh
from reenactor.research.evaluation.protocols import CaseList
from reenactor.research.evaluation.readings import (
    COMPARED,
    OF_EQUALS,
    VERSION,
    compare_copies,
    read_drawn,
    read_frames,
)
from reenactor.research.evaluation.scores import SCORES, Readings, Scene, Values, aucon_chance_of, clips_of
from reenactor.research.evaluation.sequences import read_flicker, sequences_of
from reenactor.research.evaluation.store import Row, Store
from reenactor.research.evaluation.workers import WorkerPool
from reenactor.research.metrics import aucon, bootstrap_interval, paired_difference
from reenactor.research.metrics.intervals import Statistic

TARGET_COPY, DRIVER_COPY = "target shown as output", "driver shown as output"
LIKENESS = "likeness_distance"
RESAMPLES = 2000
"""Of people, for each interval."""
_READ_TWICE = 300
"""Drivers' frames that are read a second time, for AUCON's ceiling."""


class _How(TypedDict):
    statistic: Statistic
    resamples: int


@dataclass(frozen=True)
class Result:
    """One line of results: a score of a method, or the difference of two methods.

    Args:
        metric: with its protocol: `csim_k1_self`.
        score: a name of `scores.SCORES`.
        protocol, k: of the sets.
        method: whose; minuend of a difference.
        against: subtrahend of a difference; None for a plain score.
        value: None where it cannot be measured.
        low, high: 95% bootstrap interval over people.
        people: how many it rests on.
        sets: how many sets there are.
        failures: how many results showed no face.
        better: which way.
        unit: of the value.
        chance, ceiling: of AUCON: with frames shuffled within clips; of a second reading of the driver itself.
        version, weights_sha256, transfer, config: of the method.
        data_sha256, targets_sha256, cases_sha256: of what it was measured on.
        software: release of reenactor.
        counted: how many sets, or clips of them, have a value.
        features: the network of `likeness_distance`: its kind and the beginning of its digest.
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
    sets: int
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
    software: str = __version__
    counted: int = 0
    features: str | None = None

    @property
    def shown(self) -> bool:
        """A difference whose interval excludes 0."""
        if self.low is None or self.high is None:
            return False
        # Of a single person there is no interval: both ends are the estimate.
        return self.people > 1 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Scored:
    """A protocol's methods, ready to be measured.

    Args:
        packs: where the sets' pictures are.
        sets: the same for all.
        scenes: by method, the two copies first.
        predictions: of the methods that are no copies, by name.
        ceiling: AUCON of second readings of the drivers' frames.
        features: the network of `likeness_distance`; without one that is not measured.
    """

    packs: Packs
    sets: CaseList
    scenes: Mapping[str, Scene]
    predictions: Mapping[str, Predictions]
    ceiling: float
    features: FaceFeatures | None = None

    def values(self, score: str) -> dict[str, Values]:
        """Of each method, before averaging."""
        return {name: SCORES[score].measure(scene) for name, scene in self.scenes.items()}

    def results(self) -> Iterator[Result]:
        """Every score of every method, then the differences of methods and to the target's copy."""
        for name, score in SCORES.items():
            if not score.applies(self.sets.protocol) or (name == LIKENESS and self.features is None):
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
        how: _How = {"statistic": ours.statistic, "resamples": RESAMPLES}
        known = _known(ours)
        if against is None:
            found = bootstrap_interval(ours.values, ours.identities, rng, **how) if known.any() else None
        else:
            theirs = values[against]
            known &= _known(theirs)
            pair = ours.values, theirs.values, ours.identities
            found = paired_difference(*pair, rng, **how) if known.any() else None
        plain_aucon = score == "aucon" and against is None
        return Result(
            metric=f"{score}_{self.sets.name}",
            score=score,
            protocol=self.sets.protocol.value,
            k=self.sets.k,
            method=method,
            against=against,
            value=None if found is None else _number(found.estimate),
            low=None if found is None else _number(found.low),
            high=None if found is None else _number(found.high),
            people=0 if found is None else found.identities,
            sets=len(self.sets),
            counted=int(known.sum()),
            failures=int(scene.failed.sum()),
            better=SCORES[score].better.value,
            unit=SCORES[score].unit,
            features=self.features.name if score == LIKENESS and self.features else None,
            chance=_number(aucon_chance_of(scene)) if plain_aucon else None,
            ceiling=_number(self.ceiling) if plain_aucon else None,
            version=about.version,
            weights_sha256=about.weights_sha256,
            transfer=about.transfer,
            config=about.config,
            data_sha256=self.sets.data_sha256,
            targets_sha256=self.sets.targets_sha256,
            cases_sha256=self.sets.digest,
        )


def read_all(
    predictions: Sequence[Predictions],
    packs: Packs,
    cache: Path,
    *,
    features: FaceFeatures | None = None,
    pool: WorkerPool | None = None,
) -> Scored:
    """Read everything that methods of one protocol are judged by; what was read before is not read again.

    Args:
        predictions: of the same sets.
        packs: where the sets were chosen from.
        cache: folder for readings of the packs' frames; readings of drawn pictures stay beside them.
        features: the network of `likeness_distance`; None leaves that out.
        pool: does the work; None for this process.

    Raises:
        ReenactError: pictures are missing, or were drawn from other data, or for other sets than the others.
    """
    sets = predictions[0].sets
    for one in predictions:
        check_fresh(one, packs)
        if one.sets.digest != sets.digest:
            raise ReenactError(
                f"{one.folder} and {predictions[0].folder} were drawn for other sets; compare them apart"
            )
    pool = pool or WorkerPool()

    def store(what: str, digest: str) -> Store:
        return Store(cache / f"{what}-{digest[:16]}-{sets.size}.npz", f"{VERSION} {digest} {sets.size}")

    # Targets may be of another pack, and then have a store of their own.
    of_drivers = store("frames", sets.data_sha256)
    same = sets.targets_sha256 == sets.data_sha256
    of_targets = of_drivers if same else store("frames", sets.targets_sha256)
    places = [one.driver for one in sets.sets]
    drivers = read_frames(packs, "driver", places, sets.size, of_drivers, pool)
    firsts = [one.targets[0] for one in sets.sets]
    targets = read_frames(packs, "target", firsts, sets.size, of_targets, pool)
    twice = store("again", sets.data_sha256)
    again = read_frames(packs, "driver", places[:_READ_TWICE], sets.size, twice, pool, again=True)

    nothing = np.full((len(sets), len(COMPARED)), np.nan)
    copied = equal = nothing
    seen_by = features if sets.protocol.has_truth else None
    if sets.protocol.has_truth:
        rows = compare_copies(packs, sets.sets, sets.size, store("copies", sets.digest), pool)
        copied, equal = _column(rows, "compared"), np.tile(OF_EQUALS, (len(sets), 1))

    def flickers(one: Predictions | None) -> Float[np.ndarray, " c"]:
        if not SCORES["flicker_ratio"].applies(sets.protocol):
            return np.full(len(sequences_of(sets)), np.nan)
        return read_flicker(packs, sets, one, cache if one is None else one.folder, pool)

    true_flicker = flickers(None)
    still = np.where(np.isnan(true_flicker), np.nan, 0.0)
    rests = _Rests(packs, sets)
    driver, target = _readings(drivers), _readings(targets)

    def scene(
        drawn: Readings,
        compared: np.ndarray,
        rest: Float[np.ndarray, "c 10"],
        distance: np.ndarray,
        flicker: Float[np.ndarray, " c"],
    ) -> Scene:
        both = np.stack([flicker, true_flicker], axis=1)
        return Scene(sets, drawn, driver, target, compared, rest, rests.driver, both, distance)

    def distances(one: Predictions | None) -> np.ndarray:
        if seen_by is None:
            return np.full(len(sets), np.nan)
        return read_distances(packs, sets, one, seen_by, cache if one is None else one.folder, pool)

    scenes = {
        TARGET_COPY: scene(target, copied, rests.drawn(target), distances(None), still),
        DRIVER_COPY: scene(driver, equal, rests.driver, np.zeros(len(sets)), true_flicker),
    }
    names: dict[str, Predictions] = {}
    for one in predictions:
        if one.method.name in scenes:
            raise ReenactError(f"two methods are called '{one.method.name}'; export {one.folder} under another --name")
        kept = Store(one.folder / "readings.npz", f"{VERSION} {sets.digest}")
        rows = read_drawn(packs, one, kept, pool)
        drawn = _readings(rows)
        compared, rest = _column(rows, "compared"), rests.drawn(drawn)
        scenes[one.method.name] = scene(drawn, compared, rest, distances(one), flickers(one))
        names[one.method.name] = one
    ceiling = _ceiling(scenes[DRIVER_COPY], [row["mesh"] for row in again])
    return Scored(packs, sets, scenes, names, ceiling, seen_by)


def write_results(path: Path, results: Sequence[Result]) -> None:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(one), allow_nan=False) + "\n" for one in results))


def read_results(path: Path) -> list[Result]:
    """What `write_results` wrote.

    Raises:
        ReenactError: missing, or something else.
    """
    try:
        return [Result(**json.loads(line)) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        raise ReenactError(f"{path} is missing; 'reenactor evaluate score' writes it") from None
    except (OSError, ValueError, TypeError) as error:
        raise ReenactError(f"{path} holds no results ({error}); score the pictures again") from error


class _Rests:
    """Faces at rest, for action units: of each of the sets' clips."""

    def __init__(self, packs: Packs, sets: CaseList) -> None:
        self._packs, self._sets = packs, sets
        self._clips = clips_of(sets)
        self.driver = np.stack([self._of_driver(sets.sets[rows[0]].driver.key) for rows in self._clips])

    def drawn(self, drawn: Readings) -> Float[np.ndarray, "c 10"]:
        """Of the target: from its clip's real frames, or for a portrait from what was drawn of it."""
        return np.stack([self._of_drawn(drawn, rows) for rows in self._clips])

    def _of_driver(self, key: str) -> Float[np.ndarray, "10"]:
        sample = self._packs.driver.sample(key)
        if sample.kind is Kind.CLIP:
            return rest_of(sample.landmarks[sample.seen])
        return rest_of(with_lips_closed(mean_face().points)[None])

    def _of_drawn(self, drawn: Readings, rows: np.ndarray) -> Float[np.ndarray, "10"]:
        sample = self._packs.target.sample(self._sets.sets[rows[0]].targets[0].key)
        if sample.kind is Kind.CLIP:
            return rest_of(sample.landmarks[sample.seen])
        seen = rows[drawn.seen[rows]]
        return rest_of(drawn.mesh_px[seen]) if len(seen) else np.zeros(len(AU_NUMBERS))


def _ceiling(scene: Scene, again: Sequence[np.ndarray]) -> float:
    """AUCON between two readings of the same drivers' frames."""
    meshes = np.stack(again)
    once = scene.units[1].presence
    shares = []
    for rows, rest in zip(scene.clips, scene.driver_rest, strict=True):
        some = rows[rows < len(meshes)]
        some = some[scene.driver.seen[some] & ~np.isnan(meshes[some]).any(axis=(1, 2))]
        if len(some):
            shares += [(aucon(action_units(meshes[some], rest).presence, once[some]), len(some))]
    return float(np.average([s for s, _ in shares], weights=[n for _, n in shares])) if shares else math.nan


def _readings(rows: Sequence[Row]) -> Readings:
    return Readings(*(_column(rows, name) for name in ("mesh", "embedding", "sharpness")))


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.stack([row[name] for row in rows])


def _known(values: Values) -> np.ndarray:
    """(m,) which of them are."""
    return ~np.isnan(values.values).all(axis=tuple(range(1, values.values.ndim)))


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
