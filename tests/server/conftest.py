"""A photo, short films and drivers, an application whose workers never begin, and servers in processes of their own."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from factories import head, write_raw
from reenactor.engine.person import make_person
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_image, write_motion, write_person
from reenactor.server import Client, Keys, Settings, add_key, load_keys
from reenactor.server.app import create_app


@pytest.fixture(scope="session")
def face():
    """(256, 256, 3) pixels, one face."""
    return head()


@pytest.fixture(scope="session")
def photo(tmp_path_factory, face):
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    write_image(path, face)
    return path


@pytest.fixture(scope="session")
def film(tmp_path_factory, face):
    """8 frames of that face, 25 a second, each 6 pixels further to the right."""
    return write_raw(tmp_path_factory.mktemp("film") / "me.mp4", [np.roll(face, 6 * i, 1) for i in range(8)])


@pytest.fixture(scope="session")
def person(tmp_path_factory, film, photo):
    """A person file of two pictures, made of that film and that photo."""
    path = tmp_path_factory.mktemp("person") / "me.person"
    write_person(path, make_person([film, photo]))
    return path


@pytest.fixture(scope="session")
def grey_film(tmp_path_factory):
    """5 frames without a face."""
    return write_raw(tmp_path_factory.mktemp("grey") / "my cat.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 5)


@pytest.fixture(scope="session")
def jpeg(face):
    out = io.BytesIO()
    Image.fromarray(face).save(out, "JPEG", quality=90)
    return out.getvalue()


@pytest.fixture(scope="session")
def motion(tmp_path_factory):
    """6 frames of a shipped motion."""
    path = tmp_path_factory.mktemp("motion") / "blink.motion"
    write_motion(path, read_motion(shipped_motions()["blink"]).between(0, 0.2))
    return path


MODELS = {
    "models": {
        "warp": {"trained": False, "any_resolution": True},
        "hybrid": {"trained": True, "any_resolution": True},
    },
    "missing": ["oneshot"],
}
"""What `described_models` finds, without the seconds that it takes."""


class Here:
    """The application in this process, for two keys; its workers never begin, so that jobs stay queued."""

    def __init__(self, folder, **settings):
        names = ["first", "second"]
        keys = [add_key(folder / "keys", name) for name in names]
        self.settings = Settings(data=folder / "data", keys=load_keys(folder / "keys", {}), **settings)
        self.app = create_app(self.settings, models=MODELS)
        self.state = self.app.state.reenactor
        self.first, self.second = (self.client(key) for key in keys)
        self.nobody = self.client(None)

    def client(self, key):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return TestClient(self.app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False)

    def files(self):
        """All that is kept of uploads, as paths in the data folder."""
        data = self.settings.data
        found = [path for name in ("incoming", "targets", "jobs") for path in (data / name).rglob("*")]
        return sorted(str(path.relative_to(data)) for path in found)

    def close(self):
        self.state.close()


@pytest.fixture
def here(tmp_path):
    """Make applications: `here(queue=2)`."""
    made = []

    def make(**settings):
        made.append(Here(tmp_path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One application for tests that only ask."""
    one = Here(tmp_path_factory.mktemp("shared"), rate_per_minute=10**6)
    yield one
    one.close()


@pytest.fixture(scope="module")
def shared_page(tmp_path_factory):
    """One application with the page, in one loop, as Gradio keeps what belongs to the first; no process begins."""
    pytest.importorskip("gradio")
    loops, new_loop = [], asyncio.new_event_loop
    with pytest.MonkeyPatch.context() as patch:
        # Gradio makes some that it never closes.
        patch.setattr(asyncio, "new_event_loop", lambda: loops.append(new_loop()) or loops[-1])
        one = Here(tmp_path_factory.mktemp("page"), page=True, rate_per_minute=10**6)
        patch.undo()
        from reenactor.server.page.previews import Previews

        patch.setattr(Previews, "start", lambda self: None)
        one.state.start, one.state.stop = (lambda: None), one.state.close
        with one.first:
            one.second.portal = one.first.portal
            yield one
    for loop in loops:
        loop.close()


class Served:
    """`reenactor serve` in a process."""

    def __init__(self, data, *arguments, environment=None):
        command = [
            sys.executable,
            "-m",
            "reenactor",
            "serve",
            "--port",
            "0",
            "--data",
            data,
            "--threads",
            "1",
            *arguments,
        ]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
        self.url = self.process.stdout.readline().split()[-1]

    def client(self, key=None, **options):
        return Client(self.url, key, **options)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def close(self):
        """Ctrl-C's gentler sister; the server must end by itself."""
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.stdout.close()


@pytest.fixture
def serving(tmp_path):
    """Start servers: `serving(folder, "--queue", 2)`."""
    started = []

    def start(data=tmp_path / "data", *arguments, **options):
        started.append(Served(data, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """One server for tests that disturb nothing, and its first key."""
    folder = tmp_path_factory.mktemp("served")
    key = add_key(folder / "keys", "tests")
    one = Served(folder / "data", "--keys", folder / "keys", "--rate", 10**6)
    one.key = key
    yield one
    one.close()


@pytest.fixture(scope="session")
def paged(tmp_path_factory):
    """A server with the page, and its key."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("paged")
    key = add_key(folder / "keys", "tests")
    server = Served(folder / "data", "--keys", folder / "keys", "--page")
    server.key, server.data = key, folder / "data"
    yield server
    server.close()


def until(condition, seconds=60):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def keyless(tmp_path):
    """An application that asks for no key."""
    app = create_app(Settings(data=tmp_path / "keyless", keys=Keys()))
    yield app
    app.state.reenactor.close()
