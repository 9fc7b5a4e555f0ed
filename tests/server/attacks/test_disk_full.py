"""A disk that is full, read-only or locked: jobs end, requests are refused in a sentence, and nothing spins."""

import contextlib
import sqlite3
import threading
import time

import pytest

from reenactor.core.errors import ReenactError
from reenactor.server import Settings, jobs, store
from reenactor.server.guard import RefusalError
from reenactor.server.jobs import Running
from reenactor.server.store import Job, State, Store, check_folder, disk_trouble


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Nobody waits long for a locked database."""
    monkeypatch.setattr(store, "_BUSY_S", 0.1)


def target_of(app, photo):
    return app.first.post("/v1/targets", files={"photos": ("a.png", photo.read_bytes())}).json()["id"]


def send_job(app, target, **form):
    return app.first.post("/v1/jobs", data={"target": target, "motion": "blink", **form})


@contextlib.contextmanager
def locked(app):
    """Another program writes into the database and does not end."""
    with contextlib.closing(sqlite3.connect(app.settings.data / "reenactor.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def fill(kept):
    """Leave the database no page to grow by."""
    pages = kept._db.execute("PRAGMA page_count").fetchone()[0]
    kept._db.execute(f"PRAGMA max_page_count={pages}")


def make_room(kept):
    kept._db.execute("PRAGMA max_page_count=1000000")


@pytest.mark.parametrize("trouble", ["full", "locked"])
def test_the_end_of_a_job_is_stored_later(here, photo, wait_until, trouble, capfd):
    app = here()
    workers = app.state.workers
    job = send_job(app, target_of(app, photo)).json()["id"]
    begun = app.state.store.begin_next()
    # A long sentence needs new pages, which a full database does not have.
    ending = threading.Thread(target=workers._end, args=(begun, State.FAILED), kwargs={"error": "x" * 100_000})
    with contextlib.ExitStack() as stack:
        if trouble == "full":
            fill(app.state.store)
            stack.callback(make_room, app.state.store)
        else:
            stack.enter_context(locked(app))
        ending.start()
        wait_until(lambda: "cannot be stored yet" in capfd.readouterr().err)
        assert app.first.get(f"/v1/jobs/{job}").json()["state"] == "running"
        time.sleep(1.2)  # it is tried again, and told once
        assert "cannot be stored yet" not in capfd.readouterr().err
        assert ending.is_alive()
    ending.join(10)
    assert app.first.get(f"/v1/jobs/{job}").json()["state"] == "failed"


def test_cancelling_waits_only_so_long(here, photo, monkeypatch):
    """The worker cannot store the end of the job."""
    monkeypatch.setattr(jobs, "_CANCEL_S", 0.3)
    app = here()
    job = send_job(app, target_of(app, photo)).json()["id"]
    begun = app.state.store.begin_next()
    app.state.workers._running[job] = Running(begun, time.monotonic())
    answer = app.first.post(f"/v1/jobs/{job}/cancel")
    assert (answer.status_code, "cannot be stored yet" in answer.json()["error"]) == (503, True)
    assert app.state.workers._running[job].cancelled
    app.state.workers._end(begun, State.CANCELLED)
    assert app.first.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"


def test_new_jobs_and_targets_on_a_full_disk(here, photo):
    app = here(queue=1000)
    target = target_of(app, photo)
    fill(app.state.store)
    answers = [send_job(app, target) for _ in range(60)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[-1] == 507
    assert "disk is full" in answers[-1].json()["error"]
    files = app.files()
    assert send_job(app, target).status_code == 507
    large = [("photos", ("a.png", photo.read_bytes()))] * 8
    while (answer := app.first.post("/v1/targets", files=large)).status_code == 201:
        files = app.files()
    assert answer.status_code == 507
    assert app.files() == files  # what was refused left nothing
    first = answers[0].json()["id"]
    assert app.first.get(f"/v1/jobs/{first}").status_code == 200
    assert app.first.post(f"/v1/jobs/{first}/cancel").json()["state"] == "cancelled"
    make_room(app.state.store)
    assert send_job(app, target).status_code == 202


class Disk(sqlite3.Connection):
    """A database whose disk is full when changes are to be kept."""

    def execute(self, sql, *values):
        if sql == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *values)


def test_a_change_that_cannot_be_kept_is_undone(here, photo):
    app = here()
    target = target_of(app, photo)
    kept = app.state.store
    working = kept._db
    kept._db = sqlite3.connect(
        app.settings.data / "reenactor.sqlite", check_same_thread=False, isolation_level=None, factory=Disk
    )
    assert [send_job(app, target).status_code for _ in range(2)] == [507, 507]
    assert app.first.delete(f"/v1/targets/{target}").status_code == 507
    kept._db.close()
    kept._db = working
    assert kept.queued() == 0
    assert send_job(app, target).status_code == 202
    assert app.first.get(f"/v1/targets/{target}").status_code == 200


def test_a_locked_database(here, photo):
    """Whoever reads is answered at once; whoever writes gets 503, and a Retry-After, after a moment."""
    app = here()
    target = target_of(app, photo)
    job = send_job(app, target).json()["id"]
    with locked(app):
        for path in (f"/v1/jobs/{job}", f"/v1/targets/{target}", "/healthz", "/v1/motions"):
            assert app.first.get(path).status_code == 200, path
        for answer in (
            send_job(app, target),
            app.first.post(f"/v1/jobs/{job}/cancel"),
            app.first.delete(f"/v1/jobs/{job}"),
            app.first.delete(f"/v1/targets/{target}"),
        ):
            assert answer.status_code in (409, 503), answer.text
            if answer.status_code == 503:
                assert answer.headers["Retry-After"] == "1"
                assert "busy" in answer.json()["error"]
    assert app.first.post(f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"


def test_readers_wait_for_no_writer(here, photo):
    """A thread that waits for the disk in the middle of a change stops neither the event loop nor other readers."""
    app = here()
    target = target_of(app, photo)
    with app.state.store._transaction():
        assert app.first.get(f"/v1/targets/{target}").status_code == 200
        assert send_job(app, target).status_code == 503


def test_troubles_of_the_disk():
    for number in (28, 30, 122, 27):
        assert disk_trouble(OSError(number, "")) == (507, "the server's disk is full; try again later")
    assert disk_trouble(sqlite3.OperationalError("attempt to write a readonly database"))[0] == 507
    assert disk_trouble(OSError(2, "")) is None
    assert disk_trouble(None) is None


def test_crashes_of_the_server_are_not_the_jobs(tmp_path):
    """Ten servers are killed while they run it; the job is not to blame."""
    for number in range(10):
        kept = Store(tmp_path)
        if number == 0:
            with kept._transaction() as db:
                db.execute("INSERT INTO targets VALUES ('t', 'me', 0, 0, '[]')")
            kept.add_job(Job("j", "me", "t", "motion:blink", {"format": "mp4"}), None, 10)
        kept.queue_unfinished()
        assert kept.begin_next().attempts == 1
        kept.close()


def test_a_folder_of_something_else_is_no_data_folder(tmp_path):
    """It would be emptied."""
    for name in ("incoming", "uploads", "targets", "jobs", "holiday"):
        mine = tmp_path / name / name
        mine.mkdir(parents=True)
        (mine / "photo.png").write_bytes(b"mine")
        for make in (Store, check_folder):
            with pytest.raises(ReenactError, match="holds other files"):
                make(tmp_path / name)
        assert (mine / "photo.png").read_bytes() == b"mine"
        assert [path.name for path in (tmp_path / name).iterdir()] == [name]
    from reenactor.server import serve

    with pytest.raises(ReenactError, match="holds other files"):
        serve(Settings(data=tmp_path / "holiday", port=0))
    assert [path.name for path in (tmp_path / "holiday").iterdir()] == ["holiday"]
    Store(tmp_path / "new").close()
    (tmp_path / "new" / "jobs" / "stray").mkdir()
    Store(tmp_path / "new").close()
    assert not list((tmp_path / "new" / "jobs").iterdir())


def test_a_database_of_another_program_is_left_alone(tmp_path):
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "mine").write_bytes(b"mine")
    with contextlib.closing(sqlite3.connect(tmp_path / "reenactor.sqlite")) as db:
        db.execute("PRAGMA user_version=7")
    with pytest.raises(ReenactError, match="another release"):
        Store(tmp_path)
    assert (tmp_path / "incoming" / "mine").read_bytes() == b"mine"


def test_refusals_are_told_on_the_page_too():
    pytest.importorskip("gradio")
    from reenactor.server.page.html import sentence_of

    assert sentence_of(OSError(28, "/secret/path")) == "The server's disk is full; try again later."
    assert sentence_of(RefusalError(503, "the job stops")) == "The job stops."


def test_clock_jumps(tmp_path):
    """Jobs are run in the order in which they came, whatever the clock said."""
    kept = Store(tmp_path)
    with kept._transaction() as db:
        db.execute("INSERT INTO targets VALUES ('t', 'me', 0, 0, '[]')")
    for number, jump_s in enumerate((0, 10**9, -(10**8), 0)):
        made = Job(str(number), "me", "t", "motion:blink", {"format": "mp4"}, created=time.time() + jump_s)
        kept.add_job(made, None, 10)
        assert kept.waiting_before(made) == number
    assert [kept.begin_next().id for _ in range(4)] == ["0", "1", "2", "3"]
    kept.close()
