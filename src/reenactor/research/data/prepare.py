"""A data set -> a pack of shards: resumable, never half-written, the same bytes however it was made.

Workers turn items into parcels, in any order (`pool`, `cluster`); the parent packs them (`packing`) and at the end
writes the index, the list of skipped files, the report and, last, the manifest, which makes the pack a whole one.
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
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.core.landmark_codec import PARENTS
from reenactor.core.progress import Progress, Silent
from reenactor.core.system import locked
from reenactor.research.data.datasets import DATASETS
from reenactor.research.data.index import IndexWriter
from reenactor.research.data.packing import Packer, Plan, sync, write_whole
from reenactor.research.data.process import fingerprint
from reenactor.research.data.report import Summary, report_page
from reenactor.research.data.shards import FORMAT, INDEX, MANIFEST, VERSION, read_manifest

WORK = ".work"
SKIPPED = "skipped.jsonl"
REPORT = "report.html"


@dataclass(frozen=True)
class Result:
    """What was made.

    Args:
        manifest: of the pack.
        seconds: this run took.
        done_before: items that an earlier run had finished.
    """

    out: Path
    manifest: dict[str, Any]
    seconds: float
    done_before: int

    def text(self) -> str:
        """For the terminal."""
        counts = self.manifest["counts"]
        size_mb = counts["bytes"] / 1e6
        lines = [
            f"{self.out}: {counts['clips']} clips ({counts['seconds'] / 60:.1f} min) and {counts['photos']} photos of "
            f"{counts['items']} files in {counts['shards']} shards, {size_mb:.1f} MB, {self.seconds:.0f} s"
        ]
        if self.done_before:
            lines.append(f"{self.done_before} files were done before")
        if counts["skipped"]:
            lines.append(f"{counts['skipped']} files were skipped; {self.out / REPORT} says why")
        else:
            lines.append(f"look at {self.out / REPORT}")
        return "\n".join(lines)


def prepare(plan: Plan, progress: Progress | None = None) -> Result:
    """Make a pack, or go on with one that was begun.

    Raises:
        ReenactError: the data set is not laid out as its adapter expects, the folder holds another pack...
    """
    if plan.items is None and plan.dataset not in DATASETS:
        raise ReenactError(f"there is no data set {plan.dataset}; choose from {', '.join(DATASETS)}")
    if plan.limit is not None and plan.limit < 1:
        raise ReenactError(f"--limit must be 1 or more, not {plan.limit}")
    if not plan.shard_mb > 0:
        raise ReenactError(f"the size of shards must be more than 0 MB, not {plan.shard_mb}")
    if not plan.source.exists():
        raise ReenactError(f"there is no {plan.source}; check the name")
    started = time.monotonic()
    total, digest = _survey(plan)
    facts = plan.facts() | {"items_sha256": digest}
    if (plan.out / MANIFEST).exists():
        manifest = read_manifest(plan.out)
        _refuse_other(plan.out, {name: manifest.get(name) for name in facts}, facts)
        shutil.rmtree(plan.out / WORK, ignore_errors=True)
        return Result(plan.out, manifest, time.monotonic() - started, total)
    with _work_folder(plan.out, facts) as work:
        packer = Packer(plan, work)
        done_before = packer.pack(total, progress or Silent())
        manifest = _finish(plan, work, packer, facts)
    shutil.rmtree(work, ignore_errors=True)
    return Result(plan.out, manifest, time.monotonic() - started, done_before)


def _survey(plan: Plan) -> tuple[int, str]:
    """How many items there are, and a hash that changes when any of them does."""
    total, digest = 0, hashlib.sha256()
    for item in plan.listing():
        total += 1
        digest.update(fingerprint(item, plan.settings).encode())
    if total == 0:
        raise ReenactError(f"nothing to prepare in {plan.source}; check the name and --dataset")
    return total, digest.hexdigest()


def _refuse_other(out: Path, there: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise unless what is in the folder comes from the same items, made in the same way."""
    if there == facts:
        return
    changed = sorted(name for name in facts if there.get(name) != facts[name])
    what = "files" if changed == ["items_sha256"] else "settings"
    raise ReenactError(f"{out} holds a pack made from other {what}; choose another folder or delete it")


@contextmanager
def _work_folder(out: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """The folder for what is under way, locked against a second run."""
    work = out / WORK
    if out.exists() and not work.exists() and any(out.iterdir()):
        raise ReenactError(f"{out} is not empty and holds no pack; choose another folder")
    work.mkdir(parents=True, exist_ok=True)
    with locked(work / "lock", taken=f"another run is working in {out}; wait for it, or choose another folder"):
        note = work / "job.json"
        if note.exists():
            _refuse_other(out, json.loads(note.read_text()), facts)
        else:
            write_whole(note, json.dumps(facts).encode())
        yield work


def _finish(plan: Plan, work: Path, packer: Packer, facts: dict[str, Any]) -> dict[str, Any]:
    """Write index, list of what was skipped, report and, last, the manifest."""
    shards: list[dict[str, Any]] = []
    counts: dict[str, int] = dict.fromkeys(("samples", "clips", "photos", "frames", "skipped"), 0)
    splits: Counter[str] = Counter()
    lost_s = seconds = 0.0
    items = 0
    summary = Summary()
    index = IndexWriter(work / "index.tmp")
    with (work / "skipped.tmp").open("w", encoding="utf-8") as skipped:
        for part in packer.parts:
            note = json.loads(part.read_text())
            items = note["next_item"]
            lost_s += note["lost_s"]
            if note["shard"]:
                shards.append(note["shard"])
            index.add(note["rows"])
            for row in note["rows"]:
                summary.add(row)
                counts["samples"] += 1
                counts[f"{row['kind']}s"] += 1
                counts["frames"] += row["frames"]
                splits[row["split"]] += 1
                seconds += row["duration_s"]
            for entry in note["skipped"]:
                counts["skipped"] += 1
                summary.add_skipped(entry)
                skipped.write(json.dumps(entry, ensure_ascii=False) + "\n")
    index.close()
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        **facts,
        "counts": {
            "items": items,
            **counts,
            "seconds": round(seconds, 3),
            "seconds_without_sample": round(lost_s, 3),
            "shards": len(shards),
            "bytes": sum(shard["bytes"] for shard in shards),
            "splits": dict(sorted(splits.items())),
        },
        "shards": shards,
        "landmark_parents": list(PARENTS),
    }
    (work / "report.tmp").write_text(report_page(plan.out, manifest, summary), encoding="utf-8")
    for draft, name in (("index.tmp", INDEX), ("skipped.tmp", SKIPPED), ("report.tmp", REPORT)):
        sync(work / draft)
        os.replace(work / draft, plan.out / name)
    write_whole(plan.out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False).encode(), draft_in=work)
    return manifest
