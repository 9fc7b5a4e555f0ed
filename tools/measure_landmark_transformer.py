"""How well landmark transformers tell identity from expression, on the validation clips of a pack.

python tools/measure_landmark_transformer.py --data pack [--weights folder ...] [--points mesh]

Each clip drives each clip of another person, shown by K of its frames. Everything is compared in normalized space:

* identity: distance of the result's mean over time to the target clip's true mean, over the same of the driver's own
  landmarks; mean over all pairs. 0: the target's face, 1: the driver's.
* mouth, eyes, gaze: correlation over time with the driver's, mean over drivers (lowest); gain: how far the mouth
  opens, over the driver's (regression). Gaze is sideways, of both irises, in eye widths; only the mesh has it.
* blink: opening of the eyes where they are most closed (1st percentile), over their median.

Without --weights, it fits and trains one on landmarks alone first (a minute or two). Untransformed landmarks (the
driver's) and `retarget.Retargeter` (relative) are measured beside it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from reenactor.core import FrameBatch
from reenactor.face.geometry import contours
from reenactor.face.retarget import Retargeter, neutral_frame
from reenactor.face.retarget.transformer import (
    LandmarkTransformer,
    LandmarkTransformerConfig,
    LandmarkTransformerObjective,
    LandmarkTransformerObjectiveConfig,
    PointSet,
    fit_statistics,
    point_set,
)
from reenactor.nn.checkpoint import read_checkpoint
from reenactor.research.data import ShardReader, Split
from reenactor.research.data.streams import FrameData, FrameStream, clip_landmarks

MOST_FRAMES = 150
DRAWS = 2
EYES = (
    (contours.RIGHT_EYE_UPPER, contours.RIGHT_EYE_LOWER, contours.RIGHT_IRIS[0]),
    (contours.LEFT_EYE_UPPER, contours.LEFT_EYE_LOWER, contours.LEFT_IRIS[0]),
)
OPENINGS = {
    "mesh": {
        "mouth": [(contours.INNER_LIPS_UPPER[1:-1], contours.INNER_LIPS_LOWER[1:-1])],
        "eyes": [(upper[1:-1], lower[1:-1]) for upper, lower, _ in EYES],
    },
    "ibug68": {"mouth": [((61, 62, 63), (67, 66, 65))], "eyes": [((37, 38), (41, 40)), ((43, 44), (47, 46))]},
}


@dataclass(frozen=True)
class Clip:
    """Frames of one person: landmarks (T, 478, 3), pixels, and the crops, if any (T, 3, s, s)."""

    identity: str
    meshes: np.ndarray
    images: Tensor | None

    def at(self, frames: np.ndarray) -> tuple[np.ndarray, Tensor | None]:
        return self.meshes[frames], None if self.images is None else self.images[frames]


Method = Callable[[np.ndarray, "Tensor | None", Clip], np.ndarray]
"""K target meshes, their pictures, the driver -> landmarks over time, in any pose."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="checkpoints of landmark transformers")
    parser.add_argument(
        "--points", choices=("mesh", "ibug68"), default="mesh", help="without --weights: of which points"
    )
    parser.add_argument("--intensity", type=float, nargs="*", default=[], help="lambda_exp to try; default: its own")
    args = parser.parse_args()
    made = {str(folder): LandmarkTransformer.from_checkpoint(read_checkpoint(folder)) for folder in args.weights}
    made = made or {"trained here": trained(args.data, args.points)}
    print("| method | K | identity | mouth | gain | eyes | gaze | blink |\n|---|---|---|---|---|---|---|---|")
    sizes = {transformer.config.image_size for transformer in made.values() if transformer.config.image != "none"}
    if len(sizes) > 1:
        parser.error("measure transformers that see pictures of different sizes one by one")
    clips = list(val_clips(args.data, sizes.pop() if sizes else None))
    for points in sorted({transformer.config.points for transformer in made.values()}, reverse=True):
        report(f"untransformed, {points}", untransformed, clips, points, ks=(1,))
        report(f"relative, {points}", relative, clips, points, ks=(1,))
    for name, transformer in made.items():
        for intensity in args.intensity or [transformer.config.intensity]:
            again = LandmarkTransformer.from_checkpoint(transformer.checkpoint(), intensity=intensity)
            points = transformer.config.points
            report(f"{name}, {points}, lambda {intensity:g}", by_transformer(again), clips, points, ks=(1, 4))


def trained(data: Path, points: str) -> LandmarkTransformer:
    """Landmarks alone, linear: 1000 steps of Adam."""
    config = LandmarkTransformerObjectiveConfig(
        model=LandmarkTransformerConfig.model_validate({"points": points, "hidden": 0})
    )
    statistics = fit_statistics(clip_landmarks(ShardReader(data)), config.model)
    torch.manual_seed(0)
    objective = LandmarkTransformerObjective(config, statistics)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
    steps = 1000
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    batches = iter(DataLoader(FrameStream(data, FrameData(photo_share=0.5, pictures=False)), batch_size=256))
    for _ in range(steps):
        raw = next(batches)
        batch = FrameBatch(raw["image"].float(), raw["mesh_px"], torch.zeros_like(raw["clip"]), raw["clip"])
        optimizer.zero_grad()
        objective.generator_step(batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return objective.transformer.eval()


def val_clips(data: Path, image_size: int | None) -> Iterator[Clip]:
    reader = ShardReader(data)
    for row, meshes in clip_landmarks(reader, Split.VAL):
        sample = reader[row]
        kept = np.arange(0, len(meshes), -(-len(meshes) // MOST_FRAMES))
        images = None
        if image_size is not None:
            numbers = np.flatnonzero(sample.seen)[kept]
            images = torch.from_numpy(sample.frames(numbers.tolist(), size=image_size)).permute(0, 3, 1, 2)
            images = images.float() / 127.5 - 1
        yield Clip(sample.identity, meshes[kept], images)


def untransformed(target: np.ndarray, images: Tensor | None, driver: Clip) -> np.ndarray:
    return driver.meshes


def relative(target: np.ndarray, images: Tensor | None, driver: Clip) -> np.ndarray:
    retargeter = Retargeter(target[0], driver.meshes[neutral_frame(driver.meshes)])
    return np.stack([retargeter(mesh) for mesh in driver.meshes])


def by_transformer(transformer: LandmarkTransformer) -> Method:
    def method(target: np.ndarray, images: Tensor | None, driver: Clip) -> np.ndarray:
        identity = transformer.identity(target, images)
        heads, shapes = transformer.transform(identity, driver.meshes, driver.images)
        return heads.apply(shapes).astype(np.float32)

    return method


def report(name: str, method: Method, clips: list[Clip], points_name: str, *, ks: tuple[int, ...]) -> None:
    points = point_set(points_name)  # pyright: ignore[reportArgumentType]
    for k in ks:
        rng = np.random.default_rng(0)
        ratios = []
        movement: dict[str, list[np.ndarray]] = {}
        for driver in clips:
            own = points.normalized(driver.meshes)[1]
            rows = []
            for target in clips:
                if target.identity == driver.identity:
                    continue
                truth = points.normalized(target.meshes)[1].mean(0)
                for draw in range(DRAWS):
                    chosen = rng.choice(len(target.meshes), k, replace=False)
                    shown = points.normalized(method(*target.at(chosen), driver))[1]
                    ratios.append(np.linalg.norm(shown.mean(0) - truth) / np.linalg.norm(own.mean(0) - truth))
                    if draw == 0:
                        rows.append(compared(own, shown, points, points_name))
            for key in rows[0]:
                movement.setdefault(key, []).append(np.mean([row[key] for row in rows], axis=0))
        cells = [f"{np.mean(ratios):.3f}"]
        for key in ("mouth", "gain", "eyes", "gaze"):
            low = f" ({np.min(movement[key]):.2f})" if key in movement and key != "gain" else ""
            cells.append(f"{np.mean(movement[key]):.3f}{low}" if key in movement else "-")
        before, after = np.mean(movement["blink"], axis=0)
        print(f"| {name} | {k} | {' | '.join(cells)} | {after:.2f} (driver {before:.2f}) |", flush=True)


def compared(own: np.ndarray, shown: np.ndarray, points: PointSet, points_name: str) -> dict[str, np.ndarray]:
    """How the shown faces move, against the driver's own; both (T, N, 3) normalized."""
    mouth, eyes = (
        [opening(faces, OPENINGS[points_name][part]) for faces in (own, shown)] for part in ("mouth", "eyes")
    )
    row = {
        "mouth": correlation(*mouth),
        "gain": np.polyfit(mouth[0], mouth[1], 1)[0],
        "eyes": correlation(*eyes),
        "blink": np.array([np.percentile(series, 1) / np.median(series) for series in eyes]),
    }
    if points_name == "mesh":
        row["gaze"] = correlation(gaze(own), gaze(shown))
    return row


def correlation(a: np.ndarray, b: np.ndarray) -> np.floating:
    return np.corrcoef(a, b)[0, 1]


def opening(faces: np.ndarray, halves: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> np.ndarray:
    return np.mean([(faces[:, list(b), 1] - faces[:, list(a), 1]).mean(1) for a, b in halves], axis=0)


def gaze(faces: np.ndarray) -> np.ndarray:
    sides = []
    for upper, _, iris in EYES:
        a, b = faces[:, upper[0]], faces[:, upper[-1]]
        sides.append((faces[:, iris] - (a + b) / 2)[:, 0] / np.linalg.norm(b - a, axis=1))
    return np.mean(sides, axis=0)


if __name__ == "__main__":
    main()
