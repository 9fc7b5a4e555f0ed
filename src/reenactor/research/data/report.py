"""report.html: what a pack looks like, on one page without any other file."""

from __future__ import annotations

import base64
import html
import io
import random
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from reenactor.research.data.shards import load_sample

CLIPS_SHOWN = 24
FRAMES_SHOWN = 6
PHOTOS_SHOWN = 72
SKIPPED_SHOWN = 500
THUMBNAIL_PX = 96
_BINS = 40
_MEASURES = {
    "yaw_mean": "yaw, degrees (mean of the sample)",
    "pitch_mean": "pitch, degrees",
    "roll_mean": "roll, degrees",
    "face_px": "face size in the source, pixels",
    "sharpness": "sharpness",
    "padding": "share of the crop outside the picture",
    "duration_s": "length of clips, seconds",
}


class Summary:
    """What the report needs of all samples, in little memory: numbers for histograms, a random few to show."""

    def __init__(self) -> None:
        self.values = {name: array("f") for name in _MEASURES}
        self.skipped: list[dict[str, str]] = []
        self._shown: dict[str, list[dict[str, Any]]] = {"clip": [], "photo": []}
        self._seen: Counter[str] = Counter()
        self._random = random.Random(0)

    def add(self, row: dict[str, Any]) -> None:
        """One sample's row of the index."""
        for name, values in self.values.items():
            if name != "duration_s" or row["kind"] == "clip":
                values.append(row[name])
        kind = row["kind"]
        shown, most = self._shown[kind], CLIPS_SHOWN if kind == "clip" else PHOTOS_SHOWN
        self._seen[kind] += 1
        row = {name: value for name, value in row.items() if name != "embedding"}
        if len(shown) < most:
            shown.append(row)
        elif (place := self._random.randrange(self._seen[kind])) < most:
            shown[place] = row

    def add_skipped(self, entry: dict[str, str]) -> None:
        """One item without a sample."""
        if len(self.skipped) < SKIPPED_SHOWN:
            self.skipped.append(entry)

    def shown(self, kind: str) -> list[dict[str, Any]]:
        """The chosen few, by key."""
        return sorted(self._shown[kind], key=lambda row: row["key"])


def report_page(folder: Path, manifest: dict[str, Any], summary: Summary) -> str:
    """The page, as HTML."""
    counts = manifest["counts"]
    facts = {
        "data set": manifest["dataset"],
        "files": counts["items"],
        "clips": f"{counts['clips']} ({counts['seconds'] / 60:.1f} min, {counts['frames'] - counts['photos']} frames)",
        "photos": counts["photos"],
        "splits": ", ".join(f"{name} {n}" for name, n in counts["splits"].items()),
        "skipped files": counts["skipped"],
        "seconds of clips in no sample": f"{counts['seconds_without_sample']:.1f}",
        "shards": f"{counts['shards']} ({counts['bytes'] / 1e6:.1f} MB)",
        "settings": ", ".join(f"{name} {value}" for name, value in manifest["settings"].items()),
    }
    parts = ["<h1>Prepared data</h1>", _table(facts)]
    if summary.shown("clip"):
        parts += ["<h2>Clips, six moments of each: the crop must hold still</h2>"]
        parts += [_clip(folder, row) for row in summary.shown("clip")]
    if summary.shown("photo"):
        parts += ["<h2>Photos</h2><p>", *(_photo(folder, row) for row in summary.shown("photo")), "</p>"]
    parts += ["<h2>Distributions</h2><div class=row>"]
    parts += [histogram(title, np.array(summary.values[name])) for name, title in _MEASURES.items()]
    parts += ["</div><h2>Skipped</h2>", _skipped(summary.skipped, counts["skipped"])]
    return _PAGE.replace("@BODY@", "\n".join(parts))


def _table(facts: dict[str, Any]) -> str:
    rows = (f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in facts.items())
    return f"<table>{''.join(rows)}</table>"


def _clip(folder: Path, row: dict[str, Any]) -> str:
    numbers = np.linspace(0, row["frames"] - 1, FRAMES_SHOWN).round().astype(int).tolist()
    frames = load_sample(folder, row).frames(numbers, size=THUMBNAIL_PX)
    about = f"{row['key']}, {row['duration_s']:.1f} s, yaw {row['yaw_min']:.0f} to {row['yaw_max']:.0f}"
    return f"<figure>{_picture(np.concatenate(frames, axis=1))}<figcaption>{_text(about)}</figcaption></figure>"


def _photo(folder: Path, row: dict[str, Any]) -> str:
    return _picture(load_sample(folder, row).frames(size=THUMBNAIL_PX)[0], title=row["key"])


def _picture(image: UInt8[np.ndarray, "h w 3"], *, title: str = "") -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=75)
    data = base64.b64encode(buffer.getvalue()).decode()
    height, width = image.shape[:2]
    return f'<img src="data:image/jpeg;base64,{data}" width={width} height={height} title="{_text(title)}">'


def histogram(title: str, values: np.ndarray) -> str:
    """A bar chart as inline SVG."""
    if len(values) == 0:
        return ""
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, bins=_BINS, range=(low, max(high, low + 1e-3)))
    top = max(1, int(counts.max()))
    bars = (
        f'<rect x="{7 * i}" y="{80 - 80 * n / top:.1f}" width="6" height="{80 * n / top:.1f}"/>'
        for i, n in enumerate(counts)
    )
    middle = float(np.median(values))
    caption = f"{_text(title)}<br>{low:.3g} to {high:.3g}, median {middle:.3g}, n {len(values)}"
    return (
        f'<figure><svg width="{7 * _BINS}" height="80">{"".join(bars)}</svg><figcaption>{caption}</figcaption></figure>'
    )


def _skipped(entries: list[dict[str, str]], total: int) -> str:
    if not entries:
        return "<p>Nothing.</p>"
    rows = (f"<tr><td>{_text(e['source'])}</td><td>{_text(e['reason'])}</td></tr>" for e in entries)
    rest = f"<p>{total - len(entries)} more in skipped.jsonl.</p>" if total > len(entries) else ""
    return f"<table>{''.join(rows)}</table>{rest}"


def _text(value: Any) -> str:
    return html.escape(str(value))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Prepared data</title><style>
body{font:14px/1.4 system-ui,sans-serif;margin:2em;max-width:1200px;color:#222}
th{text-align:left;padding-right:1em;font-weight:600;vertical-align:top} td{padding:1px 1em 1px 0}
figure{display:inline-block;margin:0 12px 12px 0} figcaption{font-size:12px;color:#555} img{display:inline-block}
svg{background:#f4f4f4} rect{fill:#4470a8} .row{display:flex;flex-wrap:wrap}
</style></head><body>
@BODY@
</body></html>
"""
