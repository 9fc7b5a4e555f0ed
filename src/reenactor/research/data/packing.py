"""Processes items and packs them into shards, in the data set's order; continues after an earlier run.

While a pack is made, its folder `.work` keeps processed items not yet packed (`00000000.item`) and, for each finished
shard, its index rows and where the next shard begins (`shard-000000.part`). A part is written before its shard gets
its name, and processed items are removed after that. So a kill at any moment loses no finished shard, no item is
processed twice, and only the open shard is packed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from reenactor.core import ReenactError
from reenactor.core.files import sync, write_atomically
from reenactor.core.progress import Progress
from reenactor.research.data.datasets import DATASETS
from reenactor.research.data.items import Item, ProcessedItem, Split
from reenactor.research.data.pool import Done, Task, work_on
from reenactor.research.data.process import fingerprint, process_item, source_name
from reenactor.research.data.samples import Settings
from reenactor.research.data.shards import ShardWriter, shard_name

FREE_TIERS = ("CC0", "PD", "likely-PD", "CC-BY", "permissive-repo", "AI-generated")
"""Licence tiers that allow weights to be shared; "free" on the command line."""
Process = Callable[[Item, Path, Settings], ProcessedItem]
"""`process_item`, or a stand-in for tests. The path is the data set's root."""


@dataclass(frozen=True)
class Plan:
    """What to prepare, and how.

    Args:
        source: root of the data set.
        out: folder of the pack.
        dataset: name of the data set's adapter.
        settings: how samples are made.
        shard_mb: largest size of a shard in 1,000,000 bytes. A sample larger than that gets a shard of its own.
        limit: prepare only this many items, the first ones.
        tiers: prepare only items of these licence tiers (column `tier` of a manifest); empty for all.
        hold_out: number of people to move into a validation split; see `held_out`.
        workers: number of worker processes; 0 works in this process.
        ray: address of a Ray cluster to use instead.
        process: processes an item; replaced in tests.
        items: lists the items instead of the adapter; for tests.
    """

    source: Path
    out: Path
    dataset: str = "folder"
    settings: Settings = field(default_factory=Settings)
    shard_mb: float = 64
    limit: int | None = None
    tiers: tuple[str, ...] = ()
    hold_out: int = 0
    workers: int = 0
    ray: str | None = None
    process: Process = process_item
    items: Callable[[Path], Iterator[Item]] | None = None

    def listing(self) -> Iterator[Item]:
        """The items to prepare."""
        for item in self._listed():
            yield replace(item, split=Split.VAL) if item.identity in self.held_out else item

    def _listed(self) -> Iterator[Item]:
        items = (self.items or DATASETS[self.dataset])(self.source)
        if self.tiers:
            items = (item for item in items if item.about.get("tier") in self.tiers)
        return islice(items, self.limit)

    @cached_property
    def held_out(self) -> frozenset[str]:
        """The people that are moved into a validation split: `hold_out` of those to train on.

        A hash of the name decides, so the same people are chosen wherever it is done, and most of them again if others
        are added. Of a data set that is for tests alone, people of the test split are moved.

        Raises:
            ReenactError: the data set has a validation split, or too few people.
        """
        people: dict[Split, set[str]] = defaultdict(set)
        for item in self._listed() if self.hold_out else ():
            people[item.split].add(item.identity)
        if people[Split.VAL]:
            raise ReenactError(f"{self.source} has a validation split already; leave out --hold-out-people")
        split = Split.TRAIN if people[Split.TRAIN] else Split.TEST
        if self.hold_out and self.hold_out >= len(people[split]):
            raise ReenactError(
                f"{self.hold_out} people cannot be held out of the {len(people[split])} in the split {split.value}; "
                "choose fewer with --hold-out-people"
            )
        by_hash = sorted(people[split], key=lambda name: hashlib.sha256(name.encode()).digest())
        return frozenset(by_hash[: self.hold_out])

    def facts(self) -> dict[str, Any]:
        """What decides the pack's bytes, besides the items; part of the manifest."""
        return {
            "dataset": self.dataset,
            "settings": self.settings.facts(),
            "shard_mb": self.shard_mb,
            "limit": self.limit,
            **({"tiers": list(self.tiers)} if self.tiers else {}),
            **({"held_out": sorted(self.held_out)} if self.held_out else {}),
        }


class Packer:
    """Makes the shards of a pack.

    Args:
        plan: what to prepare.
        work: the pack's folder `.work`.

    Attributes:
        parts: files about finished shards, in order. The last may be about skipped items alone, without a shard.
    """

    def __init__(self, plan: Plan, work: Path) -> None:
        self._plan = plan
        self._work = work
        self._limit_bytes = round(plan.shard_mb * 1e6)
        self._shard: ShardWriter | None = None
        self.parts: list[Path] = []
        self._next_item, self._next_sample = 0, 0
        self._recover()
        self._reset()

    def _recover(self) -> None:
        """Find the last finished shard, and remove what came after it."""
        while self._part().exists():
            note = json.loads(self._part().read_text())
            if note["shard"] and not (self._plan.out / note["shard"]["name"]).exists():
                break
            self._next_item, self._next_sample = note["next_item"], note["next_sample"]
            self.parts.append(self._part())
        self._part().unlink(missing_ok=True)
        for draft in (*self._work.glob("*.tmp"), *self._work.glob(".*")):
            draft.unlink()

    def _reset(self) -> None:
        """Nothing is in the next shard yet."""
        self._rows: list[dict[str, Any]] = []
        self._skipped: list[dict[str, str]] = []
        self._lost_s = 0.0
        self._packed: list[int] = []

    def _part(self) -> Path:
        return self._work / f"shard-{len(self.parts):06d}.part"

    def _processed(self, number: int) -> Path:
        return self._work / f"{number:08d}.item"

    def pack(self, total: int, progress: Progress) -> int:
        """Work until every item is in a shard.

        Args:
            total: number of items.
            progress: reported in items.

        Returns:
            how many items an earlier run had processed.

        Raises:
            ReenactError: the data set changed meanwhile.
        """
        plan, position, done_before = self._plan, self._next_item, self._next_item
        waiting: set[int] = set()

        def tasks() -> Iterator[Task]:
            nonlocal done_before
            for number, item in islice(enumerate(plan.listing()), position, None):
                if self._is_processed(number, item):
                    done_before += 1
                    waiting.add(number)
                else:
                    yield Task(number, item)

        work = partial(_processed_bytes, plan.process, plan.source, plan.settings)
        progress.start("preparing", position, total)
        try:
            for done in chain(work_on(tasks(), work, workers=plan.workers, ray=plan.ray), [None]):
                if done is not None:
                    write_atomically(self._processed(done.task.number), _result_of(plan, done))
                    waiting.add(done.task.number)
                while position in waiting:
                    waiting.remove(position)
                    self._add(position)
                    position += 1
                    progress.step(position, total)
            if position != total:
                raise ReenactError(f"{plan.source} changed meanwhile; run the command again")
            self._finish_shard(total, 0)
        finally:
            progress.end()
            if self._shard is not None:
                self._shard.discard()
        return done_before

    def _is_processed(self, number: int, item: Item) -> bool:
        """Whether an earlier run left the processed item, whole and up to date."""
        try:
            processed = ProcessedItem.from_bytes(self._processed(number).read_bytes())
        except (OSError, ValueError):
            return False
        return processed.fingerprint == fingerprint(item, self._plan.settings)

    def _add(self, number: int) -> None:
        """Pack the samples of an item."""
        processed = ProcessedItem.from_bytes(self._processed(number).read_bytes())
        first = self._next_sample if number == self._next_item else 0
        for i, sample in enumerate(processed.samples):
            if i < first:
                continue
            size = ShardWriter.size_of(sample)
            if self._shard is not None and self._shard.size + size + ShardWriter.END > self._limit_bytes:
                self._finish_shard(number, i)
            if self._shard is None:
                self._shard = ShardWriter(self._work / "shard.tmp")
            name = shard_name(len(self.parts))
            self._rows.append(sample.row | {"shard": name} | self._shard.add(sample))
        self._lost_s += processed.lost_s
        if processed.skipped is not None:
            self._skipped.append({"source": processed.source, "reason": processed.skipped})
        self._packed.append(number)

    def _finish_shard(self, next_item: int, next_sample: int) -> None:
        """Finish the open shard; from here on a kill does not lose it. The next begins with the given sample."""
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
        write_atomically(self._part(), json.dumps(note), durable=True)
        if shard is not None:
            os.replace(self._work / "shard.tmp", self._plan.out / shard["name"])
            sync(self._plan.out)
        for number in self._packed:
            self._processed(number).unlink(missing_ok=True)
        self.parts.append(self._part())
        self._shard = None
        self._reset()


def _processed_bytes(process: Process, root: Path, settings: Settings, item: Item) -> bytes:
    return process(item, root, settings).to_bytes()


def _result_of(plan: Plan, done: Done) -> bytes:
    """The processed item; if the process died, one that says so."""
    if isinstance(done.result, bytes):
        return done.result
    item = done.task.item
    source = source_name(item, plan.source)
    reason = f"the process that worked on {source} {done.result}, twice; check the file"
    return ProcessedItem(item.key, source, fingerprint(item, plan.settings), skipped=reason).to_bytes()
