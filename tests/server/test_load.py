"""Fifty people at once."""

import io
import threading
import time
from collections import Counter

import av
import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

CLIENTS, SECONDS, QUEUE = 50, 120, 12


class Person(threading.Thread):
    """Sends a photo with a coloured corner, of a size of its own, again and again, and looks at each result."""

    def __init__(self, number, url, face, motion, until):
        super().__init__(daemon=True)
        self.number, self.until, self.motion = number, until, motion
        self.colour = np.array([40 * (number % 5) + 40, 40 * (number // 5 % 5) + 40, 200 * (number // 25)])
        self.side = 96 + 32 * (number % 3)
        self.http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        picture = face.copy()
        picture[:40, :40] = self.colour
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG")
        self.photo = out.getvalue()
        self.counts = Counter()
        self.problems = []

    def run(self):
        try:
            target = self.ask("POST", "/v1/targets", 201, files={"photos": ("p", self.photo)}).json()["id"]
            while time.monotonic() < self.until:
                form = {"target": target, "size": "64", "max_side": str(self.side)}
                answer = self.http.post("/v1/jobs", data=form, files={"driver": ("d", self.motion)})
                self.counts[answer.status_code] += 1
                if answer.status_code == 429:
                    assert int(answer.headers["Retry-After"]) >= 1
                    assert "queue is full" in answer.json()["error"]
                    time.sleep(1 + self.number % 7 / 7)
                    continue
                assert answer.status_code == 202, answer.text
                self.finish(answer.json()["id"])
        except Exception as error:
            self.problems.append(repr(error))
        finally:
            self.http.close()

    def ask(self, method, path, status, **more):
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer

    def finish(self, job):
        end = time.monotonic() + 120
        while (record := self.ask("GET", f"/v1/jobs/{job}", 200).json())["state"] in ("queued", "running"):
            assert time.monotonic() < end, record
            time.sleep(0.3)
        assert record["state"] == "done", record
        result = self.ask("GET", f"/v1/jobs/{job}/result", 200).content
        with av.open(io.BytesIO(result)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 6
        assert frames[0].shape == (self.side, self.side, 3)
        corner = frames[0][2:10, 2:10].reshape(-1, 3).mean(0)
        assert np.abs(corner - self.colour).max() < 15, (corner, self.colour)
        self.ask("DELETE", f"/v1/jobs/{job}", 204)
        self.counts["done"] += 1


@pytest.mark.slow
def test_fifty_people_for_two_minutes(serving, face, motion, tmp_path):
    """None lost, none mixed up, what is too much is told so, the API answers at once, memory stays."""
    server = serving(tmp_path / "data", "--queue", QUEUE, "--rate", 10**6)
    data = motion.read_bytes()
    warm = Person(0, server.url, face, data, time.monotonic() + 20)
    warm.run()
    assert not warm.problems
    family = [psutil.Process(server.process.pid)]
    family += family[0].children(recursive=True)

    def memory_mib():
        return [round(process.memory_info().rss / 2**20) for process in family]

    began = time.monotonic()
    people = [Person(i, server.url, face, data, began + SECONDS) for i in range(CLIENTS)]
    before, samples, waits_s, waiting = memory_mib(), [], [], []
    for person in people:
        person.start()
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        while any(person.is_alive() for person in people):
            asked = time.monotonic()
            waiting.append(http.get("/healthz").json()["jobs_waiting"])
            waits_s.append(time.monotonic() - asked)
            samples.append(memory_mib())
            assert time.monotonic() - began < SECONDS + 180
            time.sleep(1)
        counts = sum((person.counts for person in people), Counter())
        metrics = http.get("/metrics").text
    samples = np.array(samples)
    half = len(samples) // 3
    print(f"\n{dict(counts)}; memory MiB before {before}, after a third {samples[half].tolist()}, ")
    print(f"after {samples[-1].tolist()}; /healthz median {np.median(waits_s):.3f} s, worst {max(waits_s):.3f} s")
    assert not [person.problems for person in people if person.problems]
    assert counts["done"] == counts[202] > CLIENTS
    assert counts[429] > 0
    assert max(waiting) == QUEUE
    assert all(person.counts[202] + person.counts[429] > 0 for person in people)
    assert f'reenactor_jobs_total{{state="done"}} {counts["done"] + warm.counts["done"]:.1f}' in metrics
    assert 'reenactor_jobs_total{state="failed"} 0.0' in metrics
    assert np.median(waits_s) < 1
    growth = samples[-5:].mean(0) - samples[half : half + 5].mean(0)
    assert (growth < 40).all(), growth
    assert not list((tmp_path / "data" / "incoming").iterdir())
    assert not list((tmp_path / "data" / "jobs").iterdir())
