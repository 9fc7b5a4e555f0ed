"""CelebV (ReenactGAN, Wu et al. 2018): frames of videos of five people.

Layout; the root is `CelebV` or the folder that holds it::

    root/CelebV/Donald_Trump/Image/*.jpg        and so on for Emmanuel_Macron, Jack_Ma, Kathleen, Theresa_May
    root/CelebV/Donald_Trump/all_98pt.txt       196 coordinates and the file's name; not read

Split: all five people are test. Frames are photos, in the order of time, and `about` has the frame number. Names as
ReenactGAN's repository shows them, `P_Emmanuel_14188.jpg_0000008508.jpg`, contain the frame number of the video
(`frame`) and the number among the frames that were kept (`place`); of other names the last number is the frame's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.research.data.datasets.listing import at_least_one, first_folder, hashed_key, images, require_folder
from reenactor.research.data.items import Item, Kind, Split

PEOPLE = ("Donald_Trump", "Emmanuel_Macron", "Jack_Ma", "Kathleen", "Theresa_May")
_TWO_NUMBERS = re.compile(r".*_([0-9]+)\.[A-Za-z]+_([0-9]+)")
_LAST_NUMBER = re.compile(r".*?([0-9]+)[^0-9]*")


def items(root: Path) -> Iterator[Item]:
    """List the frames, person by person.

    Raises:
        ReenactError: one of the five people is missing.
    """
    require_folder(root, "CelebV's five folders of people in it")
    celebv = first_folder(root, ("CelebV",)) or root
    for name in PEOPLE:
        if not (celebv / name / "Image").is_dir():
            raise ReenactError(f"no {name}/Image in {celebv}; expected a folder Image for each of {', '.join(PEOPLE)}")
    for name in PEOPLE:
        folder = celebv / name / "Image"
        yield from at_least_one(_frames(folder, name), f"no frames in {folder}; expected JPEG files")


def _frames(folder: Path, name: str) -> Iterator[Item]:
    for path in images(folder):
        key, about = hashed_key(f"{name}/{path.name}"), frame_numbers(path.stem)
        yield Item(key, Kind.PHOTO, path, identity=name, split=Split.TEST, about=about)


def frame_numbers(stem: str) -> dict[str, str]:
    """The numbers in a frame's file name: `frame`, and `place` if there are two; empty if there is none."""
    if match := _TWO_NUMBERS.fullmatch(stem):
        return {"frame": str(int(match[1])), "place": str(int(match[2]))}
    match = _LAST_NUMBER.fullmatch(stem)
    return {"frame": str(int(match[1]))} if match else {}
