"""Predictions: a folder with a drawn picture for each case, ours or another tool's.

| file | holds |
|---|---|
| `<case id>.webp` or `.png` | the picture drawn for that case |
| `cases.json` | the cases (`cases.CaseList`) |
| `manifest.json` | which method drew them, and from which data; another tool's folder has none |
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.core import ReenactError
from reenactor.core.files import read_json, write_atomically
from reenactor.face.geometry import resize
from reenactor.media import read_image
from reenactor.research.evaluation.cases import CASES, Case, CaseList, read_cases
from reenactor.research.evaluation.packs import Packs, pack_digest

MANIFEST = "manifest.json"
_VERSION = 2
_SUFFIXES = (".webp", ".png")


@dataclass(frozen=True)
class Method:
    """What drew the pictures.

    Args:
        name: in tables.
        model: name in the zoo; None for another tool.
        version: the model's version, with the beginning of its weights' digest.
        weights_sha256: digest of the weights; None for a model without.
        config: the model's settings.
        transfer: where the target landmarks came from (`export.LandmarkSource`).
        transformer_sha256: digest of the landmark transformer, if one was used.
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
    """An open folder of predictions.

    Args:
        folder: with the pictures.
        method: what drew them.
        cases: which pictures there should be.
        data, targets: folders of the packs at that time; None if not known, or if there is one pack.
    """

    folder: Path
    method: Method
    cases: CaseList
    data: Path | None
    targets: Path | None

    def path(self, case: Case) -> Path | None:
        """The file of a case's picture; None if it is missing."""
        return next((p for p in (self.folder / f"{case.id}{suffix}" for suffix in _SUFFIXES) if p.exists()), None)

    def missing(self) -> list[Case]:
        """Cases without a picture."""
        names = {entry.name for entry in os.scandir(self.folder)}
        return [case for case in self.cases if not any(case.id + suffix in names for suffix in _SUFFIXES)]


def read_prediction(path: Path, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Read a drawn picture, resampled to (size, size, 3).

    Raises:
        ReenactError: it cannot be read, or is not square.
    """
    picture = read_image(path)
    if picture.shape[0] != picture.shape[1]:
        raise ReenactError(f"{path} is not square; draw the face crop that the case's target shows")
    return resize(picture, size)


def write_prediction(path: Path, picture: UInt8[np.ndarray, "s s 3"]) -> None:
    """Write a picture as lossless WebP."""
    buffer = io.BytesIO()
    # 8 ms and 66 kB a picture of 256 pixels; PNG takes 23 ms and 93 kB.
    Image.fromarray(picture).save(buffer, format="WEBP", lossless=True, method=0, quality=0)
    write_atomically(path, buffer.getvalue())


def begin(folder: Path, method: Method, cases: CaseList, packs: Packs) -> Predictions:
    """Start a folder of predictions, or continue one with the same method and cases.

    Raises:
        ReenactError: the folder holds pictures of another method or of other cases.
    """
    data, targets = packs.folders
    predictions = Predictions(folder, method, cases, data, targets)
    if (folder / MANIFEST).exists():
        before = open_predictions(folder)
        if (before.cases.digest, before.method) != (cases.digest, method):
            what = "other cases" if before.method == method else f"'{before.method.name}', or with other settings"
            raise ReenactError(f"{folder} holds pictures of {what}; choose another --out, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CASES, cases.to_json())
    manifest = {
        "format": "reenactor-predictions",
        "version": _VERSION,
        "method": asdict(method),
        "cases_sha256": cases.digest,
        "data_sha256": cases.data_sha256,
        "data": None if data is None else str(data.resolve()),
        "targets": None if targets is None else str(targets.resolve()),
    }
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return predictions


def open_predictions(folder: Path, cases: Path | None = None) -> Predictions:
    """Open a folder that `reenactor evaluate export` or another tool wrote.

    Args:
        folder: with the pictures.
        cases: the list that another tool's pictures were drawn for; None for the one in the folder.

    Raises:
        ReenactError: the folder has no list of cases, is of another version, or its list was changed.
    """
    if not folder.is_dir():
        raise ReenactError(f"{folder} is no folder; give one that 'reenactor evaluate export' or another tool wrote")
    path = folder / MANIFEST
    if not path.exists():
        return Predictions(folder, Method(folder.name), read_cases(cases or folder / CASES), None, None)
    again = "export the pictures again"
    found = read_json(path, "predictions", _VERSION, missing=f"{path} is missing; {again}", again=again)
    try:
        method = Method(**found["method"])
        data, targets = (None if found[side] is None else Path(found[side]) for side in ("data", "targets"))
        digest = found["cases_sha256"]
    except (KeyError, TypeError) as error:
        raise ReenactError(f"cannot read {path} ({error}); {again}") from error
    listed = read_cases(folder / CASES)
    if listed.digest != digest or (cases is not None and read_cases(cases).digest != listed.digest):
        raise ReenactError(f"the pictures in {folder} were drawn for other cases than are listed; {again}")
    return Predictions(folder, method, listed, data, targets)


def check_comparable(predictions: Predictions, cases: CaseList, packs: Packs) -> None:
    """Check that pictures are complete, and drawn for these cases from this data.

    Raises:
        ReenactError: they are not; says what to do.
    """
    folder, listed = predictions.folder, predictions.cases
    if (listed.data_sha256, listed.targets_sha256) != (pack_digest(packs.drivers), pack_digest(packs.targets)):
        raise ReenactError(
            f"the pictures in {folder} were drawn from other data than {packs.drivers.folder} holds now; export them "
            "again, or give that data with --data"
        )
    if missing := predictions.missing():
        raise ReenactError(
            f"{folder} lacks {len(missing)} of {len(listed)} pictures, the first is {missing[0].id}; finish the export"
        )
    if listed.digest != cases.digest:
        raise ReenactError(f"{folder} was drawn for other cases than the first folder; compare them separately")


def packs_of(predictions: Sequence[Predictions], data: Path | None, targets: Path | None) -> Packs:
    """Open the packs that are given, or else those that the first of the pictures were drawn from.

    Raises:
        ReenactError: neither is known.
    """
    if data is not None:
        return Packs(data, targets)
    for one in predictions:
        if one.data is not None:
            return Packs(one.data, one.targets)
    raise ReenactError(f"{predictions[0].folder} does not say which data it was drawn from; give it with --data")
