"""Figures: methods side by side, failures, rough sequences, scores over pose distance, attention.

Functions return pictures; saving is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.core.system import need
from reenactor.engine.composite import heat_over
from reenactor.engine.portrait import Portrait, driver_frame
from reenactor.face.geometry import head_angles, resize
from reenactor.models import PhotoUse, ReenactmentModel
from reenactor.research.evaluation.cache import DRIVER_COPY, TARGET_COPY
from reenactor.research.evaluation.cases import Case
from reenactor.research.evaluation.export import TargetLandmarks
from reenactor.research.evaluation.packs import Packs
from reenactor.research.evaluation.predictions import Predictions, read_prediction
from reenactor.research.evaluation.scores import SCORES, Better
from reenactor.research.evaluation.scoring import Scored
from reenactor.research.metrics import angle_errors, bootstrap_interval

Picture = UInt8[np.ndarray, "h w 3"]

_BINS = 6
RESAMPLES = 300
"""Of people, for each point of a curve."""
_MOST_TARGETS = 4
_SHOWN, _AMPLIFIED = 8, 8
"""Frames in a sequence sheet, and the factor of their differences."""
_CELL_PX, _TEXT_PX = 160, 20
_PLOT_PX = (720, 440)
_DPI = 100
_MOST_SPREAD = 3.0
"""A reference curve may make the axis this many times as long as the other curves need."""


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"] | None]], heads: Sequence[str], labels: Sequence[str]
) -> Picture:
    """Rows of square pictures under headings.

    Args:
        rows: pictures of any size; None leaves a white cell.
        heads: one for each column.
        labels: one below each row; may be empty.

    Returns:
        A picture with cells of 160 pixels and lines of text of 20 pixels.
    """
    bands = [_text_band(heads, _CELL_PX)]
    white = np.full((_CELL_PX, _CELL_PX, 3), 255, np.uint8)
    for row, label in zip(rows, labels, strict=True):
        bands.append(np.concatenate([white if p is None else resize(p, _CELL_PX) for p in row], axis=1))
        if label:
            bands.append(_text_band([label], _CELL_PX * len(heads)))
    return np.concatenate(bands)


@dataclass(frozen=True)
class Curve:
    """A line with a band around it; NaN leaves a gap.

    Args:
        x: positions.
        y: the line.
        low, high: edges of the band.
        reference: whether it is a floor or a ceiling: left out of the plot if it would flatten the other curves.
    """

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    reference: bool = False


def plot(curves: Mapping[str, Curve], *, title: str, x_title: str, y_title: str) -> Picture:
    """Plot curves with a legend, as a picture of 720 x 440 pixels; a curve left out has its mean in the legend."""
    need("matplotlib", "research", "drawing figures")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PLOT_PX[0] / _DPI, _PLOT_PX[1] / _DPI), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=x_title, ylabel=y_title)
    axes.set_title(title, fontsize="small")  # judges have long names
    for number, (name, curve) in enumerate(curves.items()):
        if curve.reference and _flattens(curve, curves):
            axes.plot([], [], color=f"C{number}", label=f"{name}: {np.nanmean(curve.y):.3g}")
            continue
        axes.fill_between(curve.x, curve.low, curve.high, color=f"C{number}", alpha=0.15, linewidth=0)
        axes.plot(curve.x, curve.y, color=f"C{number}", marker="o", label=name)
    axes.grid(color="0.86")
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _flattens(reference: Curve, curves: Mapping[str, Curve]) -> bool:
    """Whether a reference would make the axis more than `_MOST_SPREAD` times as long as the other curves need."""
    ours = [curve for curve in curves.values() if not curve.reference]
    needed = np.concatenate([values for curve in ours for values in (curve.y, curve.low, curve.high)] or [np.zeros(0)])
    needed, added = needed[~np.isnan(needed)], reference.y[~np.isnan(reference.y)]
    if not len(needed) or not len(added):
        return False
    # Equal values get an axis of length 1.
    return bool(np.ptp([*needed, *added]) > _MOST_SPREAD * (float(np.ptp(needed)) or 1.0))


def comparison_grid(scored: Scored, cases: Sequence[Case], *, labels: Sequence[str] | None = None) -> Picture:
    """Targets, driver and the result of each method, a row for each case."""
    return results_grid(scored.packs, scored.predictions, cases, size=scored.cases.size, labels=labels)


def results_grid(
    packs: Packs,
    predictions: Mapping[str, Predictions],
    cases: Sequence[Case],
    *,
    size: int,
    targets: int = _MOST_TARGETS,
    labels: Sequence[str] | None = None,
) -> Picture:
    """The same of pictures that are not scored.

    Args:
        packs: the cases' data.
        predictions: by the headings of their columns.
        cases: the rows.
        size: side of the pictures that are read, pixels.
        targets: how many target pictures are shown at most.
        labels: one below each row; None for the cases' ids.
    """
    columns = min(len(cases[0].targets), targets)
    shown = packs.target.pictures((frame for case in cases for frame in case.targets[:columns]), size)
    drivers = packs.driver.pictures((case.driver for case in cases), size)
    rows = []
    for case in cases:
        files = [drawn.path(case) for drawn in predictions.values()]
        results = [None if path is None else read_prediction(path, size) for path in files]
        rows.append([*(shown[frame] for frame in case.targets[:columns]), drivers[case.driver], *results])
    heads = [f"target {i + 1}" if columns > 1 else "target" for i in range(columns)]
    heads += ["driver", *predictions]
    return contact_sheet(rows, heads, labels or [case.id for case in cases])


def worst_cases(scored: Scored, method: str, score: str, count: int = 12) -> list[int]:
    """Numbers of a method's worst cases by a score, those without a face first.

    Raises:
        ValueError: the score does not have one value for each case.
    """
    values = scored.values(score)[method].values
    if values.shape != (len(scored.cases),):
        raise ValueError(f"the score {score} has no value for each case; sort by another one")
    scene, better = scored.scenes[method], SCORES[score].better
    judged = np.flatnonzero(scene.known & (scene.failed | ~np.isnan(values)))
    badness = {Better.HIGHER: -values, Better.LOWER: values}.get(better)
    badness = np.where(scene.failed, np.inf, np.abs(np.log(values)) if badness is None else badness)
    return judged[np.argsort(-badness[judged], kind="stable")][:count].tolist()


def failure_gallery(scored: Scored, method: str, score: str, count: int = 12) -> Picture:
    """`comparison_grid` of `worst_cases`, with the method's score below each."""
    worst = worst_cases(scored, method, score, count)
    values, failed = scored.values(score)[method].values, scored.scenes[method].failed
    title, judge = SCORES[score].title, scored.judges.name(SCORES[score].judge)
    labels = [
        f"{scored.cases[i].id}: {'no face' if failed[i] else f'{title} {values[i]:.3g}'}, by {judge}" for i in worst
    ]
    return comparison_grid(scored, [scored.cases[i] for i in worst], labels=labels)


def sequence_sheet(scored: Scored, method: str) -> Picture:
    """Consecutive frames around the moment at which a method moves most roughly compared with its driver.

    Rows: the driver's frames and the results; below each how far every frame is from the mean of its neighbours, times
    8.

    Raises:
        ValueError: the cases are no sequences.
    """
    if not scored.cases.protocol.consecutive:
        raise ValueError(f"the protocol {scored.cases.protocol.value} has no consecutive frames to show")
    scene, size = scored.scenes[method], scored.cases.size
    worst, middle, most = scene.sequences[0], 1, -1.0
    for rows in scene.sequences:
        drawn_rough, true_rough = (_roughness(faces.mesh_px[rows]) for faces in (scene.drawn, scene.driver))
        excess = np.nan_to_num(drawn_rough - true_rough, nan=-1.0)
        if len(excess) and excess.max() > most:
            worst, middle, most = rows, 1 + int(excess.argmax()), float(excess.max())
    first = min(max(middle - _SHOWN // 2, 0), max(len(worst) - _SHOWN, 0))
    some = [scored.cases[row] for row in worst[first : first + _SHOWN]]
    true = scored.packs.driver.pictures((case.driver for case in some), size)
    files = [scored.predictions[method].path(case) for case in some]
    drawn = [read_prediction(path, size) for path in files if path is not None]
    rows = []
    for frames in ([true[case.driver] for case in some], drawn):
        rows += [frames, [None, *_second_differences(np.stack(frames)), None]]
    heads = [f"frame {case.driver.number}" for case in some]
    below = f"x{_AMPLIFIED}: difference to the mean of its neighbours"
    return contact_sheet(rows, heads, ["driver", below, method, below])


def pose_curve(scored: Scored, score: str) -> Picture:
    """A score over the difference of the head poses of target and driver, with 95% bands; equally many cases a bin."""
    apart = pose_distance(scored.packs, scored.cases.cases)
    edges = np.quantile(apart, np.linspace(0, 1, _BINS + 1))
    bins = np.clip(np.searchsorted(edges, apart, side="right") - 1, 0, _BINS - 1)
    used = [b for b in range(_BINS) if (bins == b).any()]
    x = np.array([apart[bins == b].mean() for b in used])
    curves = {}
    for name, values in scored.values(score).items():
        points = np.full((len(used), 3), np.nan)
        for i, b in enumerate(used):
            rows = np.flatnonzero(bins == b)
            if np.isnan(values.values[rows]).all():
                continue
            people = [values.identities[row] for row in rows]
            found = bootstrap_interval(
                values.values[rows],
                people,
                np.random.default_rng(0),
                statistic=values.statistic,
                resamples=RESAMPLES,
            )
            points[i] = found.estimate, found.low, found.high
        curves[name] = Curve(x, *points.T, reference=name in (TARGET_COPY, DRIVER_COPY))
    about = SCORES[score]
    y_title = f"{about.title}{f', {about.unit}' if about.unit else ''}"
    x_title = "difference of the head poses of target and driver, degrees"
    title = f"{scored.cases.name.replace('_', ' ')}\nby {scored.judges.name(about.judge)}"
    return plot(curves, title=title, x_title=x_title, y_title=y_title)


def pose_distance(packs: Packs, cases: Sequence[Case]) -> Float[np.ndarray, " n"]:
    """Length of the difference in yaw, pitch and roll between first target and driver, degrees."""
    targets = np.stack([packs.target.mesh(case.targets[0], 256) for case in cases])
    drivers = np.stack([packs.driver.mesh(case.driver, 256) for case in cases])
    return np.linalg.norm(angle_errors(head_angles(targets), head_angles(drivers)), axis=1)


def attention_figure(
    model: ReenactmentModel,
    cases: Sequence[Case],
    packs: Packs,
    landmarks: TargetLandmarks,
) -> Picture:
    """Attention of each driver frame over the targets (paper B, figure 7a): target, map, ..., driver, result.

    `landmarks` are made for the model's resolution.

    Raises:
        ValueError: the model has no attention.
    """
    size = model.resolution
    if size is None or PhotoUse.ATTENDED not in model.photo_uses:
        raise ValueError(f"the model '{model.name}' has no attention to show")
    targets = packs.target.pictures((frame for case in cases for frame in case.targets), size)
    drivers = packs.driver.pictures((case.driver for case in cases), size)
    rows = []
    for case in cases:
        images = [targets[frame] for frame in case.targets]
        meshes = np.stack([packs.target.mesh(frame, size) for frame in case.targets])
        mesh = landmarks([case])
        portrait = Portrait(model, np.stack(images), meshes, exact=True)
        maps = model.photo_maps(portrait.code, driver_frame(model, mesh, size))
        received = maps[model.photo_uses.index(PhotoUse.ATTENDED)]
        pairs = zip(images, received.weights, strict=True)
        # One scale for all targets, so that they can be compared.
        overlaid = [p for image, heat in pairs for p in (image, heat_over(image, heat, received.brightest))]
        rows.append([*overlaid, drivers[case.driver], portrait.draw(mesh)[0]])
    k = len(cases[0].targets)
    heads = [name for i in range(1, k + 1) for name in (f"target {i}", "attention")] + ["driver", "result"]
    return contact_sheet(rows, heads, [case.id for case in cases])


def _text_band(texts: Sequence[str], width_px: int) -> Picture:
    """A line of texts side by side, each made smaller if it is too wide."""
    band = np.full((_TEXT_PX, width_px * len(texts), 3), 255, np.uint8)
    for i, text in enumerate(texts):
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0]
        scale = 0.42 * min(1.0, (width_px - 8) / max(width, 1))
        start = i * width_px + 4, _TEXT_PX - 6
        cv2.putText(band, text, start, cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA)
    return band


def _roughness(mesh_px: Float[np.ndarray, "t 478 3"]) -> Float[np.ndarray, " _"]:
    """Mean squared second difference of each frame but the first and last, pixels squared; NaN without a face."""
    return np.square(np.diff(mesh_px[..., :2], 2, axis=0)).mean(axis=(1, 2))


def _second_differences(frames: UInt8[np.ndarray, "t s s 3"]) -> list[Picture]:
    second = np.diff(frames.astype(np.int16), 2, axis=0)
    return list((255 - np.clip(_AMPLIFIED / 2 * np.abs(second), 0, 255)).astype(np.uint8))
