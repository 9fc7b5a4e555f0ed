"""A data set to a pack of shards: can be stopped and continued, and gives the same bytes however it was made.

Workers process items in any order (`pool`), the parent packs them (`packing`) and at the end writes the index, the
list of skipped files, the report and, last, the manifest, which marks the pack as finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reenactor.core import ReenactError
from reenactor.core.files import sync, write_atomically
from reenactor.core.landmark_codec import PARENTS
from reenactor.core.progress import Progress, Silent
from reenactor.core.system import locked
from reenactor.research.data.datasets import DATASETS
from reenactor.research.data.packing import Packer, Plan
from reenactor.research.data.process import fingerprint
from reenactor.research.data.report import SKIPPED_SHOWN, report_page
from reenactor.research.data.shards import FORMAT, INDEX, MANIFEST, SCHEMA, VERSION, read_manifest

WORK = ".work"
SKIPPED = "skipped.jsonl"
REPORT = "report.html"


@dataclass(frozen=True)
class PreparedPack:
    """A finished pack.

    Args:
        out: its folder.
        manifest: its manifest.
        seconds: duration of this run.
        done_before: items that an earlier run had finished.
    """

    out: Path
    manifest: dict[str, Any]
    seconds: float
    done_before: int

    def text(self) -> str:
        """A summary for the terminal."""
        counts = self.manifest["counts"]
        size_mb = counts["bytes"] / 1e6
        lines = [
            f"{self.out}: {counts['clips']} clips ({counts['seconds'] / 60:.1f} min) and {counts['photos']} photos of "
            f"{counts['items']} files in {counts['shards']} shards, {size_mb:.1f} MB, {self.seconds:.0f} s"
        ]
        if held_out := self.manifest.get("held_out"):
            lines.append(f"{len(held_out)} people are held out as the split val: {_few(held_out)}")
        if self.done_before:
            lines.append(f"{self.done_before} files were done before")
        if counts["skipped"]:
            lines.append(f"{counts['skipped']} files were skipped; {self.out / REPORT} says why")
        else:
            lines.append(f"look at {self.out / REPORT}")
        return "\n".join(lines)


def _few(names: list[str], most: int = 5) -> str:
    """Names with commas; of many the first ones."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} others" if len(names) > most else "")


def prepare(plan: Plan, progress: Progress | None = None) -> PreparedPack:
    """Make a pack, or continue one that was begun.

    Args:
        plan: what to prepare, and how.
        progress: reported in items.

    Raises:
        ReenactError: the data set does not have its adapter's layout, the folder holds another pack, or a setting is
            not allowed.
    """
    if plan.items is None and plan.dataset not in DATASETS:
        raise ReenactError(f"there is no data set {plan.dataset}; choose from {', '.join(DATASETS)}")
    if plan.limit is not None and plan.limit < 1:
        raise ReenactError(f"--limit must be 1 or more, not {plan.limit}")
    if plan.hold_out < 0:
        raise ReenactError(f"--hold-out-people must be 0 or more, not {plan.hold_out}")
    if not plan.shard_mb > 0:
        raise ReenactError(f"the size of shards must be more than 0 MB, not {plan.shard_mb}")
    if not plan.source.exists():
        raise ReenactError(f"there is no {plan.source}; check the name")
    started = time.monotonic()
    total, digest = _survey(plan)
    facts = plan.facts() | {"items_sha256": digest}
    if (plan.out / MANIFEST).exists():
        manifest = read_manifest(plan.out)
        _check_same(plan.out, {name: manifest.get(name) for name in facts}, facts)
        shutil.rmtree(plan.out / WORK, ignore_errors=True)
        return PreparedPack(plan.out, manifest, time.monotonic() - started, total)
    with _work_folder(plan.out, facts) as work:
        packer = Packer(plan, work)
        done_before = packer.pack(total, progress or Silent())
        manifest = _finish(plan, work, packer, facts)
    shutil.rmtree(work, ignore_errors=True)
    return PreparedPack(plan.out, manifest, time.monotonic() - started, done_before)


def _survey(plan: Plan) -> tuple[int, str]:
    """The number of items, and a hash that changes when any of them does."""
    total, digest = 0, hashlib.sha256()
    for item in plan.listing():
        total += 1
        digest.update(fingerprint(item, plan.settings).encode())
    if total == 0:
        of = f" of the licence tiers {', '.join(plan.tiers)}" if plan.tiers else ""
        raise ReenactError(f"nothing to prepare in {plan.source}{of}; check the name and --dataset")
    return total, digest.hexdigest()


def _check_same(out: Path, found: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise if the folder holds a pack of other items or settings."""
    if found == facts:
        return
    changed = sorted(name for name in facts if found.get(name) != facts[name])
    what = "files" if changed == ["items_sha256"] else "settings"
    raise ReenactError(f"{out} holds a pack made from other {what}; choose another folder or delete it")


@contextmanager
def _work_folder(out: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """The folder for unfinished work, locked against a second run."""
    work = out / WORK
    if out.exists() and not work.exists() and any(out.iterdir()):
        raise ReenactError(f"{out} is not empty and holds no pack; choose another folder")
    work.mkdir(parents=True, exist_ok=True)
    with locked(work / "lock", taken=f"another run is working in {out}; wait for it, or choose another folder"):
        note = work / "job.json"
        if note.exists():
            try:
                found = json.loads(note.read_text(encoding="utf-8"))
            except (ValueError, RecursionError):
                found = None
            _check_same(out, found if isinstance(found, dict) else {}, facts)
        else:
            write_atomically(note, json.dumps(facts), durable=True)
        yield work


def _finish(plan: Plan, work: Path, packer: Packer, facts: dict[str, Any]) -> dict[str, Any]:
    """Write index, list of skipped files, report and manifest; return the manifest."""
    shards: list[dict[str, Any]] = []
    lost_s = seconds = 0.0
    items = skipped_items = 0
    # The index gets a row group for each shard, so memory does not grow with the data set.
    with (
        pq.ParquetWriter(work / "index.tmp", SCHEMA, compression="zstd") as index,
        (work / "skipped.tmp").open("w", encoding="utf-8", newline="\n") as skipped,
    ):
        for part in packer.parts:
            note = json.loads(part.read_text())
            items = note["next_item"]
            lost_s += note["lost_s"]
            if note["shard"]:
                shards.append(note["shard"])
            if note["rows"]:
                index.write_table(pa.Table.from_pylist(note["rows"], schema=SCHEMA))
            for row in note["rows"]:
                seconds += row["duration_s"]
            for entry in note["skipped"]:
                skipped_items += 1
                skipped.write(json.dumps(entry, ensure_ascii=False) + "\n")
    table = pq.read_table(work / "index.tmp", columns=[name for name in SCHEMA.names if name != "embedding"])
    kinds, splits = (Counter(table[name].to_pylist()) for name in ("kind", "split"))
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "counts": {
            "items": items,
            "samples": len(table),
            "clips": kinds["clip"],
            "photos": kinds["photo"],
            "frames": sum(table["frames"].to_pylist()),
            "skipped": skipped_items,
            "seconds": round(seconds, 3),
            "seconds_without_sample": round(lost_s, 3),
            "shards": len(shards),
            "bytes": sum(shard["bytes"] for shard in shards),
            "splits": dict(sorted(splits.items())),
        },
        "shards": shards,
        "landmark_parents": list(PARENTS),
    }
    with (work / "skipped.tmp").open(encoding="utf-8") as lines:
        first_skipped = [json.loads(line) for line in islice(lines, SKIPPED_SHOWN)]
    (work / "report.tmp").write_bytes(report_page(plan.out, manifest, table, first_skipped).encode())
    (work / "manifest.tmp").write_bytes(json.dumps(manifest, indent=1, ensure_ascii=False).encode())
    for name in (INDEX, SKIPPED, REPORT, MANIFEST):
        draft = work / f"{Path(name).stem}.tmp"
        sync(draft)
        os.replace(draft, plan.out / name)
    sync(plan.out)
    return manifest
