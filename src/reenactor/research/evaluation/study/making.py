"""Makes a study of exported predictions."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import ReenactError
from reenactor.core.files import write_atomically
from reenactor.face.geometry import resize
from reenactor.research.evaluation.cases import Case
from reenactor.research.evaluation.packs import Frame, Pack, Packs
from reenactor.research.evaluation.predictions import Predictions, check_comparable, read_prediction
from reenactor.research.evaluation.study.plan import PICTURES, REAL, RIGHT, STUDY, WRONG, Kind, Study, Trial

EXAMPLES = 150
"""Trials of each kind (paper B)."""
_PERSON = 3
"""Pictures of the person beside a pair (paper B)."""
_MOSAIC = 12
"""Squares along each side of the mosaic, the wrong choice of a check."""


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
