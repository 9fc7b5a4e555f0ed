"""What a worker makes of one item: samples ready to be packed, or the reason why there are none."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_HEADER = struct.Struct("<4sII")
"""Magic, bytes of the description, CRC-32 of all that follows."""
_MAGIC = b"RPC1"


@dataclass(frozen=True)
class PackedSample:
    """One sample as it goes into a shard.

    Args:
        row: its line in the index, without the places of its members.
        members: file suffix -> bytes.
    """

    row: dict[str, Any]
    members: Mapping[str, bytes]


@dataclass(frozen=True)
class Parcel:
    """The outcome for one item.

    Args:
        item: the item's key.
        source: its file, as the report names it.
        fingerprint: of the item, its file and the settings; a parcel with another one is out of date.
        samples: may be several: a clip's segments.
        skipped: one sentence why there is no sample, else None.
        lost_s: seconds of the clip that no sample shows (no face, or too short a stretch).
    """

    item: str
    source: str
    fingerprint: str
    samples: list[PackedSample] = field(default_factory=list)
    skipped: str | None = None
    lost_s: float = 0.0

    def to_bytes(self) -> bytes:
        """For a file or a wire."""
        about = {one.name: getattr(self, one.name) for one in fields(self)}
        about["samples"] = [
            {"row": sample.row, "sizes": {suffix: len(data) for suffix, data in sample.members.items()}}
            for sample in self.samples
        ]
        text = json.dumps(about).encode()
        payload = b"".join(data for sample in self.samples for data in sample.members.values())
        return _HEADER.pack(_MAGIC, len(text), zlib.crc32(payload, zlib.crc32(text))) + text + payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Parcel:
        """The opposite.

        Raises:
            ValueError: the bytes are not whole.
        """
        if len(data) < _HEADER.size:
            raise ValueError("a parcel was cut short")
        magic, length, check = _HEADER.unpack_from(data)
        if magic != _MAGIC or zlib.crc32(memoryview(data)[_HEADER.size :]) != check:
            raise ValueError("a parcel is damaged")
        place = _HEADER.size + length
        about = json.loads(data[_HEADER.size : place])
        samples = []
        for entry in about.pop("samples"):
            members = {}
            for suffix, size in entry["sizes"].items():
                members[suffix] = data[place : place + size]
                place += size
            samples.append(PackedSample(entry["row"], members))
        return cls(**about, samples=samples)
