"""Retargeting against exact truth: faces of ICT-FaceKit (Li et al. 2020), whose identity and expression are known.

Person A's photo and person B's clip are made from the same model, so every vertex of A with B's expression is known.
Errors are in percent of A's outer-eye distance, in the picture plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import OUTER_EYE_CORNERS, ReenactError, Transfer
from reenactor.engine.loading import load_transformer
from reenactor.face.geometry import contours, fit_similarity, matrix_from_angles, mean_face
from reenactor.face.geometry.ict import SURFACE, FaceModel, read_face_model, with_irises
from reenactor.face.retarget import DriverRest, PartsRetargeter, Retargeter
from reenactor.face.retarget.transformer import LandmarkTransformer, TransformerRetargeter
from reenactor.research.metrics import Interval, bootstrap_interval

_FACE_PX, _CENTRE_PX = 60.0, 128.0
_TURN_DEG = (20.0, 10.0, 10.0)
_LIPS = (
    *contours.OUTER_LIPS_UPPER,
    *contours.INNER_LIPS,
    *contours.OUTER_LIPS_LOWER[1:-1],
)
_EYES = (*contours.RIGHT_EYE, *contours.LEFT_EYE)
_BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 336, 296, 334, 293, 300, 285, 295, 282, 283, 276)
PARTS: Mapping[str, tuple[int, ...]] = {
    "all": tuple(range(SURFACE)),
    "eyes": _EYES,
    "brows": _BROWS,
    "mouth": _LIPS,
    "jaw": contours.FACE_OVAL,
}
"""Vertices whose errors are reported."""

Mover = Callable[["Trial"], Float[np.ndarray, "478 3"]]


@dataclass(frozen=True)
class Trial:
    """Input of a transfer, and the truth; pixels.

    Args:
        person: number of A, to group intervals.
        target: (478, 3) A's photo.
        rest: (478, 3) B's neutral frame.
        driver: (478, 3) B with an expression and a turned head.
        truth: (468, 3) A with that expression, turned as much.
    """

    person: int
    target: Float[np.ndarray, "478 3"]
    rest: Float[np.ndarray, "478 3"]
    driver: Float[np.ndarray, "478 3"]
    truth: Float[np.ndarray, "468 3"]


def measure_transfers(
    ict: Path, transformer: Path | None, *, people: int, target_expression: float, seed: int
) -> dict[str, dict[str, Interval]]:
    """`measure` all transfers on random faces of ICT-FaceKit.

    Args:
        ict: file for `read_face_model`.
        transformer: folder of a landmark transformer; None for the one that ships.
        people: pairs of people.
        target_expression: strength of an expression in the target's photo.
        seed: of the random faces.

    Raises:
        ReenactError: a file cannot be read, or there are no people.
    """
    if people < 1:
        raise ReenactError(f"--people must be 1 or more, not {people}")
    model = read_face_model(ict)
    rng = np.random.default_rng(seed)
    trials = make_trials(model, rng, people=people, target_expression=target_expression)
    return measure(trials, transfers(load_transformer(transformer)))


def markdown(found: Mapping[str, Mapping[str, Interval]], judge: str) -> str:
    """Errors of transfers as a table; `judge` names what they were measured by."""
    parts = list(next(iter(found.values())))
    lines = [f"error, % [95% interval over people], judged by {judge}", ""]
    lines += [f"| transfer | {' | '.join(parts)} |", f"|---|{'---:|' * len(parts)}"]
    for name, row in found.items():
        cells = [f"{one.estimate:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in row.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def make_trials(
    model: FaceModel, rng: np.random.Generator, *, people: int = 40, frames: int = 10, target_expression: float = 0.0
) -> list[Trial]:
    """Random pairs of people, each with some driver frames.

    Args:
        model: the faces.
        rng: source of randomness.
        people: pairs of an A and a B.
        frames: driver frames of each pair.
        target_expression: strength of a random expression in A's photo; 0 for none. The truth shows only the driver's.
    """
    trials = []
    for person in range(people):
        a, b = model.person(rng), model.person(rng)
        shown = target_expression * model.expression(rng)
        target, rest = _in_pixels(a + shown, np.eye(3)), _in_pixels(b, np.eye(3))
        for _ in range(frames):
            moved = model.expression(rng)
            turn = matrix_from_angles(rng.uniform(-1, 1, 3) * _TURN_DEG)
            truth = _in_pixels(a + moved, turn)[:SURFACE]
            trials.append(Trial(person, target, rest, _in_pixels(b + moved, turn), truth))
    return trials


def transfers(transformer: LandmarkTransformer | None = None) -> dict[str, Mover]:
    """The transfers to measure: a still photo, absolute and relative, and a landmark transformer if one is given.

    Raises:
        ReenactError: the transformer needs pictures.
    """

    def simple(transfer: Transfer) -> Mover:
        return lambda trial: Retargeter(trial.target, trial.rest, transfer)(trial.driver)

    found: dict[str, Mover] = {
        "still photo": lambda trial: trial.target,
        "absolute": simple(Transfer.ABSOLUTE),
        "relative": simple(Transfer.RELATIVE),
        "parts": lambda trial: PartsRetargeter(trial.target[None], DriverRest.given(trial.rest))(trial.driver),
    }
    if transformer is not None:
        if transformer.config.needs_pictures:
            raise ReenactError("these faces have no pictures: give a transformer that needs none")

        def move(trial: Trial) -> Float[np.ndarray, "478 3"]:
            return TransformerRetargeter(transformer, trial.target[None], trial.rest)(trial.driver)

        found["transformer"] = move
    return found


def errors(
    results: Sequence[Float[np.ndarray, "478 3"]],
    trials: Sequence[Trial],
    part: str = "all",
    *,
    shape_only: bool = False,
) -> Float[np.ndarray, " n"]:
    """Mean distance to the truth of a part's vertices in each trial, percent of the outer-eye distance.

    Args:
        results: one for each trial.
        trials: the inputs.
        part: name in `PARTS`.
        shape_only: align the result with the truth by a similarity first, so that size, position and rotation do not
            count.
    """
    vertices = list(PARTS[part])
    weights = mean_face().weights[:SURFACE]
    found = []
    for result, trial in zip(results, trials, strict=True):
        surface = np.asarray(result, np.float64)[:SURFACE]
        if shape_only:
            surface = fit_similarity(surface, trial.truth, weights).apply(surface)
        right, left = trial.target[list(OUTER_EYE_CORNERS)]
        distance = np.linalg.norm((surface - trial.truth)[vertices, :2], axis=1).mean()
        found.append(100 * distance / np.linalg.norm(left - right))
    return np.array(found)


def measure(trials: Sequence[Trial], movers: Mapping[str, Mover]) -> dict[str, dict[str, Interval]]:
    """Mean error of each transfer and part, with its interval over people; `shape` is `all` after alignment."""
    people = [trial.person for trial in trials]

    def interval(values: Float[np.ndarray, " n"]) -> Interval:
        return bootstrap_interval(values, people, np.random.default_rng(0))

    found: dict[str, dict[str, Interval]] = {}
    for name, move in movers.items():
        results = [move(trial) for trial in trials]
        found[name] = {part: interval(errors(results, trials, part)) for part in PARTS}
        found[name]["shape"] = interval(errors(results, trials, shape_only=True))
    return found


def _in_pixels(surface: Float[np.ndarray, "468 3"], turn: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "478 3"]:
    """The whole mesh, turned."""
    return (_FACE_PX * with_irises(surface) @ turn.T + _CENTRE_PX).astype(np.float32)
