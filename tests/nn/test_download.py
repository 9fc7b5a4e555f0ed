"""What is downloaded is what was asked for, and weights come as a folder, a zip file or a URL."""

import zipfile

import pytest
import torch

from reenactor.core import CheckpointError
from reenactor.core.files import sha256
from reenactor.nn.checkpoint import CONFIG, Checkpoint, read_checkpoint, write_checkpoint
from reenactor.nn.download import checkpoint_folder, fetch


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reenactor"


def test_downloads_are_kept(cache, tmp_path):
    source = tmp_path / "some.pth"
    source.write_bytes(b"weights")
    url, digest = source.as_uri(), sha256(source)
    path = fetch(url, digest)
    assert path.parent == cache
    assert path.name.endswith("some.pth")
    assert path.read_bytes() == b"weights"
    source.unlink()
    assert fetch(url, digest) == path
    # What is damaged in the cache is fetched again, or missed.
    path.write_bytes(b"weight")
    with pytest.raises(CheckpointError, match="cannot download"):
        fetch(url, digest)
    source.write_bytes(b"weights")
    assert fetch(url, digest).read_bytes() == b"weights"
    assert list(cache.iterdir()) == [path]


def test_a_wrong_download_leaves_nothing(cache, tmp_path):
    source = tmp_path / "some.pth"
    source.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"some\.pth is not the file.*SHA-256"):
        fetch(source.as_uri(), "0" * 64)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///no/such/file.pth", "no url at all", "nonsense://x/y.pth"])
def test_what_cannot_be_downloaded(cache, url):
    with pytest.raises(CheckpointError, match="cannot download"):
        fetch(url, "0" * 64)


def test_without_a_cache_setting_it_is_under_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("REENACTOR_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").write_bytes(b"x")
    assert fetch((tmp_path / "x").as_uri(), sha256(tmp_path / "x")).parent == tmp_path / ".cache" / "reenactor"


@pytest.fixture
def folder(tmp_path):
    write_checkpoint(tmp_path / "model", Checkpoint("some", {"a": 1}, {"w": torch.arange(4.0)}, card="About it."))
    return tmp_path / "model"


def zipped(folder, path, prefix="model/"):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, prefix + file.name)
        archive.writestr("../outside.safetensors", "not taken")
    return path


@pytest.mark.parametrize("prefix", ["", "model/", "runs/lite/model/"])
def test_a_zip_file_and_its_url_hold_what_the_folder_holds(cache, folder, tmp_path, prefix):
    packed = zipped(folder, tmp_path / "model.zip", prefix)
    expected = read_checkpoint(folder)
    for found in (checkpoint_folder(packed), checkpoint_folder(packed.as_uri(), sha256(packed).upper())):
        assert {file.name for file in found.iterdir()} == {file.name for file in folder.iterdir()}
        assert read_checkpoint(found).digest == expected.digest
    assert not list(tmp_path.rglob("outside*"))
    packed.unlink()
    # Unpacked once, kept.
    assert read_checkpoint(found).card == "About it."


def test_a_folder_stays_where_it_is(folder):
    assert checkpoint_folder(folder) == folder
    assert checkpoint_folder(folder, sha256(folder / CONFIG)) == folder


def test_what_is_not_what_was_asked_for(cache, folder, tmp_path):
    packed = zipped(folder, tmp_path / "model.zip")
    for where in (folder, packed, packed.as_uri()):
        with pytest.raises(CheckpointError, match="SHA-256 is"):
            checkpoint_folder(where, "0" * 64)
    with pytest.raises(CheckpointError, match="only if their SHA-256 is given"):
        checkpoint_folder(packed.as_uri())
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(CheckpointError, match="holds no weights"):
        checkpoint_folder(tmp_path / "empty.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(CheckpointError, match="cannot unpack"):
        checkpoint_folder(tmp_path / "text.zip")
