"""Shards: plain tar files that the webdataset library reads, their index, and a reader that seeks.

docs/data.md describes the format.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, UInt8
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, StringConstraints, ValidationError

from reenactor.core import ReenactError
from reenactor.core.files import read_json
from reenactor.core.landmark_codec import decode_landmarks
from reenactor.face.perception.identity import EMBEDDING_SIZE
from reenactor.research.data.frames import decode_frames, decode_photo
from reenactor.research.data.items import Kind, PackedSample, Split

INDEX = "index.parquet"
MANIFEST = "manifest.json"
FORMAT = "reenactor-shards"
VERSION = 1
MEDIA_SUFFIXES = ("mp4", "jpg")
"""The member that holds the pixels; the index calls it `media`."""
_MEMBERS = ("media", "landmarks", "json")
_END = b"\0" * (2 * tarfile.BLOCKSIZE)

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        *((f"{member}_{what}", pa.int64()) for member in _MEMBERS for what in ("offset", "size")),
        ("item", pa.string()),
        ("kind", pa.string()),
        ("identity", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("origin", pa.string()),
        ("frames", pa.int32()),
        ("fps", pa.float32()),
        ("duration_s", pa.float32()),
        *((f"{axis}_{name}", pa.float32()) for axis in ("yaw", "pitch", "roll") for name in ("mean", "min", "max")),
        ("face_px", pa.float32()),
        ("faces", pa.int16()),
        ("face_share", pa.float32()),
        ("score", pa.float32()),
        ("sharpness", pa.float32()),
        ("padding", pa.float32()),
        ("embedding", pa.list_(pa.float32(), EMBEDDING_SIZE)),
    ]
)
"""The columns of the index, one row a sample. docs/data.md explains them."""


_SHARD = re.compile(r"shard-[0-9]{6}\.tar")


class _Meta(BaseModel, extra="allow", strict=True):
    """What is computed with of KEY.json."""

    size: PositiveInt
    pose_deg: list[tuple[float, float, float]]
    pts: list[Annotated[int, Field(gt=-(2**62), lt=2**62)]] = []
    time_base: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(/0*[1-9][0-9]{0,8})?$")] = "1"
    unseen: list[NonNegativeInt] = []

    def fits(self, row: dict[str, Any]) -> bool:
        """Whether it is that of a row of the index."""
        frames, is_clip, _ = row["frames"], Kind(row["kind"]) is Kind.CLIP, Split(row["split"])
        return (
            len(self.pose_deg) == frames
            and len(self.pts) == (frames if is_clip else 0)
            and max(self.unseen, default=-1) < frames
        )


def shard_name(number: int) -> str:
    """File name of a shard, for webdataset's brace notation: shard-{000000..000041}.tar."""
    return f"shard-{number:06d}.tar"


class ShardWriter:
    """Writes one shard. The same samples give the same bytes: no times, no owners.

    Args:
        path: the file; overwritten.

    Attributes:
        size: bytes written so far.
        samples: number of samples so far.
    """

    END = len(_END)
    """Bytes that `close` adds."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.size = 0
        self.samples = 0

    @staticmethod
    def size_of(sample: PackedSample) -> int:
        """How many bytes the sample takes."""
        return sum(len(_header(name, data)) + _padded(len(data)) for name, data in _named_members(sample))

    def add(self, sample: PackedSample) -> dict[str, int]:
        """Append a sample.

        Returns:
            where its members lie in the file: `media_offset`, `media_size` and so on, as in the index.
        """
        positions = {}
        for name, data in _named_members(sample):
            header = _header(name, data)
            suffix = name.rpartition(".")[2]
            member = "media" if suffix in MEDIA_SUFFIXES else suffix
            positions |= {f"{member}_offset": self.size + len(header), f"{member}_size": len(data)}
            self._write(header + data + b"\0" * (_padded(len(data)) - len(data)))
        self.samples += 1
        return positions

    def close(self) -> str:
        """Finish the file, force it to the disk and return the SHA-256 of its bytes."""
        self._write(_END)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Close the file without finishing it."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


def _named_members(sample: PackedSample) -> Iterator[tuple[str, bytes]]:
    for suffix, data in sample.members.items():
        yield f"{sample.row['key']}.{suffix}", data


def _header(name: str, data: bytes) -> bytes:
    """512 bytes, or more in the PAX extension for names of more than 100 characters."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Sample:
    """A clip's segment or a photo, not yet decoded. Its length is the number of frames.

    Args:
        row: its row of the index.
        media: MP4 or JPEG.
        landmark_bytes: KEY.landmarks.
        meta: KEY.json.
    """

    row: dict[str, Any]
    media: bytes
    landmark_bytes: bytes
    meta: dict[str, Any]

    @property
    def key(self) -> str:
        """Unique in the pack."""
        return self.row["key"]

    @property
    def kind(self) -> Kind:
        """Clip or photo."""
        return Kind(self.row["kind"])

    @property
    def identity(self) -> str:
        """The person."""
        return self.row["identity"]

    @property
    def split(self) -> Split:
        """What the sample may be used for."""
        return Split(self.row["split"])

    def __len__(self) -> int:
        return self.row["frames"]

    @cached_property
    def landmarks(self) -> Float[np.ndarray, "t 478 3"]:
        """(T, 478, 3) float32, pixels of the stored crop (docs/conventions.md)."""
        return decode_landmarks(self.landmark_bytes)

    def landmarks_at(self, size: int) -> Float[np.ndarray, "t 478 3"]:
        """The landmarks in pixels of the crop resampled to `size`."""
        scale = np.float32(size / self.meta["size"])
        half = np.array([0.5, 0.5, 0.0], np.float32)
        return (self.landmarks + half) * scale - half

    @property
    def poses_deg(self) -> Float[np.ndarray, "t 3"]:
        """(T, 3) yaw, pitch, roll."""
        return np.array(self.meta["pose_deg"], np.float32)

    @property
    def times_s(self) -> Float[np.ndarray, " t"]:
        """(T,) time of each frame from the sample's beginning; 0 for a photo."""
        if self.kind is Kind.PHOTO:
            return np.zeros(1)
        numerator, _, denominator = self.meta["time_base"].partition("/")
        return np.array(self.meta["pts"]) * int(numerator) / int(denominator or 1)

    @property
    def seen(self) -> Bool[np.ndarray, " t"]:
        """(T,) whether the face was found; if not, the landmarks are interpolated."""
        mask = np.ones(len(self), bool)
        mask[self.meta.get("unseen", [])] = False
        return mask

    def frames(self, numbers: list[int] | None = None, *, size: int | None = None) -> UInt8[np.ndarray, "n s s 3"]:
        """Decode frames by number, None for all (a photo has only frame 0). See `decode_frames`."""
        if self.kind is Kind.CLIP:
            return decode_frames(self.media, numbers, size=size)
        if numbers and set(numbers) != {0}:
            raise ValueError(f"a photo has only frame 0, not {numbers}")
        photo = decode_photo(self.media, size=size)[None]
        return photo if numbers is None else np.repeat(photo, len(numbers), axis=0)


class ShardReader:
    """Reads a pack: `reader[i]` is the sample of row i of the index; iterating gives all samples.

    It can be pickled and sent to other processes: files are opened only while a sample is read.

    Args:
        folder: a pack, as `reenactor prepare` wrote it.

    Raises:
        ReenactError: no pack, an unfinished one, or one of a version this release does not read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        try:
            self.index = pq.read_table(self.folder / INDEX)
            if not self.index.schema.equals(SCHEMA):
                raise ValueError("it has other columns")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ReenactError(f"cannot read {self.folder / INDEX}: {error}; copy or prepare the data again") from error

    def __len__(self) -> int:
        return self.index.num_rows

    def __getitem__(self, row: int) -> Sample:
        if not 0 <= row < len(self):
            raise IndexError(f"the pack has rows 0 to {len(self) - 1}, not {row}")
        return load_sample(self.folder, self.index.slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Sample]:
        for batch in self.index.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                yield load_sample(self.folder, row)

    def column(self, name: str) -> np.ndarray:
        """A column of the index, one value a row."""
        return self.index[name].to_numpy(zero_copy_only=False)


def load_sample(folder: Path, row: dict[str, Any]) -> Sample:
    """Read one sample, given the pack's folder and the sample's row of the index.

    Raises:
        ReenactError: the shard is missing or damaged, or the row names what is no part of the pack.
    """
    path, members = folder / INDEX, []
    try:
        if not _SHARD.fullmatch(row["shard"]):
            raise ValueError("the index names another file than a shard")
        path = folder / row["shard"]
        with path.open("rb", buffering=0) as file:
            end = os.fstat(file.fileno()).st_size
            for member in _MEMBERS:
                first, size = row[f"{member}_offset"], row[f"{member}_size"]
                if not 0 <= first <= first + size <= end:
                    raise ValueError("the index names places outside the shard")
                file.seek(first)
                members.append(file.read(size))
        media, landmarks, meta = members
        if not _Meta.model_validate_json(meta).fits(row):
            raise ValueError("its parts do not fit together")
        return Sample(row, media, landmarks, json.loads(meta))
    except (OSError, ValueError, TypeError, KeyError) as cause:
        # Pydantic's messages have several lines.
        error = "its description is of another shape" if isinstance(cause, ValidationError) else cause
        raise ReenactError(f"cannot read {row['key']} from {path}: {error}; copy or prepare it again") from cause


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished pack.

    Raises:
        ReenactError: there is none, or one of a version this release does not read.
    """
    return read_json(
        folder / MANIFEST,
        "shards",
        VERSION,
        missing=f"{folder} holds no finished pack; make it with 'reenactor prepare'",
        again="prepare the data again with 'reenactor prepare'",
    )
