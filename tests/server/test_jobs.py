"""Real servers: jobs, their results, cancelling, dying and coming back, live driving, the client."""

import contextlib
import io
import itertools
import re
import signal
import sqlite3
import threading
import time
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from factories import write_raw
from reenactor.core import Motion, ReenactError
from reenactor.core.files import sha256
from reenactor.engine.person import described
from reenactor.engine.shipped import shipped_motions
from reenactor.media import (
    VideoWriter,
    read_image,
    read_motion,
    read_person,
    read_provenance,
    write_image,
    write_motion,
)
from reenactor.server import Client, Settings, serve
from reenactor.server.client import ServerError
from reenactor.server.jobs import Running
from reenactor.server.page import html
from reenactor.server.page.edits import Edits, still_motion
from reenactor.server.records import JobRecord
from reenactor.server.store import PERSON, Job

SMALL = {"size": 64, "max_side": 128}


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def frame_count(path):
    with Image.open(path) as image:
        return image.n_frames


def alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(scope="session")
def long_motion(tmp_path_factory):
    """600 frames: two segments and a part of a third."""
    talk = read_motion(shipped_motions()["talk"])
    times = 4
    step = talk.end_pts
    frames = np.concatenate([talk.mesh_px] * times)[:600]
    path = tmp_path_factory.mktemp("long") / "long.motion"
    write_motion(
        path,
        Motion(
            frames,
            np.concatenate([talk.seen] * times)[:600],
            np.concatenate([talk.pts + i * step for i in range(times)])[:600],
            int(step * times * 600 / (times * len(talk))),
            talk.time_base,
            np.concatenate([talk.pose_deg] * times)[:600],
            talk.picture_size,
        ),
    )
    return path


def test_photos_and_a_motion_file(served, photo, motion, tmp_path):
    seen = []
    with served.client(served.key) as client:
        out = client.animate([photo, photo], motion, tmp_path / "o.mp4", on_progress=seen.append, **SMALL)
    assert len(frames_of(out)) == 6
    assert frames_of(out)[0].shape == (128, 128, 3)
    report = read_provenance(out)
    assert report.valid
    assert not report.tampered
    assert seen[-1].state == "done"
    assert seen[-1].progress == 1
    record = seen[-1].record["result"]
    assert record["frames"] == record["frames_drawn"] == 6
    assert record["bytes"] == out.stat().st_size
    assert record["signed"]


def test_warnings_are_those_of_the_command_line(served, photo, motion, tmp_path):
    """In the answer and on the page, without the command line's options."""
    two = tmp_path / "two.png"
    write_image(two, np.concatenate([read_image(photo)] * 2, axis=1))
    seen = []
    with served.client(served.key) as client:
        client.animate([two], motion, tmp_path / "o.mp4", on_progress=seen.append, layout="crop", size=64)
    faces = "photo 1: it shows 2 faces, and the largest is the one that moves; choose by number from the left"
    record = seen[-1].record
    assert record["result"]["notes"] == [faces]
    assert faces[1:] in html.job_report(JobRecord.model_validate(record))
    with served.client(served.key) as client:
        client.animate([photo], motion, tmp_path / "o.mp4", on_progress=seen.append, layout="crop", size=64)
    assert seen[-1].record["result"]["notes"] == []


@pytest.mark.parametrize("form", ["gif", "webp", "mov"])
def test_other_formats(form, served, photo, motion, tmp_path):
    with served.client(served.key) as client:
        out = client.animate([photo], motion, tmp_path / f"o.{form}", layout="crop", size=64)
    assert (frame_count(out) if form == "webp" else len(frames_of(out))) == 6


def test_a_photo_as_driver(served, photo, tmp_path):
    with served.client(served.key) as client:
        out = client.animate([photo], photo, tmp_path / "o.jpg", transfer="absolute", **SMALL)
    assert read_image(out).shape == (128, 128, 3)


def test_a_motion_of_one_frame_as_driver(served, photo, motion, tmp_path):
    write_motion(tmp_path / "still.motion", still_motion(Edits(yaw=15)))
    with served.client(served.key) as client:
        out = client.animate([photo], tmp_path / "still.motion", tmp_path / "o.png", **SMALL)
        with pytest.raises(ServerError, match="png needs a photo"):
            client.animate([photo], motion, tmp_path / "no.png", **SMALL)
    assert read_image(out).shape == (128, 128, 3)
    assert read_provenance(out).valid


def test_a_video_as_driver(served, photo, face, tmp_path):
    with VideoWriter(tmp_path / "d.mp4", size=(256, 256), time_base=Fraction(1, 25), rate_hint=Fraction(25)) as writer:
        for i in range(5):
            writer.write(face, i)
        writer.close(5)
    seen = []
    with served.client(served.key) as client:
        out = client.animate([photo], tmp_path / "d.mp4", tmp_path / "o.mp4", on_progress=seen.append, **SMALL)
    assert len(frames_of(out)) == 5
    shares = [job.progress for job in seen]
    assert shares == sorted(shares)


def test_a_video_of_the_person(served, film, motion, tmp_path):
    seen = []
    with served.client(served.key) as client:
        options = {"still": 5, "max_side": 256}
        out = client.animate([film], motion, tmp_path / "o.mp4", on_progress=seen.append, **options)
    assert len(frames_of(out)) == 6
    first = frames_of(out)[0].astype(int)
    # The driver begins at rest.
    assert int(np.argmin([np.abs(first - one).mean() for one in frames_of(film)])) == 5
    (note,) = seen[-1].record["result"]["notes"]
    assert re.fullmatch(r"photo 1: \d frames? (is|are) used; frame 5 \(0\.20 s\) is the one that moves", note)
    assert [one.name for one in read_provenance(out).inputs] == ["photo1.mp4", "driver.motion"]
    shares = [job.progress for job in seen]
    assert shares == sorted(shares)


def test_a_video_without_the_person(served, film, grey_film, motion, tmp_path):
    with served.client(served.key) as client:
        for photos, options, words in (
            ([grey_film], {}, "no face found in any frame of photo 1;"),
            ([film, grey_film], {}, "no face found in any frame of photo 2;"),
            ([film], {"still": 8}, "photo 1 has 8 frames, and there is no frame 8; give 0 to 7"),
        ):
            with pytest.raises(ServerError, match=words) as refused:
                client.animate(photos, motion, tmp_path / "o.mp4", **options, **SMALL)
            assert "/" not in str(refused.value)
        target = client.add_target([grey_film])
        with pytest.raises(ServerError, match="no face found in any frame of photo 1;"), client.live(target):
            pass


@pytest.fixture(scope="session")
def long_film(tmp_path_factory, face):
    return write_raw(tmp_path_factory.mktemp("long") / "long.mp4", [np.tile(face, (2, 2, 1))] * 400)


def test_cancel_while_a_video_of_the_person_is_read(served, long_film, wait_until):
    with served.client(served.key) as client:
        job = client.add_job(client.add_target([long_film]), "blink").id
        wait_until(lambda: client.job(job).progress > 0.005)
        now = client.job(job).record
        assert (now["stage"], now["frames_total"]) == ("reading photo1.mp4", 400)
        began = time.monotonic()
        assert client.cancel(job).state == "cancelled"
        # Not killed, which would be after 5 s.
        assert time.monotonic() - began < 4


@pytest.mark.slow
def test_reading_a_video_of_the_person_counts_as_work(serving, long_film, tmp_path):
    with serving(tmp_path / "data", "--job-minutes", "0.05").client() as client:
        ended = client.wait(client.add_job(client.add_target([long_film]), "blink").id)
        assert (ended.state, "longer than the 0.05 minutes" in ended.error) == ("failed", True)


def test_make_a_person_and_animate_it(served, film, jpeg, motion, tmp_path):
    seen = []
    with served.client(served.key) as client:
        made = client.make_person([film], tmp_path / "me.person", on_progress=seen.append, still=2)
        person = read_person(made)
        assert person.pictures[0].frame == 2
        assert [one.name for one in person.sources] == ["photo1.mp4"]
        result = seen[-1].record["result"]
        assert result["notes"] == described(person)
        assert (result["frames"], result["signed"], result["bytes"]) == (
            len(person.pictures),
            False,
            made.stat().st_size,
        )
        out = client.animate([made], motion, tmp_path / "o.mp4", on_progress=seen.append, max_side=256)
        # The driver begins at rest.
        first = frames_of(out)[0].astype(int)
        assert int(np.argmin([np.abs(first - one).mean() for one in frames_of(film)])) == 2
        signed = [(one.role, one.name, one.sha256) for one in read_provenance(out).inputs]
        assert signed == [
            ("target", "photo1.person", sha256(made)),
            ("target", "photo1.mp4", sha256(film)),
            ("driver", "driver.motion", sha256(motion)),
        ]
        with pytest.raises(ServerError, match="a person file holds one face"):
            client.animate([made], motion, tmp_path / "no.mp4", face=1)
        with client.live(client.add_target([made]), size=64, max_side=128) as live:
            assert live.step(jpeg).startswith(b"\xff\xd8")


def test_no_person_without_a_face(served, grey_film, tmp_path):
    with (
        served.client(served.key) as client,
        pytest.raises(ServerError, match="no face found in any frame of photo 1;"),
    ):
        client.make_person([grey_film], tmp_path / "me.person")
    assert not (tmp_path / "me.person").exists()


def test_a_killed_server_makes_the_person_after_its_restart(serving, film, face, tmp_path, wait_until):
    long = write_raw(tmp_path / "long.mp4", [np.roll(face, i % 7, 1) for i in range(400)])
    first = serving()
    with first.client() as client:
        target = client.add_target([long])
        job = client.add_person(target).id
        stopped = client.add_person(target).id
        wait_until(lambda: (client.job(job).record["frames_done"] or 0) > 3, 120)
        assert client.job(job).record["stage"] == "reading photo1.mp4"
    first.kill()
    with serving().client() as client:
        wait_until(lambda: client.job(job).state == "running", 120)
        assert client.cancel(stopped).state == "cancelled"
        assert client.wait(job).state == "done"
        assert read_person(client.download(job, tmp_path / "me.person")).pictures


def test_progress_through_videos():
    """Each stage goes on where the one before ended, and what an earlier run had drawn does not speed up the rest."""
    now = Running(Job("0", "me", "0", "driver.mp4", {}), time.monotonic() - 10)
    seen = [now.fraction]
    for stage in ("reading photo1.mp4", "reading photo2.mp4", "reading the driver"):
        for done in (0, 20, 40):
            now.report(stage, done, None if done == 0 else 40)
            seen.append(now.fraction)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1 - 0.9 * 0.9 * 0.6)
    now.report("animating", 250, 500)
    drawn = now.fraction
    assert drawn == pytest.approx(1 - 0.9 * 0.9 * 0.6 / 2)
    assert now.eta_s() == pytest.approx(10 * (1 - drawn) / seen[-1], rel=0.01)
    now.report("animating", 500, 500)
    assert now.fraction == pytest.approx(1)
    now = Running(Job("0", "me", "0", PERSON, {}), time.monotonic() - 10)
    now.report("reading photo1.mp4", 20, 40)
    assert now.fraction == pytest.approx(0.45)


def test_no_face_is_told_in_our_callers_words(served, tmp_path):
    grey = tmp_path / "my cat.png"
    write_image(grey, np.full((128, 128, 3), 90, np.uint8))
    with served.client(served.key) as client, pytest.raises(ServerError, match="photo 1") as told:
        client.animate([grey], "blink", tmp_path / "o.mp4")
    assert "/" not in str(told.value)
    assert not (tmp_path / "o.mp4").exists()


def test_cancel_while_running(served, photo, long_motion, wait_until):
    with served.client(served.key) as client:
        target = client.add_target([photo])
        job = client.add_job(target, long_motion, **SMALL).id
        wait_until(lambda: client.job(job).progress > 0.02)
        now = client.job(job)
        assert now.state == "running"
        assert now.record["frames_total"] == 600
        assert 0 < now.record["frames_done"] < 600
        began = time.monotonic()
        assert client.cancel(job).state == "cancelled"
        assert time.monotonic() - began < 6
        with pytest.raises(ServerError, match="cancelled"):
            client.download(job, "never")
        other = client.add_job(target, long_motion, **SMALL).id
        wait_until(lambda: client.job(other).state == "running")
        client.delete_job(other)
        with pytest.raises(ServerError) as gone:
            client.job(other)
        assert gone.value.status == 404
        client.delete_target(target)


@pytest.mark.slow
def test_killed_server_finishes_the_job_after_restart(serving, photo, long_motion, tmp_path, wait_until):
    """kill -9 once the first of three segments is there; nothing is left running, and nothing is drawn twice."""
    first = serving()
    with first.client() as client:
        target = client.add_target([photo])
        job = client.add_job(target, long_motion, **SMALL).id
        waiting = client.add_job(target, "blink", **SMALL).id
        wait_until(lambda: (client.job(job).record["frames_done"] or 0) > 300, 240)  # a busy core draws 5 a second
    family = psutil.Process(first.process.pid).children(recursive=True)
    first.kill()
    wait_until(lambda: not [one for one in family if alive(one)], 10)

    again = serving()
    with again.client() as client:
        done = client.wait(job)
        assert done.state == "done", done.error
        assert done.record["result"]["frames"] == 600
        assert done.record["result"]["frames_drawn"] == 350
        assert len(frames_of(client.download(job, tmp_path / "o.mp4"))) == 600
        assert client.wait(waiting).state == "done"


@pytest.mark.slow
def test_stopped_server_ends_soon_and_continues(serving, photo, long_motion, tmp_path, wait_until):
    first = serving()
    with first.client() as client:
        job = client.add_job(client.add_target([photo]), long_motion, **SMALL).id
        wait_until(lambda: (client.job(job).record["frames_done"] or 0) > 260, 240)
    for number, kind in enumerate((signal.SIGTERM, signal.SIGINT)):
        server = serving() if number else first
        with server.client() as client:
            client.job(job)  # it hears Ctrl-C now, which shells let programs in the background ignore
        server.process.send_signal(kind)
        server.process.wait(15)
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "reenactor.sqlite")) as db:
            assert db.execute("SELECT state, attempts FROM jobs").fetchall() == [("queued", 0)]
    with serving().client() as client:
        assert client.wait(job).record["result"]["frames_drawn"] == 350


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(serving, photo, long_motion, wait_until):
    """Once is bad luck; a job at which it dies every time is given up, and the next one is done."""
    one = serving()
    with one.client() as client:
        target = client.add_target([photo])
        job = client.add_job(target, long_motion, **SMALL).id
        after = client.add_job(target, "blink", **SMALL).id
        for _ in range(3):
            wait_until(lambda: (client.job(job).record["frames_done"] or 0) > 0)
            server = psutil.Process(one.process.pid)
            sizes = {child.pid: child.memory_info().rss for child in server.children(recursive=True)}
            worker = max(sizes, key=sizes.get)
            psutil.Process(worker).kill()
            wait_until(lambda pid=worker: not psutil.pid_exists(pid))
            wait_until(lambda: client.job(job).over or client.job(job).record["frames_done"] in (0, None))
        ended = client.wait(job)
        assert (ended.state, "broke off 3 times" in ended.error) == ("failed", True)
        assert client.wait(after).state == "done"


def test_only_one_server_a_folder(serving, tmp_path):
    serving()
    with pytest.raises(ReenactError, match="another server"):
        serve(Settings(data=tmp_path / "data", port=0))


@pytest.mark.slow
def test_settings_are_tried_before_listening(tmp_path):
    with pytest.raises(ReenactError, match="no model 'wrap'"):
        serve(Settings(data=tmp_path / "data", port=0, model="wrap"))
    assert not (tmp_path / "data").exists()


def test_a_taken_port(served, tmp_path):
    with pytest.raises(ReenactError, match="--port"):
        serve(Settings(data=tmp_path / "data", port=int(served.url.rsplit(":", 1)[1])))


def test_live(served, photo, jpeg, face):
    with served.client(served.key) as client:
        target = client.add_target([photo])
        with client.live(target, size=128, max_side=256) as live:
            assert live.size == (256, 256)
            first = np.asarray(Image.open(io.BytesIO(live.step(jpeg)))).astype(int)
            assert (live.number, live.face) == (1, True)
            # The driver at rest is the target at rest.
            assert np.abs(first - face).mean() < 4
            out = io.BytesIO()
            Image.fromarray(np.full((128, 128, 3), 80, np.uint8)).save(out, "JPEG")
            live.step(out.getvalue())
            assert (live.number, live.face) == (2, False)
            with pytest.raises(ServerError, match="JPEG"):
                live.step(b"no picture")
            with pytest.raises(ServerError, match="JPEG"):
                live.step(jpeg[: len(jpeg) // 2])
            live.set_neutral()
            live.mirror(True)
            live.step(jpeg)
            counts = live.statistics()
            assert {name: counts[name] for name in ("received", "drawn", "dropped", "refused")} == {
                "received": 5,
                "drawn": 3,
                "dropped": 0,
                "refused": 2,
            }
            for bad in ('{"type": "mirror", "on": "yes"}', "[]", "{", '{"type": "dance"}', "[" * 5000):
                live._connection.send(bad)
                with pytest.raises(ServerError, match="set-neutral"):
                    live._message()


def test_live_with_a_video_of_the_person(served, film, photo, jpeg):
    with served.client(served.key) as client:
        target = client.add_target([film])
        with client.live(target, size=256, max_side=256, still=5) as live:
            first = np.asarray(Image.open(io.BytesIO(live.step(jpeg)))).astype(int)
            assert int(np.argmin([np.abs(first - one).mean() for one in frames_of(film)])) == 5
        target = client.add_target([photo])
        with pytest.raises(ServerError, match="the first target is a photo"), client.live(target, still=5):
            pass


def test_live_recording(served, photo, jpeg, tmp_path):
    """It is the result of a job, signed; one that is not ended leaves nothing."""
    with served.client(served.key) as client:
        target = client.add_target([photo])
        with client.live(target, size=64, layout="crop") as live:
            live.step(jpeg)
            live.record()
            with pytest.raises(ServerError, match="nothing was recorded"):
                live.stop_recording()
            live.record()
            for _ in range(3):
                live.step(jpeg)
            job = live.stop_recording()
            live.record()
            live.step(jpeg)
        record = client.job(job).record
        assert (record["state"], record["result"]["frames"], record["result"]["signed"]) == ("done", 3, True)
        out = client.download(job, tmp_path / "live.mp4")
        assert len(frames_of(out)) == 3
        assert read_provenance(out).valid
        client.delete_job(job)
        client.delete_target(target)


@pytest.mark.slow
def test_live_never_lags(served, photo, jpeg):
    """Pictures come several times as fast as they can be drawn: the old ones are dropped, and results stay fresh."""
    sent = {}
    with served.client(served.key) as client, client.live(client.add_target([photo]), size=256) as live:
        for _ in range(3):
            live.step(jpeg)
        times_s = []
        for _ in range(9):
            began = time.monotonic()
            live.step(jpeg)
            times_s.append(time.monotonic() - began)
        # The way there and back included; drawing alone, picture after picture, is several times as fast.
        drawing_s, began = min(times_s), time.monotonic()

        def send():
            for number in itertools.count(13):
                if time.monotonic() - began > 2.5:
                    return
                sent[number] = time.monotonic()
                live.send(jpeg)
                time.sleep(drawing_s / 25)

        sender = threading.Thread(target=send)
        sender.start()
        numbers, ages = [], []
        while sender.is_alive() or not numbers or numbers[-1] < max(sent):
            live.receive()
            numbers.append(live.number)
            ages.append(time.monotonic() - sent[live.number])
        sender.join()
        counts = live.statistics()
    assert numbers == sorted(set(numbers))
    assert counts["dropped"] == counts["received"] - counts["drawn"] > len(sent) / 4
    # A queue of all pictures would have made the last ones seconds old.
    assert np.median(ages) < 6 * drawing_s
    assert np.median(ages[-5:]) < 8 * drawing_s


@pytest.mark.slow
def test_live_begins_again_after_a_session(served, photo, jpeg, face):
    """The one place is free once its person has left, in the middle of a picture too."""
    with served.client(served.key) as client:
        target = client.add_target([photo])
        for _ in range(2):
            with client.live(target, size=64, layout="crop") as live:
                live.send(jpeg)
            with client.live(target, size=64, layout="crop") as live:
                assert Image.open(io.BytesIO(live.step(jpeg))).size == (64, 64)
                assert live.number == 1


def test_live_without_a_face_in_the_photo(served, tmp_path):
    write_image(tmp_path / "grey.png", np.full((128, 128, 3), 90, np.uint8))
    with served.client(served.key) as client:
        target = client.add_target([tmp_path / "grey.png"])
        with pytest.raises(ServerError, match="photo 1"), client.live(target):
            pass


@pytest.mark.slow
def test_a_patient_client_waits(serving, photo, motion, tmp_path):
    one = serving(tmp_path / "data", "--queue", "1")
    with one.client() as client, one.client(patient=False) as hasty:
        target = client.add_target([photo])
        refused = []
        for _ in range(5):
            try:
                hasty.add_job(target, motion, **SMALL)
            except ServerError as error:
                refused.append(error)
        assert {error.status for error in refused} == {429}
        assert min(error.retry_s for error in refused) >= 1
        assert client.wait(client.add_job(target, motion, **SMALL).id).state == "done"


def test_a_client_of_something_else(served, tmp_path):
    with Client("http://127.0.0.1:9") as client, pytest.raises(ReenactError, match="no answer"):
        client.motions()
    with served.client("wrong") as client, pytest.raises(ServerError, match="API key"):
        client.motions()
    with served.client(served.key) as client, pytest.raises(ReenactError, match="there is no file"):
        client.add_target([tmp_path / "missing.png"])
