"""Person files: made once of photos and videos, then a target like a photo, without reading the videos again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from reenactor import __version__
from reenactor.core import DEFAULT_MODEL, ReenactError
from reenactor.core.options import check_face_number, check_still
from reenactor.core.progress import Progress, Silent
from reenactor.engine.cache import FaceCache, faces_folder
from reenactor.engine.loading import load_model
from reenactor.engine.portrait import STANDARD_SIZE, model_crop
from reenactor.engine.target_pictures import LONGEST_S, TargetPicture, TargetPictures, picture_crop
from reenactor.engine.tuning import PersonFrames, check_tunable, tune
from reenactor.face.geometry import FACE_CROP_SCALE, Crop, face_crop, in_mean_pose
from reenactor.face.geometry.looks import UNITS, looks
from reenactor.face.retarget.neutral import neutral_face
from reenactor.media.person_file import (
    MAX_PICTURES,
    PERSON_SIDE_PX,
    Person,
    PersonPicture,
    Tuning,
    is_person,
    webp_of,
)
from reenactor.media.provenance import SourceFile
from reenactor.models import ReenactmentModel

MOST_MINUTES = 60
"""Of tuning."""
_LEARNED_FRAMES = 300
"""Of all videos together."""
_FILMS_APART_S = 2 * LONGEST_S
"""Between the beginnings of two videos."""
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
    minutes: float = 0.0,
    model: ReenactmentModel | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Person:
    """Choose the pictures of photos and videos that show most of one person; `write_person` keeps them.

    Args:
        sources: 1 to 32 photos and videos; the first is the picture that moves, or holds it.
        face, still: as for `Reenactor.set_target`.
        minutes: for which a copy of the model learns the person from the videos' frames; 0 for none.
        model: that is tuned, from PyTorch, on its device; None for the default one, on the CPU or a CUDA GPU.
        folder: exists; a stopped tuning of the same sources continues from what it left there. None for a new one.
        progress: receives the progress.

    Raises:
        MediaError: one of them cannot be read.
        NoFaceError: one of them does not show the face.
        ReenactError: too many of them, or person files; or the model cannot be tuned.
        CheckpointError: the weights that tuning needs are missing (extra `person`).
    """
    if not 0 <= minutes <= MOST_MINUTES:
        raise ReenactError(f"a person is tuned for 0 to {MOST_MINUTES} minutes, not {minutes:g}")
    check_face_number(face)
    check_still(still)
    paths = [Path(one) for one in sources]
    if not 1 <= len(paths) <= MAX_PICTURES:
        raise ReenactError(f"{len(paths)} photos were given; give one to {MAX_PICTURES}, all of one person")
    if again := next(filter(is_person, paths), None):
        raise ReenactError(f"{again} is a person already; give the photos and videos it was made from, and new ones")
    files = tuple(SourceFile.of("target", path) for path in paths)
    lesson = _Lesson(model or load_model(DEFAULT_MODEL)) if minutes else None
    read = TargetPictures(PERSON_SIDE_PX, face, FaceCache(faces_folder()), progress or Silent())
    pictures: list[PersonPicture] = []
    firsts: dict[int, TargetPicture] = {}
    for one in islice(read(paths, MAX_PICTURES, still=still), MAX_PICTURES):
        pictures.append(_kept(one, firsts.setdefault(one.source, one), whole=not pictures))
        if lesson is not None:
            lesson.add_photo(one)
    seen = read.looked_at
    found = looks(seen) * UNITS
    tuning = None
    if lesson is not None:
        for film in read.films(_LEARNED_FRAMES):
            lesson.add_film(film)
        tuning = lesson.learn(minutes, folder, progress or Silent())
    return Person(
        pictures=tuple(pictures),
        neutral=neutral_face(in_mean_pose(seen)[1]).astype(np.float32),
        ranges=np.stack([found.min(0), found.max(0)]).astype(np.float32),
        sources=files,
        software=f"reenactor {__version__}",
        tuning=tuning,
    )


def _kept(one: TargetPicture, first: TargetPicture, *, whole: bool) -> PersonPicture:
    """A picture as a person file keeps it: of a video's frames also what lies where its first one has the face."""
    pixels, mesh_px, corner = one.pixels, one.found.mesh, one.corner_px
    if not whole:
        size = (pixels.shape[1], pixels.shape[0])
        around = partial(face_crop, scale=_AROUND * FACE_CROP_SCALE, picture_px=size)
        wanted = [around(mesh_px).inside(*size)]
        if one.same_crop(first, steady := around(first.found.mesh)) is not None:
            wanted.append(steady.inside(*size))
        top, left = (min(axis.start for axis in axes) for axes in zip(*wanted, strict=True))
        bottom, right = (max(axis.stop for axis in axes) for axes in zip(*wanted, strict=True))
        pixels = pixels[top:bottom, left:right]
        mesh_px = mesh_px - np.array([left, top, 0], np.float32)
        corner = corner and (left, top)
    return PersonPicture(
        webp=webp_of(pixels),
        mesh_px=mesh_px.astype(np.float32),
        faces=one.found.faces,
        findings=tuple(finding.name for finding in one.found.findings),
        source=one.source,
        frame=one.frame,
        time_s=one.time_s,
        corner_px=corner,
    )


class _Lesson:
    """What a model learns of a person: the pictures as it draws from them, and the frames of the videos.

    Raises:
        ReenactError: this model cannot be tuned.
    """

    def __init__(self, model: ReenactmentModel) -> None:
        check_tunable(model)
        self._model, self._size = model, model.resolution or STANDARD_SIZE
        self._firsts: dict[int, tuple[TargetPicture, Crop]] = {}
        self._photos: list[_Cut] = []
        self._frames: list[_Cut] = []

    def add_photo(self, one: TargetPicture) -> None:
        """A picture that the person is drawn from."""
        if one.source not in self._firsts:
            own = model_crop(self._model, one.found.mesh, one.pixels, self._size)
            self._firsts[one.source] = one, own
        self._photos.append(self._cut(one))

    def add_film(self, film: Iterator[TargetPicture]) -> None:
        """Frames to learn from, in the crop of the video's first picture as far as the face stays in it."""
        for one in film:
            self._frames.append(self._cut(one))

    def learn(self, minutes: float, folder: Path | None, progress: Progress) -> Tuning:
        """See `tuning.tune`."""
        if not self._frames:
            raise ReenactError("the model learns a person from a video, and there are only photos; add a video")
        photos, frames = ([np.stack(part) for part in zip(*cuts, strict=True)] for cuts in (self._photos, self._frames))
        with ExitStack() as opened:
            folder = folder or Path(opened.enter_context(TemporaryDirectory(prefix="reenactor-")))
            person = PersonFrames(*photos, *frames)
            return tune(self._model, person, minutes=minutes, folder=folder, progress=progress)

    def _cut(self, one: TargetPicture) -> _Cut:
        """A picture as the model sees it; photos are no frames of any time."""
        crop = picture_crop(self._model, one, self._size, self._firsts[one.source])
        time_s = inf if one.frame is None else one.source * _FILMS_APART_S + one.time_s
        return _Cut(crop.cut(one.pixels), crop.to_crop(one.found.mesh), time_s)


class _Cut(NamedTuple):
    pixels: UInt8[np.ndarray, "s s 3"]
    mesh_px: Float[np.ndarray, "478 3"]
    time_s: float


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
    if (tuning := person.tuning) is not None:
        took = f"{tuning.about['steps']:.0f} steps in {tuning.about['seconds'] / 60:.1f} min"
        lines.append(
            f"'{tuning.model}' is tuned to them ({took})"
            if tuning.difference
            else f"'{tuning.model}' stays untuned: {took} brought it no nearer to frames that it did not learn"
        )
    return lines
