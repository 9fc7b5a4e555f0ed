"""Every score by its name: what it is measured on, in which direction it is better, and how it is calculated.

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
from reenactor.research.evaluation.cases import CaseList, Protocol
from reenactor.research.evaluation.judges import Judge, JudgeConfig
from reenactor.research.evaluation.measurements import BAND_PX, COMPARISON
from reenactor.research.metrics import (
    OpenFaceReading,
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
from reenactor.research.metrics.realism import kernel_sums, stage_slices

LEAST_FRAMES = 5
"""Fewer frames of a clip are too few to correlate two sequences."""
OPENS, OPEN = 2.0, 0.02
"""A mouth opens if the driver's is open more than `OPENS` times as wide as the target's, and more than `OPEN` outer-eye
distances; closed mouths measure up to that."""
CLOSES = 0.06
"""A mouth closes if the target's is open further than this, and the driver's less than `OPEN`."""
LIDS = 0.35, 0.6
"""Readings (`perception.lids`) below which both eyes are closed, and above which they are open."""
TURN_DEG = 15.0
"""If the yaws of target and driver differ by more, a cheek is visible that the target occludes."""


class Better(Enum):
    """Which values of a score are better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEAR_ONE = "near 1"
    NEAR_ZERO = "near 0"
    AT_MOST_ONE = "at most 1"


class Ideal(Enum):
    """Which copy is perfect if there is no true picture: the target shows the right person, the driver the right pose
    and expression."""

    TARGET = "target"
    DRIVER = "driver"


@dataclass(frozen=True)
class Faces:
    """The faces in n pictures; NaN where none was found.

    Args:
        mesh_px: (n, 478, 3) landmarks.
        embedding: (n, d) identity embeddings.
        sharpness: (n,) `metrics.sharpness` within the face.
        openface: what OpenFace tells of them, if it measures pose and action units.
    """

    mesh_px: Float[np.ndarray, "n 478 3"]
    embedding: Float[np.ndarray, "n d"]
    sharpness: Float[np.ndarray, " n"]
    openface: OpenFaceReading | None = None

    @cached_property
    def seen(self) -> Bool[np.ndarray, " n"]:
        """Whether a face was found."""
        return ~np.isnan(self.mesh_px).any(axis=(1, 2))

    @cached_property
    def angles_deg(self) -> Float[np.ndarray, "n 3"]:
        """Yaw, pitch, roll of the head, by the landmarks."""
        angles = np.full((len(self.mesh_px), 3), np.nan)
        angles[self.seen] = head_angles(self.mesh_px[self.seen])
        return angles

    @property
    def judged_angles_deg(self) -> Float[np.ndarray, "n 3"]:
        """The angles by whoever measures pose."""
        return self.angles_deg if self.openface is None else self.openface.poses_deg


@dataclass(frozen=True)
class Scene:
    """Measurements of a method's results for n cases in c sequences, and of the pictures they are compared with.

    Args:
        cases: the n cases.
        drawn: the results.
        driver: the drivers' frames.
        target: the first target pictures.
        comparison: (n, 8) `measurements.COMPARISON` with the true pictures; NaN if there are none.
        drawn_rest: (c, 10) lengths at rest of the drawn person's face (`perception.action_units.rest_of`).
        driver_rest: (c, 10) lengths at rest of the driver's face.
        flicker: (c, 2) of the still background in the results and in the true pictures; NaN if there are none.
        feature_distance: (n,) distance to the true pictures in a network's features; NaN without a network.
        lids, driver_lids, target_lids: (n, 2) how far the eyes are open.
        judges: who measured.
        parts, true_parts: (n, 3, d) `realism.part_features`; None where there is no truth, or nothing is drawn.
    """

    cases: CaseList
    drawn: Faces
    driver: Faces
    target: Faces
    comparison: Float[np.ndarray, "n 8"]
    drawn_rest: Float[np.ndarray, "c 10"]
    driver_rest: Float[np.ndarray, "c 10"]
    flicker: Float[np.ndarray, "c 2"]
    feature_distance: Float[np.ndarray, " n"]
    lids: Float[np.ndarray, "n 2"]
    driver_lids: Float[np.ndarray, "n 2"]
    target_lids: Float[np.ndarray, "n 2"]
    judges: JudgeConfig
    parts: Float[np.ndarray, "n 3 d"] | None = None
    true_parts: Float[np.ndarray, "n 3 d"] | None = None

    @cached_property
    def known(self) -> Bool[np.ndarray, " n"]:
        """Cases in whose real pictures a face was found; the others count for no method."""
        return self.driver.seen & self.target.seen

    @property
    def failed(self) -> Bool[np.ndarray, " n"]:
        """Cases whose result shows no face."""
        return self.known & ~self.drawn.seen

    @property
    def expected(self) -> Faces:
        """The faces that results should resemble: the truth if there is one, else the first target."""
        return self.driver if self.cases.protocol.has_truth else self.target

    @cached_property
    def opening(self) -> Bool[np.ndarray, " n"]:
        """Cases in which the mouth opens: see `OPENS`."""
        before, after = _mouth_opening(self.target.mesh_px), _mouth_opening(self.driver.mesh_px)
        return self.known & (after > OPENS * before) & (after > OPEN)

    @cached_property
    def closing(self) -> Bool[np.ndarray, " n"]:
        """Cases in which the mouth closes: see `CLOSES`."""
        before, after = _mouth_opening(self.target.mesh_px), _mouth_opening(self.driver.mesh_px)
        return self.known & (before > CLOSES) & (after < OPEN)

    @cached_property
    def blinking(self) -> Bool[np.ndarray, " n"]:
        """Cases in which the driver's eyes are closed and the target's are open: see `LIDS`."""
        return self.known & (self.driver_lids.mean(1) < LIDS[0]) & (self.target_lids.mean(1) > LIDS[1])

    @cached_property
    def turned(self) -> Bool[np.ndarray, " n"]:
        """Cases in which the head turns: see `TURN_DEG`."""
        yaw = angle_errors(self.driver.angles_deg, self.target.angles_deg)[:, 0]
        return self.known & (np.abs(yaw) > TURN_DEG)

    @cached_property
    def sequences(self) -> list[Int[np.ndarray, " _"]]:
        """Rows of each sequence, in order of first appearance."""
        return [np.array(rows) for rows in self.cases.sequences]

    @property
    def people(self) -> tuple[str, ...]:
        """Whom each result should show."""
        return tuple(case.identity for case in self.cases)

    @cached_property
    def units(self) -> tuple[ActionUnits, ActionUnits]:
        """Action units of results and drivers."""
        rests = self.drawn_rest, self.driver_rest
        drawn, driver = (
            _units(faces, self.sequences, rest) for faces, rest in zip((self.drawn, self.driver), rests, strict=True)
        )
        return drawn, driver

    @property
    def units_seen(self) -> Bool[np.ndarray, " n"]:
        """Cases of which action units are known on both sides."""
        return self.known & ~self.failed & self.units[0].seen & self.units[1].seen


@dataclass(frozen=True)
class Values:
    """A score before it is averaged.

    Args:
        values: (m, ...) of each case or sequence; NaN where there is none.
        identities: (m,) person in each case or sequence.
        statistic: makes one number of the values.
    """

    values: Float[np.ndarray, "m *shape"]
    identities: tuple[str, ...]
    statistic: Statistic


@dataclass(frozen=True)
class Score:
    """One column of a table.

    Args:
        title: its heading.
        unit: of the numbers; empty if they have none.
        better: which values are better.
        measure: calculates it from a scene.
        ideal: which copy is perfect between two people.
        needs_truth: measured only if target and driver are one person.
        needs_sequence: measured only on consecutive frames.
        judge: who measures it.
        only: condition for the cases it is measured on; empty for all.
    """

    title: str
    unit: str
    better: Better
    measure: Callable[[Scene], Values]
    ideal: Ideal = Ideal.DRIVER
    needs_truth: bool = False
    needs_sequence: bool = False
    judge: Judge = Judge.PIXELS
    only: str = ""

    def applies(self, protocol: Protocol) -> bool:
        """Whether it can be measured in a protocol."""
        truth, sequence = protocol.has_truth or not self.needs_truth, protocol.consecutive or not self.needs_sequence
        return truth and sequence


def mean(values: np.ndarray) -> float:
    """Mean that leaves NaN out; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def root_mean_square(values: np.ndarray) -> float:
    """Root mean square that leaves NaN out; NaN if nothing is left."""
    return float(np.sqrt(mean(values**2)))


def ratio_of_means(values: np.ndarray) -> float:
    """Mean of the first column over the mean of the second; NaN if either is missing or the second is 0."""
    first, second = mean(values[:, 0]), mean(values[:, 1])
    return first / second if second > 0 else float("nan")


def aucon_chance_of(scene: Scene) -> float:
    """AUCON with frames shuffled within each sequence of enough frames; NaN without such sequences."""
    drawn, driver = scene.units
    both = scene.units_seen
    sequences = [rows[both[rows]] for rows in scene.sequences if both[rows].sum() >= LEAST_FRAMES]
    if not sequences:
        return float("nan")
    chances = [aucon_chance(drawn.presence[rows], driver.presence[rows]) for rows in sequences]
    return float(np.average(chances, weights=[len(rows) for rows in sequences]))


def _units(faces: Faces, sequences: Sequence[Int[np.ndarray, " _"]], rests: Float[np.ndarray, "c 10"]) -> ActionUnits:
    if faces.openface is not None:
        return faces.openface.action_units
    shape = (len(faces.seen), len(AU_NUMBERS))
    intensity, presence = np.zeros(shape, np.float32), np.zeros(shape, bool)
    for rows, rest in zip(sequences, rests, strict=True):
        found = action_units(faces.mesh_px[rows], rest, faces.seen[rows])
        intensity[rows], presence[rows] = found.intensity, found.presence
    return ActionUnits(AU_NUMBERS, intensity, presence, faces.seen)


def _per_case(scene: Scene, values: np.ndarray, statistic: Statistic = mean, *, failure: float = np.nan) -> Values:
    values = np.array(values, np.float64)
    values[scene.failed] = failure
    values[~scene.known] = np.nan
    return Values(values, scene.people, statistic)


def _csim(scene: Scene) -> Values:
    values = csim(scene.drawn.embedding, scene.expected.embedding, scene.judges.embedding_mean)
    return _per_case(scene, values, failure=0.0)


def _id_percent(scene: Scene) -> Values:
    threshold = scene.judges.same_person_distance
    rate = verification_rate(scene.drawn.embedding, scene.expected.embedding, threshold=threshold)
    return _per_case(scene, rate, failure=0.0)


def _compared(name: str) -> Callable[[Scene], Values]:
    column = COMPARISON.index(name)

    def measure(scene: Scene) -> Values:
        # These need no face in the result.
        return Values(np.where(scene.known, scene.comparison[:, column], np.nan), scene.people, mean)

    return measure


def _of_some(name: str, chosen: Callable[[Scene], Bool[np.ndarray, " n"]]) -> Callable[[Scene], Values]:
    """A column of `COMPARISON` on some of the cases: the same ones for every method, so that differences are paired."""
    of_all = _compared(name)

    def measure(scene: Scene) -> Values:
        rows, whole = np.flatnonzero(chosen(scene)), of_all(scene)
        return Values(whole.values[rows], tuple(whole.identities[row] for row in rows), mean)

    return measure


def _lids_left(scene: Scene) -> Values:
    """How much of the opening is left where the driver's is gone, %; one estimator for both."""
    rows = np.flatnonzero(scene.blinking & ~scene.failed)
    drawn, driver, target = (one[rows].mean(1) for one in (scene.lids, scene.driver_lids, scene.target_lids))
    return Values(100 * (drawn - driver) / (target - driver), tuple(scene.people[row] for row in rows), mean)


def _realism(parts: Sequence[int], chosen: Callable[[Scene], Bool[np.ndarray, " n"]]) -> Callable[[Scene], Values]:
    """Kernel distance of drawn from true crops, mean over parts and stages."""

    def measure(scene: Scene) -> Values:
        if scene.parts is None or scene.true_parts is None:
            return Values(np.full(len(scene.cases), np.nan), scene.people, mean)
        drawn, true = scene.parts, scene.true_parts
        rows = np.flatnonzero(chosen(scene))
        who = tuple(scene.people[row] for row in rows)
        number = {name: i for i, name in enumerate(dict.fromkeys(who))}
        people = np.array([number[name] for name in who], int)
        sums = [
            kernel_sums(drawn[rows, part, stage], true[rows, part, stage], people)
            for part in parts
            for stage in (stage_slices() if len(rows) else ())
        ]

        def distance(of_people: np.ndarray) -> float:
            if not len(of_people):
                return float("nan")
            counts = np.bincount(of_people.astype(int), minlength=len(number)) / sums[0].sizes
            return float(np.mean([one.distance(counts) for one in sums]))

        return Values(people.astype(float), who, distance)

    return measure


def _feature_distance(scene: Scene) -> Values:
    return Values(np.where(scene.known, scene.feature_distance, np.nan), scene.people, mean)


def _mouth_opening(mesh_px: Float[np.ndarray, "n 478 3"]) -> Float[np.ndarray, " n"]:
    """Opening of each mouth in outer-eye distances; NaN without a face."""
    return opening(torch.from_numpy(mesh_px), INNER_LIPS_UPPER, INNER_LIPS_LOWER).numpy()


def _prmse(scene: Scene) -> Values:
    return _per_case(
        scene, angle_errors(scene.drawn.judged_angles_deg, scene.driver.judged_angles_deg), root_mean_square
    )


def _pose(scene: Scene) -> Values:
    return _per_case(scene, pose_mae(scene.drawn.judged_angles_deg, scene.driver.judged_angles_deg))


def _aucon(scene: Scene) -> Values:
    drawn, driver = scene.units
    pairs = zip(drawn.presence, driver.presence, strict=True)
    same = np.array([aucon(a[None], b[None]) for a, b in pairs])
    return _per_case(scene, np.where(scene.units_seen, same, np.nan))


def _au_consistency(scene: Scene) -> Values:
    drawn, driver = scene.units
    both = scene.units_seen

    def consistency(rows: np.ndarray) -> float:
        rows = rows[both[rows]]
        return au_consistency(drawn.intensity[rows], driver.intensity[rows]) if len(rows) >= LEAST_FRAMES else np.nan

    return Values(np.array([consistency(rows) for rows in scene.sequences]), _people_of_sequences(scene), mean)


def _jitter(scene: Scene) -> Values:
    # Missing faces are left out on both sides, with their neighbours.
    tracks = [np.where(scene.known[:, None, None], side.mesh_px, np.nan) for side in (scene.drawn, scene.driver)]
    ratios = [temporal_jitter(tracks[0][rows], tracks[1][rows]) for rows in scene.sequences]
    return Values(np.array(ratios), _people_of_sequences(scene), mean)


def _flicker(scene: Scene) -> Values:
    # A clip whose background does not change at all has no ratio; several clips together have one.
    return Values(scene.flicker, _people_of_sequences(scene), ratio_of_means)


def _people_of_sequences(scene: Scene) -> tuple[str, ...]:
    return tuple(scene.people[rows[0]] for rows in scene.sequences)


def _nme(scene: Scene) -> Values:
    return _per_case(scene, 100 * landmark_nme(scene.drawn.mesh_px, scene.driver.mesh_px))


def _gaze(scene: Scene) -> Values:
    if scene.cases.protocol.has_truth:
        return _per_case(scene, gaze_error(scene.drawn.mesh_px, scene.driver.mesh_px))
    # Between two people, relative to each one's mean, so only of sequences with enough frames.
    values = np.full(len(scene.cases), np.nan)
    both = scene.known & scene.drawn.seen
    for sequence in scene.sequences:
        rows = sequence[both[sequence]]
        if len(rows) >= LEAST_FRAMES:
            values[rows] = gaze_error(scene.drawn.mesh_px[rows], scene.driver.mesh_px[rows], about_mean=True)
    return _per_case(scene, values)


def _sharpness(scene: Scene) -> Values:
    return _per_case(scene, scene.drawn.sharpness / scene.expected.sharpness)


SCORES: Mapping[str, Score] = {
    "csim": Score("CSIM", "", Better.HIGHER, _csim, Ideal.TARGET, judge=Judge.IDENTITY),
    "ssim": Score("SSIM", "", Better.HIGHER, _compared("ssim"), needs_truth=True),
    "m_ssim": Score("M-SSIM", "", Better.HIGHER, _compared("m_ssim"), needs_truth=True, judge=Judge.MASKED),
    "psnr": Score("PSNR", "dB", Better.HIGHER, _compared("psnr"), needs_truth=True),
    "m_psnr": Score("M-PSNR", "dB", Better.HIGHER, _compared("m_psnr"), needs_truth=True, judge=Judge.MASKED),
    "mouth_psnr": Score("mouth PSNR", "dB", Better.HIGHER, _compared("mouth_psnr"), needs_truth=True),
    "mouth_psnr_opening": Score(
        "mouth PSNR, opening",
        "dB",
        Better.HIGHER,
        _of_some("mouth_psnr", lambda scene: scene.opening),
        needs_truth=True,
        only=f"the driver's mouth is open more than {OPENS:g} times as wide as the target's",
    ),
    "mouth_psnr_closing": Score(
        "mouth PSNR, closing",
        "dB",
        Better.HIGHER,
        _of_some("mouth_psnr", lambda scene: scene.closing),
        needs_truth=True,
        only="the target's mouth is open and the driver's closed",
    ),
    "inside_contrast": Score(
        "contrast inside, opening",
        "",
        Better.NEAR_ONE,
        _of_some("inside_contrast", lambda scene: scene.opening),
        needs_truth=True,
        only="mouths that open; between the lips, over the truth's",
    ),
    "inside_bright": Score(
        "brightest inside, opening",
        "grey levels",
        Better.NEAR_ZERO,
        _of_some("inside_bright", lambda scene: scene.opening),
        needs_truth=True,
        only="mouths that open; brightest twentieth between the lips minus the truth's",
    ),
    "lids_left": Score(
        "lids left open",
        "%",
        Better.NEAR_ZERO,
        _lids_left,
        judge=Judge.LIDS,
        only="the driver's eyes are closed and the target's open",
    ),
    "kid_mouth": Score(
        "KID mouth", "", Better.LOWER, _realism([0], lambda scene: scene.known), needs_truth=True, judge=Judge.REALISM
    ),
    "kid_mouth_opening": Score(
        "KID mouth, opening",
        "",
        Better.LOWER,
        _realism([0], lambda scene: scene.opening),
        needs_truth=True,
        judge=Judge.REALISM,
        only="mouths that open",
    ),
    "kid_eyes": Score(
        "KID eyes", "", Better.LOWER, _realism([1, 2], lambda scene: scene.known), needs_truth=True, judge=Judge.REALISM
    ),
    "silhouette_error_turned": Score(
        "silhouette error, turned",
        "grey levels",
        Better.LOWER,
        _of_some("silhouette_error", lambda scene: scene.turned),
        needs_truth=True,
        only=f"yaws differ by more than {TURN_DEG:g} degrees (measured in {BAND_PX} px of 256 around the true mesh)",
    ),
    "feature_distance": Score(
        "face features", "", Better.LOWER, _feature_distance, needs_truth=True, judge=Judge.FEATURES
    ),
    "prmse": Score("PRMSE", "degrees", Better.LOWER, _prmse, judge=Judge.POSE_AU),
    "pose_mae": Score("pose", "degrees", Better.LOWER, _pose, judge=Judge.POSE_AU),
    "aucon": Score("AUCON", "", Better.HIGHER, _aucon, judge=Judge.POSE_AU),
    "au_percent": Score("AU", "%", Better.HIGHER, _au_consistency, judge=Judge.POSE_AU),
    "id_percent": Score("Id", "%", Better.HIGHER, _id_percent, Ideal.TARGET, judge=Judge.IDENTITY),
    "nme": Score("NME", "% of the eye distance", Better.LOWER, _nme, needs_truth=True, judge=Judge.MESH),
    "gaze_error": Score("gaze", "degrees", Better.LOWER, _gaze, judge=Judge.MESH),
    "sharpness_ratio": Score("sharpness", "", Better.NEAR_ONE, _sharpness, Ideal.TARGET),
    "jitter_ratio": Score("jitter", "", Better.NEAR_ONE, _jitter, needs_sequence=True, judge=Judge.MESH),
    "flicker_ratio": Score(
        "background flicker", "", Better.AT_MOST_ONE, _flicker, needs_truth=True, needs_sequence=True
    ),
}
"""Columns in the order of the papers' tables, then ours."""
