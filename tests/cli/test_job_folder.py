"""Attacks on the folder of a job under way: what is signed was made of the inputs, by this user, by one process."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_resume import ANIMATING, COMMAND, FAST, READING, SEGMENT, StopAt, until

from factories import FRAMES, decoded, head, write_clip
from reenactor.core import MediaError, ReenactError
from reenactor.engine import Track, TrackFolder, animate, job, job_folder
from reenactor.engine.track import _RECORD
from reenactor.media import write_image
from reenactor.media.certificates import own_secret

JOB = "o.mp4.reenactor-job"


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr(job, "SEGMENT_FRAMES", SEGMENT)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another picture of one face."""
    path = tmp_path_factory.mktemp("other") / "astronaut.png"
    write_image(path, np.ascontiguousarray(255 - head() // 2))
    return path


@dataclass(frozen=True)
class Short:
    """A driver of three frames, the seals of its folder, and its finished landmarks."""

    driver: Path
    seals: job_folder.Seals
    track: Track


@pytest.fixture(scope="module")
def short(tmp_path_factory, clip):
    driver, seals = tmp_path_factory.mktemp("short") / "short.mp4", job_folder.Seals(b"key", "facts")
    write_clip(driver, decoded(clip)[:3], [0, 1, 2], Fraction(1, 25))
    return Short(driver, seals, TrackFolder(driver.parent, driver, seals=seals).fill())


@pytest.fixture(scope="module")
def wanted(tmp_path_factory, photo, clip):
    """The frames of the job that nobody disturbs."""
    path = tmp_path_factory.mktemp("wanted") / "o.mp4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "SEGMENT_FRAMES", SEGMENT)
        animate([photo], clip, path, FAST)
    return decoded(path)


def stopped(folder, photo, clip, stage=ANIMATING, frames=20):
    """The folder of a stopped job; `folder` is made."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        animate([photo], clip, folder / "o.mp4", FAST, progress=StopAt(stage, frames))
    return folder / JOB


def move_all(source, into):
    shutil.rmtree(into)
    shutil.move(source, into)


def swap_segments(mine):
    for suffix in ("", ".seal"):
        first, second = (mine / f"segment0000{i}.mp4{suffix}" for i in range(2))
        first.rename(mine / "x")
        second.rename(first)
        (mine / "x").rename(second)


def test_planted_segments_are_not_signed(tmp_path, photo, other, motion):
    """Another picture's segments, with the seals that the same user's key gave them there."""
    mine, theirs = stopped(tmp_path / "a", photo, motion), stopped(tmp_path / "b", other, motion)
    for name in ("segment00000.mp4", "segment00001.mp4"):
        for suffix in ("", ".seal"):
            shutil.copy(theirs / (name + suffix), mine)
    report = animate([photo], motion, tmp_path / "a" / "o.mp4", FAST)
    assert report.frames_made == report.frames
    animate([photo], motion, tmp_path / "wanted.mp4", FAST)
    np.testing.assert_array_equal(decoded(report.output), decoded(tmp_path / "wanted.mp4"))


@pytest.mark.slow
def test_a_whole_folder_that_another_user_made(tmp_path, photo, other, clip, wanted, monkeypatch):
    """Everything is as this program makes it, of the right inputs by their names, but with another user's key."""
    with monkeypatch.context() as patch:
        patch.setenv("REENACTOR_HOME", str(tmp_path / "their home"))
        patch.setattr(job._Job, "_facts", lambda *_: facts)
        facts = "what the victim's job has"
        theirs = stopped(tmp_path / "b", other, clip)
    (tmp_path / "a").mkdir()
    shutil.move(theirs, tmp_path / "a" / JOB)
    monkeypatch.setattr(job._Job, "_facts", lambda *_: facts)
    report = animate([photo], clip, tmp_path / "a" / "o.mp4", FAST)
    assert report.frames_made == FRAMES
    np.testing.assert_array_equal(decoded(report.output), wanted)


@pytest.mark.slow
def test_segments_in_each_others_place(tmp_path, photo, clip, wanted):
    swap_segments(stopped(tmp_path / "a", photo, clip))
    report = animate([photo], clip, tmp_path / "a" / "o.mp4", FAST)
    np.testing.assert_array_equal(decoded(report.output), wanted)


@pytest.mark.slow
def test_segments_changed_before_they_are_joined(tmp_path, photo, clip, monkeypatch):
    mine = stopped(tmp_path / "a", photo, clip)

    class Late(StopAt):
        def end(self):
            if self.now == ANIMATING:
                (mine / "segment00000.mp4").write_bytes((mine / "segment00001.mp4").read_bytes())

    with pytest.raises(MediaError, match="was changed meanwhile"):
        animate([photo], clip, tmp_path / "a" / "o.mp4", FAST, progress=Late("never", 0))
    assert os.listdir(tmp_path / "a") == []


def edited(records):
    records["mesh"][5] += 100


def in_another_order(records):
    records[[5, 6]] = records[[6, 5]]


@pytest.mark.slow
@pytest.mark.parametrize("attack", [edited, in_another_order])
@pytest.mark.parametrize(("stage", "frames"), [(READING, 20), (ANIMATING, 1)])
def test_planted_landmarks(attack, stage, frames, tmp_path, photo, clip, wanted):
    mine = stopped(tmp_path / "a", photo, clip, stage, frames)
    records = np.fromfile(mine / "track.bin", _RECORD)
    attack(records)
    records.tofile(mine / "track.bin")
    again = StopAt("never", 0)
    report = animate([photo], clip, tmp_path / "a" / "o.mp4", FAST, progress=again)
    assert again.first[READING] == 5, "the frames before it are kept"
    np.testing.assert_array_equal(decoded(report.output), wanted)


@pytest.mark.slow
def test_landmarks_of_another_job(tmp_path, photo, clip, drawn, wanted):
    driver = tmp_path / "other.mp4"
    write_clip(driver, drawn[::-1], [i * 1001 for i in range(FRAMES)], Fraction(1, 30000), sound=True)
    mine, theirs = stopped(tmp_path / "a", photo, clip, READING, 9), stopped(tmp_path / "b", photo, driver)
    for name in ("track.bin", "track.json", "track.json.seal"):
        shutil.copy(theirs / name, mine)
    report = animate([photo], clip, tmp_path / "a" / "o.mp4", FAST)
    np.testing.assert_array_equal(decoded(report.output), wanted)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
FACTS = st.fixed_dictionaries(
    dict.fromkeys(("end_pts", "time_base", "picture_size", "steps_per_px", "truncated"), JSON) | {"frames": st.just(3)}
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=(JSON | FACTS).map(json.dumps) | st.binary(max_size=40), seal=st.booleans())
def test_facts_of_any_shape(text, seal, short):
    """The notes in the folder hold anything; they count only with their seal."""
    note = short.driver.with_name("track.json.seal" if seal else "track.json")
    note.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = TrackFolder(short.driver.parent, short.driver, seals=short.seals).fill()
    np.testing.assert_array_equal(found.read(0, 3), short.track.read(0, 3))
    assert (found.end_pts, found.time_base) == (short.track.end_pts, short.track.time_base)


NAMES = ("track.bin", "track.json", "segment00000.mp4", "segment00000.mp4.seal", "segment00001.mp4", "lock", "job.json")


@pytest.mark.parametrize(
    "plant", [os.symlink, *(pytest.param(one, marks=pytest.mark.slow) for one in (os.link, os.mkfifo, os.mkdir))]
)
def test_links_lead_nowhere(plant, tmp_path, photo, motion):
    """A planted folder whose names lead to the user's other files, or block who opens them."""
    precious, folder = tmp_path / "precious", tmp_path / "a" / JOB
    precious.write_text("the user's own")
    folder.mkdir(parents=True)
    for name in NAMES:
        plant(*[precious, folder / name] if plant in (os.symlink, os.link) else [folder / name])
    animate([photo], motion, tmp_path / "a" / "o.mp4", FAST)
    assert precious.read_text() == "the user's own"
    assert os.listdir(tmp_path / "a") == ["o.mp4"]


def test_a_link_instead_of_the_folder(tmp_path, photo, motion):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / JOB).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MediaError, match="is a link or another user's"):
        animate([photo], motion, tmp_path / "o.mp4", FAST)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_another_users_folder(tmp_path, photo, motion, monkeypatch):
    (tmp_path / JOB).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / JOB).stat().st_uid + 1)
    with pytest.raises(MediaError, match="is a link or another user's"):
        animate([photo], motion, tmp_path / "o.mp4", FAST)


@pytest.mark.slow
def test_others_cannot_write_in_the_folder(tmp_path, photo, clip):
    before = os.umask(0)
    try:
        mine = stopped(tmp_path / "a", photo, clip, READING, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(mine.stat().st_mode) == 0o700


class Meanwhile(StopAt):
    """Does something once, at a frame of a stage."""

    def __init__(self, stage, frame, act):
        super().__init__(stage, frame)
        self.act = act

    def step(self, done, total):
        if self.act and self.now == self.stage and done == self.frames:
            act, self.act = self.act, None
            act()


SLOW = [("photo", "written over"), ("photo", "removed"), ("driver", "replaced"), ("driver", "removed")]


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("photo", "replaced"),
        ("driver", "written over"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW),
    ],
)
def test_inputs_changed_meanwhile(what, how, tmp_path, photo, other, motion):
    """What would be signed: the hash of one file on the pictures of another."""
    files = {"photo": tmp_path / "p.png", "driver": tmp_path / "d.motion"}
    shutil.copy(photo, files["photo"])
    shutil.copy(motion, files["driver"])
    path = files[what]

    def act():
        if how == "replaced":  # and back again, with its dates
            shutil.copy2(path, tmp_path / "kept")
            shutil.copy(other, path)
            (tmp_path / "kept").replace(path)
        elif how == "written over":
            path.write_bytes(path.read_bytes())
        else:
            path.unlink()

    progress = Meanwhile(ANIMATING, 3, act)
    with pytest.raises(MediaError, match=r"a photo or the driver .* was changed or removed meanwhile"):
        animate([files["photo"]], files["driver"], tmp_path / "o.mp4", FAST, progress=progress)
    assert not (tmp_path / "o.mp4").exists()
    assert not (tmp_path / JOB).exists()


@pytest.mark.slow
def test_a_still_of_a_photo_that_changes(tmp_path, photo, monkeypatch):
    mine = tmp_path / "p.png"
    shutil.copy(photo, mine)
    write = job.write_image
    monkeypatch.setattr(job, "write_image", lambda *args: (write(*args), mine.write_bytes(photo.read_bytes())))
    with pytest.raises(MediaError, match="was changed or removed meanwhile"):
        animate([mine], photo, tmp_path / "o.png", FAST)
    assert not (tmp_path / "o.png").exists()


@pytest.mark.slow
def test_a_driver_that_is_another_until_the_kill(tmp_path, photo, clip, drawn, wanted):
    """Hashed as A, read as B, killed, A again: the landmarks of B are not those of A."""
    driver, b = tmp_path / "driver.mp4", tmp_path / "b.mp4"
    shutil.copy(clip, driver)
    write_clip(b, drawn[::-1], [i * 1001 for i in range(FRAMES)], Fraction(1, 30000), sound=True)

    class Swapped(StopAt):
        def start(self, what, done, total):
            super().start(what, done, total)
            shutil.copy(b, driver)

    with pytest.raises((MediaError, KeyboardInterrupt)):
        animate([photo], driver, tmp_path / "o.mp4", FAST, progress=Swapped(READING, 10))
    shutil.copy(clip, driver)
    np.testing.assert_array_equal(decoded(animate([photo], driver, tmp_path / "o.mp4", FAST).output), wanted)


def test_a_transformer_trained_on_is_another_job(tmp_path, photo, motion):
    """Same path, other weights."""
    (tmp_path / "config.json").write_text("one")
    options = job.Options(transformer=tmp_path)
    parts = [[photo], motion, tmp_path / "o.mp4", options, None, None, job.Silent()]
    before = job._Job(*parts)._facts([], "1")
    (tmp_path / "config.json").write_text("two")
    assert job._Job(*parts)._facts([], "1") != before


def test_two_at_once(tmp_path, photo, motion):
    output, again = tmp_path / "o.mp4", []

    def act():
        with pytest.raises(ReenactError, match=r"another process is making .*o\.mp4 at this moment") as caught:
            animate([photo], motion, output, FAST)
        again.append(str(caught.value))

    report = animate([photo], motion, output, FAST, progress=Meanwhile(ANIMATING, 3, act))
    assert len(again) == 1
    assert "\n" not in again[0]
    assert report.frames_made == report.frames, "the first went on undisturbed"


@pytest.mark.slow
def test_two_commands_at_once_and_a_killed_one(tmp_path, photo, clip, wanted, reenactor):
    """The lock is the operating system's: it ends with the process."""
    output, folder = tmp_path / "o.mp4", tmp_path / JOB
    # fmt: off
    arguments = ["animate", "--target", photo, "--driver", clip, "-o", output,
                 "--model", "warp", "--size", 64, "--max-side", 128, "--no-provenance"]
    # fmt: on
    command = [sys.executable, "-c", COMMAND, ANIMATING, "20", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until((folder / "segment00001.mp4.seal").exists, process)
    code, out, err = reenactor(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("reenactor: another process is making")
    assert err.count("\n") == 1
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    code, out, err = reenactor(*arguments)
    assert (code, err) == (0, "")
    assert f"({FRAMES - 2 * SEGMENT} new frames)" in out
    np.testing.assert_array_equal(decoded(output), wanted)
    assert os.listdir(tmp_path) == ["o.mp4"]


def test_the_key_is_the_users_alone(tmp_path):
    key = own_secret(tmp_path)
    path = next(tmp_path.iterdir())
    assert (len(key), stat.S_IMODE(path.stat().st_mode)) == (32, 0o600)
    assert own_secret(tmp_path) == key
    path.chmod(0o640)
    fresh = own_secret(tmp_path)
    assert fresh != key, "others may have read it"
    assert own_secret(tmp_path) == fresh
    path.write_bytes(b"short")
    assert len(own_secret(tmp_path)) == 32


@pytest.mark.slow
def test_no_home_no_resuming_but_a_result(tmp_path, photo, motion, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REENACTOR_HOME", str(tmp_path / "file" / "home"))
    mine = stopped(tmp_path / "a", photo, motion)
    report = animate([photo], motion, tmp_path / "a" / "o.mp4", FAST)
    assert report.frames_made == report.frames
    assert not mine.exists()
