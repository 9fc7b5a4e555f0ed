"""Nothing of a person stays who deleted it, or closed the page, or whose server was killed."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

from reenactor.cli.web import _delete_left
from reenactor.core.system import locked
from reenactor.media import read_image, write_image
from reenactor.server.store import Job, State, Store
from reenactor.server.uploads import Upload

SMALL = {"size": 64, "max_side": 128}


def holding(folder, needles):
    """Files in a folder that hold one of the texts, in their names or contents; others may be deleted meanwhile."""
    found = []
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in folders + files):
            text = str(path.relative_to(folder)).encode()
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                text += path.read_bytes()
            found += [(str(path), needle) for needle in needles if needle in text]
    return found


def traces(photo, *ids):
    """What would betray a photo: its bytes, hashes and ids."""
    data = photo.read_bytes()
    pixels = np.ascontiguousarray(read_image(photo))
    digests = [hashlib.new(kind, what) for kind in ("sha256", "sha1", "md5") for what in (data, pixels.tobytes())]
    hashes = [text for one in digests for text in (one.hexdigest()[:16].encode(), one.digest())]
    return [data[-300:-200], data[len(data) // 2 :][:64], *hashes, *(one.encode() for one in ids)]


def test_ids_leave_the_database(tmp_path):
    """Its file and its log, which keep what was deleted until something else needs the place."""
    store = Store(tmp_path)
    ids = []
    for number in range(20):
        path = store.new_upload()
        path.write_bytes(b"photo")
        target = store.add_target("me", [(path, Upload(".png", 1, 1))])
        job = Job(f"{number:x}" * 32, "me", target.id, "motion:blink", {"format": "mp4"})
        store.add_job(job, None, 100)
        ids += [target.id, job.id]
    while (begun := store.begin_next()) is not None:
        store.end(begun, State.FAILED, error="the secret sentence")
    for identity in ids[1::2]:
        store.remove_job(identity)
    for identity in ids[::2]:
        assert store.remove_target(identity)
    assert not holding(tmp_path, [one.encode() for one in ids] + [b"secret sentence", b"photo1.png"])
    store.close()


def test_folders_of_killed_pages_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("reenactor-web-killed", "reenactor-web-alive", "reenactor-web-new", "else"):
        (tmp_path / name / "uploads").mkdir(parents=True)
        (tmp_path / name / "uploads" / "face.png").write_bytes(b"face")
        if name != "reenactor-web-new":  # it has not come so far
            (tmp_path / name / "in-use").touch()
    (tmp_path / "reenactor-web-link").symlink_to(tmp_path / "else")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "reenactor-web-alive" / "in-use")],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    _delete_left()
    holder.communicate()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"reenactor-web-alive", "reenactor-web-new", "reenactor-web-link", "else"}
    assert (tmp_path / "else" / "uploads" / "face.png").exists()
    with locked(tmp_path / "reenactor-web-alive" / "in-use", taken="it is free again"):
        pass


HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
)


class Page:
    """A visitor of a real page; `close` it."""

    def __init__(self, url, key):
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=60, headers={"X-API-Key": key})
        self.http.get("/", headers={"Accept": "text/html"}).raise_for_status()
        self.functions = {one["api_name"]: one["id"] for one in self.http.get("/config").json()["dependencies"]}

    def call(self, function, data):
        body = {"fn_index": self.functions[function], "data": data, "session_hash": "visitor1"}
        answer = self.http.post("/gradio_api/run/predict", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def close(self):
        self.http.close()

    def choose(self, photo):
        """Upload a photo and make it the target."""
        (path,) = self.http.post("/gradio_api/upload", files={"files": ("face.png", photo.read_bytes())}).json()
        file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "face.png"}
        return self.call("choose", [[file], 0])


@contextlib.contextmanager
def open_page(page):
    """The page is open in a browser until the block ends."""
    closing = threading.Event()

    def listen():
        with page.http.stream("GET", "/gradio_api/heartbeat/visitor1") as stream:
            lines = stream.iter_lines()  # the stream is closed with it
            next(lines)
            closing.wait(120)

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()


@pytest.fixture
def unlike(tmp_path, face):
    """A photo that no other test has."""

    def make(number):
        path = tmp_path / f"unlike{number}.png"
        picture = face.copy()
        picture[:8, :, number % 3] = np.random.default_rng(number).integers(0, 255, (8, 256))
        write_image(path, picture)
        return path

    return make


@pytest.mark.slow
def test_nothing_of_a_deleted_person_is_found(serving, unlike, jpeg, motion, tmp_path, wait_until):
    """API, live driving and page; also in the user's cache, and with a key that the server has often seen."""
    from reenactor.server import add_key

    pytest.importorskip("gradio")
    key = add_key(tmp_path / "keys", "one")
    places = [tmp_path / name for name in ("data", "cache", "home", "tmp")]
    for place in places[1:]:
        place.mkdir()
    names = ("REENACTOR_CACHE", "REENACTOR_HOME", "TMPDIR")
    environment = {
        **{name: str(place) for name, place in zip(names, places[1:], strict=True)},
        "REENACTOR_NO_CACHE": "",
    }
    arguments = ("--keys", tmp_path / "keys", "--page", "--live", "1")
    server = serving(tmp_path / "data", *arguments, environment=environment)
    first, second, third = (unlike(number) for number in range(3))

    with server.client(key) as client:
        target = client.add_target([first])
        job = client.add_job(target, motion, **SMALL).id
        assert client.wait(job).state == "done"
        with client.live(target, size=64, layout="crop") as live:
            live.record()
            live.step(jpeg)
            recorded = live.stop_recording()
        needles = traces(first, target, job, recorded)
        assert holding(tmp_path / "data", needles)
        for identity in (job, recorded):
            client.delete_job(identity)
        client.delete_target(target)
        for place in places:
            assert not holding(place, needles), place

    with contextlib.closing(Page(server.url, key)) as page, open_page(page):
        wait_until(lambda: "re-note" in page.choose(second)[3])
        options = [0, "crop", "warp", *[0.0] * 10]
        made, said = page.call("picture_file", options)
        assert made, said
        result = made[0].split("/")[2]
        needles = traces(second, result)
        assert holding(tmp_path / "data", needles)
    wait_until(lambda: not holding(tmp_path / "data", needles))
    for place in places:
        assert not holding(place, needles), place
    # Landmarks are cached under a hash of more than the pixels.
    for place in (tmp_path / "cache", tmp_path / "data" / "uploads"):
        assert not [path for path in place.rglob("*") if path.is_file()]

    with contextlib.closing(Page(server.url, key)) as page:
        page.choose(third)
    assert [path for path in (tmp_path / "data" / "uploads").rglob("*") if path.is_file()]
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(10)
    again = serving(tmp_path / "data", *arguments, environment=environment)
    assert again.url
    assert not list((tmp_path / "data" / "uploads").iterdir())
    assert not list((tmp_path / "data" / "incoming").iterdir())
