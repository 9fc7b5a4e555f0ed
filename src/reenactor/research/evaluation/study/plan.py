"""A study: its trials, and the order and sides in which each participant sees them.

| file of a study's folder | holds |
|---|---|
| `study.json` | `Study`; only this file names the methods, participants never see them |
| `pictures/<digest>.png` | the pictures |
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import ReenactError
from reenactor.core.files import read_json, write_atomically
from reenactor.face.geometry import resize
from reenactor.research.evaluation.cases import Case
from reenactor.research.evaluation.packs import Frame, Pack, Packs
from reenactor.research.evaluation.predictions import Predictions, check_comparable, read_prediction

_VERSION = 1
STUDY, PICTURES = "study.json", "pictures"
REAL, RIGHT, WRONG = "real", "right", "wrong"
"""Options that are no method: a photo; and in a check the right and the wrong choice."""
SECONDS = 3.0
"""How long the three pictures are shown (paper B)."""
EXAMPLES = 150
"""Trials of each kind (paper B)."""
_PERSON = 3
"""Pictures of the person beside a pair (paper B)."""
_MOSAIC = 12
"""Squares along each side of the mosaic, the wrong choice of a check."""


class Kind(StrEnum):
    """Kind of choice."""

    PAIR = "pair"
    """Two results beside pictures of the person and of the driver."""
    ODD = "odd"
    """Two photos of a person and a result, for `SECONDS`: which differs from the other two?"""


QUESTIONS: Mapping[Kind, Mapping[str, str]] = {
    Kind.PAIR: {
        "identity": "Which of the two looks more like the person?",
        "expression": "Which of the two has more of the driver's pose and expression?",
        "realism": "Which of the two looks more like a real photo?",
    },
    Kind.ODD: {"odd": "One picture differs from the other two in who it shows. Which?"},
}
"""Questions to each trial, in this order; a check has only the first."""


@dataclass(frozen=True)
class Trial:
    """One choice, before its options are ordered.

    Args:
        id: names it in the results.
        kind: kind of choice.
        person: pictures of the person, to compare with; empty for `Kind.ODD`.
        driver: picture of the driver; None for `Kind.ODD`.
        options: (name, picture) of methods and `REAL`, or in a check of `RIGHT` and `WRONG`.
    """

    id: str
    kind: Kind
    person: tuple[str, ...]
    driver: str | None
    options: tuple[tuple[str, str], ...]

    @property
    def check(self) -> bool:
        """Whether it is an attention check."""
        return self.options[0][0] == RIGHT

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(name for name, _ in self.options)


@dataclass(frozen=True)
class Study:
    """All trials of a study.

    Args:
        title: shown to participants.
        seed: of order and sides.
        pairs, odd: number of trials of each kind for a participant, without checks; all if there are fewer.
        trials: of both kinds, and checks.
    """

    title: str
    seed: int
    pairs: int
    odd: int
    trials: tuple[Trial, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @cached_property
    def pictures(self) -> frozenset[str]:
        """Names of all picture files."""
        context = [name for one in self.trials for name in (*one.person, one.driver) if name]
        return frozenset([*context, *(picture for one in self.trials for _, picture in one.options)])

    def to_json(self) -> str:
        """JSON; `read_study` reads it."""
        return json.dumps({"format": "reenactor-study", "version": _VERSION, **asdict(self)}, indent=1) + "\n"


@dataclass(frozen=True)
class Step:
    """One question to one participant.

    Args:
        trial: the trial.
        question: key in `QUESTIONS`.
        order: numbers of the trial's options from left to right.
    """

    trial: Trial
    question: str
    order: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the options, from left to right."""
        return tuple(self.trial.options[i][0] for i in self.order)

    @property
    def pictures(self) -> tuple[str, ...]:
        """Pictures of the options, from left to right."""
        return tuple(self.trial.options[i][1] for i in self.order)


def read_study(path: Path) -> tuple[Study, Path]:
    """Read a study.

    Args:
        path: `study.json`, or the folder it is in.

    Returns:
        The study and its folder.

    Raises:
        ReenactError: the file or a picture is missing, or it holds something else.
    """
    path = path / STUDY if path.is_dir() else path
    again = "make it again with 'reenactor study make'"
    missing = f"{path} is missing; 'reenactor study make' writes it"
    found = read_json(path, "study", _VERSION, missing=missing, again=again)
    try:
        settings = {name: found[name] for name in ("title", "seed", "pairs", "odd")}
        study = Study(**settings, trials=tuple(_trial(one) for one in found["trials"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ReenactError(f"{path} holds no study ({error}); {again}") from error
    for name in sorted(study.pictures):
        if not (path.parent / PICTURES / name).is_file():
            raise ReenactError(f"{path.parent / PICTURES} lacks {name}; {again}")
    return study, path.parent


def session(study: Study, number: int) -> list[Step]:
    """The questions of a participant: pairs, then odd ones, with checks among them; repeatable.

    Trials are dealt like cards, so that all are shown about equally often. Within a session each option of each kind of
    trial is at each position equally often (or once more), at random.

    Args:
        study: the study.
        number: of the participant, from 0.
    """
    steps: list[Step] = []
    for which, (kind, count) in enumerate(((Kind.PAIR, study.pairs), (Kind.ODD, study.odd))):
        rng = np.random.default_rng([study.seed, which, number])
        plain = [one for one in study.trials if one.kind is kind and not one.check]
        checks = [one for one in study.trials if one.kind is kind and one.check]
        mixed = [*_dealt(plain, count, number, [study.seed, which]), *checks]
        mixed = [mixed[i] for i in rng.permutation(len(mixed))]
        for trial, order in zip(mixed, _orders(mixed, rng), strict=True):
            questions = list(QUESTIONS[kind])[: 1 if trial.check else None]
            steps += [Step(trial, question, order) for question in questions]
    return steps


def _dealt(trials: Sequence[Trial], count: int, number: int, seed: list[int]) -> list[Trial]:
    """A participant's hand from a deck that is shuffled again when it is used up."""
    count = min(count, len(trials))
    if count == 0:
        return []
    deck, hand = divmod(number, len(trials) // count)
    order = np.random.default_rng([*seed, deck, 1]).permutation(len(trials))
    return [trials[i] for i in order[hand * count : (hand + 1) * count]]


def _orders(trials: Sequence[Trial], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """For each trial a rotation (of two: left or right), balanced over the trials with the same names."""
    orders: dict[int, tuple[int, ...]] = {}
    for names in dict.fromkeys(one.names for one in trials):
        rows = [i for i, one in enumerate(trials) if one.names == names]
        size = len(names)
        # Which position gets one more is random too; otherwise it would be the first in every session.
        turns = (np.arange(len(rows)) + rng.integers(size)) % size
        for row, turn in zip(rows, rng.permutation(turns), strict=True):
            orders[row] = tuple(int(i + turn) % size for i in range(size))
    return [orders[i] for i in range(len(trials))]


def _trial(one: dict[str, Any]) -> Trial:
    options = tuple((str(name), str(picture)) for name, picture in one["options"])
    return Trial(one["id"], Kind(one["kind"]), tuple(one["person"]), one["driver"], options)


def make_study(
    predictions: Sequence[Predictions],
    packs: Packs,
    out: Path,
    *,
    against: str | None = None,
    examples: int = EXAMPLES,
    pairs: int = 20,
    odd: int = 20,
    checks: int = 3,
    seed: int = 0,
    title: str = "Faces",
) -> Study:
    """Write a study's folder.

    Args:
        predictions: of the same cases.
        packs: the data that the cases were chosen from.
        out: the folder.
        against: the method that all others are compared with; None to compare all with each other.
        examples: cases of each kind, at most.
        pairs, odd: number of trials of each kind for a participant.
        checks: number of attention checks of each kind.
        seed: of the choice, the order and the sides.
        title: shown to participants.

    Raises:
        ReenactError: the predictions cannot be compared.
    """
    names = [one.method.name for one in predictions]
    if len(set(names)) < len(names) or {REAL, RIGHT, WRONG} & set(names):
        raise ReenactError(f"methods need different names, not {', '.join(names)}; export under another --name")
    if against is not None and against not in names:
        raise ReenactError(f"there is no method '{against}' among {', '.join(names)}")
    if min(examples, pairs, odd, checks) < 0 or examples == 0 or pairs + odd == 0:
        raise ReenactError("a study needs examples and questions; give numbers above 0")
    cases = predictions[0].cases
    for one in predictions:
        check_comparable(one, cases, packs)
    rng = np.random.default_rng(seed)
    chosen = [cases[i] for i in rng.permutation(len(cases))[:examples]]
    writer = _Pictures(packs, cases.size, out / PICTURES)
    couples = [c for c in combinations(names, 2) if against in (None, *c)]
    drawn = dict(zip(names, predictions, strict=True))
    trials = []
    for number, one in enumerate(chosen if couples and pairs else []):
        context = writer.of_target(_person(packs.target, one)), writer.of_driver(one.driver)
        results = {name: writer.drawn(drawn[name], one) for name in names}
        for a, b in couples:
            options = (a, results[a]), (b, results[b])
            trials.append(Trial(f"{one.id} {a} {b}", Kind.PAIR, *context, options))
        if number < checks:
            options = (RIGHT, context[0][0]), (WRONG, writer.mosaic(one))
            trials.append(Trial(f"{one.id} check", Kind.PAIR, *context, options))
    filmed = [one for one in chosen if len(_photos(packs.target, one, 2)) == 2]
    for number, one in enumerate(filmed if odd else []):
        photos = writer.of_target(_photos(packs.target, one, 2))
        real = tuple((REAL, photo) for photo in photos)
        for name in names:
            trials.append(
                Trial(f"{one.id} {name}", Kind.ODD, (), None, ((name, writer.drawn(drawn[name], one)), *real))
            )
        if number < checks:
            same = tuple((WRONG, photo) for photo in photos)
            trials.append(Trial(f"{one.id} odd check", Kind.ODD, (), None, ((RIGHT, writer.mosaic(one)), *same)))
    if not trials:
        raise ReenactError(
            "nothing can be asked: pairs need two methods, and odd ones targets from clips; give other predictions"
        )
    study = Study(title, seed, pairs, odd, tuple(trials))
    write_atomically(out / STUDY, study.to_json())
    return study


class _Pictures:
    """Writes pictures, under names that reveal nothing."""

    def __init__(self, packs: Packs, size: int, folder: Path) -> None:
        self._packs, self._size, self._folder = packs, size, folder
        folder.mkdir(parents=True, exist_ok=True)

    def of_target(self, frames: Sequence[Frame]) -> tuple[str, ...]:
        found = self._packs.target.pictures(frames, self._size)
        return tuple(self._written(found[frame]) for frame in frames)

    def of_driver(self, frame: Frame) -> str:
        return self._written(self._packs.driver.pictures([frame], self._size)[frame])

    def drawn(self, predictions: Predictions, one: Case) -> str:
        path = predictions.path(one)
        assert path is not None
        return self._written(read_prediction(path, self._size))

    def mosaic(self, one: Case) -> str:
        picture = self._packs.target.pictures([one.targets[0]], self._size)[one.targets[0]]
        coarse = Image.fromarray(resize(picture, _MOSAIC))
        return self._written(np.asarray(coarse.resize((self._size, self._size), Image.Resampling.NEAREST)))

    def _written(self, picture: UInt8[np.ndarray, "s s 3"]) -> str:
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
        name = f"{hashlib.sha256(buffer.getvalue()).hexdigest()[:20]}.png"
        if not (self._folder / name).exists():
            write_atomically(self._folder / name, buffer.getvalue())
        return name


def _person(pack: Pack, one: Case) -> list[Frame]:
    """Pictures of the person: the case's targets, and other frames if they are too few."""
    own = list(dict.fromkeys(one.targets))[:_PERSON]
    return own + _photos(pack, one, _PERSON - len(own))


def _photos(pack: Pack, one: Case, count: int) -> list[Frame]:
    """Frames of the targets' clip that no method has seen, evenly spread; fewer if there are no more."""
    sample = pack.sample(one.targets[0].key)
    frames = [Frame(one.targets[0].key, int(i)) for i in np.flatnonzero(sample.seen)]
    free = [frame for frame in frames if frame not in (*one.targets, one.driver)]
    count = min(count, len(free))
    return [free[int((i + 0.5) * len(free) / count)] for i in range(count)]
