"""report.html: samples, distributions and skipped files of a pack, on one page without other files."""

from __future__ import annotations

import base64
import html
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt8
from PIL import Image

from reenactor.research.data.shards import load_sample

CLIPS_SHOWN = 24
FRAMES_SHOWN = 6
PHOTOS_SHOWN = 72
SKIPPED_SHOWN = 500
THUMBNAIL_PX = 96
_BINS = 40
_HISTOGRAMS = {
    "yaw_mean": "yaw, degrees (mean of the sample)",
    "pitch_mean": "pitch, degrees",
    "roll_mean": "roll, degrees",
    "face_px": "face size in the source, pixels",
    "sharpness": "sharpness",
    "padding": "share of the crop outside the picture",
}


def report_page(folder: Path, manifest: dict[str, Any], index: pa.Table, skipped: list[dict[str, str]]) -> str:
    """The page as HTML.

    Args:
        folder: the pack's folder, with its shards.
        manifest: the pack's manifest.
        index: the pack's index; the embeddings may be missing.
        skipped: the first entries of skipped.jsonl, `SKIPPED_SHOWN` or all.
    """
    counts = manifest["counts"]
    clips, photos = (index.filter(pc.field("kind") == kind) for kind in ("clip", "photo"))
    facts = {
        "data set": manifest["dataset"],
        "files": counts["items"],
        "clips": f"{counts['clips']} ({counts['seconds'] / 60:.1f} min, {counts['frames'] - counts['photos']} frames)",
        "photos": counts["photos"],
        "splits": ", ".join(f"{name} {n}" for name, n in counts["splits"].items()),
        **({"held out as val": ", ".join(manifest["held_out"])} if "held_out" in manifest else {}),
        "skipped files": counts["skipped"],
        "seconds of clips in no sample": f"{counts['seconds_without_sample']:.1f}",
        "shards": f"{counts['shards']} ({counts['bytes'] / 1e6:.1f} MB)",
        "settings": ", ".join(f"{name} {value}" for name, value in manifest["settings"].items()),
    }
    parts = ["<h1>Prepared data</h1>", _table(facts)]
    if len(clips):
        parts += ["<h2>Clips, six moments of each: the crop must hold still</h2>"]
        parts += [_clip(folder, row) for row in _random_rows(clips, CLIPS_SHOWN)]
    if len(photos):
        parts += ["<h2>Photos</h2><p>", *(_photo(folder, row) for row in _random_rows(photos, PHOTOS_SHOWN)), "</p>"]
    parts += ["<h2>Distributions</h2><div class=row>"]
    parts += [histogram(title, index[name].to_numpy()) for name, title in _HISTOGRAMS.items()]
    parts += [histogram("length of clips, seconds", clips["duration_s"].to_numpy())]
    parts += ["</div><h2>Skipped</h2>", _skipped(skipped, counts["skipped"])]
    return _PAGE.replace("@BODY@", "\n".join(parts))


def _random_rows(table: pa.Table, count: int) -> list[dict[str, Any]]:
    """Up to `count` rows, always the same ones for tables of the same length, sorted by key."""
    numbers = random.Random(0).sample(range(len(table)), min(count, len(table)))
    return sorted(table.take(numbers).to_pylist(), key=lambda row: row["key"])


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
    """A histogram as inline SVG; empty text if there are no values."""
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
