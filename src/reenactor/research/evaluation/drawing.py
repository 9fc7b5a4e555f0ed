"""Pictures beside each other, and curves: arrays of pixels, without a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from reenactor.face.geometry import resize

Picture = UInt8[np.ndarray, "h w 3"]

_FONT, _SCALE, _TEXT_PX = cv2.FONT_HERSHEY_SIMPLEX, 0.42, 20
_INK, _FAINT = (40, 40, 40), (220, 220, 220)
_COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))
_MARGIN = (70, 40, 20, 60)
"""Left, top, right, bottom of a plot, pixels; the legend lies to the right of it."""
_MOST_LEGEND_PX = 260
_MOST_ROOM = 3.0
"""A reference may make an axis so many times as long as the methods need it."""


def contact_sheet(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"] | None]],
    heads: Sequence[str],
    labels: Sequence[str],
    *,
    cell_px: int = 160,
) -> Picture:
    """Rows of square pictures under their headings.

    Args:
        rows: pictures of any size; None stays empty.
        heads: one for each column.
        labels: one below each row; may be empty.
        cell_px: side of each picture.
    """
    width = cell_px * len(heads)
    bands = [_text_band(heads, cell_px)]
    for row, label in zip(rows, labels, strict=True):
        cells = [np.full((cell_px, cell_px, 3), 255, np.uint8) if p is None else resize(p, cell_px) for p in row]
        bands.append(np.concatenate(cells, axis=1))
        if label:
            bands.append(_text_band([label], width))
    return np.concatenate(bands)


@dataclass(frozen=True)
class Curve:
    """A line with a band around it.

    Args:
        x: where.
        y, low, high: the line and the band's edges; NaN leaves a gap.
        reference: a floor or a ceiling: drawn where that does not flatten the others, else told in the legend.
    """

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    reference: bool = False


def plot(
    curves: Mapping[str, Curve], *, title: str, x_title: str, y_title: str, size_px: tuple[int, int] = (720, 440)
) -> Picture:
    """Curves in axes that hold them all (but for references far away), with a legend."""
    canvas = np.full((size_px[1], size_px[0], 3), 255, np.uint8)
    left, top, right, bottom = _MARGIN
    near = _near(curves)
    names = [name if name in near else f"{name}: {_mean_of(curve.y)}" for name, curve in curves.items()]
    legend_px = min(_MOST_LEGEND_PX, max((_text_width(name) for name in names), default=0))
    box = np.array([left, size_px[1] - bottom, size_px[0] - right - legend_px - 12, top], float)
    x_range = _range([curve.x for curve in curves.values()])
    y_range = _range([values for curve in near.values() for values in (curve.low, curve.high, curve.y)])

    def place(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        across = (np.asarray(x) - x_range[0]) / (x_range[1] - x_range[0])
        up = (np.asarray(y) - y_range[0]) / (y_range[1] - y_range[0])
        points = np.stack([box[0] + across * (box[2] - box[0]), box[1] + up * (box[3] - box[1])], axis=-1)
        return np.round(points).astype(np.int32)

    for tick in _ticks(*x_range):
        start, end = place(np.array([tick, tick]), np.array(y_range))
        cv2.line(canvas, start.tolist(), end.tolist(), _FAINT)
        _text(canvas, f"{tick:g}", (int(start[0]), int(start[1]) + 18), centred=True)
    for tick in _ticks(*y_range):
        start, end = place(np.array(x_range), np.array([tick, tick]))
        cv2.line(canvas, start.tolist(), end.tolist(), _FAINT)
        _text(canvas, f"{tick:g}", (int(start[0]) - 35, int(start[1]) + 5), centred=True)
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        place_px = (int(box[2]) + 12, top + 12 + 18 * number)
        _text(canvas, names[number], place_px, colour=colour, most_px=legend_px)
        if name not in near:
            continue
        known = ~np.isnan(curve.y)
        band = known & ~np.isnan(curve.low) & ~np.isnan(curve.high)
        edge = np.concatenate([place(curve.x[band], curve.low[band]), place(curve.x[band], curve.high[band])[::-1]])
        if len(edge):
            shade = canvas.copy()
            cv2.fillPoly(shade, [edge], colour)
            canvas = cv2.addWeighted(shade, 0.15, canvas, 0.85, 0)
        line = place(curve.x[known], curve.y[known])
        cv2.polylines(canvas, [line], False, colour, 2, cv2.LINE_AA)
        for point in line:
            cv2.circle(canvas, point.tolist(), 4, colour, -1, cv2.LINE_AA)
    _text(canvas, f"{title}: {y_title}", (left, top - 15))
    _text(canvas, x_title, (int(box[[0, 2]].mean()), size_px[1] - 15), centred=True)
    return np.asarray(canvas, np.uint8)


def _text_band(texts: Sequence[str], width_px: int) -> Picture:
    band = np.full((_TEXT_PX, width_px * len(texts), 3), 255, np.uint8)
    for i, text in enumerate(texts):
        _text(band, text, (i * width_px + 4, _TEXT_PX - 6), most_px=width_px - 8)
    return band


def _text(
    canvas: UInt8[np.ndarray, "h w 3"],
    text: str,
    place: tuple[int, int],
    *,
    colour: tuple[int, int, int] = _INK,
    centred: bool = False,
    most_px: int | None = None,
) -> None:
    """Write from the left of the baseline on (or around it), smaller where there is little room."""
    scale = _SCALE
    width = _text_width(text)
    if most_px is not None and width > most_px:
        scale *= most_px / width
    x = place[0] - (width // 2 if centred else 0)
    cv2.putText(canvas, text, (x, place[1]), _FONT, scale, colour, 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0]


def _near(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Those that are drawn: all but references that would make the axis more than `_MOST_ROOM` times as long."""
    ours = [v for curve in curves.values() if not curve.reference for v in (curve.low, curve.high, curve.y)]
    low, high = _range(ours)
    if not any((~np.isnan(values)).any() for values in ours):
        return dict(curves)

    def fits(curve: Curve) -> bool:
        longer = _range([*ours, curve.y])
        return longer[1] - longer[0] <= _MOST_ROOM * (high - low)

    return {name: curve for name, curve in curves.items() if not curve.reference or fits(curve)}


def _mean_of(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    return f"{known.mean():.3g}" if len(known) else "-"


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """What holds all values, with room."""
    known = np.concatenate([v[~np.isnan(v)] for v in values] or [np.zeros(0)])
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to eight of them."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 2.5, 5, 10) if (high - low) / (step * m) <= 8)
    first = np.ceil(low / step) * step
    return [float(round(tick, 10)) + 0.0 for tick in np.arange(first, high, step)]
