"""A folder of drawn pictures, one for each set, and what made them; ours or another tool's.

| file | holds |
|---|---|
| `<set id>.webp` or `.png` | the picture drawn for that set |
| `sets.json` | the sets (`protocols.CaseList`) |
| `manifest.json` | which method drew, and from what; another tool's folder has none |
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import ReenactError
from reenactor.face.geometry import resize
from reenactor.media import read_image
from reenactor.research.evaluation.packs import Packs, pack_digest
from reenactor.research.evaluation.protocols import Case, CaseList, read_cases

FORMAT = "reenactor-predictions"
VERSION = 1
MANIFEST, SETS = "manifest.json", "sets.json"
SUFFIXES = (".webp", ".png")


@dataclass(frozen=True)
class Method:
    """What drew.

    Args:
        name: in tables.
        model: of the zoo; None for another tool.
        version: the model's, with the beginning of its weights' digest.
        weights_sha256: of the weights, where there are any.
        config: the model's settings.
        transfer: how the driver's landmarks became the target's.
        transformer_sha256: of the landmark transformer, where there is one.
    """

    name: str
    model: str | None = None
    version: str | None = None
    weights_sha256: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    transfer: str | None = None
    transformer_sha256: str | None = None


@dataclass(frozen=True)
class Predictions:
    """A folder, opened.

    Args:
        folder: where the pictures are.
        method: what drew them.
        sets: for which sets.
        data, targets: folders of the packs, as they were called then.
    """

    folder: Path
    method: Method
    sets: CaseList
    data: Path | None
    targets: Path | None

    def path(self, one: Case) -> Path | None:
        """The file of a set's picture; None if it is not there."""
        return next((p for p in (self.folder / f"{one.id}{suffix}" for suffix in SUFFIXES) if p.exists()), None)

    def missing(self) -> list[Case]:
        """Sets without a picture."""
        names = {entry.name for entry in os.scandir(self.folder)}
        return [one for one in self.sets.sets if not any(one.id + suffix in names for suffix in SUFFIXES)]


def read_prediction(path: Path, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """A drawn picture in the protocol's size.

    Raises:
        ReenactError: it cannot be read, or is not square.
    """
    picture = read_image(path)
    if picture.shape[0] != picture.shape[1]:
        raise ReenactError(f"{path} is not square; draw the face crop that the set's target shows")
    return resize(picture, size)


def write_prediction(path: Path, picture: UInt8[np.ndarray, "s s 3"]) -> None:
    """Lossless WebP, whole or not at all."""
    buffer = io.BytesIO()
    # 8 ms and 66 kB a picture of 256 pixels; PNG takes 23 ms and 93 kB.
    Image.fromarray(picture).save(buffer, format="WEBP", lossless=True, method=0, quality=0)
    write_whole(path, buffer.getvalue())


def write_whole(path: Path, data: bytes) -> None:
    """A file, or none."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    os.replace(beside, path)


def begin(folder: Path, method: Method, sets: CaseList, packs: Packs) -> Predictions:
    """Start a folder, or go on with one that was started alike.

    Raises:
        ReenactError: it holds another method's pictures, or other sets'.
    """
    data, targets = packs.folders
    made = Predictions(folder, method, sets, data, targets)
    text = json.dumps(_manifest(made), indent=1) + "\n"
    if (folder / MANIFEST).exists():
        before = open_predictions(folder)
        if (before.sets.digest, before.method) != (sets.digest, method):
            what = "other sets" if before.method == method else f"'{before.method.name}', or with other settings"
            raise ReenactError(f"{folder} holds pictures of {what}; choose another --out, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / SETS, sets.to_json().encode())
    write_whole(folder / MANIFEST, text.encode())
    return made


def open_predictions(folder: Path, sets: Path | None = None) -> Predictions:
    """Open a folder that `reenactor evaluate export` or another tool wrote.

    Args:
        folder: with the pictures.
        sets: what another tool's pictures were drawn for; None for the folder's own.

    Raises:
        ReenactError: it holds no pictures, or of another version, or the sets were changed since.
    """
    if not folder.is_dir():
        raise ReenactError(f"{folder} is no folder; give one that 'reenactor evaluate export' or another tool wrote")
    path = folder / MANIFEST
    if not path.exists():
        return Predictions(folder, Method(folder.name), read_cases(sets or folder / SETS), None, None)
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT or found["version"] != VERSION:
            raise ValueError(f"{found['format']} of version {found['version']}")
        method = Method(**found["method"])
        listed = read_cases(folder / SETS)
        places = [None if found[side] is None else Path(found[side]) for side in ("data", "targets")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReenactError(f"cannot read {path} ({error}); export the pictures anew") from error
    if listed.digest != found["cases_sha256"] or (sets is not None and read_cases(sets).digest != listed.digest):
        raise ReenactError(f"the pictures in {folder} were drawn for other sets than are listed; export them anew")
    return Predictions(folder, method, listed, *places)


def check_fresh(predictions: Predictions, packs: Packs) -> None:
    """Refuse pictures that were drawn from other data, or not to the end.

    Raises:
        ReenactError: which, and what to do.
    """
    listed = predictions.sets
    if (listed.data_sha256, listed.targets_sha256) != (pack_digest(packs.drivers), pack_digest(packs.targets)):
        raise ReenactError(
            f"the pictures in {predictions.folder} were drawn from other data than {packs.drivers.folder} holds now; "
            "export them anew, or give that data with --data"
        )
    if missing := predictions.missing():
        raise ReenactError(
            f"{predictions.folder} lacks {len(missing)} of {len(listed)} pictures, {missing[0].id} the first; "
            "finish the export, or draw them"
        )


def _manifest(made: Predictions) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "method": asdict(made.method),
        "cases_sha256": made.sets.digest,
        "data_sha256": made.sets.data_sha256,
        "data": None if made.data is None else str(made.data.resolve()),
        "targets": None if made.targets is None else str(made.targets.resolve()),
    }
