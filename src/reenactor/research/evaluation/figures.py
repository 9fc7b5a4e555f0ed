"""What the papers show beside their tables: methods side by side, failures, scores over pose distance, attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from reenactor.engine.composite import heat_over
from reenactor.engine.portrait import Portrait, driver_frame
from reenactor.face.geometry import head_angles
from reenactor.models import PhotoUse, ReenactmentModel
from reenactor.research.evaluation.drawing import Curve, Picture, contact_sheet, plot
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.predictions import read_prediction
from reenactor.research.evaluation.protocols import Case
from reenactor.research.evaluation.scores import SCORES, Better
from reenactor.research.evaluation.scoring import DRIVER_COPY, TARGET_COPY, Scored
from reenactor.research.evaluation.transfer import Wanted, Way
from reenactor.research.metrics import angle_errors, bootstrap_interval

_BINS = 6
RESAMPLES = 300
_MOST_TARGETS = 4
_SHOWN, _AMPLIFIED = 8, 8


def comparison_grid(scored: Scored, sets: Sequence[Case], *, labels: Sequence[str] | None = None) -> Picture:
    """Targets | driver | each method, a row for each set."""
    columns = min(scored.sets.k, _MOST_TARGETS)
    size = scored.sets.size
    targets = scored.packs.target.pictures((f for one in sets for f in one.targets[:columns]), size)
    drivers = scored.packs.driver.pictures((one.driver for one in sets), size)
    rows = []
    for one in sets:
        files = [drawn.path(one) for drawn in scored.predictions.values()]
        results = [None if path is None else read_prediction(path, size) for path in files]
        rows.append([*(targets[f] for f in one.targets[:columns]), drivers[one.driver], *results])
    heads = [f"target {i + 1}" if columns > 1 else "target" for i in range(columns)]
    heads += ["driver", *scored.predictions]
    return contact_sheet(rows, heads, labels or [one.id for one in sets])


def failure_gallery(scored: Scored, method: str, score: str, count: int = 12) -> Picture:
    """A method's worst results by a score that has a value for each set; those without a face come first."""
    values = scored.values(score)[method].values
    if values.shape != (len(scored.sets),):
        raise ValueError(f"the score {score} has no value for each set; sort by another one")
    scene = scored.scenes[method]
    judged = np.flatnonzero(scene.known & (scene.failed | ~np.isnan(values)))
    badness = np.where(scene.failed, np.inf, _badness(values, SCORES[score].better))
    worst = judged[np.argsort(-badness[judged], kind="stable")][:count]
    labels = [
        f"{scored.sets.sets[i].id}: {'no face' if scene.failed[i] else f'{SCORES[score].title} {values[i]:.3g}'}"
        for i in worst
    ]
    return comparison_grid(scored, [scored.sets.sets[i] for i in worst], labels=labels)


def sequence_sheet(scored: Scored, method: str) -> Picture:
    """Consecutive frames around the place where a method moves most roughly against its driver: the driver's and what
    was drawn, and below each how far it is from the middle of its neighbours, times `_AMPLIFIED`.

    Raises:
        ValueError: the sets are no sequences.
    """
    if not scored.sets.protocol.consecutive:
        raise ValueError(f"the protocol {scored.sets.protocol.value} has no consecutive frames to show")
    scene, size = scored.scenes[method], scored.sets.size
    worst, place, most = scene.clips[0], 1, -1.0
    for rows in scene.clips:
        drawn_rough, true_rough = (_roughness(side.mesh_px[rows]) for side in (scene.drawn, scene.driver))
        excess = np.nan_to_num(drawn_rough - true_rough, nan=-1.0)
        if len(excess) and excess.max() > most:
            worst, place, most = rows, 1 + int(excess.argmax()), float(excess.max())
    first = min(max(place - _SHOWN // 2, 0), max(len(worst) - _SHOWN, 0))
    some = [scored.sets.sets[row] for row in worst[first : first + _SHOWN]]
    true = scored.packs.driver.pictures((one.driver for one in some), size)
    files = [scored.predictions[method].path(one) for one in some]
    drawn = [read_prediction(path, size) for path in files if path is not None]
    rows = []
    for film in ([true[one.driver] for one in some], drawn):
        rows += [film, [None, *_second_differences(np.stack(film)), None]]
    heads = [f"frame {one.driver.number}" for one in some]
    about = [f"x{_AMPLIFIED}: from the middle of its neighbours"]
    return contact_sheet(rows, heads, ["driver", *about, method, *about])


def _roughness(mesh_px: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, " _"]:
    """Of each frame but the ends: the mean squared second difference in the picture plane; NaN without a face."""
    return np.square(np.diff(mesh_px[..., :2], 2, axis=0)).mean(axis=(1, 2))


def _second_differences(film: UInt8[np.ndarray, "t s s 3"]) -> list[Picture]:
    second = np.diff(film.astype(np.int16), 2, axis=0)
    return list((255 - np.clip(_AMPLIFIED / 2 * np.abs(second), 0, 255)).astype(np.uint8))


def pose_curve(scored: Scored, score: str) -> Picture:
    """A score over how far the driver's head is turned from the target's, with 95% bands; as many sets in each bin."""
    apart = pose_distance(scored.packs, scored.sets.sets)
    edges = np.quantile(apart, np.linspace(0, 1, _BINS + 1))
    bins = np.clip(np.searchsorted(edges, apart, side="right") - 1, 0, _BINS - 1)
    used = [b for b in range(_BINS) if (bins == b).any()]
    x = np.array([apart[bins == b].mean() for b in used])
    curves = {}
    for name, ours in scored.values(score).items():
        points = np.full((len(used), 3), np.nan)
        for i, b in enumerate(used):
            rows = np.flatnonzero(bins == b)
            if not np.isnan(ours.values[rows]).all():
                people = [ours.identities[r] for r in rows]
                rng = np.random.default_rng(0)
                found = bootstrap_interval(
                    ours.values[rows], people, rng, statistic=ours.statistic, resamples=RESAMPLES
                )
                points[i] = found.estimate, found.low, found.high
        curves[name] = Curve(x, *points.T, reference=name in (TARGET_COPY, DRIVER_COPY))
    about = SCORES[score]
    y_title = f"{about.title}{f', {about.unit}' if about.unit else ''}"
    x_title = "difference of the head poses of target and driver, degrees"
    return plot(curves, title=scored.sets.name.replace("_", " "), x_title=x_title, y_title=y_title)


def pose_distance(packs: Packs, sets: Sequence[Case]) -> Float[np.ndarray, " n"]:
    """Length of the difference in yaw, pitch and roll between first target and driver, degrees; any crop's size."""
    targets = np.stack([packs.target.mesh(one.targets[0], 256) for one in sets])
    drivers = np.stack([packs.driver.mesh(one.driver, 256) for one in sets])
    return np.linalg.norm(angle_errors(head_angles(targets), head_angles(drivers)), axis=1)


def attention_figure(
    model: ReenactmentModel, sets: Sequence[Case], packs: Packs, way: Way, transformer: Path | None = None
) -> Picture:
    """Which places of each target the driver's frame looks at (paper B, figure 7a): target | map..., driver, result.

    Raises:
        ValueError: the model has no attention.
    """
    size = model.resolution
    if size is None or PhotoUse.ATTENDED not in model.photo_uses:
        raise ValueError(f"the model '{model.name}' has no attention to show")
    wanted = Wanted(packs, size, way, transformer)
    targets = packs.target.pictures((f for one in sets for f in one.targets), size)
    drivers = packs.driver.pictures((one.driver for one in sets), size)
    rows = []
    for one in sets:
        images = [targets[frame] for frame in one.targets]
        meshes = np.stack([packs.target.mesh(frame, size) for frame in one.targets])
        mesh = wanted(one, targets.__getitem__, drivers.__getitem__)[None]
        portrait = Portrait(model, np.stack(images), meshes, exact=True)
        maps = model.photo_maps(portrait.code, driver_frame(model, mesh, size))
        received = maps[model.photo_uses.index(PhotoUse.ATTENDED)]
        pairs = zip(images, received.weights, strict=True)
        # One scale for all targets: their shares are what the figure is about.
        overlaid = [p for image, heat in pairs for p in (image, heat_over(image, heat, received.brightest))]
        rows.append([*overlaid, drivers[one.driver], portrait.draw(mesh)[0]])
    k = len(sets[0].targets)
    heads = [name for i in range(1, k + 1) for name in (f"target {i}", "attention")] + ["driver", "result"]
    return contact_sheet(rows, heads, [one.id for one in sets])


def _badness(values: Float[np.ndarray, " n"], better: Better) -> Float[np.ndarray, " n"]:
    if better is Better.HIGHER:
        return -values
    return values if better is Better.LOWER else np.abs(np.log(values))
