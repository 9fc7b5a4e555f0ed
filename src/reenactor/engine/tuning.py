"""Tuning: the model's weights learn one person, for minutes, from the frames of a video of that person.

Each frame is drawn from photos that were taken at other times, as in use, and compared with itself by the losses that
trained the model. The last part of the video is never learned: there the tuned weights must come nearer to the truth
than the ones that ship, or these are kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Adam

from reenactor.core import PairBatch, ReenactError
from reenactor.core.files import write_atomically
from reenactor.core.progress import Progress, Silent
from reenactor.engine.portrait import STANDARD_SIZE, device_of, images_of
from reenactor.face.geometry import Crop, mirrored_mesh
from reenactor.face.geometry.looks import looks
from reenactor.face.maps import draw_maps
from reenactor.media.person_file import Tuning
from reenactor.models import METHODS, ReenactmentModel
from reenactor.nn.losses import Objective, frozen
from reenactor.nn.precision import fast_bf16

STATE = "tuning.safetensors"
LEAST_FRAMES = 24
"""Of which a sixth is held out."""
_VERSION = 1
_SAVE_EVERY_S = 20.0
_CHECK_BATCH = 8
_LEAST_GAIN = 0.005
"""Of `HeldOut.over`: a smaller one is not worth the space in a person's file."""


@dataclass(frozen=True)
class TuningSettings:
    """How the weights learn.

    Args:
        learning_rate, discriminator_rate: Adam's; the first falls to a twentieth in the second half.
        batch_size: pairs a step.
        photos: that a pair has; the model draws from fewer, and chooses.
        apart_s: photos nearer in time than this, or than a sixth of the video, are no sources of a frame.
        held_out: fraction of the video at its end.
        checks: how often the held-out frames are measured.
        checked: held-out frames that are.
        average_pairs: half-life of the moving average of the weights.
        mirror: probability of mirrored pairs.
        unlike: fraction of frames drawn the more often, the less the photos look like them; others are as frequent as
            they are.
        losses: weights of the objective's terms, other than the usual.
        seed: of everything random.
    """

    learning_rate: float = 1e-4
    discriminator_rate: float = 1e-3
    batch_size: int = 4
    photos: int = 4
    apart_s: float = 0.5
    held_out: float = 0.15
    checks: int = 4
    checked: int = 24
    average_pairs: float = 120.0
    mirror: float = 0.3
    unlike: float = 0.5
    losses: Mapping[str, float] = field(default_factory=lambda: {"parts": 2.0, "gan": 0.05})
    seed: int = 0


@dataclass(frozen=True)
class PersonFrames:
    """What there is of a person; all crops are cut as the model needs them.

    Args:
        photos: (K, S, S, 3) RGB, what the person is drawn from in use, the one that moves first.
        photo_mesh_px: (K, 478, 3) float32, their landmarks, crop pixels.
        photo_times_s: (K,) when each is shown in the video; infinite for photos that are no frames of it.
        frames: (N, s, s, 3) RGB, of the video, to learn from.
        mesh_px: (N, 478, 3) float32, their landmarks, crop pixels.
        times_s: (N,) ascending; further videos begin seconds after the one before.
    """

    photos: UInt8[np.ndarray, "k s s 3"]
    photo_mesh_px: Float[np.ndarray, "k 478 3"]
    photo_times_s: Float[np.ndarray, " k"]
    frames: UInt8[np.ndarray, "n r r 3"]
    mesh_px: Float[np.ndarray, "n 478 3"]
    times_s: Float[np.ndarray, " n"]

    def at(self, size: int) -> PersonFrames:
        """The same in crops of another size."""
        parts = []
        for pictures, mesh_px in ((self.photos, self.photo_mesh_px), (self.frames, self.mesh_px)):
            whole = Crop(0, 0, pictures.shape[1], size)
            parts.append((np.stack([whole.cut(one) for one in pictures]), whole.to_crop(mesh_px)))
        (photos, photo_mesh), (frames, mesh) = parts
        return PersonFrames(photos, photo_mesh, self.photo_times_s, frames, mesh, self.times_s)

    def digest(self) -> str:
        """SHA-256 of all of it."""
        found = hashlib.sha256()
        for name in self.__dataclass_fields__:
            found.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return found.hexdigest()


@dataclass(frozen=True)
class HeldOut:
    """How the held-out frames are drawn; lower is better.

    Args:
        distance: mean of the pictures' distances from the truth. Blur lowers it.
        bias: by how much drawn frames differ from true ones in what all have in common, as blur does: the mean over
            values of the difference of their means, in units of the true ones' root mean square.
    """

    distance: float
    bias: float

    def over(self, other: HeldOut) -> float:
        """Below 1 if it is better: the distance's ratio counts four times as much as the bias's."""
        ratios = self.distance / max(other.distance, 1e-9), self.bias / max(other.bias, 1e-9)
        return 0.8 * ratios[0] + 0.2 * ratios[1]


def check_tunable(model: ReenactmentModel) -> None:
    """Check that `tune` knows how to tune this model.

    Raises:
        ReenactError: it does not.
    """
    if model.name not in METHODS or METHODS[model.name].tuned is None:
        able = ", ".join(name for name, method in METHODS.items() if method.tuned is not None)
        raise ReenactError(f"the model '{model.name}' cannot be tuned to a person; choose one of: {able}")


def tune(
    model: ReenactmentModel,
    person: PersonFrames,
    *,
    minutes: float,
    folder: Path,
    steps: int | None = None,
    settings: TuningSettings | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Tune a copy of the model to a person; a stopped call continues from what it left in the folder.

    Args:
        model: on its device, in float32; it stays as it is.
        person: the photos, and the frames to learn from.
        minutes: of the clock, those of earlier calls counted.
        folder: exists; holds the state every 20 seconds, and at the end.
        steps: at most so many, whatever the clock says (for tests and comparisons); None for no limit.
        settings: None for those that were found best.
        progress: receives seconds, or steps if they are limited.

    Returns:
        What was learned, nothing if that is no better; `about` has `steps`, `pairs` and `seconds` of all calls, and
        `HeldOut`'s `distance` and `bias`, untuned and with the best weights (`distance_before`, `distance_after`, ...).

    Raises:
        ReenactError: the model cannot be tuned, or there are too few frames.
        CheckpointError: a network that the losses need is missing.
    """
    check_tunable(model)
    return _Run(model, person, minutes, folder, steps, settings or TuningSettings()).go(progress or Silent())


class _Run:
    """The parts of `tune`, sharing its arguments."""

    def __init__(
        self,
        model: ReenactmentModel,
        person: PersonFrames,
        minutes: float,
        folder: Path,
        steps: int | None,
        settings: TuningSettings,
    ) -> None:
        make = METHODS[model.name].tuned
        assert make is not None
        self.model, self.settings = model, settings
        self.seconds, self.steps, self.path = 60 * minutes, steps, folder / STATE
        self.device = device_of(model)
        torch.manual_seed(settings.seed)
        self.objective: Objective[PairBatch] = make(model, settings.losses).to(self.device)
        self.objective.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.pairs = _Pairs(person.at(model.resolution or STANDARD_SIZE), self.objective, settings, self.device)
        generator, discriminator = self.objective.generator, self.objective.discriminator
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.before = {name: weights.clone() for name, weights in self._named(generator).items()}
        self.optimizers = {"generator": Adam(generator.parameters(), settings.learning_rate, betas=(0.5, 0.99))}
        if discriminator is not None:
            rate = settings.discriminator_rate
            self.optimizers["discriminator"] = Adam(discriminator.parameters(), rate, betas=(0.5, 0.99))
        digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
        digest.update(person.digest().encode())
        for name, weights in sorted(self.before.items()):
            digest.update(name.encode() + weights.cpu().numpy().tobytes())
        self.digest = digest.hexdigest()
        self.step, self.elapsed_s, self.checks = 0, 0.0, 0
        self.untuned: HeldOut | None = None
        self.after = HeldOut(math.inf, math.inf)
        self.best: dict[str, Tensor] = {}

    def go(self, progress: Progress) -> Tuning:
        """Continue, learn until the time is over, and say what came of it."""
        self._load()
        began = time.monotonic() - self.elapsed_s
        saved = time.monotonic()
        progress.start("tuning", *self._done())
        try:
            if self.untuned is None:
                self.untuned = self._held_out(self.objective.generator)
            finite = True
            while finite and self._fraction() < 1:
                finite = self._learn()
                self.step += 1
                self.elapsed_s = time.monotonic() - began
                if self._fraction() >= (self.checks + 1) / self.settings.checks:
                    self._check()
                    self.elapsed_s = time.monotonic() - began
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self._save()
                    saved = time.monotonic()
                progress.step(*self._done())
            self._save()
        finally:
            progress.end()
        kept = self.after.over(self.untuned) < 1 - _LEAST_GAIN
        measures = {
            f"{name}_{when}": value
            for when, one in (("before", self.untuned), ("after", self.after))
            for name, value in asdict(one).items()
            if math.isfinite(value)
        }
        pairs = self.step * self.settings.batch_size
        return Tuning(
            model=self.model.name,
            version=self.model.version,
            difference={name: one.cpu().contiguous().numpy() for name, one in self.best.items()} if kept else {},
            about={"steps": self.step, "pairs": pairs, "seconds": self.elapsed_s, **measures},
        )

    def _done(self) -> tuple[int, int]:
        if self.steps is not None:
            return self.step, self.steps
        return min(int(self.elapsed_s), int(self.seconds)), int(self.seconds)

    def _fraction(self) -> float:
        of_time = self.elapsed_s / self.seconds
        return of_time if self.steps is None else self.step / self.steps

    def _learn(self) -> bool:
        """One step; whether all was finite, else nothing is changed."""
        settings, objective = self.settings, self.objective
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, self.step]).generate_state(1)[0]))
        batch = self.pairs.batch(np.random.default_rng([settings.seed, self.step]))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        with frozen(objective.discriminator), self._autocast():
            half = objective.generator_step(batch)
        half.loss.backward()
        losses = [half.loss]
        if objective.discriminator is not None:
            with self._autocast():
                half = objective.discriminator_step(batch, half.drawn)
            half.loss.backward()
            losses.append(half.loss)
        if not bool(torch.isfinite(torch.stack([loss.detach().float() for loss in losses])).all()):
            return False
        falling = min(1.0, 2 - 2 * self._fraction())
        rate = settings.learning_rate * max(0.05, falling) * min(1.0, (self.step + 1) / 10)
        self.optimizers["generator"].param_groups[0]["lr"] = rate
        for optimizer in self.optimizers.values():
            nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
            optimizer.step()
        self._average()
        return True

    @torch.no_grad()
    def _average(self) -> None:
        half_life = self.settings.average_pairs / self.settings.batch_size
        keep = min(0.5 ** (1 / half_life), (self.step + 1) / (self.step + 10))
        for mine, their in zip(self.average.parameters(), self.objective.generator.parameters(), strict=True):
            mine.lerp_(their, 1 - keep)

    def _check(self) -> None:
        """Measure the weights as they would be stored, and remember the best."""
        self.checks = int(self._fraction() * self.settings.checks)
        now = self._named(self.average)
        difference = {name: (now[name] - weights).half() for name, weights in self.before.items()}
        difference = {name: one for name, one in difference.items() if bool(one.any())}
        if not all(bool(torch.isfinite(one).all()) for one in difference.values()):
            return
        stored = copy.deepcopy(self.average)
        with torch.no_grad():
            for name, weights in self._named(stored).items():
                weights.copy_(self.before[name] + difference[name].float() if name in difference else weights)
        found = self._held_out(stored)
        assert self.untuned is not None
        if found.over(self.untuned) < self.after.over(self.untuned):
            self.after, self.best = found, difference

    def _held_out(self, generator: nn.Module) -> HeldOut:
        generator.eval()
        found = [self.objective.compared(generator, batch) for batch in self.pairs.held_out()]
        drawn, true = torch.cat([one.drawn for one in found]), torch.cat([one.true for one in found])
        bias = (drawn.mean(0) - true.mean(0)).abs() / (true.square().mean(0).sqrt() + 1e-3)
        return HeldOut(float(torch.cat([one.distances for one in found]).mean()), float(bias.mean()))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=fast_bf16(self.device))

    def _named(self, generator: nn.Module) -> dict[str, Tensor]:
        """Its weights, by the names that the model gives them."""
        return dict(self.objective.checkpoint(generator).tensors)

    def _save(self) -> None:
        tensors = {f"objective.{name}": one for name, one in self.objective.state_dict().items()}
        tensors |= {f"average.{name}": one for name, one in self.average.state_dict().items()}
        tensors |= {f"best.{name}": one for name, one in self.best.items()}
        for player, optimizer in self.optimizers.items():
            for number, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{player}.{number}.{name}": one for name, one in values.items()}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        assert self.untuned is not None
        about = {"version": _VERSION, "digest": self.digest, **numbers}
        about |= {"untuned": asdict(self.untuned), "after": asdict(self.after)}
        own = {name: one.detach().cpu().contiguous().clone() for name, one in tensors.items()}
        write_atomically(self.path, save(own, {"tuning": json.dumps(about)}))

    def _load(self) -> None:
        """Continue; from the start if there is nothing, or nothing whole, of the same task."""
        try:
            with safe_open(self.path, "pt") as file:
                about = json.loads((file.metadata() or {})["tuning"])
                if (about["version"], about["digest"]) != (_VERSION, self.digest):
                    return
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
                numbers = {name: type(getattr(self, name))(about[name]) for name in _NUMBERS}
                untuned, after = (HeldOut(**about[name]) for name in ("untuned", "after"))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return
        self.objective.load_state_dict(_under("objective.", tensors))
        self.average.load_state_dict(_under("average.", tensors))
        self.best = {name: one.to(self.device) for name, one in _under("best.", tensors).items()}
        for player, optimizer in self.optimizers.items():
            values: dict[int, dict[str, Tensor]] = {}
            for name, one in _under(f"optimizer.{player}.", tensors).items():
                number, _, what = name.partition(".")
                values.setdefault(int(number), {})[what] = one
            optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
        self.untuned, self.after = untuned, after
        for name, value in numbers.items():
            setattr(self, name, value)


_NUMBERS = ("step", "elapsed_s", "checks")


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


class _Pairs:
    """Frames with the photos that each one is drawn from.

    Args:
        person: in crops of the size that is learned.
        objective: says which maps it needs.
        settings: says how.
        device: where batches go.
    """

    def __init__(
        self, person: PersonFrames, objective: Objective[Any], settings: TuningSettings, device: torch.device
    ) -> None:
        n = len(person.frames)
        if n < LEAST_FRAMES:
            raise ReenactError(
                f"tuning needs {LEAST_FRAMES} frames that show the face, and there are {n}; use a longer video"
            )
        self.person, self._maps, self._settings, self._device = person, objective.maps, settings, device
        last = max(4, round(settings.held_out * n))
        lasts_s = float(person.times_s[-1] - person.times_s[0])
        between_s = min(0.3, 0.05 * lasts_s)
        learned = np.flatnonzero(person.times_s < person.times_s[n - last] - between_s)
        self.learned = learned if len(learned) else np.arange(n - last)
        self._held = n - last + np.unique(np.linspace(0, last - 1, min(last, settings.checked)).round().astype(int))
        self._sources, unlike = self._choose(min(settings.apart_s, lasts_s / 6))
        weight = unlike[self.learned] + 1e-3
        even, share = 1 / len(weight), settings.unlike
        self._chance = (1 - share) * even + share * weight / weight.sum()

    def batch(self, rng: np.random.Generator) -> PairBatch:
        """Random frames to learn from."""
        settings = self._settings
        chosen = rng.choice(self.learned, settings.batch_size, p=self._chance)
        return self._made(chosen, rng.random(settings.batch_size) < settings.mirror)

    def held_out(self) -> Iterator[PairBatch]:
        """The held-out frames; the same batches at each call."""
        for first in range(0, len(self._held), _CHECK_BATCH):
            part = self._held[first : first + _CHECK_BATCH]
            yield self._made(part, np.zeros(len(part), bool))

    def _choose(self, apart_s: float) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
        """For each frame the photos to draw it from, the first or its likest one first; and how unlike those are."""
        person, count = self.person, self._settings.photos
        unlike = np.linalg.norm(looks(person.mesh_px)[:, None] - looks(person.photo_mesh_px), axis=-1)
        away_s = np.abs(person.times_s[:, None] - person.photo_times_s)
        least_s = np.minimum(apart_s, away_s.max(1, keepdims=True))
        unlike = np.where(away_s >= least_s, unlike, np.inf)
        sources = []
        for of_frame in unlike:
            order = np.argsort(of_frame, kind="stable")[: int(np.isfinite(of_frame).sum())]
            # Of all photos, the first is always among those that a frame is drawn from.
            order = np.concatenate([order[order == 0], order[order != 0]])[:count]
            sources.append(np.pad(order, (0, count - len(order)), mode="edge"))
        return np.stack(sources), np.sort(unlike, 1)[:, 0]

    def _made(self, numbers: Int[np.ndarray, " b"], mirrored: np.ndarray) -> PairBatch:
        person, sources = self.person, self._sources[numbers]
        photos, truth = person.photos[sources], person.frames[numbers]
        photo_mesh, mesh = person.photo_mesh_px[sources], person.mesh_px[numbers]
        for i in np.flatnonzero(mirrored):
            photos[i], truth[i] = photos[i, :, :, ::-1].copy(), truth[i, :, ::-1].copy()
            photo_mesh[i], mesh[i] = (mirrored_mesh(one[i], truth.shape[1]) for one in (photo_mesh, mesh))
        target_mesh, driver_mesh = (torch.from_numpy(one).to(self._device) for one in (photo_mesh, mesh))
        size, batch = truth.shape[1], len(numbers)
        return PairBatch(
            targets=images_of(photos, self._device),
            target_mesh=target_mesh,
            target_maps=draw_maps(self._maps.targets, target_mesh, size),
            truth=images_of(truth, self._device).contiguous(memory_format=torch.channels_last),
            driver_mesh=driver_mesh,
            driver_maps=draw_maps(self._maps.driver, driver_mesh, size),
            mask=torch.ones(batch, 1, size, size, device=self._device),
            identity=torch.zeros(batch, dtype=torch.long, device=self._device),
        )
