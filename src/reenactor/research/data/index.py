"""index.parquet: one row a sample, so that a reader needs neither the tar library nor a scan of the shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reenactor.face.perception.identity import EMBEDDING_SIZE

_POSE = [(f"{axis}_{name}", pa.float32()) for axis in ("yaw", "pitch", "roll") for name in ("mean", "min", "max")]
_PLACES = [(f"{member}_{what}", pa.int64()) for member in ("media", "landmarks", "json") for what in ("offset", "size")]

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.string()),
        *_PLACES,
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
        *_POSE,
        ("face_px", pa.float32()),
        ("faces", pa.int16()),
        ("face_share", pa.float32()),
        ("score", pa.float32()),
        ("sharpness", pa.float32()),
        ("padding", pa.float32()),
        ("embedding", pa.list_(pa.float32(), EMBEDDING_SIZE)),
    ]
)
"""docs/data.md explains each column."""

MEDIA_SUFFIXES = ("mp4", "jpg")
"""The member that holds the pixels; the index calls it `media`."""


class IndexWriter:
    """Writes the index shard by shard: one row group each, so memory does not grow with the data set."""

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append the rows of a shard."""
        if rows:
            self._writer.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
