"""Parcels -> shards, in the data set's order; goes on where an earlier run was stopped.

While a pack is made its folder `.work` keeps parcels not yet packed (`00000000.parcel`) and, for each finished shard,
its index rows and where the next shard begins (`shard-000000.part`). A part is written before its shard gets its name,
and parcels are removed after: whatever the moment of a kill, finished shards stay, no parcel is made twice, and the
open shard is packed anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.core.progress import Progress
from reenactor.research.data.cluster import run_on_ray
from reenactor.research.data.datasets import DATASETS
from reenactor.research.data.items import Item
from reenactor.research.data.parcel import Parcel
from reenactor.research.data.pool import Done, Task, run_here, run_in_processes
from reenactor.research.data.process import Work, fingerprint, process_item, source_name
from reenactor.research.data.settings import Settings
from reenactor.research.data.shards import ShardWriter, shard_name


@dataclass(frozen=True)
class Plan:
    """What to prepare, and how.

    Args:
        source: the data set's root.
        out: folder of the pack.
        dataset: name of its adapter.
        settings: how samples are made.
        shard_mb: largest size of a shard, in 1,000,000 bytes (a sample that is larger has a shard of its own).
        limit: only so many items, from the beginning.
        workers: processes; 0 works in this one.
        ray: address of a Ray cluster to use instead.
        work: what makes a parcel of an item; for tests.
        items: lists the data set instead of the adapter; for tests.
    """

    source: Path
    out: Path
    dataset: str = "folder"
    settings: Settings = field(default_factory=Settings)
    shard_mb: float = 64
    limit: int | None = None
    workers: int = 0
    ray: str | None = None
    work: Work = process_item
    items: Callable[[Path], Iterator[Item]] | None = None

    def listing(self) -> Iterator[Item]:
        """The items wanted."""
        items = self.items or DATASETS[self.dataset]
        return islice(items(self.source), self.limit)

    def facts(self) -> dict[str, Any]:
        """What decides the pack's bytes, besides the items."""
        return {
            "dataset": self.dataset,
            "settings": self.settings.facts(),
            "shard_mb": self.shard_mb,
            "limit": self.limit,
        }


class Packer:
    """Packs parcels into shards in the data set's order.

    Attributes:
        parts: finished shards' notes, in order. The last may be of no shard, and tell of skipped items alone.
    """

    def __init__(self, plan: Plan, work: Path) -> None:
        self._plan = plan
        self._work = work
        self._limit_bytes = round(plan.shard_mb * 1e6)
        self._shard: ShardWriter | None = None
        self.parts: list[Path] = []
        self._next_item, self._next_sample = 0, 0
        self._recover()
        self._begin()

    def _recover(self) -> None:
        """Find the last shard that is finished, and remove what came after."""
        while self._part().exists():
            note = json.loads(self._part().read_text())
            if note["shard"] and not (self._plan.out / note["shard"]["name"]).exists():
                break
            self._next_item, self._next_sample = note["next_item"], note["next_sample"]
            self.parts.append(self._part())
        self._part().unlink(missing_ok=True)
        for draft in self._work.glob("*.tmp"):
            draft.unlink()

    def _begin(self) -> None:
        """Nothing is in the next shard yet."""
        self._rows: list[dict[str, Any]] = []
        self._skipped: list[dict[str, str]] = []
        self._lost_s = 0.0
        self._packed: list[int] = []

    def _part(self) -> Path:
        return self._work / f"shard-{len(self.parts):06d}.part"

    def _parcel(self, number: int) -> Path:
        return self._work / f"{number:08d}.parcel"

    def pack(self, total: int, progress: Progress) -> int:
        """Work until every item is in a shard; tells how many were done before."""
        plan, place, done_before = self._plan, self._next_item, self._next_item
        waiting: set[int] = set()

        def tasks() -> Iterator[Task]:
            nonlocal done_before
            for number, item in islice(enumerate(plan.listing()), place, None):
                if self._is_made(number, item):
                    done_before += 1
                    waiting.add(number)
                else:
                    yield Task(number, item)

        progress.start("preparing", place, total)
        try:
            for done in chain(_run(plan, tasks()), [None]):
                if done is not None:
                    write_whole(self._parcel(done.task.number), _parcel_bytes(plan, done), durable=False)
                    waiting.add(done.task.number)
                while place in waiting:
                    waiting.remove(place)
                    self._add(place)
                    place += 1
                    progress.step(place, total)
            if place != total:
                raise ReenactError(f"{plan.source} changed meanwhile; run the command again")
            self._finish_shard(total, 0)
        finally:
            progress.end()
            if self._shard is not None:
                self._shard.discard()
        return done_before

    def _is_made(self, number: int, item: Item) -> bool:
        """Whether an earlier run left the item's parcel, whole and up to date."""
        try:
            parcel = Parcel.from_bytes(self._parcel(number).read_bytes())
        except (OSError, ValueError):
            return False
        return parcel.fingerprint == fingerprint(item, self._plan.settings)

    def _add(self, number: int) -> None:
        """Pack an item's samples."""
        parcel = Parcel.from_bytes(self._parcel(number).read_bytes())
        first = self._next_sample if number == self._next_item else 0
        for place, sample in enumerate(parcel.samples):
            if place < first:
                continue
            size = ShardWriter.size_of(sample)
            if self._shard is not None and self._shard.size + size + ShardWriter.END > self._limit_bytes:
                self._finish_shard(number, place)
            if self._shard is None:
                self._shard = ShardWriter(self._work / "shard.tmp")
            name = shard_name(len(self.parts))
            self._rows.append(sample.row | {"shard": name} | self._shard.add(sample))
        self._lost_s += parcel.lost_s
        if parcel.skipped is not None:
            self._skipped.append({"source": parcel.source, "reason": parcel.skipped})
        self._packed.append(number)

    def _finish_shard(self, next_item: int, next_sample: int) -> None:
        """Put the open shard in its place; from here on a kill does not lose it."""
        shard = None
        if self._shard is not None:
            sha256 = self._shard.close()
            name = shard_name(len(self.parts))
            shard = {"name": name, "bytes": self._shard.size, "samples": self._shard.samples, "sha256": sha256}
        elif not self._packed:
            return
        note = {
            "next_item": next_item,
            "next_sample": next_sample,
            "shard": shard,
            "rows": self._rows,
            "skipped": self._skipped,
            "lost_s": self._lost_s,
        }
        write_whole(self._part(), json.dumps(note).encode())
        if shard is not None:
            os.replace(self._work / "shard.tmp", self._plan.out / shard["name"])
            sync(self._plan.out)
        for number in self._packed:
            self._parcel(number).unlink(missing_ok=True)
        self.parts.append(self._part())
        self._shard = None
        self._begin()


def _run(plan: Plan, tasks: Iterator[Task]) -> Iterator[Done]:
    """Where the work is done."""
    arguments = (tasks, plan.work, plan.source, plan.settings)
    if plan.ray is not None:
        return run_on_ray(*arguments, address=plan.ray)
    if plan.workers == 0:
        return run_here(*arguments)
    return run_in_processes(*arguments, workers=plan.workers)


def _parcel_bytes(plan: Plan, done: Done) -> bytes:
    """The parcel, or one that says how the process died."""
    if isinstance(done.result, bytes):
        return done.result
    item = done.task.item
    source = source_name(item, plan.source)
    reason = f"the process that worked on {source} {done.result}, twice; check the file"
    return Parcel(item.key, source, fingerprint(item, plan.settings), skipped=reason).to_bytes()


def write_whole(path: Path, data: bytes, *, durable: bool = True, draft_in: Path | None = None) -> None:
    """The whole file or none of it; `durable` outlasts a power failure, not only a kill."""
    draft = (draft_in or path.parent) / f"{path.name}.tmp"
    draft.write_bytes(data)
    if durable:
        sync(draft)
    os.replace(draft, path)
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Force a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
