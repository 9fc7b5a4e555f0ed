"""CelebV (ReenactGAN, Wu et al. 2018): frames of videos of five people.

Layout; the root is `CelebV` or the folder that holds it::

    root/CelebV/Donald_Trump/Image/*.jpg        and so on for Emmanuel_Macron, Jack_Ma, Kathleen, Theresa_May
    root/CelebV/Donald_Trump/all_98pt.txt       196 coordinates and the file's name; not read

Split: all five people are test. Consecutive frames are clips: names as ReenactGAN's repository shows them,
`P_Emmanuel_14188.jpg_0000008508.jpg`, contain the frame number of the video (`frame`), taken at 25 a second, and the
number among the frames that were kept (`place`); of other names the last number is the frame's. A clip ends where more
than a second is missing, and `about` has its first frame's numbers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets.listing import (
    at_least_one,
    first_folder,
    hashed_key,
    images,
    require_folder,
    runs,
)
from reenactor.research.data.items import Item, Kind, Split

PEOPLE = ("Donald_Trump", "Emmanuel_Macron", "Jack_Ma", "Kathleen", "Theresa_May")
_NUMBERS = re.compile(r"(?P<video>.*?)(?P<frame>[0-9]+)(?:\.[A-Za-z]+_(?P<place>[0-9]+)|[^0-9]*)")


def items(root: Path) -> Iterator[Item]:
    """List the clips, person by person.

    Raises:
        ReenactError: one of the five people is missing, or frames are not numbered.
    """
    require_folder(root, "CelebV's five folders of people in it")
    celebv = first_folder(root, ("CelebV",)) or root
    for name in PEOPLE:
        if not (celebv / name / "Image").is_dir():
            raise ReenactError(f"no {name}/Image in {celebv}; expected a folder Image for each of {', '.join(PEOPLE)}")
    for name in PEOPLE:
        folder = celebv / name / "Image"
        complaint = f"no consecutive frames in {folder}; expected JPEG files, numbered as ReenactGAN's authors do"
        yield from at_least_one(_clips(folder, name), complaint)


def _clips(folder: Path, person: str) -> Iterator[Item]:
    videos: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path in images(folder):
        match = _NUMBERS.fullmatch(path.stem)
        if match is None:
            raise ReenactError(
                f"{path.name} in {folder} has no frame number; expected names like P_{person}_9.jpg_0000000002.jpg"
            )
        videos[match["video"]].append((int(match["frame"]), path.name))
    for numbered in videos.values():
        for frames in runs(folder, numbered):
            key, about = hashed_key(f"{person}/{frames.names[0]}"), frame_numbers(Path(frames.names[0]).stem)
            yield Item(key, Kind.CLIP, folder, identity=person, split=Split.TEST, frames=frames, about=about)


def frame_numbers(stem: str) -> dict[str, str]:
    """The numbers in a frame's file name: `frame`, and `place` if there are two; empty if there is none."""
    match = _NUMBERS.fullmatch(stem)
    found = match.groupdict() if match else {}
    return {name: str(int(found[name])) for name in ("frame", "place") if found.get(name)}
