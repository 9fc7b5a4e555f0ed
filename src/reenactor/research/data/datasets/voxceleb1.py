"""VoxCeleb1 (Nagrani et al. 2017): interviews of 1,251 people on YouTube.

The authors never published its videos, so there are several layouts. The first one that is there is read:

1. the authors' frame lists beside whole videos; a video that is not there is passed over::

    root/txt/id10270/5r0dWxy17C8/00001.txt       (also below vox1_dev_txt and vox1_test_txt)
    root/videos/5r0dWxy17C8.mp4

2. one video an utterance::

    root/mp4/id10270/5r0dWxy17C8/00001.mp4

3. crops as the first-order model's video-preprocessing makes them, in `train` and `test`::

    root/train/id10001#7w0IBEWc9Qw#000993#001143.mp4

4. the authors' frames of faces, as photos; the denser `unzippedIntervalFaces/data` has one more level::

    root/unzippedFaces/Eartha_Kitt/1.6/5r0dWxy17C8/*.jpg

Frame lists: header lines (`Identity`, `Reference`, `Offset`, `FV Conf`, `ASD Conf`), then `FRAME X Y W H` and rows.
Frames count at 25 a second from the video's beginning, boxes are pixels of the video scaled to 360 lines. To turn these
into fractions the video's shape must be known, so layout 1 opens each video once; if it cannot, items have no boxes.

Official lists, each optional, in the root: `vox1_meta.csv` (names), `veri_test.txt`, `iden_split.txt`.

Split: the verification split, in which people are disjoint: id10270 to id10309, whose names start with E, and whoever
else `veri_test.txt` names, are test; all others are train, and nobody is val. The identification split of
`iden_split.txt` has everybody on every side; it is kept in `about` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reenactor.core import MediaError, ReenactError
from reenactor.media import VIDEO_SUFFIXES, is_image, is_video
from reenactor.media.video_reader import VideoReader
from reenactor.research.data.datasets._frame_list import FPS, FrameList
from reenactor.research.data.datasets._listing import (
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
from reenactor.research.data.items import Item, Kind, Split

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

    def split(self, person: str) -> Split:
        return Split.TEST if person in self.test else Split.TRAIN

    def about(self, person: str, video: str, utterance: str = "") -> dict[str, str]:
        about = {"source": f"https://www.youtube.com/watch?v={video}", **self.people.get(person, {})}
        if utterance:
            about["utterance"] = utterance
        if number := self.iden.get(f"{person}/{video}/{utterance}"):
            about["iden_split"] = _IDEN.get(number, number)
        return about


def _whole_videos(texts: list[Path], videos: Path, lists: _Lists) -> Iterator[Item]:
    for person in _people_folders(texts):
        for folder in folders(person):
            path = next((p for s in VIDEO_SUFFIXES if (p := videos / f"{folder.name}{s}").is_file()), None)
            if path is None:
                continue
            aspect = _aspect(path)
            for entry in entries(folder):
                if not entry.name.endswith(".txt"):
                    continue
                utterance = entry.name.removesuffix(".txt")
                frames = FrameList.read(folder / entry.name)
                yield Item(
                    key="-".join(map(slug, (person.name, folder.name, utterance))),
                    kind=Kind.CLIP,
                    path=path,
                    identity=person.name,
                    split=lists.split(person.name),
                    start_s=float(frames.numbers[0] / FPS),
                    end_s=float((frames.numbers[-1] + 1) / FPS),
                    boxes=frames.boxes(aspect),
                    about=lists.about(person.name, folder.name, utterance) | frames.about,
                )


def _utterances(root: Path, lists: _Lists) -> Iterator[Item]:
    for person in _people_folders([root]):
        for folder in folders(person):
            for entry in entries(folder):
                if is_video(entry.name) and entry.is_file():
                    utterance = Path(entry.name).stem
                    yield Item(
                        key="-".join(map(slug, (person.name, folder.name, utterance))),
                        kind=Kind.CLIP,
                        path=folder / entry.name,
                        identity=person.name,
                        split=lists.split(person.name),
                        about=lists.about(person.name, folder.name, utterance),
                    )


def _crops(roots: list[Path], lists: _Lists) -> Iterator[Item]:
    for root in roots:
        for entry in entries(root):
            parts = Path(entry.name).stem.split("#")
            if len(parts) < 3 or not is_video(entry.name) or not entry.is_file():
                continue
            person = _checked(parts[0], root)
            yield Item(
                key="-".join(map(slug, parts)),
                kind=Kind.CLIP,
                path=root / entry.name,
                identity=person,
                split=lists.split(person),
                about=lists.about(person, parts[1]),
            )


def _faces(root: Path, lists: _Lists) -> Iterator[Item]:
    for named in folders(root):
        name = text_of(named.name)
        person = lists.ids.get(_plain(name))
        # Without vox1_meta.csv the letter decides, as it did for the authors.
        unlisted = Split.TEST if name.startswith("E") else Split.TRAIN
        for folder in folders(named / "1.6") if (named / "1.6").is_dir() else ():
            for path in media(folder):
                if is_image(path):
                    yield Item(
                        key=hashed_key(path.relative_to(root).as_posix()),
                        kind=Kind.PHOTO,
                        path=path,
                        identity=person or name,
                        split=lists.split(person) if person else unlisted,
                        about={"name": name, **lists.about(person or "", folder.name), "frame": path.stem},
                    )


def _people_folders(roots: list[Path]) -> Iterator[Path]:
    for root in roots:
        for folder in folders(root):
            _checked(folder.name, root)
            yield folder


def _checked(person: str, place: Path) -> str:
    if not _PERSON.fullmatch(person):
        raise ReenactError(f"{person} in {place} is nobody of VoxCeleb1; expected id10001 to id11251")
    return person


def _people(path: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for number, line in lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if number == 1:
            continue
        if len(cells) < 4 or not _PERSON.fullmatch(cells[0]):
            raise ReenactError(f"{path} line {number} is not 'id1.... name gender nationality set'; download it again")
        found[cells[0]] = {"name": text_of(cells[1]), "gender": cells[2], "nationality": cells[3]}
    return found


def _plain(name: str) -> str:
    """A name as a folder may have it: VGG's folders lack the full stop of "Jr."."""
    return text_of(name).rstrip(".")


def _aspect(path: Path) -> float | None:
    """Width over height; None of a video that cannot be opened, which whoever reads it will report."""
    try:
        width, height = VideoReader(path, precise=False).size
    except MediaError:
        return None
    return width / height
