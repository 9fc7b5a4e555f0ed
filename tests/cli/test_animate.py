"""What comes out: timing, sound, sizes, layouts and names."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import lfw_subset

from factories import FRAMES, NTSC, decoded, sound_packets, stored_times, write_clip
from reenactor import Options, Reenactor
from reenactor.core import Head, ReenactError
from reenactor.engine import animate, recording
from reenactor.engine.recording import stated_options
from reenactor.engine.shipped import demo_photo
from reenactor.face.perception import FaceFinder, FaceTracker
from reenactor.media import (
    Claim,
    Synthesis,
    own_credentials,
    read_image,
    read_motion,
    read_provenance,
    sign_provenance,
    write_image,
    write_motion,
)

SMALL = ("--size", 64, "--max-side", 128, "--model", "warp")
"""The quickest: most of what is tested here does not depend on who draws."""


def made(reenactor, *arguments):
    """Run a job that must go well; gives its report."""
    code, out, err = reenactor("animate", *arguments)
    assert (code, err) == (0, "")
    return out


def shapes(path):
    """How the face differs from its mean over the video, frame by frame."""
    with FaceTracker() as tracker:
        meshes = np.stack([tracker.track(picture).landmarks.mesh for picture in decoded(path)])
    return meshes - meshes.mean(0)


def angles(picture):
    """Yaw, pitch and roll."""
    with FaceFinder() as finder:
        pose = finder.observe(picture).pose
    return np.array([pose.yaw_deg, pose.pitch_deg, pose.roll_deg])


@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".mov", marks=pytest.mark.slow)])
def test_times_and_sound_stay(reenactor, tmp_path, photo, clip, suffix):
    output = tmp_path / f"o{suffix}"
    said = made(reenactor, "--target", photo, "--driver", clip, "-o", output, *SMALL)
    times, end = stored_times(output)
    assert times == [i / NTSC for i in range(FRAMES)]
    assert end == FRAMES / NTSC
    given, got = sound_packets(clip), sound_packets(output)
    # Sound after the end of the pictures is left out, to a packet.
    assert len(given) - 1 <= len(got) <= len(given)
    assert got == given[: len(got)]
    assert f"{FRAMES} frames, 1.33 s, with sound" in said
    assert read_provenance(output).valid


def test_matroska_unsigned(reenactor, tmp_path, photo, clip):
    output = tmp_path / "o.mkv"
    assert "not signed" in made(reenactor, "--target", photo, "--driver", clip, "-o", output, "--no-provenance", *SMALL)
    times, _ = stored_times(output)
    for i, time in enumerate(times):
        assert abs(time - times[0] - i / NTSC) <= Fraction(1, 1000)
    assert [content for content, _ in sound_packets(output)] == [
        content for content, _ in sound_packets(clip)[: len(sound_packets(output))]
    ]


def test_variable_frame_rate(reenactor, tmp_path, photo, drawn):
    driver, output = tmp_path / "vfr.mp4", tmp_path / "o.mp4"
    steps = np.random.default_rng(0).integers(300, 9000, FRAMES - 1)
    pts = [0, *np.cumsum(steps).tolist()]
    write_clip(driver, drawn, pts, Fraction(1, 90000))
    made(reenactor, "--target", photo, "--driver", driver, "-o", output, *SMALL)
    assert stored_times(output) == stored_times(driver)
    assert stored_times(output)[0] == [Fraction(t, 90000) for t in pts]


def test_frames_follow_the_driver_without_delay(reenactor, tmp_path, photo, clip, drawn):
    """Driven by a film of the same person, the result shows what the film shows at the same time."""
    output = tmp_path / "o.mp4"
    made(reenactor, "--target", photo, "--driver", clip, "-o", output)
    film, result = shapes(clip), shapes(output)
    assert film.shape == result.shape

    def likeness(shift):
        a = film[5 : FRAMES - 5].ravel()
        b = result[5 + shift : FRAMES - 5 + shift].ravel()
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    shifts = range(-3, 4)
    best = max(shifts, key=likeness)
    assert best == 0, {shift: round(likeness(shift), 3) for shift in shifts}
    assert likeness(0) > 0.9


def test_only_the_crop_moves(reenactor, tmp_path, photo, motion):
    whole, crop = tmp_path / "whole.mp4", tmp_path / "crop.mp4"
    large = tmp_path / "large.png"
    framed = np.pad(read_image(photo), ((40, 200), (300, 20), (0, 0)), mode="reflect")
    write_image(large, framed)
    made(reenactor, "--target", large, "--driver", motion, "-o", whole)
    frames = decoded(whole)
    assert frames.shape[1:] == framed.shape
    moving = np.abs(frames.astype(int) - frames[:1]).max((0, 3)) > 24
    assert moving.any()
    assert not moving[:, :200].any()
    assert not moving[400:].any()
    made(reenactor, "--target", large, "--driver", motion, "-o", crop, "--crop-only", "--size", 96)
    assert decoded(crop).shape[1:] == (96, 96, 3)


def test_a_shipped_motion_has_a_name(reenactor, tmp_path, photo):
    output = tmp_path / "o.gif"
    made(reenactor, "--target", photo, "--driver", "blink", "-o", output, *SMALL)
    assert len(decoded(output)) == 120


@pytest.mark.parametrize("kind", ["clip", "motion", pytest.param("photo", marks=pytest.mark.slow)])
def test_grid(reenactor, tmp_path, photo, kind, request):
    output = tmp_path / "o.mp4"
    driver = request.getfixturevalue(kind)
    made(reenactor, "--target", photo, "--driver", driver, "-o", output, "--grid", "--size", 64)
    frames = decoded(output)
    assert frames.shape[1:] == (64, 192, 3)
    assert len(frames) == {"clip": FRAMES, "motion": 30, "photo": 50}[kind]
    left = frames[:, :, :64].astype(int)
    assert np.abs(left - left[0]).max() < 24  # the target stands still
    if kind == "clip":
        film = decoded(driver)
        shown = frames[:, :, 64:128].astype(float)
        wanted = film.reshape(FRAMES, 64, 4, 64, 4, 3).mean((2, 4))
        assert np.abs(shown - wanted).mean() < 4


def test_gif(reenactor, tmp_path, photo, clip):
    output = tmp_path / "o.gif"
    assert "with sound" not in made(reenactor, "--target", photo, "--driver", clip, "-o", output, *SMALL)
    with Image.open(output) as image:
        length = 0
        for number in range(image.n_frames):
            image.seek(number)
            length += image.info["duration"]
        assert image.n_frames == FRAMES
        assert image.size == (128, 128)
    assert length == pytest.approx(1000 * FRAMES / float(NTSC), abs=10)


@pytest.mark.slow
def test_webp(reenactor, tmp_path, photo, clip):
    output = tmp_path / "o.webp"
    made(reenactor, "--target", photo, "--driver", clip, "-o", output, *SMALL)
    with Image.open(output) as image:
        assert image.is_animated
        length = 0
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            length += image.info["duration"]
    assert length == pytest.approx(1000 * FRAMES / float(NTSC), abs=2)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_photo_drives_a_still(reenactor, tmp_path, photo, drawn, suffix):
    driver, output = tmp_path / "driver.png", tmp_path / f"o{suffix}"
    write_image(driver, drawn[20])
    said = made(reenactor, "--target", photo, "--driver", driver, "-o", output, "--transfer", "absolute")
    assert "1 frame" in said
    assert read_image(output).shape == read_image(photo).shape
    np.testing.assert_allclose(angles(read_image(output)), angles(drawn[20]), atol=3)
    assert np.abs(angles(read_image(photo)) - angles(drawn[20])).max() > 4
    assert read_provenance(output).synthetic


def test_photo_drives_a_video(reenactor, tmp_path, photo):
    output = tmp_path / "o.mp4"
    made(reenactor, "--target", photo, "--driver", photo, "-o", output, "--transfer", "absolute", *SMALL)
    frames = decoded(output).astype(int)
    assert len(frames) == 50
    assert stored_times(output)[1] == 2
    # The person's own photo, taken over whole: nothing is left to move.
    assert np.abs(frames - frames[0]).mean() < 1.5


def test_a_photo_is_eased_to(reenactor, tmp_path, photo, drawn, monkeypatch):
    """From the target's own face to the driver's in one second, slowly at both ends, and one second there."""
    driver, output = tmp_path / "driver.png", tmp_path / "o.mp4"
    write_image(driver, drawn[20])
    asked = []
    draw_many = Reenactor.draw_many

    def noted(self, mesh_px):
        asked.extend((mesh, self.target) for mesh in mesh_px)
        return draw_many(self, mesh_px)

    monkeypatch.setattr(Reenactor, "draw_many", noted)
    # The warp gives the photo back exactly where nothing moves.
    made(reenactor, "--target", photo, "--driver", driver, "-o", output, "--transfer", "absolute", "--model", "warp")
    target = asked[0][1]
    # Several are drawn at a time, in any order.
    meshes = np.stack(sorted((mesh for mesh, _ in asked), key=lambda mesh: np.abs(mesh - target.mesh_px).max()))
    assert len(meshes) == 50
    np.testing.assert_array_equal(meshes[0], target.mesh_px)
    way = np.abs(meshes[-1] - meshes[0]).max()
    assert way > 5
    np.testing.assert_allclose(meshes[25:], meshes[-1:].repeat(25, 0), atol=1e-3)
    steps = np.abs(np.diff(meshes[:26], axis=0)).max((1, 2))
    # The steepest part of 3 t^2 - 2 t^3 has slope 1.5; its first step is 3 / 25^2.
    assert steps.max() < 1.51 / 25 * way
    assert max(steps[0], steps[-1]) < 0.006 * way
    shown = decoded(output)[0].astype(int)
    assert np.abs(shown - read_image(photo)).mean() < 3


@pytest.mark.slow
def test_an_animation_drives_like_a_video(reenactor, tmp_path, photo, clip):
    """An animated .webp was taken for its first frame, then refused."""
    moving = tmp_path / "moving.webp"
    made(reenactor, "--target", photo, "--driver", clip, "-o", moving, *SMALL)
    renamed = tmp_path / "renamed.png"
    renamed.write_bytes(moving.read_bytes())
    with Image.open(moving) as image:
        frames = image.n_frames
    for driver in (moving, renamed):
        made(reenactor, "--target", photo, "--driver", driver, "-o", tmp_path / "o.mp4", *SMALL)
        times, end_s = stored_times(tmp_path / "o.mp4")
        assert len(times) == frames
        assert abs(end_s - FRAMES / NTSC) <= Fraction(1, 1000)
    code, said, _ = reenactor("motion", "extract", moving, "-o", tmp_path / "o.motion")
    assert code == 0
    assert f"{frames} frames, 1.33 s" in said
    code, _, err = reenactor("animate", "--target", photo, "--driver", moving, "-o", tmp_path / "o.png")
    assert (code, err.count("\n")) == (2, 1)
    assert "with a photo" in err
    # In a batch the content decides, too: a film of the one, a picture of the other.
    drivers = tmp_path / "drivers"
    drivers.mkdir()
    renamed.rename(drivers / "moves.png")
    (drivers / "still.png").write_bytes(photo.read_bytes())
    made(reenactor, "--target", photo, "--driver", drivers, "-o", tmp_path / "results", *SMALL)
    assert sorted(path.suffix for path in (tmp_path / "results").iterdir()) == [".mp4", ".png"]
    # As a target its first frame is good enough.
    made(reenactor, "--target", moving, "--driver", photo, "-o", tmp_path / "o.png", *SMALL)
    # A still picture drives, whatever its format.
    still = tmp_path / "still.webp"
    made(reenactor, "--target", photo, "--driver", photo, "-o", still, *SMALL)
    made(reenactor, "--target", photo, "--driver", still, "-o", tmp_path / "o2.png", *SMALL)


def test_motion_file_gives_what_its_video_gives(reenactor, tmp_path, photo, clip):
    motion, direct, stored = tmp_path / "m.motion", tmp_path / "direct.mp4", tmp_path / "stored.mp4"
    code, out, err = reenactor("motion", "extract", clip, "-o", motion, "--about", "a note")
    assert (code, err) == (0, "")
    assert f"{FRAMES} frames, 1.33 s, 29.97 frames/s, 0 without a face" in out
    code, out, err = reenactor("motion", "info", motion)
    assert "a note" in out
    assert "driver.mp4" in out
    made(reenactor, "--target", photo, "--driver", clip, "-o", direct, *SMALL)
    made(reenactor, "--target", photo, "--driver", motion, "-o", stored, *SMALL)
    assert stored_times(direct) == stored_times(stored)
    np.testing.assert_array_equal(decoded(direct), decoded(stored))


def test_gap_holds_the_pose_and_names_the_times(reenactor, tmp_path, photo, drawn):
    driver, output = tmp_path / "gap.mp4", tmp_path / "o.mp4"
    wall = np.full_like(drawn[0], 90)
    frames = [*drawn[:15], *[wall] * 10, *drawn[25:]]
    write_clip(driver, frames, list(range(FRAMES)), Fraction(1, 25))
    said = made(reenactor, "--target", photo, "--driver", driver, "-o", output, *SMALL)
    assert "no face in the driver at 0.60-1.00 s: the last pose was held" in said
    result = decoded(output).astype(int)
    assert np.abs(result[15:25] - result[14]).max() < 16
    assert np.abs(result[26:] - result[14]).max() > 32
    assert len(result) == FRAMES


@pytest.mark.slow
def test_face_comes_late(reenactor, tmp_path, photo, drawn):
    driver, output = tmp_path / "late.mp4", tmp_path / "o.mp4"
    frames = [np.full_like(drawn[0], 90)] * 10 + drawn[:20]
    write_clip(driver, frames, list(range(30)), Fraction(1, 25))
    assert "at 0.00-0.40 s" in made(reenactor, "--target", photo, "--driver", driver, "-o", output, *SMALL)
    assert len(decoded(output)) == 30


@pytest.mark.parametrize("more", [(), pytest.param(("--grid",), marks=pytest.mark.slow)])
def test_damaged_end_is_told(reenactor, tmp_path, photo, clip, more):
    driver, output = tmp_path / "cut.mp4", tmp_path / "o.mp4"
    data = clip.read_bytes()
    # More than the half second by which headers may be wrong, wherever between two packets the cut falls.
    driver.write_bytes(data[: int(len(data) * 0.5)])
    said = made(reenactor, "--target", photo, "--driver", driver, "-o", output, *SMALL, *more)
    assert "the driver ends in damaged data" in said
    times, _ = stored_times(output)
    assert 10 < len(times) < FRAMES
    assert times == [i / NTSC for i in range(len(times))]


@pytest.mark.slow
def test_noise_in_the_middle_is_told(reenactor, tmp_path, photo, clip):
    """Overwritten data: whatever could be decoded is animated, twice the same."""
    driver = tmp_path / "noise.mp4"
    data = bytearray(clip.read_bytes())
    middle = int(len(data) * 0.6)
    data[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    driver.write_bytes(data)
    counts = set()
    for layout in ("--crop-only", "--grid"):
        made(reenactor, "--target", photo, "--driver", driver, "-o", tmp_path / "o.mp4", "--size", 64, layout)
        counts.add(len(decoded(tmp_path / "o.mp4")))
    assert len(counts) == 1
    assert counts.pop() >= 10


def test_names_of_all_kinds(reenactor, tmp_path, photo, clip, monkeypatch):
    folder = tmp_path / "Ünïcode фото 写真 and spaces"
    folder.mkdir()
    face, film, output = folder / "l'œil %d.png", folder / "film: 12:30 [x].mp4", folder / "résultat 1.mp4"
    face.symlink_to(photo)
    film.symlink_to(clip)
    monkeypatch.chdir(folder)
    said = made(reenactor, "--target", face.name, "--driver", film.name, "-o", f"./{output.name}", *SMALL)
    assert output.name in said
    assert len(decoded(output)) == FRAMES
    assert sorted(os.listdir(folder)) == sorted([face.name, film.name, output.name])
    code, out, _ = reenactor("verify", output)
    assert code == 0
    assert film.name in out


def test_output_link_is_replaced_not_followed(reenactor, tmp_path, photo, motion):
    precious = tmp_path / "precious.mp4"
    precious.write_bytes(b"keep me")
    output = tmp_path / "o.mp4"
    output.symlink_to(precious)
    made(reenactor, "--target", photo, "--driver", motion, "-o", output, *SMALL)
    assert precious.read_bytes() == b"keep me"
    assert not output.is_symlink()


@pytest.mark.slow
def test_more_photos_and_smoothing(reenactor, tmp_path, photo, clip):
    output = tmp_path / "o.mp4"
    made(reenactor, "--target", photo, photo, photo, "--driver", clip, "-o", output, "--smooth", *SMALL)
    assert len(decoded(output)) == FRAMES


@pytest.mark.slow
def test_smoothing_steadies_the_result(reenactor, tmp_path, photo, motion):
    """A face that sits still behind noise moves less with --smooth."""
    rest = read_motion(motion)
    noise = np.random.default_rng(0).normal(0, 1.5, rest.mesh_px.shape).astype(np.float32)
    shaky = tmp_path / "shaky.motion"
    write_motion(shaky, replace(rest, mesh_px=rest.mesh_px[:1] + noise))
    moved = {}
    for options in ((), ("--smooth",)):
        output = tmp_path / "o.mp4"
        made(reenactor, "--target", photo, "--driver", shaky, "-o", output, "--crop-only", "--size", 128, *options)
        moved[options] = np.abs(np.diff(decoded(output)[10:].astype(int), axis=0)).mean()
    assert moved["--smooth",] < 0.7 * moved[()]


@pytest.mark.slow
def test_photo_of_someone_else_is_told(reenactor, tmp_path, photo, motion):
    stranger = cv2.resize(np.uint8(np.rint(255 * lfw_subset()[0])), (200, 200), interpolation=cv2.INTER_CUBIC)
    write_image(tmp_path / "someone.png", np.repeat(np.pad(stranger, 60, mode="edge")[..., None], 3, axis=2))
    output = tmp_path / "o.mp4"
    people = (photo, photo, tmp_path / "someone.png")
    said = made(reenactor, "--target", *people, "--driver", motion, "-o", output, *SMALL)
    assert "\n  photo 3 (someone.png): this may be another person than in photo 1; use photos of one person\n" in said
    assert "another person" not in made(reenactor, "--target", photo, photo, "--driver", motion, "-o", output, *SMALL)


@pytest.fixture(scope="session")
def two(tmp_path_factory, photo, drawn):
    """A photo and a video of two faces."""
    folder = tmp_path_factory.mktemp("two")
    write_image(folder / "two.png", np.concatenate([read_image(photo)] * 2, axis=1))
    write_clip(folder / "two.mp4", [np.concatenate([frame] * 2, axis=1) for frame in drawn[:8]], range(8), 1 / NTSC)
    return folder / "two.png", folder / "two.mp4"


FACES = "it shows 2 faces, and the largest"
LINES = (
    f"\n  photo 1 (two.png): {FACES} is the one that moves; choose by number from the left with --face\n",
    f"\n  the driver: {FACES} is followed; choose by number from the left with --driver-face\n",
)


def test_several_faces_are_told_where_none_was_chosen(reenactor, tmp_path, photo, motion, two):
    output, options = tmp_path / "o.mp4", ("--size", 64, "--model", "warp")
    said = made(reenactor, "--target", two[0], "--driver", two[1], "-o", output, *options)
    assert [line in said for line in LINES] == [True, True]
    faces = ("--face", 1, "--driver-face", 2)
    said = made(reenactor, "--target", two[0], "--driver", two[1], "-o", output, *options, *faces)
    assert [line in said for line in LINES] == [False, False]
    still = made(reenactor, "--target", photo, "--driver", two[0], "-o", tmp_path / "o.png", *options)
    assert [line in still for line in LINES] == [False, True]
    assert FACES not in made(reenactor, "--target", photo, "--driver", motion, "-o", output, *options)


def test_a_flaw_of_the_photo_is_told(reenactor, tmp_path, photo, motion):
    output = tmp_path / "o.mp4"
    line = "\n  photo 1 (astronaut.png): the face is small and will be soft; use a photo with a larger face\n"
    options = ("--driver", motion, "-o", output, "--size", 64, "--model", "warp")
    assert line in made(reenactor, "--target", photo, "--max-side", 128, *options)
    assert "photo 1" not in made(reenactor, "--target", photo, *options)


def test_batch_goes_on_after_a_failure(reenactor, tmp_path, photo, clip, motion):
    people, films, results = tmp_path / "people", tmp_path / "films", tmp_path / "results"
    people.mkdir()
    films.mkdir()
    (people / "a.png").write_bytes(photo.read_bytes())
    (people / "b.jpg").write_text("not a picture")
    (people / "notes.txt").write_text("not meant")
    (films / "one.mp4").write_bytes(clip.read_bytes())
    (films / "two.motion").write_bytes(motion.read_bytes())
    (films / "zero.mp4").touch()
    command = ("animate", "--target", people, "--driver", films, "-o", results, *SMALL)
    code, out, err = reenactor(*command)
    assert code == 2
    assert sorted(p.name for p in results.iterdir()) == ["a--one.mp4", "a--two.mp4"]
    lines = err.splitlines()
    assert len(lines) == 5
    assert sum("b.jpg is not an image" in line for line in lines) == 3 - 1
    assert sum("zero.mp4" in line for line in lines) >= 1
    assert lines[-1].startswith("reenactor: 4 of 6 could not be made")
    assert out.startswith(
        f"{people}: skipped 1 file that is no photo or .person file: notes.txt\n{results / 'a--one.mp4'}"
    )
    before = (results / "a--one.mp4").stat().st_mtime_ns
    code, out, err = reenactor(*command)
    assert code == 2
    assert out.count("there already, kept") == 2
    assert (results / "a--one.mp4").stat().st_mtime_ns == before


def test_batch_names_what_it_skips(reenactor, tmp_path, photo, motion):
    people, films = tmp_path / "people", tmp_path / "films"
    (people / "old").mkdir(parents=True)
    (films / "b").mkdir(parents=True)
    (films / "a").mkdir()
    (people / "a.png").write_bytes(photo.read_bytes())
    (films / "one.motion").write_bytes(motion.read_bytes())
    for hidden in (people / ".DS_Store", people / "._a.png", films / ".git"):
        hidden.touch()
    for number in range(7):
        (people / f"{number}.txt").touch()
    for name in ("x.pdf", "y.zip"):
        (films / name).touch()
    out = made(reenactor, "--target", people, "--driver", films, "-o", tmp_path / "out", *SMALL)
    assert out.splitlines()[:4] == [
        f"{people}: skipped 7 files that are no photo or .person file: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more",
        f"{people}: skipped 1 folder: old",
        f"{films}: skipped 2 files that are no video, photo or .motion file: x.pdf, y.zip",
        f"{films}: skipped 2 folders: a, b",
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a--one.mp4"]
    (films / "one.motion").unlink()
    code, out, err = reenactor("animate", "--target", people, "--driver", films, "-o", tmp_path / "out")
    assert (code, out.count("\n")) == (2, 2)
    assert err.startswith(
        f"reenactor: nothing in {films} is a video (.mp4, .mov, .gif and others), photo or .motion file;"
    )


def test_earlier_results_of_a_batch_say_if_they_were_made_otherwise(reenactor, tmp_path, photo, motion, monkeypatch):
    people, results = tmp_path / "people", tmp_path / "results"
    people.mkdir()
    person, driver, result = people / "a.png", tmp_path / "m.motion", results / "a--m.mp4"
    person.write_bytes(photo.read_bytes())
    driver.write_bytes(motion.read_bytes())
    command = ("--target", people, "--driver", driver, "-o", results)
    made(reenactor, *command, *SMALL)
    first = result.read_bytes()
    # What computes makes no other result.
    same = ("--device", "cpu", "--runtime", "torch", "--no-provenance")
    assert made(reenactor, *command, *SMALL, *same) == f"{result}: there already, kept\n"
    said = made(reenactor, *command, *SMALL[2:], "--smooth", "--size", 96)
    assert said == f"{result}: there already (made with other options (size, smooth)), kept\n"
    write_image(person, read_image(photo)[:, ::-1])
    assert made(reenactor, *command, *SMALL) == f"{result}: there already (made with other inputs), kept\n"
    said = made(reenactor, *command, *SMALL, "--crop-only")
    assert said == f"{result}: there already (made with other inputs and other options (layout)), kept\n"
    person.write_bytes(photo.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(recording, "__version__", "9.9.9")
        assert "there already (made with reenactor 0.1.0), kept" in made(reenactor, *command, *SMALL)
    data = bytearray(first)
    data[data.index(b"mdat") + 1000] ^= 1
    result.write_bytes(data)
    assert made(reenactor, *command, *SMALL) == f"{result}: there already (changed after it was signed), kept\n"
    claim = Claim("a", "warp", "1", (), Synthesis.UNTRAINED)
    sign_provenance(result, result, claim, own_credentials())
    said = made(reenactor, *command, *SMALL)
    assert said == f"{result}: there already (its signature names no options), kept\n"
    result.unlink()
    made(reenactor, *command, *SMALL, "--no-provenance")
    assert made(reenactor, *command, *SMALL) == f"{result}: there already (unsigned: options unknown), kept\n"
    for broken in (b"no film", b""):
        result.write_bytes(broken)
        said = made(reenactor, *command, *SMALL)
        assert said == f"{result}: there already (it cannot be read: delete it to make it again), kept\n"


def test_a_batch_names_the_result_that_fails_and_names_that_meet(reenactor, tmp_path, photo, motion):
    people = tmp_path / "people"
    people.mkdir()
    (people / "a.png").write_bytes(photo.read_bytes())
    (people / "b.png").write_bytes(b"no photo")
    batch = ("animate", "--target", people, "--driver", motion, "-o", tmp_path / "out", *SMALL)
    code, out, err = reenactor(*batch)
    assert (code, out.count("signed as synthetic")) == (2, 1)
    assert err.splitlines()[0].startswith("reenactor: b--blink.mp4: ")
    (people / "a.jpg").write_bytes(photo.read_bytes())
    assert "(a--blink would be made twice)" in reenactor(*batch)[2]


def test_python_is_told_that_files_are_wanted(photo, motion, tmp_path, unchecked):
    for targets, driver in ((str(photo), motion), ([demo_photo()], motion), ([photo], [motion])):
        with pytest.raises(ReenactError, match="animate takes"):
            animate(targets, driver, tmp_path / "o.mp4")


def test_the_options_stated_name_no_folder(tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    stated = stated_options(Options(weights=weights, size=64, provenance=False, device="cpu", runtime="auto"))
    assert stated == {"weights": hashlib.sha256(b"{}").hexdigest(), "size": "64"}
    assert stated_options(Options()) == {}


def test_batch_by_pattern(reenactor, tmp_path, photo, motion):
    for name in ("x1.png", "x2.png", "y.png"):
        (tmp_path / name).write_bytes(photo.read_bytes())
    out = made(reenactor, "--target", tmp_path / "x*.png", "--driver", motion, "-o", tmp_path / "out", *SMALL)
    assert out.count("30 frames") == 2
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["x1--blink.mp4", "x2--blink.mp4"]


def test_batch_needs_a_folder(reenactor, tmp_path, photo, motion):
    code, _, err = reenactor("animate", "--target", photo.parent, "--driver", motion, "-o", tmp_path / "o.mp4")
    assert code == 2
    assert "give -o a folder" in err
    (tmp_path / "file").touch()
    code, _, err = reenactor("animate", "--target", photo.parent, "--driver", motion, "-o", tmp_path / "file")
    assert code == 2
    assert err.count("\n") == 1


def test_verify(reenactor, tmp_path, photo, motion, clip):
    output = tmp_path / "o.mp4"
    made(reenactor, "--target", photo, "--driver", motion, "-o", output, "--size", 64, "--max-side", 128)
    code, out, err = reenactor("verify", output)
    assert (code, err) == (0, "")
    assert "Signed, and unchanged since." in out
    assert "hybrid" in out
    assert "blink.motion" in out
    assert "Options:     max_side 128, size 64" in out
    data = bytearray(output.read_bytes())
    at = data.index(b"mdat") + 2000
    data[at] ^= 1
    output.write_bytes(data)
    code, out, _ = reenactor("verify", output)
    assert code == 1
    assert "TAMPERED" in out
    code, out, _ = reenactor("verify", clip)
    assert code == 1
    assert "Not signed" in out


@pytest.mark.slow
def test_demo(reenactor, tmp_path):
    code, _, err = reenactor("demo", "--out", tmp_path / "demo")
    assert (code, err) == (0, "")
    assert {p.suffix for p in (tmp_path / "demo").iterdir()} == {".mp4", ".gif", ".png"}
    assert all(read_provenance(p).valid for p in (tmp_path / "demo").iterdir() if p.suffix != ".png")


@pytest.mark.slow
def test_many_ticks_a_second(reenactor, tmp_path, photo, drawn):
    """A clock of microseconds: the mean rate's own fraction would not fit into a video's header."""
    driver, output = tmp_path / "fine.mp4", tmp_path / "o.mp4"
    pts = [i * 33_367 + i % 3 for i in range(FRAMES)]
    write_clip(driver, drawn, pts, Fraction(1, 1_000_000))
    made(reenactor, "--target", photo, "--driver", driver, "-o", output, *SMALL)
    assert stored_times(output)[0] == [Fraction(t, 1_000_000) for t in pts]


def test_odd_sizes(reenactor, tmp_path, photo, motion):
    odd = tmp_path / "odd.png"
    write_image(odd, read_image(photo)[:241, :233])
    made(reenactor, "--target", odd, "--driver", motion, "-o", tmp_path / "o.mp4")
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (234, 242)


@pytest.mark.parametrize("arguments", [("verify", "SIGNED"), ("animate", "--help")])
def test_output_that_nobody_reads(reenactor, tmp_path, photo, arguments):
    """As in `reenactor verify o.png | head -1`: quiet."""
    signed = tmp_path / "o.png"
    made(reenactor, "--target", photo, "--driver", photo, "-o", signed, *SMALL)
    command = [sys.executable, "-m", "reenactor", *(str(signed) if one == "SIGNED" else one for one in arguments)]
    # Unbuffered, argparse itself meets the closed pipe, and says nothing.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_help_names_every_verb(reenactor):
    code, out, _ = reenactor("--help")
    assert code == 0
    assert all(verb in out for verb in ("animate", "demo", "motion", "verify", "bench"))
    assert Path(out.split()[1]).name == "reenactor"


@pytest.mark.parametrize(
    ("given", "head", "movement"),
    [(None, None, 1.0), ("relative", Head.RELATIVE, 1.0), ("absolute", Head.ABSOLUTE, 1.0), ("0.25", None, 0.25)],
)
def test_the_heads_movement(reenactor, tmp_path, photo, motion, monkeypatch, given, head, movement):
    asked = []

    def kept(targets, driver, output, options, **_):
        asked.append(options)
        raise ReenactError("seen")

    monkeypatch.setattr("reenactor.engine.animate", kept)
    chosen = () if given is None else ("--head", given, "--strength", "0.5")
    reenactor("animate", "--target", photo, "--driver", motion, "-o", tmp_path / "o.mp4", *chosen)
    assert (asked[0].head, asked[0].head_movement) == (head, movement)
    assert asked[0].strength == (1.0 if given is None else 0.5)
