"""One key against the others: checks, the queue, space, unfinished uploads, live sessions."""

import asyncio
import math
import shutil
import socket
import threading
import time
from collections import Counter
from types import SimpleNamespace
from typing import ClassVar

import pytest
import uvicorn

from reenactor.server import Settings, checks, guard, live, routes
from reenactor.server.checks import Checks
from reenactor.server.guard import RateLimit, RefusalError
from reenactor.server.keys import Keys
from reenactor.server.live import LiveSession, LiveSlots
from reenactor.server.records import LiveOptions
from reenactor.server.store import Job, Store, Target, size_of

KEYS = Keys(["0" * 64, "1" * 64])


class SlowChecker:
    """Files named slow take until they are let go."""

    let_go: ClassVar = threading.Event()
    running: ClassVar = Counter()

    def __init__(self, limits, hidden):
        pass

    def check(self, path, *, what, driver):
        SlowChecker.running[path] += 1
        if path == "slow":
            assert SlowChecker.let_go.wait(20)
        return path

    def close(self):
        pass


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(checks, "UploadChecker", SlowChecker)
    SlowChecker.let_go.clear()
    SlowChecker.running.clear()
    yield SlowChecker
    SlowChecker.let_go.set()


def test_slow_files_of_one_key_delay_no_other(tmp_path, slow, unchecked):
    """It has sent twelve; another's file is checked meanwhile."""

    async def both():
        asked = Checks(Settings(data=tmp_path, keys=KEYS))
        attack = [asyncio.create_task(asked.check("bad", "slow", "it", driver=False)) for _ in range(12)]
        await asyncio.sleep(0.2)
        for _ in range(5):
            assert await asyncio.wait_for(asked.check("good", "good", "it", driver=False), 5) == "good"
        assert slow.running["slow"] == 1
        slow.let_go.set()
        assert await asyncio.gather(*attack) == ["slow"] * 12
        asked.close()

    asyncio.run(both())


def test_keys_take_turns(tmp_path, slow, unchecked, monkeypatch):
    """With one process: after the file that is being checked comes the other key's, not the eleven before it."""

    async def both():
        monkeypatch.setattr(checks, "CHECKERS", 1)
        asked = Checks(Settings(data=tmp_path, keys=KEYS))
        done = []

        async def check(owner, path):
            await asked.check(owner, path, "it", driver=False)
            done.append(owner)

        first = asyncio.create_task(check("bad", "slow"))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(check("bad", "quick")) for _ in range(11)]
        await asyncio.sleep(0.1)
        good = asyncio.create_task(check("good", "good"))
        await asyncio.sleep(0.1)
        slow.let_go.set()
        await asyncio.gather(first, good, *others)
        assert done.index("good") <= 2
        asked.close()

    asyncio.run(both())


def test_files_that_wait_to_be_checked_are_bounded(tmp_path, slow, unchecked):
    """And who gives up waiting takes no process with him."""

    async def flood():
        asked = Checks(Settings(data=tmp_path, keys=KEYS))
        sent = [asyncio.create_task(asked.check("bad", "slow", "it", driver=False)) for _ in range(40)]
        await asyncio.sleep(0.2)
        refused = [one for one in sent if one.done()]
        assert len(refused) == 40 - 17
        assert all(isinstance(one.exception(), RefusalError) and one.exception().status == 429 for one in refused)
        for one in sent:
            one.cancel()
        slow.let_go.set()
        await asyncio.gather(*sent, return_exceptions=True)
        assert await asyncio.wait_for(asked.check("bad", "good", "it", driver=False), 5) == "good"
        assert asked._free.qsize() == 2
        asked.close()

    asyncio.run(flood())


def test_the_queue_of_one_key(here, photo, tmp_path):
    app = here(queue=6)
    targets = [
        client.post("/v1/targets", files={"photos": ("a", photo.read_bytes())}).json()["id"]
        for client in (app.first, app.second)
    ]

    def send(number):
        form = {"target": targets[number], "motion": "blink"}
        return (app.first, app.second)[number].post("/v1/jobs", data=form).status_code

    assert [send(0) for _ in range(5)] == [202] * 3 + [429] * 2
    app.state.store.queued = lambda owner=None: 0  # two at once: both passed the guard
    assert send(0) == 429
    del app.state.store.queued
    assert send(1) == 202
    last = app.second.get(f"/v1/jobs/{app.state.store.jobs_of(*owner_of(app, targets[1]))[0].id}").json()
    assert last["jobs_before"] == 1


def owner_of(app, target):
    with app.state.store._read() as db:
        return db.execute("SELECT owner, id FROM targets WHERE id = ?", (target,)).fetchone()


def test_jobs_of_keys_take_turns(tmp_path):
    store = Store(tmp_path)
    with store._transaction() as db:
        for owner in ("bad", "good", "other"):
            db.execute("INSERT INTO targets VALUES (?, ?, 0, 0, '[]')", (owner, owner))
    for number, owner in enumerate(["bad"] * 5 + ["good", "good", "other"]):
        store.add_job(Job(str(number), owner, owner, "motion:blink", {"format": "mp4"}, created=number), None, 100)
    begun = [store.begin_next().owner for _ in range(8)]
    assert begun == ["bad", "good", "other", "bad", "good", "bad", "bad", "bad"]
    store.close()


def test_space_of_one_key(here, photo):
    size = photo.stat().st_size
    app = here(gib_per_key=1.5 * size / 2**30)
    files = {"photos": ("a", photo.read_bytes())}
    target = app.first.post("/v1/targets", files=files).json()["id"]
    assert app.first.post("/v1/targets", files=files).status_code == 201
    kept = app.files()
    refused = app.first.post("/v1/targets", files=files)
    assert (refused.status_code, "space" in refused.json()["error"]) == (507, True)
    assert app.first.post("/v1/jobs", data={"target": target}, files={"driver": ("a", b"x")}).status_code == 507
    assert app.files() == kept
    assert app.second.post("/v1/targets", files=files).status_code == 201
    assert app.first.delete(f"/v1/targets/{target}").status_code == 204
    assert app.first.post("/v1/targets", files=files).status_code == 201


@pytest.fixture
def listening(here):
    """The application behind a real socket."""
    app = here()
    server = uvicorn.Server(uvicorn.Config(app.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    app.address = server.servers[0].sockets[0].getsockname()
    yield app
    server.should_exit = True
    thread.join(10)


def unfinished(app, client, sent=b"--x\r\n"):
    """A request whose body never ends."""
    connection = socket.create_connection(app.address, timeout=20)
    key = client.headers["authorization"]
    head = f"POST /v1/targets HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {key}\r\nContent-Length: 100000\r\n"
    connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + sent)
    return connection


def test_uploads_that_never_end(listening, monkeypatch, wait_until):
    """They are left after a while, and one key has only so many; others do not notice."""
    monkeypatch.setattr(guard, "_BODY_S", 1.5)
    monkeypatch.setattr(guard, "_MOST_BODIES", 4)
    many = [unfinished(listening, listening.first) for _ in range(9)]
    answers = [one.recv(20).split()[1] for one in many]
    assert Counter(answers) == {b"408": 4, b"429": 5}
    for one in many:
        one.close()
    one = unfinished(listening, listening.second)
    assert listening.second.get("/v1/motions").status_code == 200
    assert one.recv(20).split()[1] == b"408"
    one.close()
    assert listening.app.state.reenactor.settings.keys
    for _ in range(6):
        unfinished(listening, listening.first).close()
    time.sleep(0.5)
    with unfinished(listening, listening.first) as one:
        assert one.recv(20).split()[1] == b"408", "who hung up takes no place"
    assert not listening.files()


def test_a_byte_now_and_then_is_too_slow(listening, monkeypatch):
    monkeypatch.setattr(guard, "_BODY_S", 1.0)
    with unfinished(listening, listening.first) as one:
        one.settimeout(0.2)
        answer, end = b"", time.monotonic() + 8
        while not answer and time.monotonic() < end:
            try:
                answer = one.recv(20)
            except TimeoutError:
                one.send(b"-")
    assert answer.split()[1:2] == [b"408"]


def test_live_seconds_of_a_key(tmp_path, monkeypatch):
    now = [0.0]
    slots = LiveSlots(Settings(data=tmp_path, keys=KEYS, live=3, live_minutes=10))
    slots._seconds = RateLimit(600, 3600, clock=lambda: now[0])
    assert slots.left_s("bad") == 600
    taken = [slots.take("bad") for _ in range(3)]
    assert taken[2] is None  # one place is for others
    assert slots.take("good") is not None
    slots.give_back(taken[0], "bad", 590)
    assert slots.left_s("bad") == 10
    assert slots.left_s("good") == 600
    now[0] = 1800
    assert slots.left_s("bad") == pytest.approx(310)
    assert slots.take("bad") is not None
    assert LiveSlots(Settings(data=tmp_path, live=1)).left_s("") == math.inf


def target_of_first(app, photo):
    """A target of the first key, and that key's owner."""
    target = app.first.post("/v1/targets", files={"photos": ("a", photo.read_bytes())}).json()["id"]
    return target, owner_of(app, target)[0]


def test_no_live_minutes_left(here, photo):
    from starlette.testclient import WebSocketDenialResponse

    app = here(live_minutes=10)
    target, owner = target_of_first(app, photo)
    app.state.live._seconds.take(owner, 570)
    with pytest.raises(WebSocketDenialResponse) as denied, app.first.websocket_connect(f"/v1/live/{target}"):
        pass
    assert (denied.value.status_code, "minutes" in denied.value.json()["error"]) == (429, True)


def test_a_session_gets_what_its_key_has_left(here, photo, monkeypatch):
    """What it takes is counted, and its slot is free afterwards, however it ends."""
    longest = []

    class Broken:
        def __init__(self, *arguments, most_s, **more):
            longest.append(most_s)

        async def run(self):
            await asyncio.sleep(1)
            raise RuntimeError("the session broke")

    monkeypatch.setattr(routes, "LiveSession", Broken)
    app = here(live_minutes=10)
    target, owner = target_of_first(app, photo)
    app.state.live._seconds.take(owner, 400)
    with pytest.raises(RuntimeError, match="broke"), app.first.websocket_connect(f"/v1/live/{target}") as socket:
        socket.receive()
    assert longest == [pytest.approx(200, abs=2)]
    assert app.state.live.left_s(owner) < longest[0] - 0.5
    assert app.state.live.taken() == 0


class Socket:
    """A client of a live session that sends what it is given, and reads nothing from the first `stuck` message on."""

    def __init__(self, messages, *, stuck="", every_s=0.0):
        self.messages, self.stuck, self.every_s = list(messages), stuck, every_s
        self.closed, self.sent = None, []

    async def receive(self):
        await asyncio.sleep(self.every_s)
        if not self.messages:
            await asyncio.sleep(3600)
        return {"type": "websocket.receive", **self.messages.pop(0)}

    async def send_json(self, message):
        self.sent.append(message)
        if message["type"] == self.stuck:
            await asyncio.sleep(5)  # the session waits for what it sends, also when it is to end

    async def send_bytes(self, data):
        await self.send_json({"type": "picture"})

    async def close(self, code, reason):
        self.closed = code, reason
        if self.stuck:
            await asyncio.sleep(3600)


class Process:
    """Draws JPEGs that are called good."""

    running = True

    def __init__(self):
        self.answers = [{"size": [64, 64]}]
        self.killed = False

    def send(self, message):
        pass

    def send_bytes(self, data):
        self.answers = [{"face": True}, b"picture"] if data == b"good" else [{"error": "a picture is not a whole JPEG"}]

    def receive(self, timeout_s):
        return self.answers.pop(0)

    receive_bytes = receive

    def kill(self):
        self.killed = True


def session(client, tmp_path, **more):
    target = Target("t", "me", 0.0, 0.0, [])
    store = SimpleNamespace(photos=lambda target: [])
    metrics = SimpleNamespace(live_frame=lambda fate: None)
    settings = Settings(data=tmp_path)
    one = LiveSession(client, Process(), target, LiveOptions(), store=store, settings=settings, metrics=metrics, **more)
    asyncio.run(asyncio.wait_for(one.run(), 20))
    return client


def test_a_flood_of_control_messages_ends_the_session(tmp_path, unchecked):
    """Also with rubbish between them."""
    for text in ('{"type": "statistics"}', '{"type": "set-neutral"}', '{"type": "mirror", "on": true}', "{", ""):
        client = session(Socket([{"text": text}] * 100_000), tmp_path)
        assert client.closed[0] == 1008, text
        assert len(client.sent) <= 66
    client = session(Socket([{"bytes": b"rubbish"}, {"text": "{"}] * 50_000), tmp_path)
    assert client.closed[0] == 1008


def test_pictures_that_cannot_be_drawn_keep_no_session(tmp_path, unchecked, monkeypatch):
    monkeypatch.setattr(live, "_IDLE_S", 0.5)
    client = session(Socket([{"bytes": b"rubbish"}] * 100_000, every_s=0.01), tmp_path)
    assert client.closed[0] == 1001
    drawn = session(Socket([{"bytes": b"good"}] * 80, every_s=0.02), tmp_path)
    assert not drawn.messages, "it lasts longer than it may be idle"


def test_a_client_that_does_not_read_is_left(tmp_path, unchecked, monkeypatch):
    monkeypatch.setattr(live, "_SEND_S", 0.3)
    for stuck in ("frame", "picture"):
        client = session(Socket([{"bytes": b"good"}] * 5, stuck=stuck), tmp_path)
        assert client.closed[0] == 1011, stuck


def test_a_session_ends_with_the_minutes_of_its_key(tmp_path, unchecked):
    client = session(Socket([{"bytes": b"good"}] * 100_000, every_s=0.01), tmp_path, most_s=0.5)
    assert (client.closed[0], "minutes" in client.closed[1]) == (1008, True)


def test_space_is_counted_while_files_vanish(tmp_path):
    """Jobs and visitors end at any moment; an upload that was counting then answered 500."""
    until = time.monotonic() + 1.5
    (tmp_path / "kept").write_bytes(bytes(7))

    def come_and_go(name):
        while time.monotonic() < until:
            (tmp_path / name / "job").mkdir(parents=True)
            (tmp_path / name / "job" / "result.mp4").write_bytes(bytes(100))
            shutil.rmtree(tmp_path / name)

    others = [threading.Thread(target=come_and_go, args=(name,)) for name in "abc"]
    for one in others:
        one.start()
    sizes = set()
    while time.monotonic() < until:
        sizes.add(size_of(tmp_path))
    for one in others:
        one.join()
    assert sizes <= {7, 107, 207, 307}
    assert size_of(tmp_path) == 7
