"""Warnings about photos: which ones a target has, and what they say."""

import cv2
import numpy as np
import pytest

from factories import head
from reenactor import Reenactor
from reenactor.engine.notices import Notice, notices
from reenactor.face.perception.photo_check import CheckedFace, Finding


@pytest.fixture(scope="module")
def reenactor():
    return Reenactor("warp", size=64)


def found(target):
    return [(one.finding, one.photo) for one in target.warnings]


def test_the_first_photo_moves_so_it_alone_must_be_good(reenactor):
    face = head()
    small = cv2.resize(face, (160, 160), interpolation=cv2.INTER_AREA)
    assert found(reenactor.set_target([face])) == []
    assert found(reenactor.set_target([small, face])) == [(Finding.SMALL, 1)]
    assert found(reenactor.set_target([face, small])) == []


def test_in_every_photo_the_right_face_must_be_chosen(reenactor):
    face = head()
    both = np.concatenate([face, face[:, ::-1]], axis=1)
    assert found(reenactor.set_target([face, both])) == [(Finding.SEVERAL_FACES, 2)]
    assert found(reenactor.set_target([both], face=1)) == []


@pytest.mark.parametrize("finding", Finding)
def test_each_is_one_sentence_that_says_what_to_do(finding):
    text = Notice(finding, 1, 2).text()
    assert text.startswith("photo 1: ")
    problem, advice = text.split("; ")
    assert advice.split()[0] in ("use", "choose")
    assert not any(part in text for part in (".", "\n", "--"))
    assert len(text) < 140
    assert problem


def test_names_and_options():
    several = Notice(Finding.SEVERAL_FACES, 2, 3)
    assert several.text() == (
        "photo 2: it shows 3 faces, and the largest is the one that moves; choose by number from the left"
    )
    assert several.text(["a.jpg", "b.jpg"], options=True) == (
        "photo 2 (b.jpg): it shows 3 faces, and the largest is the one that moves; "
        "choose by number from the left with --face"
    )
    driver = Notice(Finding.SEVERAL_FACES, 0, 2)
    assert driver.text(["a.jpg"], options=True) == (
        "the driver: it shows 2 faces, and the largest is followed; choose by number from the left with --driver-face"
    )


def test_what_is_said_of_later_photos():
    checked = CheckedFace(np.zeros((478, 3), np.float32), 2, (Finding.GLASSES, Finding.SEVERAL_FACES))
    assert [one.finding for one in notices(1, checked)] == [Finding.GLASSES, Finding.SEVERAL_FACES]
    assert notices(2, checked) == [Notice(Finding.SEVERAL_FACES, 2, 2)]
