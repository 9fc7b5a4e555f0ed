"""What about the photos or the driver will make a result look wrong, in sentences that say what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reenactor.face.perception.photo_check import CheckedFace, Finding

_SENTENCES = {
    Finding.EYES_CLOSED: "the eyes are closed, and open ones are invented; use a photo with open eyes",
    Finding.MOUTH_OPEN: "the mouth is open, and closed lips are guessed; use a photo with closed lips",
    Finding.MOUTH_COVERED: "the mouth is covered, and what covers it will not move believably; "
    "use a photo that shows the whole face",
    Finding.GLASSES: "glasses may bend when the head turns; use a photo without them, or turn the head little",
    Finding.PROFILE: "the head is turned far to the side, and the other side of the face is invented; "
    "use a photo that faces the camera",
    Finding.SMALL: "the face is small and will be soft; use a photo with a larger face",
    Finding.DRAWING: "this looks like a drawing, and drawings are not what this is made for; use a photo",
    Finding.OTHER_WEIGHTS: "it was tuned on another model or other weights, and is drawn untuned; "
    "use a file that was tuned on these",
    Finding.OTHER_PERSON: "this may be another person than in photo 1; use photos of one person",
}


@dataclass(frozen=True)
class Notice:
    """A finding about a photo or the driver.

    Args:
        finding: what it is.
        photo: number of the photo, from 1; 0 for the driver.
        faces: how many faces it shows.
    """

    finding: Finding
    photo: int
    faces: int = 1

    def text(self, names: Sequence[str] = (), *, options: bool = False) -> str:
        """One sentence.

        Args:
            names: of the photos, to be added to their numbers.
            options: name the command line's options.
        """
        where = f"photo {self.photo}" if self.photo else "the driver"
        if self.photo and names:
            where += f" ({names[self.photo - 1]})"
        if self.finding is not Finding.SEVERAL_FACES:
            return f"{where}: {_SENTENCES[self.finding]}"
        how = f" with {'--face' if self.photo else '--driver-face'}" if options else ""
        what = "is the one that moves" if self.photo else "is followed"
        return f"{where}: it shows {self.faces} faces, and the largest {what}; choose by number from the left{how}"


def notices(photo: int, found: CheckedFace) -> list[Notice]:
    """What there is to say about a photo: of those after the first, which is the picture that moves, only the faces."""
    return [
        Notice(finding, photo, found.faces)
        for finding in found.findings
        if photo == 1 or finding is Finding.SEVERAL_FACES
    ]
