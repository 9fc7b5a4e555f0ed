"""Find the constants of `reenactor.face.perception.action_units` on training clips, and check them on validation clips.

    python tools/calibrate_action_units.py --pack pack          # what `reenactor prepare` wrote; about 2 minutes

Each clip's frames are measured twice: as they are, and mirrored, recompressed (JPEG at 80) and cut out a few pixels
aside. Both measurements show the same face, so their difference is noise. `present` = 3 standard deviations of the
noise of one measurement; `full` = the 99th percentile above rest. Every clip has the same weight. Prints the table for
the source, then how well two measurements agree on the validation clips: r of intensities within a clip (median),
Cohen's kappa of presence, AUCON between measurements (its ceiling), and the chance level from shuffled frames.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from reenactor.face.geometry import mean_face
from reenactor.face.perception.action_units import AU_NUMBERS, above_rest, action_units, measure, rest_of
from reenactor.face.perception.landmarks import FaceMesher, Region
from reenactor.research.data import Sample, ShardReader
from reenactor.research.data.items import Kind, Split
from reenactor.research.metrics import au_intensity_correlation, aucon, aucon_chance

SIZE_PX = 256
NOISES = 3
"""Standard deviations of the noise that a unit must exceed to be present."""
ASIDE_PX = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="what `reenactor prepare` wrote")
    parser.add_argument("--frames", type=int, default=60, help="frames taken from each clip")
    options = parser.parse_args()
    measurements = {split: read_clips(options.pack, split, options.frames) for split in (Split.TRAIN, Split.VAL)}

    present, full = calibrate(measurements[Split.TRAIN])
    print(f"{len(measurements[Split.TRAIN])} training clips\n\n_PRESENT_FULL: dict[int, tuple[float, float]] = {{")
    for number, low, high in zip(AU_NUMBERS, present, full, strict=True):
        print(f"    {number}: ({low:.4f}, {high:.4f}),")
    print("}\n")
    report(measurements[Split.VAL])


def read_clips(pack: Path, split: Split, frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two measurements (T, 478, 3) of each clip of the split."""
    mesher, rng = FaceMesher(), np.random.default_rng(0)
    samples = (sample for sample in ShardReader(pack) if (sample.kind, sample.split) == (Kind.CLIP, split))
    clips = [read_twice(sample, mesher, frames, rng) for sample in samples]
    mesher.close()
    return clips


def read_twice(
    sample: Sample, mesher: FaceMesher, frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.unique(np.linspace(0, len(sample) - 1, frames).astype(int))
    chosen = chosen[sample.seen[chosen]]
    meshes = sample.landmarks_at(SIZE_PX)[chosen]
    first, second = [], []
    for frame, mesh in zip(sample.frames([int(i) for i in chosen], size=SIZE_PX), meshes, strict=True):
        first.append(mesher.mesh(frame, Region.of_mesh(mesh))[0])
        aside = mirrored(mesh)
        aside[:, :2] += rng.normal(0, ASIDE_PX, 2)
        second.append(mirrored(mesher.mesh(recompressed(frame[:, ::-1]), Region.of_mesh(aside))[0]))
    return np.stack(first), np.stack(second)


def mirrored(mesh: np.ndarray) -> np.ndarray:
    """The mesh of the mirrored picture."""
    other = mesh[mean_face().mirror]
    other[:, 0] = SIZE_PX - 1 - other[:, 0]
    return other


def recompressed(frame: np.ndarray) -> np.ndarray:
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def calibrate(clips: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """`present` and `full` of each unit."""
    amounts = [tuple(above_rest(measure(mesh), rest_of(mesh)) for mesh in pair) for pair in clips]
    noise = np.sqrt(np.mean([(a - b).var(axis=0) / 2 for a, b in amounts], axis=0))
    weights = np.concatenate([np.full(len(a), 1 / len(a)) for a, _ in amounts])
    pooled = np.concatenate([a for a, _ in amounts])
    return NOISES * noise, np.array([quantile(column, weights, 0.99) for column in pooled.T])


def quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values)
    return float(np.interp(share, np.cumsum(weights[order]) / weights.sum(), values[order]))


def report(clips: list[tuple[np.ndarray, np.ndarray]]) -> None:
    pairs = [tuple(action_units(mesh, rest_of(mesh)) for mesh in pair) for pair in clips]
    correlation = np.array([au_intensity_correlation(a.intensity, b.intensity) for a, b in pairs])
    a, b = (np.concatenate([pair[i].presence for pair in pairs]) for i in range(2))
    print(f"{len(clips)} validation clips, {len(a)} frames, read twice")
    print("| AU | r | kappa | present |\n|---|---:|---:|---:|")
    for i, number in enumerate(AU_NUMBERS):
        chance = aucon_chance(a[:, [i]], b[:, [i]])
        kappa = (aucon(a[:, [i]], b[:, [i]]) - chance) / (1 - chance)
        print(f"| {number} | {np.nanmedian(correlation[:, i]):.2f} | {kappa:.2f} | {a[:, i].mean():.2f} |")
    ceilings = [aucon(a.presence, b.presence) for a, b in pairs]
    chances = [aucon_chance(a.presence, a.presence) for a, _ in pairs]
    print(f"\nAUCON within a clip, mean (least to most): measured twice {spread(ceilings)}, shuffled {spread(chances)}")


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
