"""Person files (`.person`): pictures of one person with their landmarks, and a model's tuning to them, in safetensors.

Version 1 holds `picture-01`... (uint8, each a WebP file), `mesh_px` (K, 478, 3), `neutral` (478, 3) and `ranges` (2, 5)
in float32, and of a tuned person `difference/<name of a weight>` in float16; the header holds the rest as text.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from reenactor.core import MESH_POINTS, CheckpointError
from reenactor.core.files import check_readable, is_format, replacing
from reenactor.media.images import MIN_SIDE_PX, decode
from reenactor.media.provenance import SourceFile

PERSON_SUFFIX = ".person"
VERSION = 1
MAX_PICTURES = 32
PERSON_SIDE_PX = 1920
"""The longest side of a picture."""
_QUALITY = 95
_DIFFERENCE = "difference/"
_MOST_BYTES = 64 * 2**20
_MOST_TEXT = 300


@dataclass(frozen=True)
class PersonPicture:
    """A picture of the person: the first one whole, of others what is around the face.

    Args:
        webp: a WebP file.
        mesh_px: landmarks, in its pixels.
        faces: how many faces the photo or frame showed.
        findings: names of what is unusual about it (`face.perception.photo_check.Finding`).
        source: number of the file that it is from, from 1.
        frame: number of that video's frame, from 0; None of a photo.
        time_s: when that is shown.
        corner_px: where it begins in the video's frame; None of a photo, and where an older file does
            not say.
    """

    webp: bytes
    mesh_px: Float[np.ndarray, "478 3"]
    faces: int = 1
    findings: tuple[str, ...] = ()
    source: int = 1
    frame: int | None = None
    time_s: float = 0.0
    corner_px: tuple[int, int] | None = None

    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """RGB.

        Raises:
            MediaError: it cannot be decoded.
        """
        with Image.open(io.BytesIO(self.webp), formats=("WEBP",)) as image:
            return decode(image, "a picture of the person")


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning to a person changed.

    Args:
        model: name of the model.
        version: of that model and its weights, before.
        difference: weights after less weights before, float16, by name; empty if the model stays as it was.
        about: `steps`, `seconds` and measures.
    """

    model: str
    version: str
    difference: Mapping[str, np.ndarray]
    about: Mapping[str, float]


@dataclass(frozen=True)
class Person:
    """One person, ready to be animated.

    Args:
        pictures: 1 to 32, the one that moves first.
        neutral: the face at rest, in the pose and size of the mean face.
        ranges: least and most of yaw, pitch (degrees), the mouth's opening and width and the lids' opening (distances
            between the eyes' outer corners), in all that was seen.
        sources: the files that it was made from.
        software: name and version of the program that made it.
        tuning: None if no model was tuned.
    """

    pictures: tuple[PersonPicture, ...]
    neutral: Float[np.ndarray, "478 3"]
    ranges: Float[np.ndarray, "2 5"]
    sources: tuple[SourceFile, ...]
    software: str
    tuning: Tuning | None = None


def is_person(path: object) -> bool:
    """Whether this is the name of a person file (.person)."""
    return isinstance(path, (str, os.PathLike)) and Path(path).suffix.lower() == PERSON_SUFFIX


def webp_of(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """RGB as a WebP file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", quality=_QUALITY, method=4)
    return out.getvalue()


def write_person(path: str | os.PathLike[str], person: Person) -> None:
    """Write a person file atomically.

    Raises:
        MediaError: the file cannot be written.
    """
    tuning = person.tuning
    about = {
        "software": person.software,
        "sources": [{"name": one.name, "sha256": one.sha256} for one in person.sources],
        "pictures": [
            {name: getattr(one, name) for name in ("faces", "findings", "source", "frame", "time_s", "corner_px")}
            for one in person.pictures
        ],
        "tuning": None
        if tuning is None
        else {"model": tuning.model, "version": tuning.version, "about": dict(tuning.about)},
    }
    arrays: dict[str, np.ndarray] = {}
    for i, one in enumerate(person.pictures):
        arrays[_name(i)] = np.frombuffer(one.webp, np.uint8)
    arrays["mesh_px"] = np.stack([one.mesh_px for one in person.pictures]).astype(np.float32)
    arrays |= {name: getattr(person, name).astype(np.float32) for name in ("neutral", "ranges")}
    if tuning is not None:
        arrays |= {f"{_DIFFERENCE}{name}": one.astype(np.float16) for name, one in tuning.difference.items()}
    header = {
        "format": "reenactor-person",
        "version": str(VERSION),
        "about": json.dumps(about, ensure_ascii=False, sort_keys=True),
    }
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(save({name: np.ascontiguousarray(one) for name, one in arrays.items()}, header))


def read_person(path: str | os.PathLike[str]) -> Person:
    """Read a person file. Its pictures are decoded when they are asked for.

    Raises:
        MediaError: the file is missing or cannot be read.
        CheckpointError: not a person file, damaged, or of a version that this release does not read.
    """
    with _opened(Path(path)) as (file, about):
        if Path(path).stat().st_size > _MOST_BYTES:
            raise ValueError("size")
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        return _person(about, arrays)


def person_sources(path: str | os.PathLike[str]) -> tuple[SourceFile, ...]:
    """The files that a person file was made from; errors as from `read_person`."""
    with _opened(Path(path)) as (_, about):
        return _sources(about)


def target_files(targets: Sequence[str | os.PathLike[str]]) -> list[SourceFile]:
    """The target's files for a provenance manifest: after a person file those that it was made from.

    Raises:
        MediaError: a file cannot be read.
        CheckpointError: a person file is damaged.
    """
    files: list[SourceFile] = []
    for path in targets:
        files += [SourceFile.of("target", path), *(person_sources(path) if is_person(path) else ())]
    return files


_DAMAGE = (
    *(SafetensorError, KeyError, ValueError, TypeError, ArithmeticError, RecursionError, AttributeError, OSError),
    Image.DecompressionBombError,
)
"""What reading a file that someone changed may raise."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """A person file and what its header says; errors of the block count as damage of the file."""
    check_readable(path, "a person file")
    try:
        with safe_open(str(path), framework="numpy") as file:
            yield file, _about(path, file.metadata())
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is not a person file or is damaged; make it again") from error


def _name(number: int) -> str:
    return f"picture-{number + 1:02d}"


def _about(path: Path, header: Mapping[str, str] | None) -> Mapping[str, Any]:
    header = header or {}
    if not is_format(header.get("format"), "person"):
        raise CheckpointError(f"{path} is not a person file; make one with 'reenactor person'")
    if header["version"] != str(VERSION):
        raise CheckpointError(
            f"{path} is a person file of version {header['version']!r:.20}, and this release reads version {VERSION}; "
            "update reenactor, or make it again"
        )
    return json.loads(header["about"])


def _sources(about: Mapping[str, Any]) -> tuple[SourceFile, ...]:
    sources = about["sources"]
    if not 1 <= len(sources) <= MAX_PICTURES:
        raise ValueError("sources")
    return tuple(SourceFile("target", _text(one["name"]), _text(one["sha256"])) for one in sources)


def _person(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Person:
    """Raises ValueError and the like for values that no person has."""
    mesh_px, neutral, ranges = (arrays[name] for name in ("mesh_px", "neutral", "ranges"))
    facts, sources = about["pictures"], _sources(about)
    for array, shape in (
        (mesh_px, (len(facts), MESH_POINTS, 3)),
        (neutral, (MESH_POINTS, 3)),
        (ranges, (2, 5)),
    ):
        if array.shape != shape or array.dtype != np.float32 or not (np.abs(array) < _FAR).all():
            raise ValueError("landmarks")
    if not 1 <= len(facts) <= MAX_PICTURES:
        raise ValueError("pictures")
    pictures = tuple(_picture(arrays[_name(i)], mesh_px[i], one, len(sources)) for i, one in enumerate(facts))
    return Person(pictures, neutral, ranges, sources, _text(about["software"]), _tuning(about["tuning"], arrays))


_FAR = 1e5
"""No coordinate of a picture is as large."""


def _picture(webp: np.ndarray, mesh_px: np.ndarray, facts: Mapping[str, Any], sources: int) -> PersonPicture:
    if webp.dtype != np.uint8 or webp.ndim != 1:
        raise ValueError("picture")
    with Image.open(io.BytesIO(webp.tobytes()), formats=("WEBP",)) as image:
        size, frames = image.size, getattr(image, "n_frames", 1)
    low, high = mesh_px[:, :2].min(0), mesh_px[:, :2].max(0)
    centre = (low + high) / 2
    if not (min(size) >= MIN_SIDE_PX and max(size) <= PERSON_SIDE_PX and frames == 1):
        raise ValueError("size")
    if not ((high - low > 1).all() and (centre >= 0).all() and (centre < size).all()):
        raise ValueError("face")
    frame, corner = facts["frame"], facts.get("corner_px")
    if corner is not None:
        left, top = (_whole(one, 0, PERSON_SIDE_PX) for one in corner)
        corner = left, top
    return PersonPicture(
        webp=webp.tobytes(),
        mesh_px=mesh_px,
        faces=_whole(facts["faces"], 1, 2**31),
        findings=tuple(map(_text, facts["findings"])),
        source=_whole(facts["source"], 1, sources + 1),
        frame=None if frame is None else _whole(frame, 0, 2**31),
        time_s=_number(facts["time_s"]),
        corner_px=corner,
    )


def _tuning(about: Mapping[str, Any] | None, arrays: Mapping[str, np.ndarray]) -> Tuning | None:
    if about is None:
        return None
    difference = {name.removeprefix(_DIFFERENCE): one for name, one in arrays.items() if name.startswith(_DIFFERENCE)}
    for one in difference.values():
        if one.dtype != np.float16 or not np.isfinite(one).all():
            raise ValueError("difference")
    facts = {_text(name): _number(value) for name, value in about["about"].items()}
    if not {"steps", "seconds"} <= facts.keys():
        raise ValueError("facts")
    return Tuning(_text(about["model"]), _text(about["version"]), difference, facts)


def _whole(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value < high:
        raise ValueError("number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or not abs(value) < _FAR:
        raise ValueError("number")
    return float(value)


def _text(value: object) -> str:
    """A short text without anything that a terminal would obey."""
    if not (isinstance(value, str) and len(value) <= _MOST_TEXT and value.isprintable()):
        raise ValueError("text")
    return value
