"""The first pass: every case's picture is drawn once, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from safetensors.numpy import load_file, save

from reenactor.core import Alignment, Background, Head, ReenactError, Transfer, head_with
from reenactor.core.files import sha256, write_atomically
from reenactor.engine.composite import Compositor, StillBackground
from reenactor.engine.loading import load_transformer, transformer_folder, tuned_model
from reenactor.engine.portrait import Portrait, placed, torch_device
from reenactor.engine.tuning import STATE, PersonFrames, TuningSettings, check_tunable, tune
from reenactor.face.geometry import FACE_CROP_SCALE, resize
from reenactor.face.retarget import PartsRetargeter, Retargeter
from reenactor.face.retarget.transformer import TransformerRetargeter
from reenactor.media import write_image
from reenactor.media.person_file import Tuning
from reenactor.models import ReenactmentModel, create_model
from reenactor.nn.checkpoint import CONFIG, shipped_checkpoint
from reenactor.research.evaluation.cases import CASES, Case, CaseList, Protocol
from reenactor.research.evaluation.packs import Frame, Pack, Packs
from reenactor.research.evaluation.predictions import Method, Predictions, begin, write_prediction
from reenactor.research.evaluation.protocols import makes_person
from reenactor.research.evaluation.workers import WorkerPool, batches

TRUTH = "truth"
"""Transfer in a manifest if the driver's landmarks are used as they are: target and driver are one person in one steady
crop."""
TUNED = "tuned"
"""Folder beside the pictures for what a tuned model learned of each clip."""
_AT_ONCE = 16
"""Frames of one target drawn together."""


@dataclass(frozen=True)
class Entry:
    """A method to evaluate.

    Args:
        model: name in the zoo.
        weights: folder of a checkpoint; None for the weights that ship.
        transfer: how landmarks are carried to another person; within one person the driver's own are used.
        transformer: folder of a landmark transformer, for that transfer; None for the one that ships.
        background: by default as the model draws it; STILL puts it back as animation does.
        name: in tables; None for the model's, with the transfer if it is not the usual one.
        head: whether the head turns by as much as the driver's, or to its angles; None for the transfer's usual.
        tune: minutes for which the model is tuned to each clip's first half, in the protocol `person`; 0 for none.

    Raises:
        ReenactError: the head does not go with the transfer.
    """

    model: str
    weights: Path | None = None
    transfer: Transfer = Transfer.PARTS
    transformer: Path | None = None
    background: Background = Background.MOVING
    name: str | None = None
    head: Head | None = None
    tune: float = 0.0

    def __post_init__(self) -> None:
        head_with(self.transfer, self.head)  # raises where they do not go together

    def transfer_in(self, protocol: Protocol) -> Transfer | None:
        """How landmarks are carried over in a protocol; None if the driver's own are used."""
        return None if protocol.has_truth else self.transfer

    def turns_to_driver(self, protocol: Protocol) -> bool:
        """Whether the head has the driver's angles although the transfer's usual ones are relative."""
        return self.transfer_in(protocol) not in (None, Transfer.ABSOLUTE) and self.head is Head.ABSOLUTE

    def landmarks(self, packs: Packs, size: int, protocol: Protocol) -> TargetLandmarks:
        """What it is asked to draw in crops of this size."""
        return TargetLandmarks(packs, size, self.transfer_in(protocol), self.transformer, self.head)

    def title(self, protocol: Protocol) -> str:
        """Its name in tables."""
        transfer = self.transfer_in(protocol)
        unusual = [self.transfer.value] if self.name is None and transfer not in (None, Transfer.PARTS) else []
        unusual += ["absolute head"] if self.turns_to_driver(protocol) else []
        unusual += ["still background"] if self.background == Background.STILL else []
        unusual += [f"tuned {self.tune:g} min"] if self.tune else []
        name = self.name or self.model
        return f"{name} ({', '.join(unusual)})" if unusual else name

    def method(self, protocol: Protocol) -> Method:
        """Its description in a manifest.

        Raises:
            ReenactError: there is no such model, or there are no weights; or it cannot be tuned.
        """
        model, transfer = create_model(self.model, self.weights), self.transfer_in(protocol)
        if self.tune and protocol is not Protocol.PERSON:
            raise ReenactError(
                f"the protocol {protocol.value} keeps no half of a clip apart for tuning; choose --protocol person, or "
                "leave out --tune"
            )
        if self.tune:
            check_tunable(model)
        weights = self.weights or (shipped_checkpoint(self.model) if model.trained else None)
        changes = {"background": "still"} if self.background == Background.STILL else {}
        changes |= {"head": "absolute"} if self.turns_to_driver(protocol) else {}
        changes |= {"tuned_minutes": self.tune, "tuning": asdict(TuningSettings())} if self.tune else {}
        transformer = transformer_folder(self.transformer) if transfer is Transfer.TRANSFORMER else None
        return Method(
            name=self.title(protocol),
            model=self.model,
            version=model.version,
            weights_sha256=None if weights is None else sha256(weights / CONFIG),
            config=model.config.model_dump(mode="json") | changes,
            transfer=TRUTH if transfer is None else transfer.value,
            transformer_sha256=None if transformer is None else sha256(transformer / CONFIG),
        )


class TargetLandmarks:
    """The landmarks that a method is asked to draw for each case, in the pixels of the target's crop.

    Args:
        packs: the cases' data.
        size: side of the crops, pixels.
        transfer: how they are made of the driver's; None to use the driver's own.
        transformer: folder of a landmark transformer, for that transfer; None for the one that ships.
        head: how the head turns; None for the transfer's usual.

    Raises:
        ReenactError: the transformer is missing.
    """

    def __init__(
        self,
        packs: Packs,
        size: int,
        transfer: Transfer | None,
        transformer: Path | None = None,
        head: Head | None = None,
    ) -> None:
        self._packs, self._size, self._transfer, self._head = packs, size, transfer, head_with(transfer, head)
        self._transformer = load_transformer(transformer) if transfer is Transfer.TRANSFORMER else None
        self._retargeter = lru_cache(maxsize=1)(self._make_retargeter)

    def __call__(self, cases: Sequence[Case]) -> Float[np.ndarray, "n 478 3"]:
        """The mesh to draw for each case; quickest if neighbours have the same targets and driver."""
        faces = self._faces(self._packs.driver, [case.driver for case in cases])
        return np.stack([self._mesh(case, faces.get(case.driver)) for case in cases])

    def _mesh(self, case: Case, face: UInt8[np.ndarray, "s s 3"] | None) -> Float[np.ndarray, "478 3"]:
        mesh = self._packs.driver.mesh(case.driver, self._size)
        if self._transfer is None:
            return mesh
        retarget = self._retargeter(case.targets, case.driver.key)
        return retarget(mesh) if face is None else retarget(mesh, face)

    def _make_retargeter(self, targets: tuple[Frame, ...], driver: str) -> Callable[..., Float[np.ndarray, "478 3"]]:
        assert self._transfer is not None
        meshes = np.stack([self._packs.target.mesh(frame, self._size) for frame in targets])
        rest = self._packs.driver.rest(driver, self._size)
        if self._transfer is Transfer.PARTS:
            return PartsRetargeter(meshes, rest, head=self._head)
        if self._transformer is None:
            return Retargeter(meshes[0], rest.mesh_px, self._transfer, self._head)
        found = self._faces(self._packs.target, targets)
        faces = np.stack([found[frame] for frame in targets]) if found else None
        return TransformerRetargeter(self._transformer, meshes, rest.mesh_px, faces, self._head)

    def _faces(self, pack: Pack, frames: Sequence[Frame]) -> Mapping[Frame, UInt8[np.ndarray, "s s 3"]]:
        """The frames' crops as the transformer saw them in training; empty if it sees none."""
        config = None if self._transformer is None else self._transformer.config
        if config is None or not config.needs_pictures:
            return {}
        return pack.pictures(frames, config.image_size)


def export(
    packs: Packs,
    cases: CaseList,
    entry: Entry,
    out: Path,
    *,
    device: str = "cpu",
    pool: WorkerPool | None = None,
) -> Predictions:
    """Draw the cases that are not in the folder yet.

    Args:
        packs: the cases' data.
        cases: what to draw.
        entry: what draws.
        out: folder for the pictures.
        device: what the model runs on, see `engine.portrait.torch_device`; a GPU is used by one process.
        pool: does the work; None for this process.

    Raises:
        ReenactError: the method cannot be made, or `out` holds something else.
    """
    device = str(torch_device(device))
    predictions = begin(out, entry.method(cases.protocol), cases, packs)
    missing = _ordered(predictions.missing())
    work = _Export(packs.folders, entry, cases.protocol, cases.size, out, device)
    what, done = f"draw {predictions.method.name}", len(cases) - len(missing)
    # A person is tuned by one process.
    people = [list(of_one) for _, of_one in groupby(missing, key=lambda case: case.targets)]
    parts = people if entry.tune else batches(missing)
    for _ in (pool or WorkerPool()).spread(work, parts, what=what, done=done, alone=device != "cpu"):
        pass
    return predictions


def export_inputs(packs: Packs, cases: CaseList, out: Path, *, pool: WorkerPool | None = None) -> None:
    """Write the cases' pictures for another tool.

    `out` gets `cases.json`, and a folder for each case with `target-1.png`..., `driver.png`, and `driver-rest.png`, the
    driver's most neutral frame, for tools that transfer changes.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / CASES, cases.to_json())
    work = _Inputs(packs.folders, cases.size, out)
    for _ in (pool or WorkerPool()).spread(work, batches(_ordered(cases.cases)), what="write pictures"):
        pass


def draw(
    model: ReenactmentModel,
    cases: Sequence[Case],
    packs: Packs,
    landmarks: TargetLandmarks,
    size: int,
    background: Background = Background.MOVING,
) -> dict[str, UInt8[np.ndarray, "s s 3"]]:
    """Draw some cases; neighbours with the same targets share one encoding.

    A model with other crops than the pack's gets its own, cut out of those, and what it draws is put back into the
    first target's picture; so all models are asked for the same landmarks and compared with the same truth.

    Args:
        model: on its device.
        cases: what to draw.
        packs: their data.
        landmarks: made for `frame_size(model, packs, size)`.
        size: side of the results, pixels.
        background: as the model draws it, or put back where it is in the first photo.

    Returns:
        Pictures by the cases' ids.
    """
    at, frame_px = drawn_at(model, size), frame_size(model, packs, size)
    most = model.needs.max_targets
    pictures = packs.target.pictures((frame for case in cases for frame in case.targets), frame_px)
    drawn = {}
    for targets, group in groupby(cases, key=lambda case: case.targets):
        some = list(group)
        images = np.stack([pictures[frame] for frame in targets[:most]])
        meshes = np.stack([packs.target.mesh(frame, frame_px) for frame in targets[:most]])
        crop = compositor = None
        if not has_pack_crops(model):
            crops = [model.needs.crop(mesh, size=at) for mesh in meshes]
            crop, compositor = crops[0], Compositor(images[0], crops[0])
            images = np.stack([one.cut(image) for one, image in zip(crops, images, strict=True)])
            meshes = np.stack([one.to_crop(mesh) for one, mesh in zip(crops, meshes, strict=True)])
        still = StillBackground(images[0], meshes[0]) if background == Background.STILL else None
        portrait = Portrait(model, images, meshes, exact=True)
        for first in range(0, len(some), _AT_ONCE):
            part = some[first : first + _AT_ONCE]
            mesh = landmarks(part) if crop is None else crop.to_crop(landmarks(part))
            for case, picture, own in zip(part, portrait.draw(mesh), mesh, strict=True):
                shown = picture if still is None else still.apply(picture, own)
                drawn[case.id] = resize(shown if compositor is None else compositor.paste(shown), size)
    return drawn


def has_pack_crops(model: ReenactmentModel) -> bool:
    """Whether prepared data has the crops that a model needs."""
    return model.needs.alignment is Alignment.BOX and model.needs.crop_scale == FACE_CROP_SCALE


def frame_size(model: ReenactmentModel, packs: Packs, size: int) -> int:
    """Side of the pack's crops that a model is evaluated in, pixels: that of its input if it takes these crops.

    Other models' crops are cut out of the targets' pictures as they are stored, if that is more than `size`.
    """
    return drawn_at(model, size) if has_pack_crops(model) else max(size, packs.targets.manifest["settings"]["size"])


def drawn_at(model: ReenactmentModel, size: int) -> int:
    """Side of a model's input crops, pixels: its own resolution, or the protocol's if it takes any."""
    return size if model.needs.any_resolution or model.resolution is None else model.resolution


@dataclass(frozen=True)
class _Export:
    folders: tuple[Path, Path | None]
    entry: Entry
    protocol: Protocol
    size: int
    out: Path
    device: str

    def __call__(self, cases: Sequence[Case]) -> None:
        packs, model, landmarks = _tools(self.folders, self.entry, self.protocol, self.size, self.device)
        if self.entry.tune:
            model = _tuned(model, cases[0], packs, drawn_at(model, self.size), self.entry.tune, self.out)
        drawn = draw(model, cases, packs, landmarks, self.size, self.entry.background)
        for name, picture in drawn.items():
            write_prediction(self.out / f"{name}.webp", picture)


def _tuned(model: ReenactmentModel, case: Case, packs: Packs, size: int, minutes: float, out: Path) -> ReenactmentModel:
    """A copy of the model, tuned to the clip of a case; what it learned is kept in the folder of the pictures."""
    folder = out / TUNED / case.clip
    learned = folder / "difference.safetensors"
    if not learned.exists():
        folder.mkdir(parents=True, exist_ok=True)
        clip = packs.target.sample(case.clip)
        numbers = np.flatnonzero(makes_person(clip))
        photos = [frame.number for frame in case.targets][: model.needs.max_targets]
        meshes, times_s = packs.target.meshes(case.clip, size).astype(np.float32), clip.times_s.astype(np.float64)
        person = PersonFrames(
            photos=clip.frames(photos, size=size),
            photo_mesh_px=meshes[photos],
            photo_times_s=times_s[photos],
            frames=clip.frames(numbers.tolist(), size=size),
            mesh_px=meshes[numbers],
            times_s=times_s[numbers],
        )
        found = tune(model, person, minutes=minutes, folder=folder)
        write_atomically(learned, save(dict(found.difference), {name: str(one) for name, one in found.about.items()}))
        (folder / STATE).unlink()
    return tuned_model(model, Tuning(model.name, model.version, load_file(learned), {}))


@lru_cache(maxsize=1)
def _tools(
    folders: tuple[Path, Path | None], entry: Entry, protocol: Protocol, size: int, device: str
) -> tuple[Packs, ReenactmentModel, TargetLandmarks]:
    model, packs = placed(create_model(entry.model, entry.weights), torch_device(device)), Packs(*folders)
    return packs, model, entry.landmarks(packs, frame_size(model, packs, size), protocol)


@dataclass(frozen=True)
class _Inputs:
    folders: tuple[Path, Path | None]
    size: int
    out: Path

    def __call__(self, cases: Sequence[Case]) -> None:
        packs = _packs(self.folders)
        targets = packs.target.pictures((frame for case in cases for frame in case.targets), self.size)
        rests = {case: Frame(case.driver.key, packs.driver.neutral_number(case.driver.key)) for case in cases}
        drivers = packs.driver.pictures([frame for case in cases for frame in (case.driver, rests[case])], self.size)
        for case in cases:
            folder = self.out / case.id
            folder.mkdir(exist_ok=True)
            for number, frame in enumerate(case.targets, start=1):
                write_image(folder / f"target-{number}.png", targets[frame])
            write_image(folder / "driver.png", drivers[case.driver])
            write_image(folder / "driver-rest.png", drivers[rests[case]])


@lru_cache(maxsize=1)
def _packs(folders: tuple[Path, Path | None]) -> Packs:
    return Packs(*folders)


def _ordered(cases: Sequence[Case]) -> list[Case]:
    """Cases with the same targets and clips next to each other."""
    return sorted(cases, key=lambda c: ([(f.key, f.number) for f in c.targets], c.driver.key, c.driver.number))
