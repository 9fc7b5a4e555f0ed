"""Who may ask for what, and what is answered: everything but the animating itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from reenactor.cli.main import parser
from reenactor.cli.serve import transformers_of, weights_of
from reenactor.core import Layout, ReenactError, Runtime
from reenactor.engine.shipped import shipped_motions
from reenactor.media import write_image
from reenactor.nn.checkpoint import shipped_checkpoint
from reenactor.server import Keys, Limits, Settings, add_key, load_keys
from reenactor.server.guard import RateLimit
from reenactor.server.jobs import ExpiryTask
from reenactor.server.records import TargetRecord, motion_names, motion_path
from reenactor.server.store import Job, State, Store, Target
from reenactor.server.uploads import Upload
from reenactor.server.worker import options_of


def add_target(client, *photos):
    files = [("photos", (photo.name, photo.read_bytes())) for photo in photos]
    return client.post("/v1/targets", files=files)


def add_job(client, target, **fields):
    return client.post("/v1/jobs", data={"target": target, "motion": "blink", **fields})


def assert_problem(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    for word in words:
        assert word in answer.json()["error"]


def test_targets_come_and_go(shared, photo):
    made = add_target(shared.first, photo, photo)
    assert made.status_code == 201
    record = made.json()
    assert record["photos"] == [{"width": 256, "height": 256, "seconds": 0.0}] * 2
    assert shared.first.get(f"/v1/targets/{record['id']}").json() == record
    assert len([name for name in shared.files() if record["id"] in name]) == 3
    assert shared.first.delete(f"/v1/targets/{record['id']}").status_code == 204
    assert_problem(shared.first.get(f"/v1/targets/{record['id']}"), 404, "no target")
    assert not [name for name in shared.files() if record["id"] in name]


def test_number_of_photos(shared, photo):
    assert_problem(add_target(shared.first, *[photo] * 9), 422, "9 photos", "one to 8")
    assert_problem(shared.first.post("/v1/targets"), 422, "photos")


def test_job_waits(shared, photo, motion):
    target = add_target(shared.first, photo).json()["id"]
    files = {"driver": ("x", motion.read_bytes())}
    first = shared.first.post("/v1/jobs", data={"target": target, "format": "gif"}, files=files)
    assert first.status_code == 202
    job = first.json()
    assert first.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["target"], job["result"]) == ("queued", target, None)
    before = job["jobs_before"]
    second = add_job(shared.first, target).json()
    assert second["jobs_before"] == before + 1
    assert second["eta_s"] > job["eta_s"] > 0
    assert_problem(shared.first.get(f"/v1/jobs/{job['id']}/result"), 409, "queued", "ask again")
    assert_problem(shared.first.delete(f"/v1/targets/{target}"), 409, "cancel")
    assert shared.first.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert_problem(shared.first.get(f"/v1/jobs/{job['id']}/result"), 409, "cancelled")
    for one in (job, second):
        assert shared.first.delete(f"/v1/jobs/{one['id']}").status_code == 204
        assert_problem(shared.first.get(f"/v1/jobs/{one['id']}"), 404)
    assert not [name for name in shared.files() if name.startswith("jobs/")]
    assert shared.first.delete(f"/v1/targets/{target}").status_code == 204


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"motion": "dance"}, ["no motion of that name", "blink"]),
        ({"motion": "../../etc/passwd"}, ["no motion of that name"]),
        ({"size": "100"}, ["size", "multiple of 32"]),
        ({"size": "99999999999999999999999"}, ["size"]),
        ({"format": "mkv"}, ["format"]),
        ({"format": "png"}, ["photo as driver"]),
        ({"alpha": "true"}, ["mp4 holds no soft transparency", "mov, webp, png"]),
        ({"alpha": "true", "format": "webp", "layout": "grid"}, ["leave out alpha"]),
        ({"driver_face": "1"}, ["driver_face"]),
        ({"face": "0"}, ["face"]),
        ({"still": "-1"}, ["still"]),
        ({"still": "2"}, ["still chooses a frame of a video", "leave it out"]),
        ({"smooth": "perhaps"}, ["smooth"]),
        ({"model": "oneshot"}, ["no model of that name here", "warp, hybrid"]),
        ({"model": "/etc/passwd"}, ["no model of that name here"]),
        ({"transfer": "dance"}, ["transfer", "relative"]),
        ({"head": "off"}, ["head", "relative"]),
        ({"transfer": "absolute", "head": "relative"}, ["leave out the head"]),
        ({"head_movement": "1.5"}, ["head_movement"]),
        ({"head": "absolute", "head_movement": "0.5"}, ["absolute angles"]),
        ({"strength": "nan"}, ["strength"]),
        ({"transfer": "transformer", "transformer": "../mine"}, ["no landmark transformer of that name here"]),
        ({"background": "green"}, ["background", "moving"]),
        ({"runtime": "quantum"}, ["runtime", "torch"]),
    ],
)
def test_options_that_cannot_be(shared, photo, fields, words):
    target = add_target(shared.first, photo).json()["id"]
    assert_problem(add_job(shared.first, target, **fields), 422, *words)


def test_options_that_can_be(here, photo, tmp_path):
    app = here(transformers={"mine": tmp_path})
    assert app.first.get("/v1/offers").json()["transformers"] == ["mine"]
    assert set(app.first.get("/v1/offers").json()["models"]) == {"warp", "hybrid"}
    target = add_target(app.first, photo).json()["id"]
    asked = {
        "model": "warp",
        "transfer": "transformer",
        "transformer": "mine",
        "head": "absolute",
        "background": "moving",
        "alpha": "True",
    }
    job = add_job(app.first, target, **asked, layout="crop", runtime="auto", format="webp").json()
    stored = app.state.store.job(app.state.store.begin_next().owner, job["id"]).options
    options = options_of(stored, app.settings)
    assert {name: str(getattr(options, name)) for name in asked} == {**asked, "transformer": str(tmp_path)}
    assert (options.layout, options.runtime, options.size) == (Layout.CROP, Runtime.AUTO, None)


def test_options_of_a_video(here, film):
    app = here()
    target = add_target(app.first, film).json()["id"]
    assert_problem(add_job(app.first, target, alpha="true", format="webp"), 422, "no transparency", "send a photo")
    job = add_job(app.first, target, still="3")
    assert job.status_code == 202
    stored = app.state.store.begin_next().options
    assert options_of(stored, app.settings).still == 3


def test_options_of_a_person_file(here, person, photo):
    app = here()
    target = add_target(app.first, person, photo).json()["id"]
    assert_problem(add_job(app.first, target, alpha="true", format="webp"), 422, "person file has no transparency")
    assert_problem(add_job(app.first, target, still="3"), 422, "still chooses a frame of a video", "leave it out")
    assert add_job(app.first, target).status_code == 202
    assert_problem(app.first.post(f"/v1/targets/{target}/person"), 422, "photo 1 is a person file already")
    # Behind a photo it takes nothing from what that can do.
    target = add_target(app.first, photo, person).json()["id"]
    assert add_job(app.first, target, alpha="true", format="webp").status_code == 202


def test_a_job_that_makes_a_person_file(here, film, photo):
    app = here(queue=2)
    target = add_target(app.first, film).json()["id"]
    path = f"/v1/targets/{target}/person"
    for fields, word in (({"face": "0"}, "face"), ({"still": "-1"}, "still"), ({"tune": "11"}, "tune")):
        assert_problem(app.first.post(path, data=fields), 422, word)
    assert_problem(app.second.post(path), 404, "no target")
    assert_problem(app.nobody.post(path), 401)
    made = app.first.post(path, data={"still": "3", "tune": "0.5"})
    assert made.status_code == 202
    job = made.json()
    assert made.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["target"]) == ("queued", target)
    assert_problem(app.first.post(path), 429, "queue is full")
    assert_problem(app.first.delete(f"/v1/targets/{target}"), 409)
    # What a killed server was at is done by the next one.
    store = app.state.store
    assert store.begin_next().id == job["id"]
    assert store.queue_unfinished() == 1
    again = store.begin_next()
    assert (again.options, again.attempts) == ({"format": "person", "face": None, "still": 3, "tune": 0.5}, 1)
    store.job_folder(again.id).joinpath(again.result_name).write_bytes(b"person")
    about = {"frames": 1, "frames_drawn": 1, "seconds": 0.0, "sound": False, "signed": False, "notes": []}
    store.end(again, State.DONE, facts=about)
    result = app.first.get(f"/v1/jobs/{job['id']}/result")
    assert (result.content, result.headers["Content-Type"]) == (b"person", "application/octet-stream")
    assert f'filename="reenactor-{job["id"][:8]}.person"' in result.headers["Content-Disposition"]
    assert store.expire(-1) == 2
    assert_problem(app.first.get(f"/v1/jobs/{job['id']}"), 404)
    of_photo = add_target(app.first, photo).json()["id"]
    assert_problem(app.first.post(f"/v1/targets/{of_photo}/person", data={"still": "0"}), 422, "still chooses a frame")


def test_driver_or_motion(shared, photo, motion):
    target = add_target(shared.first, photo).json()["id"]
    assert_problem(shared.first.post("/v1/jobs", data={"target": target}), 422, "either")
    both = shared.first.post("/v1/jobs", data={"target": target, "motion": "blink"}, files={"driver": ("x", b"x")})
    assert_problem(both, 422, "either")
    assert_problem(add_job(shared.first, "0" * 32), 404, "no target")


def test_files_of_another_key_are_not_there(shared, photo):
    target = add_target(shared.first, photo).json()["id"]
    job = add_job(shared.first, target).json()["id"]
    for method, path in (
        ("GET", f"/v1/targets/{target}"),
        ("DELETE", f"/v1/targets/{target}"),
        ("GET", f"/v1/jobs/{job}"),
        ("GET", f"/v1/jobs/{job}/result"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("DELETE", f"/v1/jobs/{job}"),
    ):
        theirs = shared.second.request(method, path)
        missing = shared.second.request(method, path.replace(target, "0" * 32).replace(job, "0" * 32))
        assert_problem(theirs, 404)
        assert theirs.content == missing.content
        assert_problem(shared.nobody.request(method, path), 401, "Bearer")
    assert_problem(add_job(shared.second, target), 404)
    assert shared.first.get(f"/v1/jobs/{job}").json()["state"] == "queued"
    shared.first.delete(f"/v1/jobs/{job}")


def test_keys_are_asked_for(shared):
    for path in ("/metrics", "/v1/motions", "/v1/nothing", "/v1/targets"):
        assert_problem(shared.nobody.get(path), 401)
        assert_problem(shared.nobody.get(path, headers={"Authorization": "Bearer wrong"}), 401)
    assert shared.nobody.get("/healthz").json()["status"] == "ok"
    assert shared.nobody.get("/openapi.json").status_code == 200
    key = shared.first.headers["Authorization"].split()[1]
    assert shared.nobody.get("/v1/motions", headers={"X-API-Key": key}).json() == {"motions": motion_names()}


def test_keys_are_kept_as_hashes(tmp_path):
    file = tmp_path / "keys"
    key, other = add_key(file, "one"), add_key(file, "two")
    assert key not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    environment = {"REENACTOR_API_KEYS": "a-third-key-of-good-length, ", "OTHER": "1"}
    keys = load_keys(file, environment)
    assert environment == {"OTHER": "1"}
    owners = [keys.owner(one) for one in (key, other, "a-third-key-of-good-length")]
    assert None not in owners
    assert len(set(owners)) == 3
    for wrong in ("", key[:-1], key + "x", owners[0], "schlüssel", "\udcff"):
        assert keys.owner(wrong) is None
    with pytest.raises(ReenactError, match="named one"):
        add_key(file, "one")
    with pytest.raises(ReenactError, match="name"):
        add_key(file, "a b")
    with pytest.raises(ReenactError, match="fewer"):
        load_keys(None, {"REENACTOR_API_KEYS": "short"})
    file.write_text("one in-the-clear\n")
    with pytest.raises(ReenactError, match="line 1"):
        load_keys(file, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_other_computers_only_with_a_key(tmp_path, host):
    with pytest.raises(ReenactError, match="--add-key"):
        Settings(data=tmp_path, host=host).check()
    Settings(data=tmp_path, host=host, keys=Keys(["0" * 64])).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_none(tmp_path, host):
    Settings(data=tmp_path, host=host).check()


@pytest.mark.parametrize("change", [{"workers": 0}, {"queue": 0}, {"keep_hours": float("nan")}, {"cors": ("*",)}])
def test_settings_that_cannot_be(tmp_path, change):
    with pytest.raises(ReenactError, match="--"):
        Settings(data=tmp_path, **change).check()


def test_weights_of_the_command_line(tmp_path):
    shipped = str(shipped_checkpoint("hybrid"))

    def read(*arguments):
        args = parser().parse_args(["serve", *arguments])
        return weights_of(args, args.model), transformers_of(args)

    assert read() == ({}, {})
    assert read("--weights", shipped) == ({"hybrid": Path(shipped)}, {})
    both = ("--model", "warp", "--weights", f"hybrid={shipped}", "--transformer", f"mine={tmp_path}")
    assert read(*both) == ({"hybrid": Path(shipped)}, {"mine": tmp_path})
    for wrong in (
        ("--sha256", "0" * 64),
        ("--weights", shipped, "--weights", f"hybrid={shipped}", "--sha256", "0" * 64),
        ("--transformer", str(tmp_path)),
        ("--transformer", f"mine={tmp_path / 'missing'}"),
    ):
        with pytest.raises(ReenactError):
            read(*wrong)


def test_web_pages_of_others(keyless):
    """Names that resolve to this computer, and pages that post forms to it."""
    asked = TestClient(keyless, base_url="http://127.0.0.1:8000")
    assert asked.get("/v1/motions").status_code == 200
    assert asked.get("/v1/motions", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert_problem(asked.get("/v1/motions", headers=headers), 403)
    assert "access-control-allow-origin" not in asked.get("/v1/motions").headers


def test_named_pages_may(here):
    page = "https://page.example"
    app = here(cors=(page,))
    answer = app.first.get("/v1/motions", headers={"Origin": page})
    assert answer.headers["access-control-allow-origin"] == page
    asked = {"Origin": page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert app.nobody.options("/v1/jobs", headers=asked).status_code == 200
    assert_problem(app.first.get("/v1/motions", headers={"Origin": "https://other.example"}), 403)


def test_queue_is_bounded(here, photo, motion):
    app = here(queue=2)
    target, other = (add_target(client, photo).json()["id"] for client in (app.first, app.second))
    jobs = [add_job(app.first, target).json()["id"], add_job(app.second, other).json()["id"]]
    files = app.files()
    for client in (app.first, app.second):
        full = client.post("/v1/jobs", data={"target": target}, files={"driver": ("x", motion.read_bytes())})
        assert_problem(full, 429, "queue is full")
        assert 1 <= int(full.headers["Retry-After"]) <= 3600
    assert app.files() == files
    app.first.delete(f"/v1/jobs/{jobs[0]}")
    assert add_job(app.first, target).status_code == 202


def test_queue_is_bounded_when_two_come_at_once(here, photo):
    """The guard let both pass; only one finds room."""
    app = here(queue=1)
    target = add_target(app.first, photo).json()["id"]
    app.state.store.queued = lambda owner=None: 0
    assert add_job(app.first, target).status_code == 202
    files = app.files()
    assert_problem(add_job(app.first, target), 429, "queue is full")
    assert app.files() == files


def test_rate_is_limited_for_each_key(here):
    app = here(rate_per_minute=5)
    answers = [app.first.get("/v1/motions") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    assert_problem(answers[-1], 429, "Retry-After")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 12
    assert app.second.get("/v1/motions").status_code == 200
    assert app.nobody.get("/healthz").status_code == 200


def test_rate_refills():
    now = 0.0
    rate = RateLimit(60, clock=lambda: now)
    assert [rate.wait_s("a") for _ in range(60)] == [0.0] * 60
    assert rate.wait_s("a") == pytest.approx(1.0)
    now = 0.5
    assert rate.wait_s("a") == pytest.approx(0.5)
    now = 1.0
    assert rate.wait_s("a") == 0.0
    assert rate.wait_s("a") == pytest.approx(1.0)
    now = 1000.0
    assert [rate.wait_s("a") > 0 for _ in range(61)] == [False] * 60 + [True]


def test_sizes_are_limited(here, photo, tmp_path):
    limits = Limits(photo_mib=1, driver_mib=1, photo_megapixels=0.1)
    app = here(limits=limits)
    large = {"photos": ("a.png", bytes(2 * 2**20))}
    assert_problem(app.first.post("/v1/targets", files=large), 413, "photo 1", "1 MiB")
    assert_problem(app.first.post("/v1/targets", files=[("photos", ("a", bytes(10 * 2**20)))]), 413, "9 MiB")

    def body():  # of no length told beforehand
        yield b'--x\r\nContent-Disposition: form-data; name="driver"; filename="a"\r\n\r\n'
        for _ in range(30):
            yield bytes(2**17)

    chunked = app.first.post("/v1/jobs", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert_problem(chunked, 413, "2 MiB")
    write_image(tmp_path / "wide.png", np.zeros((300, 400, 3), np.uint8))
    assert_problem(add_target(app.first, tmp_path / "wide.png"), 422, "400 x 300", "0.1 megapixels")
    assert app.files() == []


def test_names_are_never_paths(shared, photo, motion, tmp_path):
    kept = shared.settings.data

    def others():
        return {path for path in tmp_path.parent.rglob("*") if kept not in path.parents}

    before = others()
    for name in ("../../../evil.png", "/etc/passwd", "..", "a/b.png", "con", "a\x00.png", "x" * 300, "evil.motion"):
        made = shared.first.post("/v1/targets", files={"photos": (name, photo.read_bytes())})
        assert made.status_code == 201, name
        target = made.json()["id"]
        assert [n for n in shared.files() if target in n] == [f"targets/{target}", f"targets/{target}/photo1.png"]
        form = {"target": target}
        job = shared.first.post("/v1/jobs", data=form, files={"driver": (name, motion.read_bytes())}).json()["id"]
        assert [n for n in shared.files() if job in n] == [f"jobs/{job}", f"jobs/{job}/driver.motion"]
        shared.first.delete(f"/v1/jobs/{job}")
    assert others() == before


def test_every_error_is_one_sentence_of_json(shared):
    for method, path in (
        ("GET", "/"),
        ("PUT", "/healthz"),
        ("GET", "/v1/jobs"),
        ("GET", "/docs"),
        ("GET", "/v1/jobs/%00"),
    ):
        answer = shared.first.request(method, path)
        assert answer.status_code in (404, 405)
        assert_problem(answer, answer.status_code)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(shared.first.post("/v1/targets", content=b"rubbish", headers=headers), 400)


def test_failures_tell_nothing_of_the_inside(here, monkeypatch):
    app = here()

    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(app.state.store, "target", broken)
    answer = app.first.get("/v1/targets/0")
    assert_problem(answer, 500, "operator")
    assert "secret" not in answer.text


def test_full_disk(here, photo, monkeypatch):
    app = here()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app.state.store, "new_upload", full)
    assert_problem(add_target(app.first, photo), 507, "disk is full")


def test_expired_files_are_deleted(here, photo, wait_until):
    app = here(keep_hours=1)
    target = add_target(app.first, photo).json()
    job = add_job(app.first, target["id"]).json()
    assert app.state.store.expire(3600) == 0
    # Waiting jobs do not expire, nor does the target that they need.
    assert app.state.store.expire(-1) == 0
    store = app.state.store
    begun = store.begin_next()
    result = store.job_folder(job["id"]) / "result.mp4"
    result.write_bytes(b"result")
    store.end(begun, State.DONE, facts=FACTS)
    assert app.first.get(f"/v1/jobs/{job['id']}/result").content == b"result"
    assert app.first.get(f"/v1/jobs/{job['id']}").json()["result"]["bytes"] == 6
    result.rename(result.with_suffix(".gone"))
    assert_problem(app.first.get(f"/v1/jobs/{job['id']}/result"), 404)
    task = ExpiryTask(store.expire, 0.2)
    task.start()
    wait_until(lambda: not app.files(), 10)
    task.stop()
    assert_problem(app.first.get(f"/v1/jobs/{job['id']}"), 404)
    assert_problem(app.first.get(f"/v1/targets/{target['id']}"), 404)


FACTS = {"frames": 6, "frames_drawn": 6, "seconds": 0.2, "sound": False, "signed": True, "notes": []}


def test_store_survives_and_forgets_strays(tmp_path, photo):
    store = Store(tmp_path)
    copy = store.new_upload()
    copy.write_bytes(photo.read_bytes())
    target = store.add_target("me", [(copy, Upload(".png", 256, 256))])
    jobs = [Job(str(i), "me", target.id, "motion:blink", {"format": "mp4"}, created=float(i)) for i in range(3)]
    for job in jobs:
        store.add_job(job, None, 10)
    assert store.begin_next().id == "0"
    store.new_upload().write_bytes(b"half an upload")
    (tmp_path / "jobs" / "stray").mkdir()
    store.close()

    again = Store(tmp_path)
    assert not list(again.incoming.iterdir())
    assert not (tmp_path / "jobs" / "stray").exists()
    assert again.target("me", target.id) == again.target("me", target.id)
    assert again.target("you", target.id) is None
    assert again.job("me", "0").state is State.RUNNING
    assert again.queue_unfinished() == 1
    first = again.begin_next()
    assert (first.id, first.attempts) == ("0", 1)
    again.queue_again(first, in_order=True)
    assert again.begin_next().attempts == 1
    assert again.queued() == 2
    assert not again.remove_target(target.id)
    again.close()
    (tmp_path / "reenactor.sqlite").write_bytes(b"rubbish" * 1000)
    with pytest.raises(ReenactError, match="--data"):
        Store(tmp_path)


def test_targets_of_releases_that_took_no_videos():
    target = Target("0", "me", 0.0, 0.0, [{"name": "photo1.png", "width": 3, "height": 2}])
    assert TargetRecord.of(target, 1.0).photos[0].seconds == 0
    assert not target.begins_with_video


@pytest.mark.parametrize(
    ("name", "seconds", "begins"), [("photo1.webp", 0.4, True), ("photo1.gif", 0.0, True), ("photo1.webp", 0.0, False)]
)
def test_animations_are_videos(name, seconds, begins):
    photo = {"name": name, "width": 3, "height": 2, "seconds": seconds}
    assert Target("0", "me", 0.0, 0.0, [photo]).begins_with_video == begins


def test_motions_are_those_that_ship():
    """The server names them itself, so that it need not load PyTorch."""
    assert {name: motion_path(name) for name in motion_names()} == shipped_motions()


def test_measures(here, photo):
    app = here()
    target = add_target(app.first, photo).json()["id"]
    add_job(app.first, target)
    app.first.get("/v1/jobs/0")
    operator = app.client(add_key(app.settings.data.parent / "keys", "operator", operator=True))
    text = operator.get("/metrics").text
    assert "reenactor_jobs_waiting 1.0" in text
    assert 'reenactor_requests_total{method="POST",route="/v1/targets",status="201"} 1.0' in text
    assert 'reenactor_requests_total{method="GET",route="/v1/jobs/{identity}",status="404"} 1.0' in text
    assert target not in text
    for i in range(5):
        app.first.request(f"INVENTED{i}", "/healthz")
    assert "INVENTED" not in operator.get("/metrics").text


def test_document_names_every_call(shared):
    document = json.loads(shared.nobody.get("/openapi.json").content)
    calls = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert calls == {
        ("POST", "/v1/targets"),
        ("GET", "/v1/targets/{identity}"),
        ("DELETE", "/v1/targets/{identity}"),
        ("POST", "/v1/targets/{identity}/person"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/{identity}"),
        ("GET", "/v1/jobs/{identity}/result"),
        ("POST", "/v1/jobs/{identity}/cancel"),
        ("DELETE", "/v1/jobs/{identity}"),
        ("GET", "/v1/motions"),
        ("GET", "/v1/offers"),
        ("GET", "/healthz"),
        ("GET", "/metrics"),
    }


def test_live_is_guarded(shared, photo):
    from starlette.testclient import WebSocketDenialResponse

    target = add_target(shared.first, photo).json()["id"]
    for client, status in ((shared.nobody, 401), (shared.second, 404)):
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(f"/v1/live/{target}"):
            pass
        assert_problem(denied.value, status)
    shared.state.live.take("")
    with pytest.raises(WebSocketDenialResponse) as denied, shared.first.websocket_connect(f"/v1/live/{target}"):
        pass
    assert_problem(denied.value, 429, "slots")
