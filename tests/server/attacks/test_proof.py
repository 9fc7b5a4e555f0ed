"""The whole server under attack, in processes of their own: hostile requests, kill -9, a full disk, a crowd."""

import contextlib
import io
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter

import av
import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from reenactor.core import Motion
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_motion
from reenactor.server import add_key
from reenactor.server.client import ServerError

pytestmark = pytest.mark.slow
SMALL = {"size": 64, "max_side": 128}
HOSTILE = 400


def shown(path):
    """All frames of a video as bytes: results must be the same to the last bit that anybody sees."""
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0))


@pytest.fixture(scope="module")
def long_motion(tmp_path_factory):
    """300 frames: a segment and a part of another."""
    talk = read_motion(shipped_motions()["talk"])
    times = -(-300 // len(talk))
    frames, pts = np.concatenate([talk.mesh_px] * times)[:300], []
    for i in range(times):
        pts.append(talk.pts + i * talk.end_pts)
    path = tmp_path_factory.mktemp("long") / "long.motion"
    seen, pose = (np.concatenate([one] * times)[:300] for one in (talk.seen, talk.pose_deg))
    pts = np.concatenate(pts)[:300]
    end = int(pts[-1] + pts[-1] - pts[-2])
    write_motion(path, Motion(frames, seen, pts, end, talk.time_base, pose, talk.picture_size))
    return path


class Crowd:
    """Requests of all kinds, most of them hostile."""

    def __init__(self, url, key, photo, motion, seed):
        self.rng = random.Random(seed)
        self.http = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=120, trust_env=False)
        self.http.get("/", headers={"Accept": "text/html"})
        config = self.http.get("/config")
        # Not every server has a page.
        dependencies = config.json()["dependencies"] if config.status_code == 200 else []
        self.functions = {one["api_name"]: one["id"] for one in dependencies}
        out = io.BytesIO()
        Image.open(photo).convert("RGB").save(out, "JPEG", progressive=True)
        self.files = [
            photo.read_bytes(),
            motion.read_bytes(),
            out.getvalue(),
            b"RIFF0000WEBPVP8L",
            b"\x1aE\xdf\xa3" * 9,
        ]
        self.names = ["../../evil", "/etc/passwd", "\x1b[2Ja.png", "a\r\nX: y", "x" * 4000, "", "\u202e.png", "con"]

    def damaged(self):
        data = bytearray(self.rng.choice(self.files))
        for _ in range(self.rng.randrange(1, 30)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        return bytes(data[: self.rng.randrange(1, len(data) + 1)])

    def one(self):
        """Send one request and return the answer."""
        rng, ask = self.rng, self.http.request
        kind = rng.randrange(9)
        if kind == 0:
            return ask("POST", "/v1/targets", files=[("photos", (rng.choice(self.names), self.damaged()))])
        if kind == 1:
            form = {"target": rng.choice(["0", "..", "x" * 32]), "size": rng.choice(["-1", "1e99", "64", "nan"])}
            return ask("POST", "/v1/jobs", data=form, files={"driver": (rng.choice(self.names), self.damaged())})
        if kind == 2:
            return ask("POST", rng.choice(["/v1/targets", "/v1/jobs", "/gradio_api/upload"]), content=self.damaged())
        if kind == 3:
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            body = b"--x\r\nContent-Disposition: form-data; name=photos; filename=a\r\n\r\n" * rng.randrange(1, 50)
            return ask("POST", rng.choice(["/v1/targets", "/gradio_api/upload"]), content=body, headers=headers)
        if kind == 4:
            path = rng.choice(
                ["/v1/jobs/%00", "/v1/jobs/..%2f..", "/gradio_api/file=/etc/passwd", "/gradio_api/heartbeat/.."]
            )
            return ask(rng.choice(["GET", "POST", "DELETE", "PUT", "TRACE"]), path)
        if kind == 5:
            name = rng.choice([one for one in self.names if one])
            sent = ask("POST", "/gradio_api/upload", files={"files": (name, self.damaged())})
            if sent.status_code != 200:
                return sent
            file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
            name, data = rng.choice([("choose", [[file], 0]), ("inspect", [file])])
            body = {"fn_index": self.functions[name], "data": data, "session_hash": "hostile"}
            return ask("POST", "/gradio_api/run/predict", json=body)
        if kind == 6:
            odd = rng.choice([None, {}, [], "x", 1e308, -1, {"path": "/etc/passwd"}, "\x1b[2J"])
            body = {"fn_index": rng.randrange(-1, 30), "data": [odd] * rng.randrange(16), "session_hash": "hostile"}
            return ask("POST", rng.choice(["/gradio_api/run/predict", "/gradio_api/queue/join"]), json=body)
        if kind == 7:
            headers = rng.choice([{"Host": "a b"}, {"Origin": "http://["}, {"Range": "bytes=-9-9"}, {"Cookie": "\x00"}])
            with contextlib.suppress(httpx.LocalProtocolError):
                return ask("GET", rng.choice(["/v1/motions", "/v1/jobs/0/result", "/"]), headers=headers)
        return ask(
            "GET", f"/v1/{rng.choice(['live', 'targets', 'jobs', 'offers', 'x'])}/{rng.choice(self.names[2:])[:50]!r}"
        )


def test_hostile_requests(serving, photo, motion, tmp_path, capfd):
    """No crash, no traceback, no path of the server in any answer, nothing left behind."""
    key = add_key(tmp_path / "keys", "bad")
    server = serving(tmp_path / "data", "--keys", tmp_path / "keys", "--page", "--rate", 10**6)
    crowd, counts = Crowd(server.url, key, photo, motion, seed=20), Counter()
    for number in range(HOSTILE):
        try:
            answer = crowd.one()
        except httpx.TransportError:  # the server closes connections whose bodies it does not want
            counts["closed"] += 1
            continue
        if answer is None:
            continue
        counts[answer.status_code] += 1
        text = answer.text
        for path in ("visitor", "uploads"):  # the page's own answers name the visitor's uploads, and only these
            text = "" if f"/{path}/" in text and answer.status_code == 200 else text
        assert str(tmp_path) not in text, (number, answer.request.url, text[:300])
        assert "Traceback" not in text
        assert "root:" not in text
    with capfd.disabled():
        print(f"\n{HOSTILE} requests: {dict(counts)}")
    assert counts["closed"] < HOSTILE / 20
    assert counts[500] < HOSTILE / 4
    assert server.process.poll() is None
    assert httpx.get(f"{server.url}/healthz", trust_env=False).json()["jobs_waiting"] == 0
    found = [path for name in ("incoming", "targets", "jobs") for path in (tmp_path / "data" / name).rglob("*")]
    # Photos that were not damaged enough became the page's targets.
    assert {path.parts[-3] for path in found if path.is_file()} <= {"targets"}
    server.close()
    crowd.http.close()
    log = capfd.readouterr().err
    assert "Traceback" not in log
    assert "\x1b" not in log
    again = serving(tmp_path / "data", "--keys", tmp_path / "keys", "--page")
    assert again.process.poll() is None
    assert not list((tmp_path / "data" / "uploads").iterdir())


def reached(job, least):
    """Whether so many frames are drawn; 0: it has begun; None: also while it is queued."""
    assert not job.over
    return least is None or (job.state == "running" and (job.record["frames_done"] or 0) >= least)


def test_kill_9_of_the_server_at_ten_moments(serving, photo, long_motion, tmp_path, wait_until):
    """One job outlives ten servers, and its result is that of an undisturbed one."""
    server = serving()
    with server.client() as client:
        target = client.add_target([photo])
        plain = client.add_job(target, long_motion, **SMALL).id
        assert client.wait(plain).state == "done"
        expected = shown(client.download(plain, tmp_path / "plain.mp4"))
        job = client.add_job(target, long_motion, **SMALL).id
    for least in (None, 0, 1, 5, 20, 60, 120, 200, 255, 280):
        with server.client() as client:
            wait_until(lambda least=least, ask=client: reached(ask.job(job), least), 240)
        server.kill()
        server = serving()
    with server.client() as client:
        done = client.wait(job)
        assert done.state == "done", done.error
        assert shown(client.download(job, tmp_path / "killed.mp4")) == expected


def test_kill_9_of_the_worker_at_ten_moments(serving, photo, long_motion, tmp_path, wait_until):
    server = serving()
    with server.client() as client:
        target = client.add_target([photo])
        jobs = [client.add_job(target, long_motion, **SMALL).id for _ in range(6)]
        assert client.wait(jobs[0]).state == "done"
        expected = shown(client.download(jobs[0], tmp_path / "plain.mp4"))
        for number, job in enumerate(jobs[1:]):
            for moment in range(2):  # the third time the job would be given up
                least = 25 * number + 140 * moment
                wait_until(lambda one=job, least=least: reached(client.job(one), least), 240)
                children = psutil.Process(server.process.pid).children(recursive=True)
                worker = max(children, key=lambda child: child.memory_info().rss)
                worker.kill()
                wait_until(lambda one=worker: not psutil.pid_exists(one.pid))
            assert client.wait(job).state == "done"
            assert shown(client.download(job, tmp_path / f"{job}.mp4")) == expected


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may mount")
def test_a_small_disk(serving, photo, long_motion, tmp_path, wait_until):
    """20 MiB that fill up while a job is at work, then a disk that turns read-only."""
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", data], check=True)
    try:
        server = serving(data)
        hasty = server.client(patient=False)
        target = hasty.add_target([photo])
        job = hasty.add_job(target, long_motion, size=256, max_side=512).id
        wait_until(lambda: (hasty.job(job).record["frames_done"] or 0) > 5)
        filler = data / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**12))
        with pytest.raises(ServerError) as refused:
            hasty.add_target([photo] * 8)
        assert refused.value.status == 507
        with pytest.raises(ServerError) as refused:
            hasty.add_job(target, "blink")
        assert refused.value.status == 507
        ended = wait_until(lambda: hasty.job(job).over and hasty.job(job), 120)
        assert ended.state in ("failed", "done")
        assert str(data) not in (ended.error or "")
        filler.unlink()
        again = hasty.wait(hasty.add_job(target, "blink", **SMALL).id)
        assert again.state == "done", again.error

        hasty.close()
        server.close()
        subprocess.run(["mount", "-o", "remount,ro", data], check=True)
        command = [sys.executable, "-m", "reenactor", "serve", "--port", "0", "--data", data]
        refused = subprocess.run([str(one) for one in command], check=False, capture_output=True, text=True)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert "read-only" in refused.stderr
        subprocess.run(["mount", "-o", "remount,rw", data], check=True)
        server = serving(data)
        with server.client() as client:
            assert client.job(again.id).state == "done"
            assert client.download(again.id, tmp_path / "kept.mp4").stat().st_size > 0
        server.close()
    finally:
        subprocess.run(["umount", "-l", data], check=True)


class Visitor(threading.Thread):
    """Does the same again and again until the time is over: `work(visitor)`; counts, and times what went well."""

    def __init__(self, number, url, key, work, until):
        super().__init__(daemon=True)
        self.number, self.work, self.until = number, work, until
        self.http = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=120, trust_env=False)
        self.times_s, self.counts, self.problems = [], Counter(), []

    def run(self):
        try:
            while time.monotonic() < self.until:
                began = time.monotonic()
                self.work(self)
                self.times_s.append(time.monotonic() - began)
        except Exception as error:
            self.problems.append(repr(error))
        finally:
            self.http.close()

    def ask(self, method, path, *allowed, **more):
        answer = self.http.request(method, path, **more)
        self.counts[answer.status_code] += 1
        assert answer.status_code in allowed, (path, answer.status_code, answer.text[:200])
        return answer


def good(photo):
    """What somebody does who harms nobody: a photo, a look at it, and gone."""

    def work(visitor):
        target = visitor.ask("POST", "/v1/targets", 201, files={"photos": ("a.png", photo)}).json()["id"]
        visitor.ask("GET", f"/v1/targets/{target}", 200)
        visitor.ask("GET", "/v1/motions", 200)
        visitor.ask("DELETE", f"/v1/targets/{target}", 204)

    return work


def bad(jpeg):
    """Large pictures that take long, drivers that are none, and requests that never end."""

    def work(visitor):
        kind = visitor.number % 3
        if kind == 0:
            visitor.ask("POST", "/v1/targets", 201, 422, 429, files=[("photos", ("a", jpeg))] * 8)
        elif kind == 1:
            visitor.ask("POST", "/v1/jobs", 404, 422, 429, data={"target": "0"}, files={"driver": ("a", jpeg)})
        else:
            with contextlib.suppress(httpx.HTTPError):
                visitor.http.post("/v1/targets", content=slow_body(), headers={"Content-Length": "9000000"})

    return work


def slow_body():
    for _ in range(20):
        yield bytes(1000)
        time.sleep(0.5)


def slow_jpeg():
    """Small to send, long to decode: 20 megapixels, progressive."""
    out = io.BytesIO()
    Image.fromarray(np.zeros((4000, 5000, 3), np.uint8)).save(out, "JPEG", progressive=True, quality=5)
    return out.getvalue()


def test_an_attacker_slows_others_little(serving, photo, tmp_path):
    """The 95th percentile beside an attacker with a key of his own is at most three times that without."""
    keys = {name: add_key(tmp_path / "keys", name) for name in ("good", "bad")}
    server = serving(tmp_path / "data", "--keys", tmp_path / "keys", "--rate", 10**6)
    p95 = {}
    for name, attackers, seconds in (("warm", 0, 5), ("alone", 0, 20), ("attacked", 6, 20)):
        end = time.monotonic() + seconds
        crowd = [Visitor(i, server.url, keys["bad"], bad(slow_jpeg()), end) for i in range(attackers)]
        honest = Visitor(0, server.url, keys["good"], good(photo.read_bytes()), end)
        for one in (*crowd, honest):
            one.start()
        for one in (*crowd, honest):
            one.join(150)
        assert not honest.problems
        p95[name] = float(np.percentile(honest.times_s, 95))
        print(
            f"\n{name}: {len(honest.times_s)} rounds, median {np.median(honest.times_s):.3f} s, p95 {p95[name]:.3f} s; "
            f"attackers: {dict(sum((one.counts for one in crowd), Counter()))}"
        )
    assert p95["attacked"] <= 3 * p95["alone"]


def test_forty_at_once_on_api_and_page(serving, face, photo, motion, tmp_path):
    """For a minute: none is lost, mixed up or starved."""
    key = add_key(tmp_path / "keys", "all")
    server = serving(tmp_path / "data", "--keys", tmp_path / "keys", "--page", "--rate", 10**6)
    end = time.monotonic() + 60

    def animate(visitor):
        if not hasattr(visitor, "target"):
            visitor.side = 96 + 32 * (visitor.number % 3)
            files = {"photos": ("p", photo.read_bytes())}
            visitor.target = visitor.ask("POST", "/v1/targets", 201, files=files).json()["id"]
        form = {"target": visitor.target, "size": "64", "max_side": str(visitor.side)}
        sent = visitor.ask("POST", "/v1/jobs", 202, 429, data=form, files={"driver": ("d", motion.read_bytes())})
        if sent.status_code == 429:
            time.sleep(1)
            return
        job = sent.json()["id"]
        while (state := visitor.ask("GET", f"/v1/jobs/{job}", 200).json()["state"]) in ("queued", "running"):
            time.sleep(0.5)
        assert state == "done"
        with av.open(io.BytesIO(visitor.ask("GET", f"/v1/jobs/{job}/result", 200).content)) as container:
            assert container.streams.video[0].width == visitor.side
        visitor.counts["done"] += 1

    def browse(visitor):
        if not hasattr(visitor, "inspect"):
            visitor.ask("GET", "/", 200, headers={"Accept": "text/html"})
            found = visitor.ask("GET", "/config", 200).json()["dependencies"]
            visitor.inspect = next(one["id"] for one in found if one["api_name"] == "inspect")
        name = f"of-visitor-{visitor.number}.png"
        (path,) = visitor.ask("POST", "/gradio_api/upload", 200, files={"files": (name, b"no picture")}).json()
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {"fn_index": visitor.inspect, "data": [file], "session_hash": f"visitor{visitor.number}"}
        said = visitor.ask("POST", "/gradio_api/run/predict", 200, json=body).json()["data"][0]
        assert name in said or "many of your files" in said.lower(), said
        visitor.counts["done"] += name in said
        time.sleep(0.2)

    crowd = [Visitor(i, server.url, key, animate if i % 2 else browse, end) for i in range(40)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(240)
    print(
        f"\n{dict(sum((one.counts for one in crowd[1::2]), Counter()))} on the API, "
        f"{dict(sum((one.counts for one in crowd[::2]), Counter()))} on the page"
    )
    assert not [one.problems for one in crowd if one.problems]
    assert all(one.counts["done"] > 0 for one in crowd)
    assert server.process.poll() is None
