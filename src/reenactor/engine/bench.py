"""Speed of this machine: each part, whole frames (paper B, Tables 6 and 7), and whole jobs."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.flop_counter import FlopCounterMode

from reenactor.core import Layout, Options, Runtime, TargetCode
from reenactor.engine.composite import Compositor
from reenactor.engine.job import animate
from reenactor.engine.loading import load_model, load_transformer
from reenactor.engine.memory import peak_memory_mib
from reenactor.engine.portrait import (
    STANDARD_SIZE,
    device_of,
    driver_frame,
    half_precision,
    placed,
    target_set,
    torch_device,
)
from reenactor.engine.shipped import demo_photo, shipped_motions
from reenactor.engine.timing import Spread, Times, interleaved
from reenactor.engine.track import Track, track_rest
from reenactor.face.geometry import face_crop
from reenactor.face.geometry.mesh_flow import mesh_flow
from reenactor.face.perception import FaceFinder, FaceTracker
from reenactor.face.perception.detection import FaceDetector
from reenactor.face.retarget import PartsRetargeter, Retargeter
from reenactor.face.retarget.transformer import TransformerRetargeter
from reenactor.media import VideoReader, VideoWriter, read_motion, write_image, write_motion
from reenactor.models import ReenactmentModel
from reenactor.models.marionette import MarioNETte, MarioNETteConfig

MANY = 8
"""Target photos, besides 1: K in paper B's Tables 6 and 7."""
_SHORT_S = 2.0
"""Length of the driver that the parts are timed with."""
_PEAK_SIDE = 1024
_PEAK_RUNS = 8


@dataclass(frozen=True)
class Variant:
    """A model to measure.

    Args:
        label: in the tables.
        model: ready to draw.
        options: for whole jobs; None to leave them out.
    """

    label: str
    model: ReenactmentModel
    options: Options | None = None

    @classmethod
    def of(
        cls, name: str, weights: Path | None = None, runtime: Runtime = Runtime.TORCH, device: str = "auto"
    ) -> Variant:
        """A model by name, in a runtime and on a device."""
        label = name if runtime is Runtime.TORCH else f"{name} ({runtime})"
        options = Options(model=name, weights=weights, runtime=runtime, device=device)
        return cls(label, load_model(name, weights, runtime, device), options)

    @classmethod
    def paper(cls) -> Variant:
        """Paper B's network at its own size; untrained, which costs the same time."""
        return cls("marionette (paper)", MarioNETte(MarioNETteConfig.paper()).eval())


@dataclass(frozen=True)
class Network:
    """What one variant costs.

    Args:
        label: of the variant.
        size: pixels a side.
        encode, encode_many: the target encoder for 1 and for 8 photos.
        draw, draw_many: the generator with the code of 1 and of 8 photos.
        maps: drawing the maps that the generator reads.
        encode_flop, draw_flop: operations of `encode` and `draw`; 0 where PyTorch does not compute.
        peak: fraction of the machine's measured matrix peak (fp32, as many threads) that `draw` reaches.
    """

    label: str
    size: int
    encode: Times
    encode_many: Times
    draw: Times
    draw_many: Times
    maps: Times | None
    encode_flop: int
    draw_flop: int
    peak: float


@dataclass(frozen=True)
class Job:
    """File to file, all included: frames a second, and processor time a frame."""

    variant: str
    label: str
    fps: float
    cpu_ms: float


@dataclass(frozen=True)
class Bench:
    """All measurements.

    Args:
        machine: in words.
        parts: times of what all models have in common, by name.
        networks: in the order given.
        peaks_gflops: matrix products a second by name.
        jobs: whole jobs.
        peak_memory_mib: of this process.
    """

    machine: str
    parts: Mapping[str, Times]
    networks: Sequence[Network]
    peaks_gflops: Mapping[str, float]
    jobs: Sequence[Job] = ()
    peak_memory_mib: float = field(default_factory=peak_memory_mib)

    def ratios(self, *, cpu: bool = False) -> dict[str, Spread]:
        """Each network's generator against the first one's."""
        return {one.label: one.draw.ratio(self.networks[0].draw, cpu=cpu) for one in self.networks}


def measure(
    variants: Sequence[Variant],
    *,
    device: str = "auto",
    rounds: int = 60,
    seconds_each: float = 10.0,
    job_rounds: int = 3,
) -> Bench:
    """Measure everything in this process, in turn.

    Args:
        variants: at least one; ratios are to the first.
        device: where PyTorch's models are measured, see `torch_device`.
        rounds: of the parts and networks, at most.
        seconds_each: no part is measured for much longer than this.
        job_rounds: whole jobs of each kind; 0 for none.
    """
    on = torch_device(device)
    finish = torch.cuda.synchronize if on.type == "cuda" else lambda: None
    with tempfile.TemporaryDirectory(prefix="reenactor-bench-") as name:
        folder = Path(name)
        scene = _Scene.make(folder, seconds=None if job_rounds else _SHORT_S)
        parts = _Parts(scene, folder)
        networks = [_Subject(variant, scene, on) for variant in variants]
        shared = parts.works(on)
        works = shared | {key: work for one in networks for key, work in one.works().items()}
        with parts, torch.inference_mode():
            times = interleaved(works, rounds=rounds, seconds_each=seconds_each, finish=finish)
            peaks = _peaks(on, finish)
            shown = [one.network(times, peaks) for one in networks]
        jobs = _jobs(variants, scene, folder, job_rounds)
    return Bench(_machine(on), {key: times[key] for key in shared}, shown, peaks, jobs)


@dataclass(frozen=True)
class _Scene:
    """What all measurements work on: a photo, and a driver as landmarks and as a film of 256 pixels."""

    photo: UInt8[np.ndarray, "h w 3"]
    mesh_px: Float[np.ndarray, "478 3"]
    track: Track
    film: Path

    @classmethod
    def make(cls, folder: Path, *, seconds: float | None) -> _Scene:
        photo, motion = demo_photo(), read_motion(shipped_motions()["talk"])
        if seconds is not None:
            motion = motion.between(0, seconds)
        write_image(folder / "photo.png", photo)
        write_motion(folder / "driver.motion", motion)
        film = folder / "driver.mp4"
        crop = Options(layout=Layout.CROP, size=STANDARD_SIZE, provenance=False)
        animate([folder / "photo.png"], folder / "driver.motion", film, crop)
        with FaceFinder() as finder:
            mesh = finder.observe(photo).landmarks.mesh
        return cls(photo, mesh, Track.of_motion(motion), film)

    def pictures(self) -> Iterator[UInt8[np.ndarray, "256 256 3"]]:
        """The film's pictures, repeated without end."""
        while True:
            with VideoReader(self.film, precise=False) as reader:
                for frame in reader:
                    yield frame.image


class _Parts:
    """What all models have in common; use `with`."""

    def __init__(self, scene: _Scene, folder: Path) -> None:
        self._scene = scene
        self._detector, self._finder, self._tracker = FaceDetector(), FaceFinder(), FaceTracker()
        size = (STANDARD_SIZE, STANDARD_SIZE)
        self._writer = VideoWriter(
            folder / "encode.mp4", size=size, time_base=scene.track.time_base, rate_hint=scene.track.rate
        )

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._detector, self._finder, self._tracker):
            one.close()
        self._writer.discard()

    def works(self, device: torch.device) -> dict[str, Callable[[], object]]:
        """By the names of the table's rows."""
        scene = self._scene
        pictures, numbers = scene.pictures(), count()
        picture = next(pictures)
        crop = face_crop(scene.mesh_px, size=STANDARD_SIZE)
        mesh, rest = crop.to_crop(scene.mesh_px), track_rest(scene.track)
        drivers = _over_and_over(scene.track)
        relative, parts = Retargeter(mesh, rest.mesh_px), PartsRetargeter(mesh[None], rest)
        meshes, transformer = np.repeat(mesh[None], MANY, 0), load_transformer()
        shown = TransformerRetargeter(transformer, meshes[:1], rest.mesh_px)
        compositor, face = Compositor(scene.photo, crop), crop.cut(scene.photo)
        photo_mesh = torch.from_numpy(mesh[None]).to(device)
        target_mesh = torch.from_numpy(relative(next(drivers))[None]).to(device)
        return {
            "decode": lambda: next(pictures),
            "face detector": lambda: self._detector.detect(picture),
            "landmarks of a photo": lambda: self._finder.observe(scene.photo),
            "landmarks of a frame": lambda: self._tracker.track(next(pictures)),
            "target landmark transformer": lambda: TransformerRetargeter(transformer, meshes[:1], rest.mesh_px),
            "target landmark transformer (8)": lambda: TransformerRetargeter(transformer, meshes, rest.mesh_px),
            "driver landmark transformer": lambda: shown(next(drivers)),
            "transfer by parts": lambda: parts(next(drivers)),
            "relative transfer": lambda: relative(next(drivers)),
            "mesh flow": lambda: mesh_flow(photo_mesh, target_mesh, STANDARD_SIZE, STANDARD_SIZE // 2),
            "composite": lambda: compositor.paste(face),
            "encode": lambda: self._writer.write(picture, next(numbers)),
        }


class _Subject:
    """One variant with its photos and a driver frame, on its device."""

    def __init__(self, variant: Variant, scene: _Scene, device: torch.device) -> None:
        self.variant = variant
        self._model = model = placed(variant.model, device)
        self._size = size = model.resolution or STANDARD_SIZE
        crop = model.needs.crop(scene.mesh_px, size=size)
        mesh = crop.to_crop(scene.mesh_px)
        cut = crop.cut(scene.photo)
        retarget = PartsRetargeter(mesh[None], track_rest(scene.track))
        self._target_mesh = retarget(next(_over_and_over(scene.track)))[None]
        self._photos = {}
        for k in (1, min(MANY, model.needs.max_targets or MANY)):
            meshes = np.repeat(mesh[None], k, 0)
            self._photos[k] = target_set(model, np.repeat(cut[None], k, 0), meshes)
        self._frame = driver_frame(model, self._target_mesh, size)
        with torch.inference_mode():
            self._codes = {k: self._encoded(k) for k in self._photos}

    def works(self) -> dict[str, Callable[[], object]]:
        """Encoder and generator for 1 and many photos, and the maps."""
        model, (one, many) = self._model, (min(self._photos), max(self._photos))
        works: dict[str, Callable[[], object]] = {
            self._key("encode"): lambda: self._encoded(one),
            self._key("encode many"): lambda: self._encoded(many),
            self._key("draw"): lambda: self._drawn(one),
            self._key("draw many"): lambda: self._drawn(many),
        }
        if model.needs.maps:
            works[self._key("maps")] = lambda: driver_frame(model, self._target_mesh, self._size)
        return works

    def _encoded(self, k: int) -> TargetCode:
        with half_precision(device_of(self._model)):
            return self._model.encode_target(self._photos[k])

    def _drawn(self, k: int) -> torch.Tensor:
        with half_precision(device_of(self._model)):
            return self._model.synthesize(self._codes[k], self._frame)

    def network(self, times: Mapping[str, Times], peaks: Mapping[str, float]) -> Network:
        """The variant's costs, from the measured times."""
        draw = times[self._key("draw")]
        works = self.works()
        counted = self._model.trained
        encode_flop, draw_flop = (_flop(works[self._key(work)]) if counted else 0 for work in ("encode", "draw"))
        seconds = draw.wall.median / 1000
        return Network(
            label=self.variant.label,
            size=self._size,
            encode=times[self._key("encode")],
            encode_many=times[self._key("encode many")],
            draw=draw,
            draw_many=times[self._key("draw many")],
            maps=times.get(self._key("maps")),
            encode_flop=encode_flop,
            draw_flop=draw_flop,
            peak=draw_flop / seconds / 1e9 / list(peaks.values())[-2],
        )

    def _key(self, work: str) -> str:
        return f"{self.variant.label}: {work}"


def _over_and_over(track: Track) -> Iterator[Float[np.ndarray, "478 3"]]:
    while True:
        yield from track.meshes()


def _flop(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def _peaks(device: torch.device, finish: Callable[[], None]) -> dict[str, float]:
    """The fastest of a few matrix products, GFLOP a second: on one thread, then on as many as PyTorch uses."""
    own = torch.get_num_threads()
    peaks = {}
    for threads in sorted({1, own}) if device.type == "cpu" else [own]:
        torch.set_num_threads(threads)
        for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a, b = (torch.rand(_PEAK_SIDE, _PEAK_SIDE, device=device).to(kind) for _ in range(2))
            best_s = np.inf
            for _ in range(_PEAK_RUNS):
                finish()
                start = time.perf_counter()
                torch.mm(a, b)
                finish()
                best_s = min(best_s, time.perf_counter() - start)
            where = f"{threads} {'thread' if threads == 1 else 'threads'}" if device.type == "cpu" else "GPU"
            peaks[f"{name}, {where}"] = 2 * _PEAK_SIDE**3 / best_s / 1e9
    torch.set_num_threads(own)
    return peaks


def _jobs(variants: Sequence[Variant], scene: _Scene, folder: Path, rounds: int) -> list[Job]:
    kinds: dict[tuple[str, str], Options] = {}
    for variant in variants:
        if variant.options is not None:
            crop = replace(variant.options, layout=Layout.CROP, size=STANDARD_SIZE, provenance=False)
            kinds[variant.label, "256 px video to 256 px crop"] = crop
            kinds[variant.label, "256 px video to 512 px photo, signed"] = variant.options
    found: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in kinds}
    for number in range(rounds):
        for i, (key, options) in enumerate(kinds.items()):
            before = time.process_time()
            report = animate([folder / "photo.png"], scene.film, folder / f"out{number}-{i}.mp4", options)
            cpu_ms = 1000 * (time.process_time() - before) / report.frames
            found[key].append((report.frames / report.seconds, cpu_ms))
    return [Job(*key, *np.median(values, axis=0).tolist()) for key, values in found.items() if values]


def _machine(device: torch.device) -> str:
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} ({where}), "
        f"Python {platform.python_version()}"
    )
