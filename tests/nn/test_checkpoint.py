"""Checkpoints: what is written is read, whole; damage and strangers are refused with a sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file

from reenactor.core import CheckpointError
from reenactor.core.files import sha256
from reenactor.nn.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


def some(**changes):
    tensors = {f"layer{i}.weight": torch.randn(64, 64, generator=torch.Generator().manual_seed(i)) for i in range(8)}
    tensors["steps"] = torch.tensor([1234567])
    return Checkpoint(**({"kind": "toy", "config": {"width": 4}, "tensors": tensors, "card": "# Toy\n"} | changes))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_comes_back_as_it_was(tmp_path):
    write_checkpoint(tmp_path / "toy", some())
    back = read_checkpoint(tmp_path / "toy")
    assert (back.kind, back.config, back.card) == ("toy", {"width": 4}, "# Toy\n")
    assert same(back.tensors, some().tensors)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]


def test_a_folder_of_the_old_name_is_read(tmp_path):
    write_checkpoint(tmp_path, some())
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("reenactor-checkpoint", "reenact-checkpoint"))
    assert same(read_checkpoint(tmp_path).tensors, some().tensors)


def test_large_weights_are_spread_over_files(tmp_path):
    write_checkpoint(tmp_path, some(), max_file_mb=0.04)  # two tensors of 16 KiB fit into 40
    files = sorted(tmp_path.glob("*.safetensors"))
    assert [path.name for path in files][:2] == ["model-001-of-004.safetensors", "model-002-of-004.safetensors"]
    assert max(path.stat().st_size for path in files) < 0.04 * 2**20
    assert same(read_checkpoint(tmp_path).tensors, some().tensors)


def test_half_precision_on_disk_only(tmp_path):
    write_checkpoint(tmp_path, some(), dtype=torch.float16)
    assert load_file(tmp_path / "model.safetensors")["layer0.weight"].dtype == torch.float16
    back = read_checkpoint(tmp_path).tensors
    assert back["layer0.weight"].dtype == torch.float32
    torch.testing.assert_close(back["layer0.weight"], some().tensors["layer0.weight"], atol=2e-3, rtol=1e-3)
    assert back["steps"].item() == 1234567


def test_replaces_what_was_there(tmp_path):
    write_checkpoint(tmp_path / "toy", some(), max_file_mb=0.04)
    write_checkpoint(tmp_path / "toy", some(tensors={"one": torch.ones(1)}))
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == ["card.md", "config.json", "model.safetensors"]
    assert list(read_checkpoint(tmp_path / "toy").tensors) == ["one"]


def test_digest_follows_the_weights(tmp_path):
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        write_checkpoint(tmp_path / name, some(tensors={"one": torch.tensor([value])}))
    a, b, c = (read_checkpoint(tmp_path / name).digest for name in "abc")
    assert a == b != c


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def test_one_flipped_bit_is_noticed(tmp_path):
    write_checkpoint(tmp_path, some())
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "something"}, "does not describe"),
        ({"version": 99}, "version 99"),
    ],
)
def test_strangers_are_refused(tmp_path, change, message):
    write_checkpoint(tmp_path, some())
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_checkpoint(tmp_path / "nowhere")
    write_checkpoint(tmp_path, some())
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_checkpoint(tmp_path)
