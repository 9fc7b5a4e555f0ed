"""VoxCeleb1 (Nagrani et al. 2017): interviews of 1,251 people on YouTube.

The authors never published its videos, so there are several layouts. The first one found is read:

1. the authors' frame lists beside whole videos; missing videos are passed over::

    root/txt/id10270/5r0dWxy17C8/00001.txt       (also below vox1_dev_txt and vox1_test_txt)
    root/videos/5r0dWxy17C8.mp4

2. one video an utterance::

    root/mp4/id10270/5r0dWxy17C8/00001.mp4

3. crops as the first-order model's video-preprocessing makes them, in `train` and `test`::

    root/train/id10001#7w0IBEWc9Qw#000993#001143.mp4

4. the authors' frames of faces; consecutive ones are clips. The first has a frame a second, named by its number in the
   video; the second has every sixth of each utterance, and is read if both are there::

    root/unzippedFaces/Eartha_Kitt/1.6/5r0dWxy17C8/0000375.jpg
    root/unzippedIntervalFaces/data/Eartha_Kitt/1.6/5r0dWxy17C8/1/05.jpg

Frame lists have header lines (`Identity`, `Reference`, `Offset`, `FV Conf`, `ASD Conf`), then `FRAME X Y W H` and rows.
Frames count at 25 a second from the video's beginning, boxes are pixels of the video scaled to 360 lines. To turn these
into fractions the video's shape must be known, so layout 1 opens each video once; if it cannot, items have no boxes.

Official lists, each optional, in the root: `vox1_meta.csv` (names), `veri_test.txt`, `iden_split.txt`.

Split: the verification split, in which people are disjoint. id10270 to id10309, whose names start with E, and others
that `veri_test.txt` names are test; all others are train, and nobody is val. The identification split of
`iden_split.txt` has every person in train, val and test; it is only kept in `about`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reenactor.core import MediaError, ReenactError
from reenactor.media import VIDEO_SUFFIXES, is_video
from reenactor.media.video_reader import VideoReader
from reenactor.research.data.datasets.listing import (
    FRAMES_PER_S,
    at_least_one,
    entries,
    folders,
    hashed_key,
    images,
    lines,
    require_folder,
    runs,
    slug,
    table,
    text_of,
)
from reenactor.research.data.items import FaceBoxes, Item, Kind, Split

_TEST = frozenset(f"id{number}" for number in range(10270, 10310))
_PERSON = re.compile(r"id1[01][0-9]{3}")
_TEXTS = ("txt", "vox1_dev_txt/txt", "vox1_test_txt/txt")
_FACES = ("unzippedIntervalFaces/data", "unzippedFaces")
_INTERVAL = 6
"""Frames of the video from one of unzippedIntervalFaces to the next: they are 5,078,961 of 352 hours, four a second."""
_IDEN = {"1": "train", "2": "val", "3": "test"}
_HEADERS = {"Offset": "offset", "FV Conf": "face_verification", "ASD Conf": "active_speaker"}
_LINES = 360
"""Height of the picture that the boxes are pixels of (`REF_FRAME_SIZE` of video-preprocessing's crop_vox.py)."""
_EXPECTED = "txt and videos, or mp4, or train and test with crops, or unzippedFaces"


def items(root: Path) -> Iterator[Item]:
    """List the clips, person by person.

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
        found, where = _faces(faces[0], lists), f"{faces[0]}/<name>/1.6/<video>/, at most a second apart"
    elif texts:
        raise ReenactError(f"{root} has frame lists but no videos; expected them at {root / 'videos'}/<video>.mp4")
    else:
        raise ReenactError(f"no VoxCeleb1 in {root}; expected {_EXPECTED}")
    yield from at_least_one(found, f"VoxCeleb1 is empty; expected files in {where}")


@dataclass(frozen=True)
class _Lists:
    """The official lists: facts about people, ids by name, people in test, number of the identification split."""

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
            ids={_folder_name(facts["name"]): person for person, facts in people.items()},
            test=_TEST | test,
            iden={path.removesuffix(".wav"): number for number, path in table(iden)} if iden.is_file() else {},
        )

    def split(self, person: str) -> Split:
        return Split.TEST if person in self.test else Split.TRAIN

    def about(self, person: str, video: str, utterance: str = "") -> dict[str, str]:
        about = {"source": f"https://www.youtube.com/watch?v={video}", **self.people.get(person, {})}
        if utterance:
            about["utterance"] = utterance
        if number := self.iden.get(f"{person}/{video}/{utterance}"):
            about["iden_split"] = _IDEN.get(number, number)
        return about

    def clip(self, path: Path, parts: Sequence[str], *, utterance: str = "") -> Item:
        """A clip whose name consists of a person, a video, and what tells its clips apart."""
        person, video, *_ = parts
        about = self.about(person, video, utterance)
        return Item("-".join(map(slug, parts)), Kind.CLIP, path, person, self.split(person), about=about)


def _whole_videos(texts: list[Path], videos: Path, lists: _Lists) -> Iterator[Item]:
    for folder in _video_folders(texts):
        path = next((p for s in VIDEO_SUFFIXES if (p := videos / f"{folder.name}{s}").is_file()), None)
        if path is None:
            continue
        aspect = _aspect(path)
        for entry in entries(folder):
            if entry.name.endswith(".txt"):
                utterance = entry.name.removesuffix(".txt")
                clip = lists.clip(path, (folder.parent.name, folder.name, utterance), utterance=utterance)
                yield _cut(clip, folder / entry.name, aspect)


def _utterances(root: Path, lists: _Lists) -> Iterator[Item]:
    for folder in _video_folders([root]):
        for entry in entries(folder):
            if is_video(entry.name) and entry.is_file():
                utterance = Path(entry.name).stem
                parts = (folder.parent.name, folder.name, utterance)
                yield lists.clip(folder / entry.name, parts, utterance=utterance)


def _crops(roots: list[Path], lists: _Lists) -> Iterator[Item]:
    for root in roots:
        for entry in entries(root):
            parts = Path(entry.name).stem.split("#")
            if len(parts) >= 3 and is_video(entry.name) and entry.is_file():
                _check_person(parts[0], root)
                yield lists.clip(root / entry.name, parts)


def _faces(root: Path, lists: _Lists) -> Iterator[Item]:
    for named in folders(root):
        name = text_of(named.name)
        person = lists.ids.get(_folder_name(name))
        # Without vox1_meta.csv the first letter decides, as it did for the authors.
        unlisted = Split.TEST if name.startswith("E") else Split.TRAIN
        for video in folders(named / "1.6") if (named / "1.6").is_dir() else ():
            for folder in (video, *folders(video)):
                utterance = "" if folder == video else folder.name.zfill(5)
                facts = {"name": name, **lists.about(person or "", video.name, utterance)}
                for frames in runs(folder, _every_sixth(folder) if utterance else _numbered(folder)):
                    first = folder / frames.names[0]
                    yield Item(
                        key=hashed_key(first.relative_to(root).as_posix()),
                        kind=Kind.CLIP,
                        path=folder,
                        identity=person or name,
                        split=lists.split(person) if person else unlisted,
                        frames=frames,
                        about=facts | {"frame": first.stem},
                    )


def _numbered(folder: Path) -> Iterator[tuple[int, str]]:
    """Pictures named by their frame numbers."""
    return ((int(path.stem), path.name) for path in images(folder) if path.stem.isdecimal())


def _every_sixth(folder: Path) -> Iterator[tuple[int, str]]:
    """Pictures that are every sixth frame, whatever their names."""
    return ((_INTERVAL * i, path.name) for i, path in enumerate(images(folder)))


def _video_folders(roots: list[Path]) -> Iterator[Path]:
    """The folders root/person/video."""
    for root in roots:
        for person in folders(root):
            _check_person(person.name, root)
            yield from folders(person)


def _check_person(person: str, folder: Path) -> None:
    if not _PERSON.fullmatch(person):
        raise ReenactError(f"{person} in {folder} is no identity of VoxCeleb1; expected id10001 to id11251")


def _people(path: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for number, line in lines(path):
        columns = [column.strip() for column in line.split("\t")]
        if number == 1:
            continue
        if len(columns) < 4 or not _PERSON.fullmatch(columns[0]):
            raise ReenactError(f"{path} line {number} is not 'id1.... name gender nationality set'; download it again")
        found[columns[0]] = {"name": text_of(columns[1]), "gender": columns[2], "nationality": columns[3]}
    return found


def _folder_name(name: str) -> str:
    """A name as VGG's folders have it: without the full stop of "Jr."."""
    return text_of(name).rstrip(".")


def _aspect(path: Path) -> float | None:
    """Width over height; None for a video that cannot be opened (processing it will report why)."""
    try:
        width, height = VideoReader(path, precise=False).size
    except MediaError:
        return None
    return width / height


def _cut(clip: Item, path: Path, aspect: float | None) -> Item:
    """The part of a video that a frame list describes, with the list's boxes if the video's shape is known."""
    about: dict[str, str] = {}
    rows: list[list[float]] = []
    in_frames = False
    for number, line in lines(path):
        if line.split()[0] == "FRAME":
            in_frames = True
        elif not in_frames:
            name, _, value = (part.strip() for part in line.partition(":"))
            if name in _HEADERS and value:
                about[_HEADERS[name]] = value.split()[0]
        else:
            rows.append(_frame_row(line, f"{path} line {number}"))
    if not rows:
        raise ReenactError(f"{path} lists no frames; expected lines of FRAME X Y W H, so unpack it again")
    values = np.array(rows)
    frames = values[:, 0].astype(np.int64)
    if (np.diff(frames) <= 0).any():
        raise ReenactError(f"the frame numbers of {path} do not increase; unpack it again")
    boxes = None
    if aspect is not None:
        width, height = np.float32(_LINES * aspect), np.float32(_LINES)
        fractions = values[:, 1:].astype(np.float32) / np.array([width, height, width, height])
        boxes = FaceBoxes(frames, fractions, float(FRAMES_PER_S))
    start_s, end_s = float(frames[0] / FRAMES_PER_S), float((frames[-1] + 1) / FRAMES_PER_S)
    return replace(clip, start_s=start_s, end_s=end_s, boxes=boxes, about=clip.about | about)


def _frame_row(line: str, where: str) -> list[float]:
    try:
        row = [float(column) for column in line.split()]
    except ValueError:
        row = []
    if len(row) != 5 or not row[0].is_integer() or row[0] < 0:
        raise ReenactError(f"{where} is not FRAME X Y W H in numbers; unpack the file again")
    return row
