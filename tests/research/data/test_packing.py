"""Packing with stand-in workers: crashes, kills at any moment, order, memory."""

import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reenactor.core import ReenactError
from reenactor.core.progress import Silent
from reenactor.research.data.frames import encode_photo
from reenactor.research.data.items import Item, Kind, PackedSample, ProcessedItem, Split
from reenactor.research.data.packing import FREE_TIERS, Plan
from reenactor.research.data.prepare import prepare
from reenactor.research.data.process import fingerprint
from reenactor.research.data.shards import ShardReader

COUNT = 23
TINY_JPEG = encode_photo(np.full((8, 8, 3), 128, np.uint8), quality=50, full_colour=False)


def listing(root: Path):
    for i in range(COUNT):
        yield Item(f"item{i:06d}", Kind.PHOTO, root / f"{i}.jpg", f"person{i // 2}", Split.TRAIN)


def many(root: Path):
    for i in range(int(os.environ["REENACTOR_TEST_ITEMS"])):
        yield Item(f"item{i:06d}", Kind.PHOTO, root / "none.jpg", "person", Split.TRAIN)


def of_tiers(root: Path):
    for number, item in enumerate(listing(root)):
        yield replace(item, about={"tier": ("CC0", "research", "PD")[number % 3]} if number < 20 else {})


def without_train(root: Path):
    return (replace(item, split=Split.TEST) for item in listing(root))


def with_val(root: Path):
    return (replace(item, split=Split.VAL) if item.identity == "person3" else item for item in listing(root))


def make(item, root, settings):
    """Two samples an item, of a size and content that follow from the key; every seventh item is skipped."""
    number = int(item.key[4:])
    processed = ProcessedItem(item.key, f"{number}.jpg", fingerprint(item, settings))
    if number % 7 == 3:
        return ProcessedItem(item.key, f"{number}.jpg", processed.fingerprint, skipped=f"{number}.jpg shows no face")
    noise = np.random.default_rng(number)
    for part in range(2):
        row = {"key": f"{item.key}-{part:02d}", "item": item.key, "kind": "photo", "identity": item.identity}
        row |= {
            "split": item.split.value,
            "source": processed.source,
            "frames": 1,
            "fps": 0.0,
            "duration_s": 0.0,
            "licence": "",
        }
        row |= {f"{axis}_{name}": 0.5 for axis in ("yaw", "pitch", "roll") for name in ("mean", "min", "max")}
        row |= {"origin": "", "face_px": 100.0, "faces": 1, "face_share": 1.0, "score": 0.9}
        row |= {"sharpness": 0.1, "padding": 0.0, "embedding": noise.normal(size=128).tolist()}
        meta = {"key": row["key"], "size": 8, "pose_deg": [[0.0, 0.0, 0.0]]}
        members = {"jpg": TINY_JPEG, "landmarks": noise.bytes(3000), "json": json.dumps(meta).encode()}
        processed.samples.append(PackedSample(row, members))
    return processed


def make_slowly(item, root, settings):
    time.sleep(0.02)
    return make(item, root, settings)


def make_and_count(item, root, settings):
    with (root / "calls").open("a") as calls:
        calls.write(f"{item.key}\n")
    return make(item, root, settings)


def make_or_die(item, root, settings):
    """Dies at item 5 always, at item 9 the first time."""
    if item.key.endswith("005"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if item.key.endswith("009") and not (root / "died").exists():
        (root / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make(item, root, settings)


def never(item, root, settings):
    raise AssertionError("all items are done")


def plan(root, out, **changes):
    return Plan(**{"source": root, "out": out, "process": make, "items": listing, "shard_mb": 0.05} | changes)


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A pack made without any trouble, and the root it was made from."""
    root, out = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("packs") / "out"
    prepare(plan(root, out))
    return root, out


class TestHeldOutPeople:
    @pytest.mark.parametrize("items", [listing, without_train])
    def test_they_are_val_and_the_pack_says_so(self, tmp_path, items):
        packed = prepare(plan(tmp_path, tmp_path / "out", items=items, hold_out=3))
        people = {f"person{i // 2}" for i in range(COUNT)}
        chosen = sorted(people, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:3]
        of = defaultdict(set)
        for sample in ShardReader(tmp_path / "out"):
            of[sample.split].add(sample.identity)
        assert of == {Split.VAL: set(chosen), next(items(tmp_path)).split: people - set(chosen)}
        assert packed.manifest["held_out"] == sorted(chosen)
        assert f"3 people are held out as the split val: {', '.join(sorted(chosen))}" in packed.text()
        assert ", ".join(sorted(chosen)) in (tmp_path / "out" / "report.html").read_text()
        with pytest.raises(ReenactError, match="other settings"):
            prepare(plan(tmp_path, tmp_path / "out", items=items, hold_out=2))

    def test_the_same_ones_among_fewer_files(self, tmp_path):
        """Those of 3 are among those of 5; with people left out, the others are still chosen."""
        three, five = (plan(tmp_path, tmp_path / "out", hold_out=n).held_out for n in (3, 5))
        assert three < five
        fewer = plan(tmp_path, tmp_path / "out", hold_out=3, limit=16)
        assert fewer.held_out >= {name for name in three if int(name[6:]) < 8}
        assert fewer.held_out <= {f"person{i}" for i in range(8)}

    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"hold_out": -1}, "must be 0 or more, not -1"),
            ({"hold_out": 12}, "12 people cannot be held out of the 12 in the split train; choose fewer"),
            ({"hold_out": 1, "items": with_val}, "has a validation split already; leave out --hold-out-people"),
        ],
    )
    def test_refusals(self, tmp_path, changes, complaint):
        with pytest.raises(ReenactError, match=complaint):
            prepare(plan(tmp_path, tmp_path / "out", **changes))


class TestPack:
    def test_all_items_in_order(self, finished):
        _, out = finished
        reader = ShardReader(out)
        expected = [f"item{i:06d}-{part:02d}" for i in range(COUNT) if i % 7 != 3 for part in range(2)]
        assert [sample.key for sample in reader] == expected
        assert [reader[i].meta["key"] for i in range(len(reader))] == expected
        assert len(set(reader.index["shard"].to_pylist())) == len(reader.manifest["shards"]) > 2
        assert np.stack(reader.column("embedding")).shape == (len(expected), 128)

    def test_shards_keep_their_size(self, finished):
        _, out = finished
        for shard in out.glob("*.tar"):
            assert shard.stat().st_size <= 50_000

    def test_skipped_are_reported(self, finished):
        _, out = finished
        skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
        assert [entry["source"] for entry in skipped] == ["3.jpg", "10.jpg", "17.jpg"]
        assert "10.jpg shows no face" in (out / "report.html").read_text()
        assert ShardReader(out).manifest["counts"]["skipped"] == 3

    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_webdataset_reads_it(self, finished):
        wds = pytest.importorskip("webdataset")
        _, out = finished
        urls = [str(path) for path in sorted(out.glob("*.tar"))]
        keys = [sample["__key__"] for sample in wds.WebDataset(urls, shardshuffle=False)]
        gc.collect()  # webdataset leaves its files to the garbage collector
        assert keys == [sample.key for sample in ShardReader(out)]

    def test_no_times_no_paths(self, finished, tmp_path):
        root, out = finished
        again = tmp_path / "again"
        prepare(plan(root, again))
        assert content(again) == content(out)
        assert str(root) not in (out / "manifest.json").read_text()

    def test_finished_is_finished(self, finished):
        root, out = finished
        before = content(out)
        result = prepare(plan(root, out, process=never))
        assert result.done_before == COUNT
        assert content(out) == before

    def test_other_settings_need_another_folder(self, finished):
        root, out = finished
        with pytest.raises(ReenactError, match="made from other settings"):
            prepare(plan(root, out, shard_mb=1))

    def test_changed_files_need_another_folder(self, finished):
        root, out = finished
        (root / "3.jpg").write_bytes(b"new")
        try:
            with pytest.raises(ReenactError, match="made from other files"):
                prepare(plan(root, out))
        finally:
            (root / "3.jpg").unlink()

    def test_a_folder_with_other_things_is_left_alone(self, tmp_path):
        (tmp_path / "thesis.txt").touch()
        with pytest.raises(ReenactError, match="not empty"):
            prepare(plan(tmp_path, tmp_path))


class _Killed(BaseException):
    """As good as SIGKILL: nothing catches it."""


class TestKills:
    def test_at_every_step(self, finished, tmp_path, monkeypatch):
        """Stop at the 1st, 2nd, 3rd... file operation; the next run must end in the same bytes."""
        root, clean = finished
        operations = 0

        def counted(function):
            def call(*args, **kwargs):
                nonlocal operations
                operations += 1
                if operations == deadline:
                    raise _Killed
                return function(*args, **kwargs)

            return call

        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "write_bytes")):
            monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
        out, deadline = tmp_path / "out", 0
        for run in range(1000):
            operations, deadline = 0, 1 + run
            try:
                prepare(plan(root, out))
                break
            except _Killed:
                assert not any(p.suffix == ".tar" and p.stat().st_size > 50_000 for p in out.iterdir())
        deadline = 0
        assert content(out) == content(clean)

    def test_nothing_is_done_twice(self, tmp_path):
        root, out = tmp_path / "root", tmp_path / "out"
        root.mkdir()
        steps = 0

        class Impatient(Silent):
            def step(self, done, total):
                nonlocal steps
                steps += 1
                if steps % 5 == 0:
                    raise _Killed

        runs = 0
        while True:
            runs += 1
            try:
                prepare(plan(root, out, process=make_and_count), Impatient())
                break
            except _Killed:
                pass
        assert runs > 3
        calls = (root / "calls").read_text().split()
        assert sorted(calls) == [item.key for item in listing(root)]

    @pytest.mark.slow
    def test_real_kills(self, tmp_path):
        """SIGKILL to the parent at ever later moments; its workers end by themselves."""
        root, clean, out = tmp_path / "root", tmp_path / "clean", tmp_path / "out"
        root.mkdir()
        prepare(plan(root, clean))
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import test_packing as t\n"
            "if __name__ == '__main__':\n"
            "    t.prepare(t.plan(Path(sys.argv[2]), Path(sys.argv[3]), process=t.make_slowly, workers=2))"
        )
        script = tmp_path / "run.py"
        script.write_text(code)
        command = [sys.executable, str(script), str(Path(__file__).parent), str(root), str(out)]
        for _ in range(8):
            process = subprocess.Popen(command)
            before = _processeds(out)
            while process.poll() is None and _processeds(out) < before + 4:
                time.sleep(0.01)
            process.kill()
            if process.wait() == 0:
                break
        subprocess.run(command, check=True, timeout=120)
        assert content(out) == content(clean)


def _processeds(out):
    """How far a run has come: processeds and finished shards."""
    return len(list(out.glob(".work/*.item"))) + 5 * len(list(out.glob("shard*.tar")))


class TestProcesses:
    def test_same_bytes_as_one(self, finished, tmp_path):
        root, clean = finished
        prepare(plan(root, tmp_path / "out", workers=2))
        assert content(tmp_path / "out") == content(clean)

    @pytest.mark.slow
    def test_a_crash_loses_one_item(self, tmp_path):
        root, out = tmp_path / "root", tmp_path / "out"
        root.mkdir()
        prepare(plan(root, out, workers=2, process=make_or_die))
        items = {sample.row["item"] for sample in ShardReader(out)}
        assert items == {item.key for i, item in enumerate(listing(root)) if i % 7 != 3 and i != 5}
        skipped = [json.loads(line)["reason"] for line in (out / "skipped.jsonl").read_text().splitlines()]
        assert "the process that worked on 5.jpg was killed by SIGSEGV, twice; check the file" in skipped
        assert (root / "died").exists()

    def test_second_run_is_refused(self, finished, tmp_path):
        root, _ = finished
        out = tmp_path / "out"

        class Other(Silent):
            def start(self, what, done, total):
                with pytest.raises(ReenactError, match="another run is working"):
                    prepare(plan(root, out))

        prepare(plan(root, out), Other())


@pytest.mark.slow
@pytest.mark.parametrize("count", [3000, 100_000])
def test_memory_does_not_grow(count, tmp_path, monkeypatch):
    resource = pytest.importorskip("resource", reason="this system does not tell how much memory was used")
    monkeypatch.setenv("REENACTOR_TEST_ITEMS", "200")
    prepare(plan(tmp_path, tmp_path / "warm-up", items=many, shard_mb=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setenv("REENACTOR_TEST_ITEMS", str(count))
    prepare(plan(tmp_path, tmp_path / "out", items=many, shard_mb=1))
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 60
    assert ShardReader(tmp_path / "out").manifest["counts"]["items"] == count


def test_only_the_tiers_asked_for(tmp_path):
    plan = Plan(tmp_path, tmp_path / "pack", process=make, items=of_tiers, tiers=("CC0", "PD"))
    manifest = prepare(plan, Silent()).manifest
    items = {row.partition("-")[0] for row in ShardReader(tmp_path / "pack").column("key").tolist()}
    wanted = {f"item{i:06d}" for i in range(20) if i % 3 != 1 and i % 7 != 3}
    assert items == wanted
    assert manifest["tiers"] == ["CC0", "PD"]
    with pytest.raises(ReenactError, match="other settings"):
        prepare(replace(plan, tiers=("CC0",)), Silent())
    with pytest.raises(ReenactError, match=r"nothing to prepare in .* of the licence tiers free, cc"):
        prepare(replace(plan, out=tmp_path / "none", tiers=("free", "cc")), Silent())
    assert "research" not in FREE_TIERS
