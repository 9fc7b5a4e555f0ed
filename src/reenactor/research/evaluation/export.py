"""The first pass: every set's picture is drawn once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from reenactor.core import Background, ReenactError
from reenactor.core.files import sha256
from reenactor.engine.composite import StillBackground
from reenactor.engine.portrait import Portrait
from reenactor.face.geometry import FACE_CROP_SCALE, resize
from reenactor.media import write_image
from reenactor.models import ReenactmentModel, create_model
from reenactor.nn.checkpoint import CONFIG, shipped_checkpoint
from reenactor.research.evaluation.packs import Frame, Packs
from reenactor.research.evaluation.predictions import Method, Predictions, begin, write_prediction
from reenactor.research.evaluation.protocols import Case, CaseList, Protocol
from reenactor.research.evaluation.transfer import Wanted, Way, transformer_folder
from reenactor.research.evaluation.workers import WorkerPool

_AT_ONCE = 16
"""Frames of one target drawn together."""


@dataclass(frozen=True)
class Entry:
    """What shall draw.

    Args:
        model: of the zoo.
        weights: folder of a checkpoint; None for those that ship.
        transfer: for a different identity; a person's own landmarks need none.
        transformer: folder of a landmark transformer, for that transfer; None for the one that ships.
        background: "still": put back as animation does; by default it is as the model draws it.
        name: of model and transfer in tables; None for the model's, with a transfer that is not the usual one.
    """

    model: str
    weights: Path | None = None
    transfer: Way = Way.RELATIVE
    transformer: Path | None = None
    background: Background = Background.MOVING
    name: str | None = None

    def way(self, protocol: Protocol) -> Way:
        """How landmarks are carried over in a protocol."""
        return Way.TRUTH if protocol.has_truth else self.transfer

    def title(self, protocol: Protocol) -> str:
        """Its name in tables."""
        usual = self.way(protocol) in (Way.TRUTH, Way.RELATIVE)
        unusual = [self.transfer.value] if self.name is None and not usual else []
        unusual += ["still background"] if self.background == "still" else []
        called = self.name or self.model
        return f"{called} ({', '.join(unusual)})" if unusual else called

    def method(self, protocol: Protocol) -> Method:
        """What a manifest tells of it.

        Raises:
            ReenactError: no such model, or no weights.
        """
        model, way = create_model(self.model, self.weights), self.way(protocol)
        weights = self.weights or (shipped_checkpoint(self.model) if model.trained else None)
        return Method(
            name=self.title(protocol),
            model=self.model,
            version=model.version,
            weights_sha256=None if weights is None else sha256(weights / CONFIG),
            config=model.config.model_dump(mode="json")
            | ({"background": "still"} if self.background == "still" else {}),
            transfer=way.value,
            transformer_sha256=sha256(transformer_folder(self.transformer) / CONFIG)
            if way is Way.TRANSFORMER
            else None,
        )


def export(
    packs: Packs,
    sets: CaseList,
    entry: Entry,
    out: Path,
    *,
    device: str = "cpu",
    pool: WorkerPool | None = None,
) -> Predictions:
    """Draw all sets that are not there yet.

    Args:
        packs: where the sets were chosen from.
        sets: what to draw.
        entry: what draws.
        out: folder for the pictures.
        device: where the model runs; anything but the CPU is used by one process.
        pool: does the work; None for this process.

    Raises:
        ReenactError: nothing can draw, or `out` holds something else.
    """
    made = begin(out, entry.method(sets.protocol), sets, packs)
    missing = _ordered(made.missing())
    work = _Export(packs.folders, entry, entry.way(sets.protocol), sets.size, out, device)
    told = (pool or WorkerPool()).spread(
        work, missing, what=f"draw {made.method.name}", done=len(sets) - len(missing), alone=device != "cpu"
    )
    for _ in told:
        pass
    return made


def export_inputs(packs: Packs, sets: CaseList, out: Path, *, pool: WorkerPool | None = None) -> None:
    """The sets' own pictures, for another tool: `sets.json`, and of each set `target-1.png`..., `driver.png`, and
    `driver-rest.png`, the driver's most neutral frame, for tools that carry over changes.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "sets.json").write_text(sets.to_json())
    work = _Inputs(packs.folders, sets.size, out)
    for _ in (pool or WorkerPool()).spread(work, _ordered(sets.sets), what="write pictures"):
        pass


def draw(
    model: ReenactmentModel,
    sets: Sequence[Case],
    packs: Packs,
    wanted: Wanted,
    size: int,
    background: Background = Background.MOVING,
) -> dict[str, UInt8[np.ndarray, "s s 3"]]:
    """Pictures for some sets by their ids, those with the same targets from one encoding.

    Args:
        model: on its device.
        sets: neighbours share what they have in common.
        packs: where the sets' pictures are.
        wanted: made for `drawn_at(model, size)`.
        size: side of the results, pixels.
        background: as the model draws it, or put back where it is in the first photo.
    """
    at = drawn_at(model, size)
    most = model.needs.max_targets
    pictures = packs.target.pictures((frame for one in sets for frame in one.targets), at)
    drivers = packs.driver.pictures((one.driver for one in sets), at) if wanted.sees_pictures else {}
    drawn = {}
    for targets, group in groupby(sets, key=lambda one: one.targets):
        some = list(group)
        images = np.stack([pictures[frame] for frame in targets[:most]])
        meshes = np.stack([packs.target.mesh(frame, at) for frame in targets[:most]])
        still = StillBackground(images[0], meshes[0]) if background == "still" else None
        portrait = Portrait(model, images, meshes, exact=True)
        for first in range(0, len(some), _AT_ONCE):
            part = some[first : first + _AT_ONCE]
            mesh = np.stack([wanted(one, pictures.__getitem__, drivers.__getitem__) for one in part])
            for one, picture, own in zip(part, portrait.draw(mesh), mesh, strict=True):
                drawn[one.id] = resize(picture if still is None else still.apply(picture, own), size)
    return drawn


def drawn_at(model: ReenactmentModel, size: int) -> int:
    """Side of the crops that a model is given, pixels: its own, or the protocol's if it takes any."""
    return size if model.needs.any_resolution or model.resolution is None else model.resolution


@dataclass(frozen=True)
class _Export:
    folders: tuple[Path, Path | None]
    entry: Entry
    way: Way
    size: int
    out: Path
    device: str

    def __call__(self, sets: Sequence[Case]) -> None:
        packs, model, wanted = _tools(self.folders, self.entry, self.way, self.size, self.device)
        drawn = draw(model, sets, packs, wanted, self.size, self.entry.background)
        for name, picture in drawn.items():
            write_prediction(self.out / f"{name}.webp", picture)


@lru_cache(maxsize=1)
def _tools(
    folders: tuple[Path, Path | None], entry: Entry, way: Way, size: int, device: str
) -> tuple[Packs, ReenactmentModel, Wanted]:
    """A process' own."""
    model = create_model(entry.model, entry.weights).to(device)
    if model.needs.crop_scale != FACE_CROP_SCALE:
        raise ReenactError(
            f"the model '{entry.model}' wants other crops than prepared data has; it cannot be evaluated"
        )
    packs = Packs(*folders)
    return packs, model, Wanted(packs, drawn_at(model, size), way, entry.transformer)


@dataclass(frozen=True)
class _Inputs:
    folders: tuple[Path, Path | None]
    size: int
    out: Path

    def __call__(self, sets: Sequence[Case]) -> None:
        packs = _packs(self.folders)
        targets = packs.target.pictures((frame for one in sets for frame in one.targets), self.size)
        rests = {one: packs.driver.neutral_number(one.driver.key) for one in sets}
        needed = [frame for one in sets for frame in (one.driver, Frame(one.driver.key, rests[one]))]
        drivers = packs.driver.pictures(needed, self.size)
        for one in sets:
            folder = self.out / one.id
            folder.mkdir(exist_ok=True)
            for number, frame in enumerate(one.targets, start=1):
                write_image(folder / f"target-{number}.png", targets[frame])
            write_image(folder / "driver.png", drivers[one.driver])
            write_image(folder / "driver-rest.png", drivers[Frame(one.driver.key, rests[one])])


@lru_cache(maxsize=1)
def _packs(folders: tuple[Path, Path | None]) -> Packs:
    return Packs(*folders)


def _ordered(sets: Sequence[Case]) -> list[Case]:
    """Those together that share clips."""
    return sorted(sets, key=lambda one: ([(f.key, f.number) for f in one.targets], one.driver.key, one.driver.number))
