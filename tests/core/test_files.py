"""Files: whole or not at all, and one sentence when something is wrong."""

import hashlib
import json
import os
import stat

import pytest

from reenactor.core import CheckpointError, MediaError
from reenactor.core.files import (
    cache_folder,
    check_readable,
    drafting,
    is_format,
    read_json,
    replacing,
    sha256,
    write_atomically,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_writes_the_whole_file(tmp_path, durable):
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_atomically(path, "gr\u00fcn\n", durable=durable)
    assert path.read_bytes() == "gr\u00fcn\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with drafting(path) as draft:
            draft.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "open", b"x")
        write_atomically(tmp_path / "closed", b"x", mode=0o600)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("open", "closed")] == [0o644, 0o600]


def test_a_user_reads_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, reason in (
        (tmp_path / "missing" / "a", "does not exist; create it first"),
        (tmp_path / "file" / "a", "is not a folder"),
        (tmp_path / "folder", "it is a folder; give the name of a file"),
    ):
        with pytest.raises(MediaError, match=reason), replacing(path):
            pass
    with pytest.raises(MediaError, match="the disk is full"), replacing(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    for path, reason in (
        (tmp_path / "missing", "does not exist"),
        (tmp_path / "file", "is empty"),
        (tmp_path / "folder", "is a folder; give an image"),
    ):
        with pytest.raises(MediaError, match=reason):
            check_readable(path, "an image")
    assert names(tmp_path) == ["file", "folder"]


def test_sha256_of_a_large_file(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"abc" * 1_000_000)
    assert sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_reads_json_of_its_format_and_version_only(tmp_path):
    path = tmp_path / "a.json"

    def read():
        return read_json(path, "pack", 3, missing="nothing here", again="prepare again", error=CheckpointError)

    with pytest.raises(CheckpointError, match=r"^nothing here$"):
        read()
    for text, reason in (
        ("{", "cannot read .*; prepare again"),
        ("[1]", "does not describe data of the format 'reenactor-pack'"),
        ('{"format": "other", "version": 3}', "does not describe"),
        (
            '{"format": "reenactor-pack", "version": 4}',
            "version 4 .* reads version 3; update reenactor, or prepare again",
        ),
    ):
        path.write_text(text)
        with pytest.raises(CheckpointError, match=reason):
            read()
    for name in ("reenactor-pack", "reenact-pack"):
        path.write_text(json.dumps({"format": name, "version": 3, "a": 1}))
        assert read()["a"] == 1
    assert not is_format("reenactor-pack", "person")
    assert not is_format(None, "pack")


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("REENACTOR_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("REENACTOR_CACHE")
    assert cache_folder() == tmp_path / "reenactor"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().name == "reenactor"
