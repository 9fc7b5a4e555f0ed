"""Person files: made once of photos and videos, then a target like a photo, without reading the videos again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reenactor import __version__
from reenactor.core import ReenactError
from reenactor.core.options import check_face_number, check_still
from reenactor.core.progress import Progress, Silent
from reenactor.engine.cache import FaceCache, faces_folder
from reenactor.engine.target_pictures import TargetPicture, TargetPictures
from reenactor.face.geometry import FACE_CROP_SCALE, face_crop, in_mean_pose
from reenactor.face.geometry.looks import UNITS, looks
from reenactor.face.retarget.neutral import neutral_face
from reenactor.media.person_file import (
    MAX_PICTURES,
    PERSON_SIDE_PX,
    Person,
    PersonPicture,
    is_person,
    webp_of,
)
from reenactor.media.provenance import SourceFile

_AROUND = 1.25
"""Side of what is kept of a picture over that of a face crop: other models may see a little more."""
_TURNED_DEG = 15.0
_WIDE_OPEN = 0.15
"""Opening of a mouth that shows its inside."""
_SHUT = 0.4
"""Of the widest opening of the lids: less is nearly closed."""


def make_person(
    sources: Sequence[str | os.PathLike[str]],
    *,
    face: int | None = None,
    still: int | None = None,
    progress: Progress | None = None,
) -> Person:
    """Choose the pictures of photos and videos that show most of one person; `write_person` keeps them.

    Args:
        sources: 1 to 32 photos and videos; the first is the picture that moves, or holds it.
        face, still: as for `Reenactor.set_target`.
        progress: receives the progress through videos.

    Raises:
        MediaError: one of them cannot be read.
        NoFaceError: one of them does not show the face.
        ReenactError: too many of them, or person files.
    """
    check_face_number(face)
    check_still(still)
    paths = [Path(one) for one in sources]
    if not 1 <= len(paths) <= MAX_PICTURES:
        raise ReenactError(f"{len(paths)} photos were given; give one to {MAX_PICTURES}, all of one person")
    if again := next(filter(is_person, paths), None):
        raise ReenactError(f"{again} is a person already; give the photos and videos it was made from, and new ones")
    files = tuple(SourceFile.of("target", path) for path in paths)
    read = TargetPictures(PERSON_SIDE_PX, face, FaceCache(faces_folder()), progress or Silent())
    pictures = tuple(_kept(one, whole=i == 0) for i, one in enumerate(read(paths, MAX_PICTURES, still=still)))
    seen = read.looked_at
    found = looks(seen) * UNITS
    return Person(
        pictures=pictures[:MAX_PICTURES],
        neutral=neutral_face(in_mean_pose(seen)[1]).astype(np.float32),
        ranges=np.stack([found.min(0), found.max(0)]).astype(np.float32),
        sources=files,
        software=f"reenactor {__version__}",
    )


def _kept(one: TargetPicture, *, whole: bool) -> PersonPicture:
    """A picture as a person file keeps it."""
    pixels, mesh_px = one.pixels, one.found.mesh
    if not whole:
        size = (pixels.shape[1], pixels.shape[0])
        rows, columns = face_crop(mesh_px, scale=_AROUND * FACE_CROP_SCALE, picture_px=size).inside(*size)
        pixels = pixels[rows, columns]
        mesh_px = mesh_px - np.array([columns.start, rows.start, 0], np.float32)
    return PersonPicture(
        webp=webp_of(pixels),
        mesh_px=mesh_px.astype(np.float32),
        faces=one.found.faces,
        findings=tuple(finding.name for finding in one.found.findings),
        source=one.source,
        frame=one.frame,
        time_s=one.time_s,
    )


def described(person: Person) -> list[str]:
    """Lines about what a person's pictures show, and what a better recording would show, for the user."""
    (left, up, *_), (right, down, mouth, _, lids) = person.ranges.tolist()
    lines = []
    for number, source in enumerate(person.sources, start=1):
        frames = [one.frame for one in person.pictures if one.source == number]
        pictures = "1 picture" if len(frames) == 1 else f"{len(frames)} pictures"
        moves = "" if number > 1 or frames[0] is None else f"; frame {frames[0]} is the one that moves"
        lines.append(f"{source.name}: {pictures}{moves}")
    shut = person.ranges[0, 4] < _SHUT * lids
    lines.append(
        f"the head turns from {left:.0f} to {right:.0f} degrees and nods from {up:.0f} to {down:.0f}; the mouth "
        f"{'opens wide' if mouth > _WIDE_OPEN else 'never opens wide'}, the eyes {'close' if shut else 'never close'}"
    )
    missing = [
        what
        for what, lacks in (
            ("the head turned to one side and the other", left > -_TURNED_DEG or right < _TURNED_DEG),
            ("the mouth wide open", mouth <= _WIDE_OPEN),
            ("closed eyes", not shut),
        )
        if lacks
    ]
    if missing:
        lines.append(f"what is not shown is invented; record this, too: {', '.join(missing)}")
    return lines
