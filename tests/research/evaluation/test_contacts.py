"""Contacts and identity of the transfers, on a pack whose clips are synthetic."""

import numpy as np
import pytest

from factories import posed
from reenactor.core import ReenactError
from reenactor.face.geometry import contours, mean_face, with_lips_closed
from reenactor.research.evaluation import contacts
from reenactor.research.evaluation.contacts import measure_contacts


class _Reader:
    """Clips of two people."""

    def __init__(self, folder):
        self.people = ["a", "b"]

    def __getitem__(self, row):
        return type("Sample", (), {"identity": self.people[row]})


def _face(width, opening=0.0, *, shut=False):
    points = with_lips_closed(mean_face().points).astype(np.float64)
    lower = np.clip((points[:, 1] - points[13, 1]) / 0.08, 0, 1)
    lower[[*contours.INNER_LIPS_UPPER, *contours.OUTER_LIPS_UPPER]] = 0
    lower[list(contours.INNER_LIPS_LOWER[1:-1])] = 1
    points[:, 1] += opening * lower
    if shut:
        for upper, below in (
            (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER),
            (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER),
        ):
            points[list(upper)] = points[list(below)]
    return posed(points * [width, 1, 1])


def _clip(width):
    return np.stack([_face(width)] * 10 + [_face(width, 0.12)] * 10 + [_face(width, shut=True)] * 4)


@pytest.fixture
def two_people(monkeypatch):
    monkeypatch.setattr(contacts, "ShardReader", _Reader)
    monkeypatch.setattr(contacts, "clip_landmarks", lambda reader, split: [(0, _clip(0.94)), (1, _clip(1.06))])


def test_by_parts_lips_and_lids_meet(two_people, tmp_path):
    found = measure_contacts(tmp_path, None)
    assert set(found) == {"relative", "transformer", "parts"}
    parts, relative = found["parts"], found["relative"]
    assert parts["lips that meet"].estimate < 0.2
    assert parts["lids that meet"].estimate < 0.2
    # The first target is the frame with the widest mouth: there the movement is added to it.
    assert relative["lips that meet"].estimate > 5
    assert parts["lids that open"].estimate < 3
    assert -30 < parts["leak"].estimate < 60


def test_one_person_says_nothing(two_people, monkeypatch, tmp_path):
    monkeypatch.setattr(_Reader, "__getitem__", lambda self, row: type("Sample", (), {"identity": "a"}))
    with pytest.raises(ReenactError, match="not clips of two people"):
        measure_contacts(tmp_path, None)
