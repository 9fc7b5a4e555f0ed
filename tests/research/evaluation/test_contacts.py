"""Contacts and identity of the transfers, on a pack whose clips are synthetic."""

import numpy as np
import pytest

from factories import posed
from reenactor.core import ReenactError
from reenactor.core.landmark_codec import encode_landmarks
from reenactor.face.geometry import contours, mean_face, with_lips_closed
from reenactor.research.data import Sample
from reenactor.research.evaluation import contacts
from reenactor.research.evaluation.contacts import measure_contacts


class _Reader:
    """Clips of two people, and a photo of a third, whose mouth is open."""

    def __init__(self, folder):
        self.people = ["a", "b", "c"]

    def __getitem__(self, row):
        name = self.people[row]
        meta = {"start_s": 2.0, "time_base": "1/25", "pts": list(range(24))}
        index = {"identity": name, "source": f"{name}.mp4", "kind": "photo" if name == "c" else "clip", "frames": 24}
        return Sample(index, b"", encode_landmarks(_face(1.0, 0.12)[None], 16), meta)


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
    monkeypatch.setattr(contacts, "rows_of", lambda reader, kind, split: np.array([2]))


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


def test_closed_lips_close_photos_with_open_mouths(two_people, tmp_path):
    found = measure_contacts(tmp_path, None)
    assert found["parts"]["closed lips missed"].estimate == 0
    assert found["relative"]["closed lips missed"].estimate == 100


def test_blinks_are_counted_where_the_list_says(two_people, tmp_path):
    blinks = tmp_path / "blinks.csv"
    assert "blinks missed" not in measure_contacts(tmp_path, None)["parts"]
    blinks.write_text("source,time_s\na.mp4,2.84\nnobody.mp4,2.0\nb.mp4,99\n")  # frame 21 of 24: closed
    assert measure_contacts(tmp_path, None, blinks)["parts"]["blinks missed"].estimate == 0
    blinks.write_text("source,time_s\na.mp4,2.84\na.mp4,2.2\n")  # frame 5: open
    assert measure_contacts(tmp_path, None, blinks)["parts"]["blinks missed"].estimate == 50


@pytest.mark.parametrize("text", ["a.mp4 2.84\n", "source,time_s\na.mp4,soon\n", "source,time_s\na.mp4\n", None])
def test_no_list_of_blinks(text, two_people, tmp_path):
    blinks = tmp_path / "blinks.csv"
    if text is not None:
        blinks.write_text(text)
    with pytest.raises(ReenactError, match="is no list of blinks"):
        measure_contacts(tmp_path, None, blinks)


def test_one_person_says_nothing(two_people, monkeypatch, tmp_path):
    monkeypatch.setattr(_Reader, "__init__", lambda self, folder: setattr(self, "people", ["a", "a", "c"]))
    with pytest.raises(ReenactError, match="not clips of two people"):
        measure_contacts(tmp_path, None)
