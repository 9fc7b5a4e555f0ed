"""VoxCeleb's text file about one utterance: which frames of the video it is, and where the face is in each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from reenactor.core import ReenactError
from reenactor.research.data.datasets._listing import lines
from reenactor.research.data.items import FaceBoxes

FPS = 25.0
"""Of the frame numbers, whatever the video's own rate."""

_LINES = 360
"""Height of the picture that the boxes are pixels of (`REF_FRAME_SIZE` of video-preprocessing's crop_vox.py)."""

_HEADERS = {"Offset": "offset", "FV Conf": "face_verification", "ASD Conf": "active_speaker"}


@dataclass(frozen=True)
class FrameList:
    """One utterance.

    Args:
        numbers: (n,) frame numbers at 25 a second from the video's beginning, increasing.
        boxes_px: (n, 4) left, top, width, height in pixels of the video scaled to 360 lines.
        about: the header's facts.
    """

    numbers: Int[np.ndarray, " n"]
    boxes_px: Float[np.ndarray, "n 4"]
    about: dict[str, str]

    @staticmethod
    def read(path: Path) -> FrameList:
        """Read a file such as `txt/id10270/5r0dWxy17C8/00001.txt`.

        Raises:
            ReenactError: no frames in it, or a line is damaged.
        """
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
                rows.append(_row(line, f"{path} line {number}"))
        if not rows:
            raise ReenactError(f"{path} lists no frames; expected lines of FRAME X Y W H, so unpack it again")
        values = np.array(rows)
        if (np.diff(values[:, 0]) <= 0).any():
            raise ReenactError(f"the frame numbers of {path} do not increase; unpack it again")
        return FrameList(values[:, 0].astype(np.int64), values[:, 1:].astype(np.float32), about)

    def boxes(self, aspect: float | None) -> FaceBoxes | None:
        """The boxes as fractions of a picture of that width over height; None if it is not known."""
        if aspect is None:
            return None
        width, height = np.float32(_LINES * aspect), np.float32(_LINES)
        return FaceBoxes(self.numbers, self.boxes_px / np.array([width, height, width, height]), FPS)


def _row(line: str, where: str) -> list[float]:
    try:
        row = [float(cell) for cell in line.split()]
    except ValueError:
        row = []
    if len(row) != 5 or not row[0].is_integer() or row[0] < 0:
        raise ReenactError(f"{where} is not FRAME X Y W H in numbers; unpack the file again")
    return row
