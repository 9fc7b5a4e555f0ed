"""Photos, videos and person files as pictures with a face: of a video those frames that show most, and sharp."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeGuard

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core import Alignment, MediaError, NoFaceError, ReenactError
from reenactor.core.progress import Progress
from reenactor.engine.cache import FaceCache
from reenactor.engine.portrait import Photo, model_crop, pixels_of, shrunk
from reenactor.engine.prefetch import prefetch
from reenactor.face.geometry import Crop
from reenactor.face.geometry.looks import covering, looks
from reenactor.face.perception import FaceFinder, FaceTracker
from reenactor.face.perception.landmarks import Region, cut_patch, in_patch
from reenactor.face.perception.photo_check import CheckedFace, Finding, checked_face, photo_findings, sharpness
from reenactor.face.retarget import neutral_frame
from reenactor.media import is_image, is_still, is_video, open_reader
from reenactor.media.person_file import Person
from reenactor.models import ReenactmentModel

LONGEST_S = 60.0
"""Of a video, no more is looked at."""
_MOST_LOOKED_AT = 600
_HALF = np.array([0.5, 0.5, 0], np.float32)
"""Of a pixel: from its centre to the picture's edge."""
_SHARP, _BLURRED = 1.0, 0.4
"""Sharpness over the video's own (its upper quartile) from which a frame counts fully, and up to which not at all."""


@dataclass(frozen=True)
class TargetPicture:
    """A photo, or a frame of a video that is used as one.

    Args:
        pixels: RGB, shrunk as wanted; of a person file's pictures after the first, what is around the face.
        found: the face in it.
        source: number of the photo, video or person file, from 1.
        frame: number of the video's frame, from 0; None for a photo.
        time_s: when that is shown.
        corner_px: where its pixels begin in the whole frame; None for a photo.
        zoom: its pixels for each of the whole frame.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    found: CheckedFace
    source: int
    frame: int | None = None
    time_s: float = 0.0
    corner_px: tuple[int, int] | None = None
    zoom: float = 1.0

    def same_crop(self, first: TargetPicture, crop: Crop) -> Crop | None:
        """What a crop of the first frame of a video shows of this one, so that its background stays where it is.

        Args:
            first: the frame that was cropped.
            crop: in its pixels.

        Returns:
            In this frame's pixels; None if they are not of one video, or the face is not whole there.
        """
        if self.source != first.source or self.corner_px is None or first.corner_px is None:
            return None
        begin = first.corner_px + np.array([crop.left, crop.top]) / first.zoom
        left, top = np.round((begin - self.corner_px) * self.zoom).astype(int).tolist()
        here = Crop(left, top, round(crop.side / first.zoom * self.zoom), crop.size)
        mesh = here.to_crop(self.found.mesh)[:, :2]
        return here if mesh.min() >= 0 and mesh.max() < here.size else None


def picture_crop(
    model: ReenactmentModel, one: TargetPicture, size: int | None, first: tuple[TargetPicture, Crop]
) -> Crop:
    """`model_crop` of a picture, or what the crop of its video's first frame shows of it.

    Faces that are aligned to the mean shape are, each by its own landmarks.

    Args:
        model: that is given the crop.
        one: the picture.
        size: as for `model_crop`.
        first: a frame and its crop.
    """
    same = one.same_crop(*first) if model.needs.alignment is Alignment.BOX else None
    return same or model_crop(model, one.found.mesh, one.pixels, size)


class TargetPictures:
    """Reads photos, videos and person files of one person.

    Args:
        max_side: pictures with a longer side are shrunk to it.
        face: which face, counted from the left (of a video where it is seen first); None for the largest.
        cache: of faces found before.
        progress: receives the progress through videos.
    """

    def __init__(self, max_side: int, face: int | None, cache: FaceCache, progress: Progress) -> None:
        self._max_side, self._face, self._cache, self._progress = max_side, face, cache, progress
        self._photos: list[Float[np.ndarray, "478 3"]] = []
        self._films: list[tuple[int, Path, list[_Seen]]] = []

    @property
    def looked_at(self) -> Float[np.ndarray, "n 478 3"]:
        """Landmarks of the photos, and of all frames of videos that were looked at and are sharp."""
        return np.stack([*self._photos, *(one.mesh_px for *_, seen in self._films for one in seen)])

    def __call__(
        self, targets: Sequence[Photo | Person], most: int, *, still: int | None = None
    ) -> Iterator[TargetPicture]:
        """At most so many pictures of the person, the one that moves first.

        Args:
            targets: photos (see `pixels_of`), paths of videos, and person files that were read; of a video at most
                `LONGEST_S` seconds are looked at.
            most: pictures; videos and person files share what photos leave, and give one at least.
            still: number of the first target's frame that moves, from 0; None for one that faces the camera, at rest.

        Raises:
            MediaError: one of them cannot be read.
            NoFaceError: one of them does not show the face, or that frame does not.
            ReenactError: there is no such frame.
        """
        videos = [Path(one) if is_target_video(one) else None for one in targets]
        if still is not None and videos[0] is None:
            what = "person file, which has one that moves" if isinstance(targets[0], Person) else "photo"
            raise ReenactError(f"still chooses a frame of a video, and the first target is a {what}; leave it out")
        several = sum(video is not None or isinstance(one, Person) for one, video in zip(targets, videos, strict=True))
        share = max(1, (most - len(targets) + several) // max(1, several))
        with ExitStack() as opened:
            finder: FaceFinder | None = None
            for source, (target, video) in enumerate(zip(targets, videos, strict=True), start=1):
                if video is not None:
                    yield from self._frames(video, source, share, still if source == 1 else None)
                    continue
                if isinstance(target, Person):
                    yield from self._of_person(target, source, share)
                    continue
                name = str(target) if isinstance(target, (str, os.PathLike)) else f"photo {source}"
                picture = shrunk(pixels_of(target, name), self._max_side)
                found = self._cache.find(picture, self._face)
                if found is None:
                    finder = finder or opened.enter_context(FaceFinder())
                    found = checked_face(finder, picture, face=self._face, name=name)
                    self._cache.keep(picture, self._face, found)
                self._photos.append(found.mesh)
                yield TargetPicture(picture, found, source)

    def _of_person(self, person: Person, source: int, most: int) -> Iterator[TargetPicture]:
        meshes = np.stack([one.mesh_px for one in person.pictures])
        first, *rest = covering(looks(meshes), most, 0, least=0.0)
        for number in (first, *sorted(rest)):
            one = person.pictures[number]
            whole = one.pixels()
            # What is around a face is cut to the size of the first one's crop anyway.
            pixels = shrunk(whole, self._max_side) if number == 0 else whole
            scale = np.array([*np.divide(pixels.shape[1::-1], whole.shape[1::-1]), 0], np.float32)
            scale[2] = scale[0]
            mesh = (one.mesh_px + _HALF) * scale - _HALF
            findings = tuple(Finding[name] for name in one.findings if name in Finding.__members__)
            found = CheckedFace(mesh, one.faces, findings)
            corner = one.corner_px if one.source == person.pictures[0].source else None
            yield TargetPicture(pixels, found, source, corner_px=corner, zoom=float(scale[0]))

    def films(self, most: int) -> Iterator[Iterator[TargetPicture]]:
        """Of each video that was read some of its sharp frames, in order and evenly spread; of all at most so many."""
        for source, video, seen in self._films:
            some = seen[:: -(-len(seen) * len(self._films) // most)]
            yield (
                TargetPicture(picture, CheckedFace(one.mesh_px, 1), source, one.number, time_s, (0, 0))
                for one, picture, time_s in self._pictures(video, some)
            )

    def _frames(self, video: Path, source: int, most: int, still: int | None) -> Iterator[TargetPicture]:
        self._progress.start(f"reading {video.name}", 0, None)
        try:
            seen, several = self._look(video, still)
        finally:
            self._progress.end()
        sharp = np.array([one.sharpness for one in seen])
        worth = np.clip((sharp / max(np.percentile(sharp, 75), 1e-6) - _BLURRED) / (_SHARP - _BLURRED), 0, 1)
        meshes = np.stack([one.mesh_px for one in seen])
        clear = worth >= min(0.5, worth.max())
        self._films.append((source, video, [seen[i] for i in np.flatnonzero(clear)]))
        if still is None:
            first = neutral_frame(meshes, clear, frontal=True)
        else:
            first = next(i for i, one in enumerate(seen) if one.number == still)
        chosen = covering(looks(meshes), most, first, worth=worth)
        rest = sorted((seen[i] for i in chosen[1:]), key=lambda one: one.number)
        for wanted in ([seen[first]], rest):
            for one, picture, time_s in self._pictures(video, wanted):
                findings: tuple[Finding, ...] = ()
                if one is seen[first]:
                    findings = photo_findings(picture, one.mesh_px)
                    findings += (Finding.SEVERAL_FACES,) if several > 1 else ()
                found = CheckedFace(one.mesh_px, several, findings)
                yield TargetPicture(picture, found, source, one.number, time_s, (0, 0))

    def _look(self, video: Path, still: int | None) -> tuple[list[_Seen], int]:
        """The frames that show the person; and how many people there were to choose from, if none was chosen."""
        seen: list[_Seen] = []
        several, number = 1, -1
        with open_reader(video, precise=False) as reader, FaceTracker(face=self._face) as tracker:
            within = max(1, round(LONGEST_S * reader.average_rate))
            expected = min(within, reader.frame_count or within)
            every = -(-expected // _MOST_LOOKED_AT)
            last = max(within, 0 if still is None else still + 1)
            with prefetch(reader.frames()) as frames:
                for number, frame in enumerate(islice(frames, last)):
                    self._progress.step(number + 1, expected if reader.frame_count else None)
                    if number % every and number != still:
                        continue
                    picture = shrunk(frame.image, self._max_side)
                    found = tracker.track(picture)
                    if found is not None:
                        several = tracker.alternatives if self._face is None and not seen else several
                        mesh = found.landmarks.mesh
                        region = Region.of_mesh(mesh)
                        patch = cut_patch(picture, region)
                        seen.append(_Seen(number, mesh, sharpness(patch, in_patch(mesh, region))))
        if still is not None and still > number:
            raise ReenactError(f"{video} has {number + 1} frames, and there is no frame {still}; give 0 to {number}")
        if not seen:
            which = "no face" if self._face is None else f"no face number {self._face} from the left"
            raise NoFaceError(
                f"{which} found in any frame of {video}; use a video whose face is well lit, sharp and not covered"
            )
        if still is not None and all(one.number != still for one in seen):
            raise NoFaceError(f"frame {still} of {video} does not show the face; choose another, or leave it out")
        return seen, several

    def _pictures(self, video: Path, wanted: list[_Seen]) -> Iterator[tuple[_Seen, UInt8[np.ndarray, "h w 3"], float]]:
        """The pictures of some frames, in order, and their times."""
        if not wanted:
            return
        waiting, first = list(reversed(wanted)), wanted[0].number
        with open_reader(video) as reader:
            for number, frame in enumerate(reader.frames(first), start=first):
                if number == waiting[-1].number:
                    picture = shrunk(frame.image, self._max_side)
                    yield waiting.pop(), picture, float(frame.pts * reader.time_base)
                if not waiting:
                    return
        raise MediaError(f"{video} was changed while it was read; try again")


def is_target_video(target: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a target is the path of a video or an animation, by its name and content."""
    if not isinstance(target, (str, os.PathLike)):
        return False
    return is_video(target) or (is_image(target) and not is_still(target))


@dataclass(frozen=True)
class _Seen:
    number: int
    mesh_px: Float[np.ndarray, "478 3"]
    sharpness: float
