"""Measured once, kept: named rows of arrays in a file, each with the digest of what it was measured on."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reenactor.research.evaluation.predictions import write_whole

Row = Mapping[str, np.ndarray]


class Store:
    """Rows by name; a row whose digest is not the one asked for is not given.

    Args:
        path: the file; may not exist.
        context: of all rows: what they depend on besides their own pictures. A file with another one is left aside.
    """

    def __init__(self, path: Path, context: str) -> None:
        self._path, self._context = path, context
        self._rows: dict[str, tuple[str, Row]] = self._load() if path.exists() else {}
        self._changed = False

    def get(self, name: str, digest: str = "") -> Row | None:
        """The row, if it was measured on this."""
        known, row = self._rows.get(name, ("", None))
        return row if known == digest else None

    def put(self, name: str, row: Row, digest: str = "") -> None:
        """Keep a row; all rows have the same arrays."""
        self._rows[name] = digest, row
        self._changed = True

    def save(self) -> None:
        """Write the file, if there is anything new."""
        if not self._changed:
            return
        rows = [row for _, row in self._rows.values()]
        columns = {f"row_{name}": np.stack([row[name] for row in rows]) for name in rows[0]}
        names = np.array(list(self._rows))
        digests = np.array([digest for digest, _ in self._rows.values()])
        buffer = io.BytesIO()
        np.savez(buffer, context=np.array(self._context), names=names, digests=digests, **columns)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, buffer.getvalue())
        self._changed = False

    def _load(self) -> dict[str, tuple[str, Row]]:
        try:
            # Opened here, because NumPy leaves a damaged file open.
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                if str(file["context"]) != self._context:
                    return {}
                columns = {name.removeprefix("row_"): file[name] for name in file.files if name.startswith("row_")}
                names, digests = file["names"].tolist(), file["digests"].tolist()
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}  # can be measured again
        return {
            name: (digest, {column: values[i] for column, values in columns.items()})
            for i, (name, digest) in enumerate(zip(names, digests, strict=True))
        }
