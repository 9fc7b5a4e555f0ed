"""Whether lips and lids meet where a real driver's do, and whose face a transfer shows: clips of a pack, no pictures.

Each clip drives one frame of every other person's clip: in turn the one with the widest opened mouth, the one whose
eyes are most closed, and the most neutral one; and every photo with an open mouth. Lengths are in percent of the
outer-eye distance.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from reenactor.core import ReenactError
from reenactor.engine.loading import load_transformer
from reenactor.face.geometry import in_mean_pose
from reenactor.face.retarget import DriverRest, PartsRetargeter, Retargeter, neutral_frame
from reenactor.face.retarget.neutral_objective import neutral_of_clip
from reenactor.face.retarget.relative import EYES, lip_gap
from reenactor.face.retarget.transformer import LandmarkTransformer, TransformerRetargeter
from reenactor.research.data import Kind, Sample, ShardReader, Split
from reenactor.research.data.streams import clip_landmarks, rows_of
from reenactor.research.metrics import Interval, bootstrap_interval

_TOUCH, _PART = 0.012, 0.06
"""Openings of lips, in outer-eye distances, that count as closed, and as open."""
_SHUT, _OPEN, _USUAL = 0.1, 0.8, 0.6
"""Fractions of an eye's usual opening (the quantile of its openings) that count as closed, and as open."""
_MET, _BLINK = 0.018, 0.15
"""Lips that are this near, in outer-eye distances, touch; lids below this fraction of the usual opening are closed."""
_NEAR_S = 0.02
"""A frame so far from a time is another one."""
_CLOSED_FRAMES = 16
"""Frames of a driver whose lips are closed, for the photos with open mouths."""
_FRAMES = 8
"""Frames of a driver for each of the four measures."""
_LEAST_APART = 0.01
"""Root mean square between two people's neutral faces, in outer-eye distances, below which whose face it is says
nothing."""

Retarget = Callable[[Float[np.ndarray, "478 3"]], Float[np.ndarray, "478 3"]]


@dataclass(frozen=True)
class _Clip:
    """A person's clip: landmarks (T, 478, 3) in pixels and in mean pose, the neutral face, openings over time."""

    identity: str
    source: str
    times_s: Float[np.ndarray, " t"]
    meshes: Float[np.ndarray, "t 478 3"]
    neutral: Float[np.ndarray, "478 3"]
    lips: Float[np.ndarray, " t"]
    lids: Float[np.ndarray, "t 2"]

    @classmethod
    def of(cls, sample: Sample, meshes: Float[np.ndarray, "t 478 3"]) -> _Clip:
        shapes = in_mean_pose(meshes)[1]
        times_s = sample.times_s[sample.seen] + sample.meta["start_s"]
        lids = np.stack([eye.openings(shapes) for eye in EYES], 1)
        neutral = neutral_of_clip(shapes)
        return cls(sample.identity, sample.row["source"], times_s, meshes, neutral, lip_gap(shapes), lids)

    @property
    def usual(self) -> Float[np.ndarray, "2"]:
        return np.quantile(self.lids, _USUAL, axis=0)

    def frames(self) -> dict[str, Int[np.ndarray, " n"]]:
        """Some frames for each measure."""
        ratio = self.lids / np.maximum(self.usual, 1e-3)
        chosen = {
            "lips that meet": self.lips < _TOUCH,
            "lips that part": self.lips > _PART,
            "lids that meet": (ratio < _SHUT).all(1),
            "lids that open": (ratio > _OPEN).all(1),
        }
        return {name: _evenly(np.flatnonzero(where), _FRAMES) for name, where in chosen.items()}

    def frames_at(self, times_s: Sequence[float]) -> list[int]:
        """The frames at these times, of those that show the face."""
        nearest = [int(np.abs(self.times_s - time_s).argmin()) for time_s in times_s]
        return [
            frame for frame, time_s in zip(nearest, times_s, strict=True) if abs(self.times_s[frame] - time_s) < _NEAR_S
        ]

    def target(self, turn: int) -> Float[np.ndarray, "478 3"]:
        """A frame that stands for a photo; another kind each turn."""
        numbers = (int(self.lips.argmax()), int(self.lids.sum(1).argmin()), neutral_frame(self.meshes))
        return self.meshes[numbers[turn % len(numbers)]]


def measure_contacts(
    pack: Path, transformer: Path | None, blinks: Path | None = None, split: Split = Split.VAL
) -> dict[str, dict[str, Interval]]:
    """Errors of all transfers on the clips of a pack, with intervals over drivers.

    | | |
    |---|---|
    | lips that meet | opening of the result's lips while the driver's are closed |
    | lips that part | difference of the openings while the driver's are open |
    | lids that meet | opening of the result's lids while the driver's are closed |
    | lids that open | the same of lids, as fractions of each one's usual opening |
    | leak | part of the way from the target's neutral face to the driver's that the result goes in its neutral frame |
    | closed lips missed | frames of closed lips that leave the lips of a photo with an open mouth apart, percent |
    | blinks missed | blinks of the list that leave a lid at more than 15 % of its usual opening, percent |

    Args:
        pack: folder of prepared data.
        transformer: folder of a landmark transformer; None for the one that ships.
        blinks: CSV file with the columns `source` (as in the pack) and `time_s`, blinks that people saw; None for none.
        split: which part of the pack.

    Raises:
        ReenactError: the pack has not two people, the transformer needs pictures, or the list cannot be read.
    """
    reader = ShardReader(pack)
    clips = [_Clip.of(reader[row], meshes) for row, meshes in clip_landmarks(reader, split)]
    if len({clip.identity for clip in clips}) < 2:
        raise ReenactError(f"{pack} has not clips of two people in its '{split.value}' split; prepare more")
    network = load_transformer(transformer)
    if network.config.needs_pictures:
        raise ReenactError("landmarks alone are measured: give a transformer that needs no pictures")
    photos = [reader[row] for row in rows_of(reader, Kind.PHOTO, split).tolist()]
    gaping = [(one.identity, one.landmarks[0]) for one in photos if _lips_of(one.landmarks[0]) > _PART]
    seen = {} if blinks is None else _read_blinks(blinks)
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for driver in clips:
        rest, frames = DriverRest.of_clip(driver.meshes), driver.frames()
        blinking = driver.meshes[driver.frames_at(seen.get(driver.source, []))]
        closed = driver.meshes[_evenly(np.flatnonzero(driver.lips < _TOUCH), _CLOSED_FRAMES)]
        for turn, target in enumerate(clip for clip in clips if clip.identity != driver.identity):
            for name, retarget in _transfers(target.target(turn), rest, network).items():
                errors = _errors(retarget, driver, target, frames)
                if len(blinking):
                    errors["blinks missed"] = 100 * float(np.mean([_misses(retarget(m), target) for m in blinking]))
                for measure, value in errors.items():
                    found.setdefault(name, {}).setdefault(measure, []).append((value, driver.identity))
        for identity, photo in gaping if len(closed) else ():
            if identity != driver.identity:
                for name, retarget in _transfers(photo, rest, network).items():
                    missed = 100 * float(np.mean([_lips_of(retarget(mesh)) > _MET for mesh in closed]))
                    found[name].setdefault("closed lips missed", []).append((missed, driver.identity))
    return {name: {measure: _interval(rows) for measure, rows in measures.items()} for name, measures in found.items()}


def _lips_of(mesh: Float[np.ndarray, "478 3"]) -> float:
    """How far lips are apart, in outer-eye distances."""
    return float(lip_gap(in_mean_pose(mesh)[1]))


def _misses(mesh: Float[np.ndarray, "478 3"], target: _Clip) -> bool:
    """Whether a lid stays open."""
    shape = in_mean_pose(mesh)[1]
    return bool((np.array([eye.opening(shape) for eye in EYES]) > _BLINK * target.usual).any())


def _read_blinks(path: Path) -> dict[str, list[float]]:
    """Times in seconds of each source's blinks."""
    found: dict[str, list[float]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["source"], []).append(float(row["time_s"]))
    except (OSError, csv.Error, KeyError, TypeError, ValueError):
        found = {}
    if not found:
        raise ReenactError(f"{path} is no list of blinks: a CSV file with the columns source and time_s")
    return found


def _interval(rows: Sequence[tuple[float, str]]) -> Interval:
    """Over drivers, of values and whose they are."""
    values, drivers = zip(*rows, strict=True)
    return bootstrap_interval(np.array(values), drivers, np.random.default_rng(0))


def _transfers(
    photo: Float[np.ndarray, "478 3"], rest: DriverRest, transformer: LandmarkTransformer
) -> dict[str, Retarget]:
    return {
        "relative": Retargeter(photo, rest.mesh_px),
        "transformer": TransformerRetargeter(transformer, photo[None], rest.mesh_px),
        "parts": PartsRetargeter(photo[None], rest),
    }


def _errors(
    retarget: Retarget, driver: _Clip, target: _Clip, frames: Mapping[str, Int[np.ndarray, " n"]]
) -> dict[str, float]:
    """What `measure_contacts` lists; without frames of a kind, nothing of that kind."""
    found: dict[str, list[float]] = {}
    for name, numbers in frames.items():
        for number in numbers:
            shape = in_mean_pose(retarget(driver.meshes[number]))[1]
            if name.startswith("lips"):
                wanted = driver.lips[number] if name.endswith("part") else 0.0
                off = abs(lip_gap(shape) - wanted)
            else:
                ratio = driver.lids[number] / driver.usual if name.endswith("open") else np.zeros(2)
                seen = np.array([eye.opening(shape) for eye in EYES])
                off = float(np.abs(seen - ratio * target.usual).mean())
            found.setdefault(name, []).append(100 * off)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    apart = (driver.neutral - target.neutral)[..., :2]
    if np.sqrt(np.square(apart).mean()) > _LEAST_APART:
        shape = in_mean_pose(retarget(driver.meshes[neutral_frame(driver.meshes)]))[1]
        means["leak"] = 100 * float(((shape - target.neutral)[..., :2] * apart).sum() / np.square(apart).sum())
    return means


def _evenly(numbers: Int[np.ndarray, " n"], most: int) -> Int[np.ndarray, " m"]:
    return numbers[np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int)] if len(numbers) else numbers
