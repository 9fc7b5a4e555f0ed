"""CelebV (ReenactGAN, Wu et al. 2018): frames of videos of five people.

Layout; the root is `CelebV` or the folder that holds it::

    root/CelebV/Donald_Trump/Image/*.jpg        and so on for Emmanuel_Macron, Jack_Ma, Kathleen, Theresa_May
    root/CelebV/Donald_Trump/all_98pt.txt       196 coordinates and the file's name; not read

Split: all five people are test. Frames are photos, in the order of time; `about` has the frame number. Names such as
ReenactGAN's repository shows, `P_Emmanuel_14188.jpg_0000008508.jpg`, hold the frame of the video and the place among
the frames that were kept; of any other name the last number counts as the frame's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from reenactor.core import ReenactError
from reenactor.media import is_image
from reenactor.research.data.datasets._listing import at_least_one, entries, hashed_key, require_folder
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
    celebv = root / "CelebV" if (root / "CelebV").is_dir() else root
    for name in PEOPLE:
        if not (celebv / name / "Image").is_dir():
            raise ReenactError(f"no {name}/Image in {celebv}; expected a folder Image for each of {', '.join(PEOPLE)}")
    for name in PEOPLE:
        images = celebv / name / "Image"
        yield from at_least_one(_frames(images, name), f"no frames in {images}; expected JPEG files")


def _frames(images: Path, name: str) -> Iterator[Item]:
    for entry in entries(images):
        if is_image(entry.name) and entry.is_file():
            yield Item(
                key=hashed_key(f"{name}/{entry.name}"),
                kind=Kind.PHOTO,
                path=images / entry.name,
                identity=name,
                split=Split.TEST,
                about=_numbers(Path(entry.name).stem),
            )


def _numbers(stem: str) -> dict[str, str]:
    if match := _TWO_NUMBERS.fullmatch(stem):
        return {"frame": str(int(match[1])), "place": str(int(match[2]))}
    match = _LAST_NUMBER.fullmatch(stem)
    return {"frame": str(int(match[1]))} if match else {}
