"""Faces are found once."""

import os
import stat
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import reenactor.engine.cache as cache
from factories import head
from reenactor import Reenactor
from reenactor.core import NoFaceError
from reenactor.engine.cache import FaceCache, faces_folder
from reenactor.face.perception.photo_check import CheckedFace, Finding


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.delenv("REENACTOR_NO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "reenactor" / "targets"


@pytest.fixture(scope="module")
def photo():
    """A small face, which is worth a word."""
    return cv2.resize(head(), (160, 160), interpolation=cv2.INTER_AREA)


@pytest.fixture
def mesh():
    return np.random.default_rng(0).random((478, 3), np.float32)


def test_the_second_time_nobody_looks(folder, photo, monkeypatch):
    first = Reenactor(size=64).set_target([photo])
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr("reenactor.engine.target_pictures.FaceFinder", None)
    again = Reenactor(size=64).set_target([photo])
    np.testing.assert_array_equal(again.mesh_px, first.mesh_px)
    assert [one.finding for one in again.warnings] == [one.finding for one in first.warnings] == [Finding.SMALL]
    with pytest.raises(TypeError):  # another photo is looked at
        Reenactor(size=64).set_target([photo[:, ::-1]])
    with pytest.raises(TypeError):  # so is another face of it
        Reenactor(size=64).set_target([photo], face=1)
    with pytest.raises(TypeError):
        Reenactor(size=64, cache=False).set_target([photo])


def test_nothing_is_kept_where_it_is_not_wanted(folder, photo, monkeypatch):
    Reenactor(size=64, cache=False).set_target([photo])
    with pytest.raises(NoFaceError):
        Reenactor(size=64).set_target([np.full_like(photo, 90)])
    monkeypatch.setenv("REENACTOR_NO_CACHE", "1")
    assert faces_folder() is None
    Reenactor(size=64).set_target([photo])
    assert not folder.exists()


def test_another_release_looks_again(folder, photo, mesh, monkeypatch):
    one = FaceCache(folder)
    one.keep(photo, None, CheckedFace(mesh, 3, (Finding.GLASSES, Finding.SMALL)))
    found = one.find(photo, None)
    np.testing.assert_array_equal(found.mesh, mesh)
    assert (found.faces, found.findings) == (3, (Finding.GLASSES, Finding.SMALL))
    monkeypatch.setattr(cache, "__version__", "99")
    assert one.find(photo, None) is None


@pytest.mark.parametrize("damage", ["cut", "noise", "shape", "nan"])
def test_damage_is_not_there(damage, folder, photo, mesh, unchecked):
    one = FaceCache(folder)
    one.keep(photo, None, CheckedFace({"shape": mesh[:9], "nan": mesh * np.nan}.get(damage, mesh), 1))
    (path,) = folder.iterdir()
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "noise":
        path.write_bytes(b"\x80\x04pickle" * 9)
    assert one.find(photo, None) is None
    one.keep(photo, None, CheckedFace(mesh, 1))
    np.testing.assert_array_equal(one.find(photo, None).mesh, mesh)


def test_the_oldest_go(folder, photo, mesh, monkeypatch):
    monkeypatch.setattr(cache, "MOST_FACES", 3)
    one = FaceCache(folder)
    for face in range(1, 4):
        one.keep(photo, face, CheckedFace(mesh, 1))
        (newest,) = (path for path in folder.iterdir() if path.stat().st_mtime > 1000)
        os.utime(newest, (face, face))
    assert one.find(photo, 1) is not None  # used: now the newest
    one.keep(photo, 4, CheckedFace(mesh, 1))
    assert [face for face in range(1, 5) if one.find(photo, face) is not None] == [1, 3, 4]


def test_a_cache_never_fails(photo, mesh, tmp_path):
    (tmp_path / "file").write_text("no folder")
    one = FaceCache(tmp_path / "file" / "targets")
    one.keep(photo, None, CheckedFace(mesh, 1))
    assert one.find(photo, None) is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_only_the_user_may_read_it(folder, photo, mesh):
    FaceCache(folder).keep(photo, None, CheckedFace(mesh, 1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("linux", Path(".cache")),
        ("darwin", Path("Library") / "Caches"),
        ("win32", Path("AppData") / "Local"),
    ],
)
def test_the_platforms_own_place(platform, place, monkeypatch, tmp_path):
    for name in ("REENACTOR_CACHE", "REENACTOR_NO_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert faces_folder() == tmp_path / place / "reenactor" / "targets"
