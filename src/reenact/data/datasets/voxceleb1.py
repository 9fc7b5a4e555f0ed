"""VoxCeleb1 (Nagrani et al. 2017): interviews of 1,251 people on YouTube.

The authors never published its videos, so there are several layouts. The first one that is there is read::

    root/txt/id10270/5r0dWxy17C8/00001.txt           1. the authors' frame lists (also in vox1_dev_txt/txt and
    root/videos/5r0dWxy17C8.mp4                         vox1_test_txt/txt) beside whole videos; those not there are passed
    root/mp4/id10270/5r0dWxy17C8/00001.mp4           2. one video an utterance
    root/train/id10001#7w0IBEWc9Qw#000993#001143.mp4 3. crops as the first-order model's video-preprocessing makes them,
    root/test/...                                       in train and test
    root/unzippedFaces/Eartha_Kitt/1.6/5r0dWxy17C8/*.jpg   4. the authors' face frames, 1 a second; also
    root/unzippedIntervalFaces/data/...                       the denser ones, with a folder an utterance

Frame lists: header lines (`Identity`, `Reference`, `Offset`, `FV Conf`, `ASD Conf`), then `FRAME X Y W H` and rows; frames
count at 25 a second from the video's beginning, boxes are pixels of the video scaled to 360 lines. To turn these into
fractions the video's shape must be known, so layout 1 opens each video once; without that the item has no boxes.

Official lists, each optional, beside them: `vox1_meta.csv` (names), `veri_test.txt`, `iden_split.txt`.

Split: the verification split, in which people are disjoint: id10270 to id10309, whose names start with E, and whoever else
`veri_test.txt` names, are test, all others train; nobody is val. The identification split of `iden_split.txt` has everybody
on every side; it is kept in `about` only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reenact.core import MediaError, ReenactError
from reenact.data.datasets._listing import (
    at_least_one,
    entries,
    folders,
    hashed_key,
    lines,
    media,
    require_folder,
    slug,
    table,
    text_of,
)
from reenact.data.items import FaceBoxes, Item, Kind, Split
from reenact.media.formats import is_image, is_video
from reenact.media.video_reader import VideoReader

FPS = 25.0
"""Of the frame numbers, whatever the video's own rate."""

_LINES = 360
"""Height of the picture that the boxes are pixels of (video-preprocessing, crop_vox.py: `REF_FRAME_SIZE`)."""

_TEST = frozenset(f"id{number}" for number in range(10270, 10310))
_PERSON = re.compile(r"id1[01][0-9]{3}")
_TEXTS = ("txt", "vox1_dev_txt/txt", "vox1_test_txt/txt")
_FACES = ("unzippedFaces", "unzippedIntervalFaces/data")
_IDEN = {"1": "train", "2": "val", "3": "test"}
_EXPECTED = "txt and videos, or mp4, or train and test with crops, or unzippedFaces"


def items(root: Path) -> Iterator[Item]:
    """List the clips (of layout 4: photos), person by person.

    Raises:
        ReenactError: none of the layouts, nothing in it, or a damaged list.
    """
    require_folder(root, f"VoxCeleb1 in it: {_EXPECTED}")
    texts = [root / name for name in _TEXTS if (root / name).is_dir()]
    crops = [root / name for name in ("train", "test") if (root / name).is_dir()]
    faces = [root / name for name in _FACES if (root / name).is_dir()]
    lists = _Lists.read(root)
    if texts and (root / "videos").is_dir():
        found, where = _whole_videos(texts, root / "videos", lists), f"{root / 'videos'} named as in {texts[0]}"
    elif (root / "mp4").is_dir():
        found, where = _utterances(root / "mp4", lists), f"{root / 'mp4'}/id1.../<video>/"
    elif crops:
        found, where = _crops(crops, lists), f"{crops[0]} named id1...#<video>#<begin>#<end>.mp4"
    elif faces:
        found, where = _faces(faces[0], lists), f"{faces[0]}/<name>/1.6/<video>/"
    elif texts:
        raise ReenactError(f"{root} has frame lists but no videos; expected them at {root / 'videos'}/<video>.mp4")
    else:
        raise ReenactError(f"no VoxCeleb1 in {root}; expected {_EXPECTED}")
    yield from at_least_one(found, f"VoxCeleb1 is empty; expected files in {where}")


@dataclass(frozen=True)
class _Lists:
    """The official lists."""

    people: dict[str, dict[str, str]]
    ids: dict[str, str]
    test: frozenset[str]
    iden: dict[str, str]

    @staticmethod
    def read(root: Path) -> _Lists:
        meta, veri, iden = (root / name for name in ("vox1_meta.csv", "veri_test.txt", "iden_split.txt"))
        people = _people(meta) if meta.is_file() else {}
        test = {name for _, line in lines(veri) for name in _PERSON.findall(line)} if veri.is_file() else set()
        return _Lists(
            people=people,
            ids={_plain(facts["name"]): person for person, facts in people.items()},
            test=_TEST | test,
            iden={path.removesuffix(".wav"): number for number, path in table(iden)} if iden.is_file() else {},
        )

    def clip(self, key: str, path: Path, person: str, about: dict[str, str], **rest: object) -> Item:
        raise NotImplementedError

    def split(self, person: str) -> Split:
        return Split.TEST if person in self.test else Split.TRAIN

    def about(self, person: str, video: str, utterance: str = "") -> dict[str, str]:
        about = {"source": f"https://www.youtube.com/watch?v={video}", **self.people.get(person, {})}
        if utterance:
            about["utterance"] = utterance
        if number := self.iden.get(f"{person}/{video}/{utterance}"):
            about["iden_split"] = _IDEN.get(number, number)
        return about
