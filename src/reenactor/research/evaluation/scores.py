"""Every score by its name: what it is measured on, which way is better, and how it is taken from the readings.

A drawn picture in which no face is found is a failure. It shows nobody, so it counts 0 in CSIM and in Id %; scores that
have no such natural value leave it out. Each row of results says how many failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from reenactor.core import ActionUnits
from reenactor.face.geometry.contours import INNER_LIPS_LOWER, INNER_LIPS_UPPER
from reenactor.face.geometry.mean_face import head_angles
from reenactor.face.geometry.openings import opening
from reenactor.face.perception.action_units import AU_NUMBERS, action_units
from reenactor.face.perception.identity import SAME_PERSON_DISTANCE, identity_mean
from reenactor.research.evaluation.pixels import BAND_PX
from reenactor.research.evaluation.protocols import CaseList, Protocol
from reenactor.research.evaluation.readings import COMPARED
from reenactor.research.metrics import (
    angle_errors,
    au_consistency,
    aucon,
    aucon_chance,
    csim,
    gaze_error,
    landmark_nme,
    pose_mae,
    temporal_jitter,
    verification_rate,
)
from reenactor.research.metrics.intervals import Statistic

LEAST_FRAMES = 5
"""Fewer frames of a clip tell nothing of how two sequences go together."""
OPENS, OPEN = 2.0, 0.02
"""A mouth opens if the driver's is open more than so many times as wide as the target's, and is open at all: closed
ones read up to the second, in outer-eye distances."""
TURN_DEG = 15.0
"""Yaws of target and driver that differ by more show a cheek that the target hides."""


class Better(Enum):
    """Which way is better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEAR_ONE = "near 1"
    AT_MOST_ONE = "at most 1"


class Ideal(Enum):
    """Whose copy is perfect where there is no true picture: one shows the right person, one does the right thing."""

    TARGET = "target"
    DRIVER = "driver"


@dataclass(frozen=True)
class Readings:
    """What was read of n pictures; NaN where no face was found.

    Args:
        mesh_px: (n, 478, 3).
        embedding: (n, 128).
        sharpness: (n,).
    """

    mesh_px: Float[np.ndarray, "n 478 3"]
    embedding: Float[np.ndarray, "n 128"]
    sharpness: Float[np.ndarray, " n"]

    @cached_property
    def seen(self) -> Bool[np.ndarray, " n"]:
        """Whether a face was found."""
        return ~np.isnan(self.mesh_px).any(axis=(1, 2))

    @cached_property
    def angles_deg(self) -> Float[np.ndarray, "n 3"]:
        """Yaw, pitch, roll."""
        angles = np.full((len(self.mesh_px), 3), np.nan)
        angles[self.seen] = head_angles(self.mesh_px[self.seen])
        return angles


@dataclass(frozen=True)
class Scene:
    """A method's answers to all sets, beside what they are judged by; rows are sets.

    Args:
        sets: the n sets.
        drawn: what was drawn.
        driver: the drivers' frames.
        target: the first target pictures.
        compared: (n, 6) `COMPARED` with the true pictures; NaN where there are none.
        drawn_rest: (c, 10) lengths at rest of the face that is drawn, for each of the `clips`
            (`perception.action_units.rest_of`).
        driver_rest: (c, 10) of the drivers' faces.
        flicker: (c, 2) of the still background in what was drawn, and in the true pictures (`sequences.flicker`); NaN
            where there are none.
        likeness_distance: (n,) to the true pictures in a network's features (`likeness`); NaN without a network.
    """

    sets: CaseList
    drawn: Readings
    driver: Readings
    target: Readings
    compared: Float[np.ndarray, "n 6"]
    drawn_rest: Float[np.ndarray, "c 10"]
    driver_rest: Float[np.ndarray, "c 10"]
    flicker: Float[np.ndarray, "c 2"]
    likeness_distance: Float[np.ndarray, " n"]

    @cached_property
    def known(self) -> Bool[np.ndarray, " n"]:
        """Sets whose own pictures could be read; the others judge no method."""
        return self.driver.seen & self.target.seen

    @property
    def failed(self) -> Bool[np.ndarray, " n"]:
        """Results that show no face."""
        return self.known & ~self.drawn.seen

    @property
    def likeness(self) -> Readings:
        """Who the result shall be: the truth where there is one, else the first target."""
        return self.driver if self.sets.protocol.has_truth else self.target

    @cached_property
    def opening(self) -> Bool[np.ndarray, " n"]:
        """Sets in which the mouth opens: see `OPENS`."""
        before, after = _mouth_opening(self.target.mesh_px), _mouth_opening(self.driver.mesh_px)
        return self.known & (after > OPENS * before) & (after > OPEN)

    @cached_property
    def turned(self) -> Bool[np.ndarray, " n"]:
        """Sets in which the head turns: see `TURN_DEG`."""
        yaw = angle_errors(self.driver.angles_deg, self.target.angles_deg)[:, 0]
        return self.known & (np.abs(yaw) > TURN_DEG)

    @cached_property
    def clips(self) -> list[np.ndarray]:
        """Rows of each sequence, in order of first appearance."""
        return clips_of(self.sets)

    @cached_property
    def units(self) -> tuple[ActionUnits, ActionUnits]:
        """Action units of results and drivers."""
        return _units(self.drawn, self.clips, self.drawn_rest), _units(self.driver, self.clips, self.driver_rest)


@dataclass(frozen=True)
class Values:
    """A score before it is averaged.

    Args:
        values: (m, ...) of each set or clip; NaN where there is none.
        identities: (m,) of the targets.
        statistic: what makes one number of them.
    """

    values: Float[np.ndarray, "m *shape"]
    identities: tuple[str, ...]
    statistic: Statistic


@dataclass(frozen=True)
class Score:
    """One column of a table.

    Args:
        title: its heading.
        unit: of the numbers; empty for plain ones.
        better: which way.
        measure: from a scene.
        ideal: whose copy is perfect in a different identity.
        needs_truth: only where target and driver are one person.
        needs_sequence: only of consecutive frames.
        only: which sets it is measured on; empty for all.
    """

    title: str
    unit: str
    better: Better
    measure: Callable[[Scene], Values]
    ideal: Ideal = Ideal.DRIVER
    needs_truth: bool = False
    needs_sequence: bool = False
    only: str = ""

    def applies(self, protocol: Protocol) -> bool:
        """Whether a protocol can have it."""
        truth, sequence = protocol.has_truth or not self.needs_truth, protocol.consecutive or not self.needs_sequence
        return truth and sequence


def mean(values: np.ndarray) -> float:
    """Mean of what is known; NaN of nothing."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def root_mean_square(values: np.ndarray) -> float:
    """Root of the mean square of what is known; NaN of nothing."""
    return float(np.sqrt(mean(values**2)))


def ratio_of_means(values: np.ndarray) -> float:
    """Of the first column's to the second's; NaN of nothing, or over nothing."""
    first, second = mean(values[:, 0]), mean(values[:, 1])
    return first / second if second > 0 else float("nan")


def aucon_chance_of(scene: Scene) -> float:
    """AUCON with frames shuffled within each clip of enough frames; NaN without such clips."""
    drawn, driver = scene.units
    both = scene.known & scene.drawn.seen
    clips = [rows[both[rows]] for rows in scene.clips if both[rows].sum() >= LEAST_FRAMES]
    if not clips:
        return float("nan")
    shares = [aucon_chance(drawn.presence[rows], driver.presence[rows]) for rows in clips]
    return float(np.average(shares, weights=[len(rows) for rows in clips]))


def clips_of(sets: CaseList) -> list[Int[np.ndarray, " _"]]:
    """Rows of each sequence, in order of first appearance."""
    rows: dict[str, list[int]] = {}
    for i, one in enumerate(sets.sets):
        rows.setdefault(one.clip, []).append(i)
    return [np.array(some) for some in rows.values()]


def _units(readings: Readings, clips: Sequence[Int[np.ndarray, " _"]], rests: Float[np.ndarray, "c 10"]) -> ActionUnits:
    shape = (len(readings.seen), len(AU_NUMBERS))
    intensity, presence = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for rows, rest in zip(clips, rests, strict=True):
        found = action_units(readings.mesh_px[rows], rest, readings.seen[rows])
        intensity[rows], presence[rows] = found.intensity, found.presence
    return ActionUnits(AU_NUMBERS, intensity, presence, readings.seen)


def _per_set(scene: Scene, values: np.ndarray, statistic: Statistic = mean, *, failure: float = np.nan) -> Values:
    values = np.array(values, np.float64)
    values[scene.failed] = failure
    values[~scene.known] = np.nan
    return Values(values, tuple(one.identity for one in scene.sets.sets), statistic)


def _csim(scene: Scene) -> Values:
    values = csim(scene.drawn.embedding, scene.likeness.embedding, identity_mean())
    return _per_set(scene, values, failure=0.0)


def _id_percent(scene: Scene) -> Values:
    rate = verification_rate(scene.drawn.embedding, scene.likeness.embedding, threshold=SAME_PERSON_DISTANCE)
    return _per_set(scene, rate, failure=0.0)


def _compared(name: str) -> Callable[[Scene], Values]:
    column = COMPARED.index(name)

    def measure(scene: Scene) -> Values:
        # These need no face in the result.
        identities = tuple(one.identity for one in scene.sets.sets)
        return Values(np.where(scene.known, scene.compared[:, column], np.nan), identities, mean)

    return measure


def _of_some(name: str, chosen: Callable[[Scene], Bool[np.ndarray, " n"]]) -> Callable[[Scene], Values]:
    """A column of `COMPARED` on some of the sets: for every method the same, so that differences stay paired."""
    of_all = _compared(name)

    def measure(scene: Scene) -> Values:
        rows, whole = np.flatnonzero(chosen(scene)), of_all(scene)
        return Values(whole.values[rows], tuple(whole.identities[row] for row in rows), mean)

    return measure


def _likeness_distance(scene: Scene) -> Values:
    identities = tuple(one.identity for one in scene.sets.sets)
    return Values(np.where(scene.known, scene.likeness_distance, np.nan), identities, mean)


def _mouth_opening(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, " n"]:
    """In outer-eye distances; NaN without a face."""
    return opening(torch.from_numpy(mesh_px), INNER_LIPS_UPPER, INNER_LIPS_LOWER).numpy()


def _prmse(scene: Scene) -> Values:
    return _per_set(scene, angle_errors(scene.drawn.angles_deg, scene.driver.angles_deg), root_mean_square)


def _pose(scene: Scene) -> Values:
    return _per_set(scene, pose_mae(scene.drawn.angles_deg, scene.driver.angles_deg))


def _aucon(scene: Scene) -> Values:
    drawn, driver = scene.units
    pairs = zip(drawn.presence, driver.presence, strict=True)
    return _per_set(scene, np.array([aucon(a[None], b[None]) for a, b in pairs]))


def _au_consistency(scene: Scene) -> Values:
    drawn, driver = scene.units
    both = scene.known & scene.drawn.seen

    def consistency(rows: np.ndarray) -> float:
        rows = rows[both[rows]]
        return au_consistency(drawn.intensity[rows], driver.intensity[rows]) if len(rows) >= LEAST_FRAMES else np.nan

    return Values(np.array([consistency(rows) for rows in scene.clips]), _people(scene), mean)


def _jitter(scene: Scene) -> Values:
    """Missing faces are left out on both sides, with their neighbours."""
    tracks = [np.where(scene.known[:, None, None], side.mesh_px, np.nan) for side in (scene.drawn, scene.driver)]
    ratios = [temporal_jitter(tracks[0][rows], tracks[1][rows]) for rows in scene.clips]
    return Values(np.array(ratios), _people(scene), mean)


def _flicker(scene: Scene) -> Values:
    # Where the background of a clip does not change at all, there is no ratio; over several clips there is.
    return Values(scene.flicker, _people(scene), ratio_of_means)


def _people(scene: Scene) -> tuple[str, ...]:
    """Whom each clip shows."""
    return tuple(scene.sets.sets[rows[0]].identity for rows in scene.clips)


def _nme(scene: Scene) -> Values:
    return _per_set(scene, 100 * landmark_nme(scene.drawn.mesh_px, scene.driver.mesh_px))


def _gaze(scene: Scene) -> Values:
    """Between two people about their means, so only of clips with enough frames."""
    if scene.sets.protocol.has_truth:
        return _per_set(scene, gaze_error(scene.drawn.mesh_px, scene.driver.mesh_px))
    values = np.full(len(scene.sets), np.nan)
    both = scene.known & scene.drawn.seen
    for clip in scene.clips:
        rows = clip[both[clip]]
        if len(rows) >= LEAST_FRAMES:
            values[rows] = gaze_error(scene.drawn.mesh_px[rows], scene.driver.mesh_px[rows], about_mean=True)
    return _per_set(scene, values)


def _sharpness(scene: Scene) -> Values:
    return _per_set(scene, scene.drawn.sharpness / scene.likeness.sharpness)


SCORES: Mapping[str, Score] = {
    "csim": Score("CSIM", "", Better.HIGHER, _csim, Ideal.TARGET),
    "ssim": Score("SSIM", "", Better.HIGHER, _compared("ssim"), needs_truth=True),
    "m_ssim": Score("M-SSIM", "", Better.HIGHER, _compared("m_ssim"), needs_truth=True),
    "psnr": Score("PSNR", "dB", Better.HIGHER, _compared("psnr"), needs_truth=True),
    "m_psnr": Score("M-PSNR", "dB", Better.HIGHER, _compared("m_psnr"), needs_truth=True),
    "mouth_psnr": Score("mouth PSNR", "dB", Better.HIGHER, _compared("mouth_psnr"), needs_truth=True),
    "mouth_psnr_opening": Score(
        "mouth PSNR, opening",
        "dB",
        Better.HIGHER,
        _of_some("mouth_psnr", lambda scene: scene.opening),
        needs_truth=True,
        only=f"the driver's mouth is open more than {OPENS:g} times as wide as the target's",
    ),
    "rim_error_turned": Score(
        "rim error, turned",
        "grey levels",
        Better.LOWER,
        _of_some("rim_error", lambda scene: scene.turned),
        needs_truth=True,
        only=f"yaws differ by more than {TURN_DEG:g} degrees (the rim: {BAND_PX} px of 256 around the wanted mesh)",
    ),
    "likeness_distance": Score("face features", "", Better.LOWER, _likeness_distance, needs_truth=True),
    "prmse": Score("PRMSE", "degrees", Better.LOWER, _prmse),
    "pose_mae": Score("pose", "degrees", Better.LOWER, _pose),
    "aucon": Score("AUCON", "", Better.HIGHER, _aucon),
    "au_percent": Score("AU", "%", Better.HIGHER, _au_consistency),
    "id_percent": Score("Id", "%", Better.HIGHER, _id_percent, Ideal.TARGET),
    "nme": Score("NME", "% of the eye distance", Better.LOWER, _nme, needs_truth=True),
    "gaze_error": Score("gaze", "degrees", Better.LOWER, _gaze),
    "sharpness_ratio": Score("sharpness", "", Better.NEAR_ONE, _sharpness, Ideal.TARGET),
    "jitter_ratio": Score("jitter", "", Better.NEAR_ONE, _jitter, needs_sequence=True),
    "flicker_ratio": Score(
        "background flicker", "", Better.AT_MOST_ONE, _flicker, needs_truth=True, needs_sequence=True
    ),
}
"""Columns in the order of the papers' tables, then ours."""
