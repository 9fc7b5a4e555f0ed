"""Packs of strangers: manifests, indexes and shards of any shape are read, or refused in one sentence."""

import json
import lzma
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenactor.core import ReenactError
from reenactor.core.landmark_codec import _HEADER, MAGIC, decode_landmarks
from reenactor.research.data.items import Split
from reenactor.research.data.prepare import WORK, _work_folder
from reenactor.research.data.shards import INDEX, MANIFEST, ShardReader, load_sample

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
META = {"size": 64, "pose_deg": [[0, 0, 0]] * 2, "pts": [0, 1], "time_base": "1/25", "unseen": [1]}
ROW = ("key", "shard", "kind", "split", "frames", "media_offset", "media_size", "json_offset", "json_size")
quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(folder, meta):
    """A pack of one clip, whose KEY.json is these bytes; returns its row."""
    folder.mkdir(exist_ok=True)
    (folder / "shard-000000.tar").write_bytes(b"mediamarks" + meta)
    return {
        **{"key": "a", "shard": "shard-000000.tar", "kind": "clip", "identity": "p", "split": "train", "frames": 2},
        **{"media_offset": 0, "media_size": 5, "landmarks_offset": 5, "landmarks_size": 5},
        **{"json_offset": 10, "json_size": len(meta)},
    }


def read_all(folder, row):
    """All that is computed with a sample's meta; whether it was not refused."""
    refused = None
    try:
        sample = load_sample(folder, row)
    except ReenactError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        return False
    assert sample.poses_deg.shape == (len(sample), 3)
    assert len(sample.seen) == len(sample)
    assert len(sample.times_s) == (len(sample) if sample.kind == "clip" else 1)
    assert sample.split in Split
    assert sample.landmark_bytes == b"marks"
    return True


@quick
@given(name=st.sampled_from(list(META)), value=JSON)
def test_meta_of_any_shape(name, value, tmp_path):
    read_all(tmp_path, packed(tmp_path, json.dumps(META | {name: value}).encode()))


@quick
@given(value=JSON.map(json.dumps).map(str.encode) | st.binary(max_size=30))
def test_meta_of_any_bytes(value, tmp_path):
    assert not read_all(tmp_path, packed(tmp_path, value))


def test_a_good_sample_is_read(tmp_path):
    assert read_all(tmp_path, packed(tmp_path, json.dumps(META).encode()))


@quick
@given(name=st.sampled_from(ROW), value=JSON)
def test_rows_of_any_shape(name, value, tmp_path):
    read_all(tmp_path, packed(tmp_path, json.dumps(META).encode()) | {name: value})


@pytest.mark.parametrize("shard", ["../secret", "/etc/passwd", "shard-000000.tar/../../secret", "", None, "x.tar"])
def test_shards_lie_in_the_pack(shard, tmp_path):
    (tmp_path / "secret").write_bytes(b"mediamarks" + json.dumps(META).encode())
    row = packed(tmp_path / "pack", json.dumps(META).encode()) | {"shard": shard}
    with pytest.raises(ReenactError):
        load_sample(tmp_path / "pack", row)


@pytest.mark.parametrize(("name", "value"), [("media_size", 2**40), ("media_size", -1), ("media_offset", -1)])
def test_places_lie_in_the_shard(name, value, tmp_path):
    with pytest.raises(ReenactError, match="outside the shard"):
        load_sample(tmp_path, packed(tmp_path, json.dumps(META).encode()) | {name: value})


@quick
@given(found=JSON, more=st.dictionaries(st.text(max_size=8), JSON, max_size=3), known=st.booleans())
def test_manifests_and_indexes(found, more, known, tmp_path):
    """There is no index, or one of another program."""
    facts = more | {"format": "reenactor-shards", "version": 1}
    (tmp_path / MANIFEST).write_text(json.dumps(facts if known else found))
    (tmp_path / INDEX).unlink(missing_ok=True)
    for table in (None, pa.table({"key": ["a"], "shard": [None]})):
        if table is not None:
            pq.write_table(table, tmp_path / INDEX)
        with pytest.raises(ReenactError) as caught:
            ShardReader(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no parquet", b"PAR1" + b"\xff" * 40 + b"PAR1"])
def test_an_index_that_is_none(data, tmp_path):
    (tmp_path / MANIFEST).write_text('{"format": "reenactor-shards", "version": 1}')
    (tmp_path / INDEX).write_bytes(data)
    with pytest.raises(ReenactError, match=r"cannot read .*index\.parquet"):
        ShardReader(tmp_path)


@pytest.mark.parametrize("note", ["[]", "5", "null", "{", '"x"', "[" * 100_000, "{}"])
def test_notes_of_unfinished_packs(note, tmp_path):
    (tmp_path / WORK).mkdir()
    (tmp_path / WORK / "job.json").write_text(note)
    with pytest.raises(ReenactError, match="from other settings"), _work_folder(tmp_path, {"a": 1, "b": 2}):
        pass


def test_landmarks_that_unpack_without_end():
    """64 MiB of zeros in 9 kB: no more is unpacked than the header says."""
    bomb = lzma.compress(bytes(2**26), format=lzma.FORMAT_ALONE)
    tracemalloc.start()
    with pytest.raises(ReenactError, match="damaged"):
        decode_landmarks(_HEADER.pack(MAGIC, 8, 478, 3) + bomb)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()
