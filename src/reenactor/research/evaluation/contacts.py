"""Whether lips and lids meet where a real driver's do, and whose face a transfer shows: clips of a pack, no pictures.

Each clip drives one frame of every other person's clip: in turn the one with the widest opened mouth, the one whose
eyes are most closed, and the most neutral one. Lengths are in percent of the outer-eye distance.
"""

from __future__ import annotations

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
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.streams import clip_landmarks
from reenactor.research.metrics import Interval, bootstrap_interval

_TOUCH, _PART = 0.012, 0.06
"""Openings of lips, in outer-eye distances, that count as closed, and as open."""
_SHUT, _OPEN, _USUAL = 0.1, 0.8, 0.6
"""Fractions of an eye's usual opening (the quantile of its openings) that count as closed, and as open."""
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
    meshes: Float[np.ndarray, "t 478 3"]
    neutral: Float[np.ndarray, "478 3"]
    lips: Float[np.ndarray, " t"]
    lids: Float[np.ndarray, "t 2"]

    @classmethod
    def of(cls, identity: str, meshes: Float[np.ndarray, "t 478 3"]) -> _Clip:
        shapes = in_mean_pose(meshes)[1]
        lips = lip_gap(shapes)
        return cls(identity, meshes, neutral_of_clip(shapes), lips, np.stack([e.openings(shapes) for e in EYES], 1))

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

    def target(self, turn: int) -> Float[np.ndarray, "478 3"]:
        """A frame that stands for a photo; another kind each turn."""
        numbers = (int(self.lips.argmax()), int(self.lids.sum(1).argmin()), neutral_frame(self.meshes))
        return self.meshes[numbers[turn % len(numbers)]]


def measure_contacts(pack: Path, transformer: Path | None) -> dict[str, dict[str, Interval]]:
    """Errors of all transfers on the validation clips of a pack, with intervals over drivers.

    | | |
    |---|---|
    | lips that meet | opening of the result's lips while the driver's are closed |
    | lips that part | difference of the openings while the driver's are open |
    | lids that meet | opening of the result's lids while the driver's are closed |
    | lids that open | the same of lids, as fractions of each one's usual opening |
    | leak | part of the way from the target's neutral face to the driver's that the result goes in its neutral frame |

    Args:
        pack: folder of prepared data.
        transformer: folder of a landmark transformer; None for the one that ships.

    Raises:
        ReenactError: the pack has not two people, or the transformer needs pictures.
    """
    reader = ShardReader(pack)
    clips = [_Clip.of(reader[row].identity, meshes) for row, meshes in clip_landmarks(reader, Split.VAL)]
    if len({clip.identity for clip in clips}) < 2:
        raise ReenactError(f"{pack} has not clips of two people in its 'val' split; prepare more")
    network = load_transformer(transformer)
    if network.config.needs_pictures:
        raise ReenactError("landmarks alone are measured: give a transformer that needs no pictures")
    found: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for driver in clips:
        rest, frames = DriverRest.of_clip(driver.meshes), driver.frames()
        for turn, target in enumerate(clip for clip in clips if clip.identity != driver.identity):
            for name, retarget in _transfers(target.target(turn), rest, network).items():
                for measure, value in _errors(retarget, driver, target, frames).items():
                    found.setdefault(name, {}).setdefault(measure, []).append((value, driver.identity))
    return {name: {measure: _interval(rows) for measure, rows in measures.items()} for name, measures in found.items()}


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
