"""What is downloaded is what was asked for, and weights come as a folder, a zip file or a URL."""

import random
import threading
import urllib.request
import zipfile
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from reenactor.core import CheckpointError
from reenactor.core.files import sha256
from reenactor.nn import download
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


@pytest.mark.parametrize(
    "url",
    [
        "file:///no/such/file.pth",
        "no url at all",
        "nonsense://x/y.pth",
        "http://127.0.0.1:9/y.pth",
        "ftp://127.0.0.1:9/y.pth",
        "data:,weights",
        "https://[",
    ],
)
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


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everybody to /y.pth over plain http."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(302 if self.path == "/x.pth" else 200)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/y.pth")
        self.end_headers()

    def log_message(self, *_):
        pass


class WithoutCertificate(urllib.request.AbstractHTTPHandler):
    """Asks for what https names in plain text, so that no certificate is needed."""

    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def https_open(self, request):
        return self.do_open(HTTPConnection, request)


def test_https_that_leads_elsewhere_is_not_followed(cache, monkeypatch):
    monkeypatch.setattr(urllib.request, "HTTPSHandler", WithoutCertificate)
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(CheckpointError, match="cannot download"):
            fetch(f"https://127.0.0.1:{server.server_port}/x.pth", "0" * 64)
        server.shutdown()
    assert server.asked == ["/x.pth"]
    assert list(cache.iterdir()) == []


def test_downloads_are_limited(cache, tmp_path, monkeypatch):
    source = tmp_path / "some.pth"
    source.write_bytes(bytes(3 << 20))
    monkeypatch.setattr(download, "LARGEST_BYTES", 2 << 20)
    with pytest.raises(CheckpointError, match=r"cannot download .*more than 2097152 bytes"):
        fetch(source.as_uri(), sha256(source))
    monkeypatch.setattr(download, "LARGEST_BYTES", 4 << 20)
    monkeypatch.setattr(download, "LONGEST_S", -1)
    with pytest.raises(CheckpointError, match="takes too long"):
        fetch(source.as_uri(), sha256(source))
    assert list(cache.iterdir()) == []


def headers(kind, offset):
    """Where in a zip file a field of each member's header is; `kind` is the header's signature."""
    return lambda data: [at + offset for at in range(len(data) - 3) if data[at : at + 4] == kind]


LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"
ODD = {
    "encrypted": (b"\x01\x00", headers(LOCAL, 6), headers(CENTRAL, 8)),
    "a method nobody knows": (b"\x63\x00", headers(LOCAL, 8), headers(CENTRAL, 10)),
    "bytes that are no zlib stream": (b"\xff" * 20, headers(LOCAL, 60)),
    "cut off": (b"\xff" * 20, lambda data: [len(data) - 30]),
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("odd", ODD)
def test_odd_zip_files(cache, tmp_path, odd, method):
    packed = tmp_path / "odd.zip"
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("m/config.json", b"{}" * 400)
        archive.writestr("m/model.safetensors", random.Random(0).randbytes(4000))
    data = bytearray(packed.read_bytes())
    what, *places = ODD[odd]
    for at in [at for place in places for at in place(data)]:
        data[at : at + len(what)] = what
    packed.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        checkpoint_folder(packed)
    assert "\n" not in str(error.value)
    assert not list(cache.rglob("*.*"))


def test_what_is_unpacked_is_limited(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_BYTES", 1 << 20)
    packed = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"{}")
        for number in range(3):
            archive.writestr(f"{number}.safetensors", bytes(400_000))
    with pytest.raises(CheckpointError, match="cannot unpack"):
        checkpoint_folder(packed)
    assert not list(cache.rglob("*.*"))
