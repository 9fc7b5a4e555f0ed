"""Bad input gets one sentence and exit code 2, and leaves nothing behind."""

import json
import os
import resource
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from skimage.data import astronaut, coins

from factories import head, write_clip
from reenactor.media import write_image

BASE = Fraction(1, 25)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def refused(reenactor, tmp_path):
    """Run a command that must be refused; gives its sentence."""

    def call(*arguments):
        before = listing(tmp_path)
        code, out, err = reenactor(*arguments)
        assert code == 2, (code, out, err)
        assert out == ""
        assert err.startswith("reenactor: "), err
        assert err.endswith("\n"), err
        sentence = err.removeprefix("reenactor: ").removesuffix("\n")
        assert "\n" not in sentence, err
        assert not sentence[0].isupper(), err
        assert ". " not in sentence.replace(str(tmp_path), ""), err
        assert not sentence.endswith("."), err
        assert listing(tmp_path) == before
        return sentence

    return call


def picture(path, size=(64, 64)):
    Image.new("RGB", size, (90, 120, 60)).save(path)
    return path


def text(path):
    path.write_text("This is a letter, not a picture.\n" * 50)
    return path


def empty(path):
    path.touch()
    return path


def cut_short(path, source, share):
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def jpeg(path):
    Image.fromarray(astronaut()).save(path, quality=90)
    return path


def grey_noise(path):
    write_image(path, np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    return path


BAD_PHOTOS = {
    "missing": (lambda d: d / "nobody.jpg", "there is no file"),
    "text": (lambda d: text(d / "letter.jpg"), "not an image"),
    "cut short": (lambda d: cut_short(d / "half.jpg", jpeg(d / "whole.jpg"), 0.4), "damaged"),
    "empty": (lambda d: empty(d / "empty.png"), "is empty"),
    "one pixel": (lambda d: picture(d / "dot.png", (1, 1)), "1 x 1"),
    "20,000 pixels wide": (lambda d: picture(d / "wide.png", (20_000, 40)), "strip of 20000 x 40"),
    "8192 by 16": (lambda d: picture(d / "strip.png", (8192, 16)), "no face"),
    "no face": (lambda d: grey_noise(d / "noise.png"), "no face"),
    "no face but things": (lambda d: (write_image(d / "c.png", np.stack([coins()] * 3, 2)), d / "c.png")[1], "no face"),
    "a video that is none": (lambda d: text(d / "film.mp4"), "not a video that can be read"),
    "below a file": (lambda d: text(d / "letter.txt") / "face.png", "there is no file"),
    "empty folder": (lambda d: folder(d / "people"), "is a photo (.png, .jpg"),
}


@pytest.mark.parametrize("case", BAD_PHOTOS)
def test_photo(case, refused, tmp_path, motion):
    make, reason = BAD_PHOTOS[case]
    bad = make(tmp_path)
    sentence = refused("animate", "--target", bad, "--driver", motion, "-o", tmp_path / "o.mp4")
    assert reason in sentence
    assert str(bad) in sentence


def test_second_photo_is_named(refused, tmp_path, motion, photo):
    bad = grey_noise(tmp_path / "noise.png")
    assert str(bad) in refused("animate", "--target", photo, bad, "--driver", motion, "-o", tmp_path / "o.mp4")
    folder = refused("animate", "--target", photo, tmp_path, "--driver", motion, "-o", tmp_path / "o.mp4")
    assert f"{tmp_path} is a folder" in folder


def sound_only(path):
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=48000)
        for block in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 48000, block * 1024
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def still_clip(path, image, frames=12, **options):
    write_clip(path, [image] * frames, list(range(frames)), BASE, **options)
    return path


def no_face_clip(path):
    return still_clip(path, np.full((128, 128, 3), 90, np.uint8))


def no_frames(path):
    """A whole MP4 whose only track lists no frame."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        output.start_encoding()
    return path


def odd_codec(path):
    data = no_face_clip(path).read_bytes()
    assert data.count(b"avc1") >= 1
    path.write_bytes(data.replace(b"avc1", b"zzzz"))
    return path


def moov_missing(path):
    picture = head()
    return cut_short(path, still_clip(path.with_name("whole.mp4"), picture, faststart=False), 0.8)


def folder(path):
    path.mkdir()
    return path


BAD_DRIVERS = {
    "missing": (lambda d: d / "nobody.mp4", "there is no file"),
    "text": (lambda d: text(d / "letter.mp4"), "not a video"),
    "empty": (lambda d: empty(d / "empty.mp4"), "is empty"),
    "cut before its index": (lambda d: moov_missing(d / "half.mp4"), "not a video that can be read"),
    "no frames": (lambda d: no_frames(d / "none.mp4"), ""),
    "sound only": (lambda d: sound_only(d / "song.m4a"), "no video stream"),
    "unknown codec": (lambda d: odd_codec(d / "odd.mp4"), "codec"),
    "no face": (lambda d: no_face_clip(d / "wall.mp4"), "no face"),
    "no face in photo": (lambda d: grey_noise(d / "noise.png"), "no face"),
    "empty folder": (lambda d: folder(d / "films"), "is a video (.mp4, .mov, .gif and others), photo or .motion"),
    "no such pattern": (lambda d: d / "*.mov", "nothing in"),
    "motion of noise": (lambda d: (d / "n.motion", (d / "n.motion").write_bytes(os.urandom(5000)))[0], "not a motion"),
    "motion of text": (lambda d: text(d / "t.motion"), "not a motion"),
    "motion empty": (lambda d: empty(d / "e.motion"), "is empty; give a motion file with content"),
}


@pytest.mark.parametrize("case", BAD_DRIVERS)
def test_driver(case, refused, tmp_path, photo):
    make, reason = BAD_DRIVERS[case]
    bad = make(tmp_path)
    sentence = refused("animate", "--target", photo, "--driver", bad, "-o", tmp_path / "o.mp4")
    assert reason in sentence
    assert str(bad) in sentence


def altered_motion(path, source, header=(), arrays=()):
    tensors = load_file(source)
    with source.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        facts = json.loads(file.read(length))["__metadata__"]
    tensors |= {name: change(tensors[name].copy()) for name, change in dict(arrays).items()}
    save_file(tensors, path, facts | dict(header))
    return path


def poisoned(values):
    values[3] = np.nan
    return values


BAD_MOTIONS = {
    "newer version": ({"version": "2"}, {}, "version 2"),
    "another tool's": ({"format": "weights"}, {}, "not a motion file"),
    "no time base": ({"time_base": "1/0"}, {}, "damaged"),
    "negative time base": ({"time_base": "-1/25"}, {}, "damaged"),
    "no step": ({"steps_per_px": "0"}, {}, "damaged"),
    "no picture": ({"picture_size": "0x0"}, {}, "damaged"),
    "bad note": ({"about": "{"}, {}, "damaged"),
    "note is no table": ({"about": "[1]"}, {}, "damaged"),
    "ends early": ({"end_pts": "3"}, {}, "damaged"),
    "mesh lacks points": ({}, {"mesh": lambda mesh: mesh[:, :468]}, "damaged"),
    "mesh of zeros": ({}, {"mesh": lambda mesh: mesh * 0}, ""),
    "not a number": ({}, {"pose_deg": poisoned}, "damaged"),
    "face never seen": ({}, {"seen": lambda seen: seen * 0}, "face"),
}


@pytest.mark.parametrize("case", BAD_MOTIONS)
def test_motion_file(case, refused, tmp_path, photo, motion):
    header, arrays, reason = BAD_MOTIONS[case]
    bad = altered_motion(tmp_path / "bad.motion", motion, header, arrays)
    sentence = refused("animate", "--target", photo, "--driver", bad, "-o", tmp_path / "o.mp4")
    assert reason in sentence
    assert str(bad) in sentence


BAD_OUTPUTS = {
    "folder missing": (lambda d: d / "nowhere" / "o.mp4", (), "there is no folder"),
    "below a file": (lambda d: text(d / "letter.txt") / "o.mp4", (), "there is no folder"),
    "not permitted": (lambda d: type(d)("/proc/o.mp4"), (), "cannot write"),
    "is a folder": (lambda d: folder(d / "o.mp4"), (), "is a folder"),
    "no suffix": (lambda d: d / "film", ("--no-provenance",), "must end in"),
    "wrong suffix": (lambda d: d / "o.avi", (), "must end in"),
    "picture of a video": (lambda d: d / "o.png", (), "must end in"),
    "cannot be signed": (lambda d: d / "o.mkv", (), "--no-provenance"),
}


@pytest.mark.parametrize("case", BAD_OUTPUTS)
def test_output(case, refused, tmp_path, photo, motion):
    make, more, reason = BAD_OUTPUTS[case]
    bad = make(tmp_path)
    sentence = refused("animate", "--target", photo, "--driver", motion, "-o", bad, *more)
    assert reason in sentence
    assert str(bad) in sentence or str(bad.parent) in sentence or bad.name in sentence


def test_output_of_a_still(refused, tmp_path, photo):
    assert "must end in" in refused("animate", "--target", photo, "--driver", photo, "-o", tmp_path / "o.bmp")


@pytest.mark.parametrize("way", ["same", "symlink", "hardlink", "roundabout"])
@pytest.mark.parametrize("which", ["driver", "photo"])
def test_output_is_an_input(way, which, refused, tmp_path, photo, clip):
    source = tmp_path / ("in.mp4" if which == "driver" else "in.png")
    source.write_bytes((clip if which == "driver" else photo).read_bytes())
    output = tmp_path / f"out{source.suffix}"
    if way == "symlink":
        output.symlink_to(source)
    elif way == "hardlink":
        output.hardlink_to(source)
    else:
        output = source if way == "same" else tmp_path / ".." / tmp_path.name / source.name
    before = source.read_bytes()
    given = (photo, source) if which == "driver" else (source, photo)
    assert "also an input" in refused("animate", "--target", given[0], "--driver", given[1], "-o", output)
    assert source.read_bytes() == before


BAD_OPTIONS = {
    "size not a multiple": (("--size", 100), "multiple of 32"),
    "size zero": (("--size", 0), "multiple of 32"),
    "size negative": (("--size", -64), "multiple of 32"),
    "size enormous": (("--size", 32 * 10**6), "multiple of 32"),
    "size no number": (("--size", "big"), "--size"),
    "longest side": (("--max-side", 8), "at least 64"),
    "device": (("--device", "tpu"), "the device must be auto, cpu, cuda"),
    "no such face": (("--face", 2), "shows 1"),
    "face zero": (("--face", 0), "from 1"),
    "face negative": (("--driver-face", -1), "from 1"),
    "driver's face zero": (("--driver-face", 0), "from 1"),
    "a motion's face": (("--driver-face", 2), "holds one face"),
    "unknown transfer": (("--transfer", "sideways"), "--transfer"),
    "unknown head": (("--head", "sideways"), "--head must be one of relative, absolute, or a number from 0 to 1"),
    "more than all of the head": (("--head", "1.5"), "from 0 (it stays) to 1"),
    "no number of the head": (("--head", "nan"), "from 0 (it stays) to 1"),
    "part of absolute angles": (("--head", "0.5", "--transfer", "absolute"), "absolute angles"),
    "strength": (("--strength", "3"), "from 0 to 2"),
    "unknown option": (("--quality", "best"), "--quality"),
    "two layouts": (("--grid", "--crop-only"), "--grid"),
    "certificate alone": (("--sign-cert", "a.pem"), "give both"),
    "certificate missing": (("--sign-cert", "/no/a.pem", "--sign-key", "/no/b.pem"), "/no/a.pem"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_option(case, refused, tmp_path, photo, motion):
    options, reason = BAD_OPTIONS[case]
    assert reason in refused("animate", "--target", photo, "--driver", motion, "-o", tmp_path / "o.mp4", *options)


@pytest.mark.parametrize("verb", ["animate", "bench"])
def test_unknown_model(verb, reenactor, tmp_path, photo, motion):
    job = ("--target", photo, "--driver", motion, "-o", tmp_path / "o.mp4") if verb == "animate" else ()
    code, out, err = reenactor(verb, *job, "--model", "deepfake9000")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "warp" in err
    assert not listing(tmp_path)


def test_nine_photos(refused, tmp_path, photo, motion):
    assert "9 photos" in refused("animate", "--target", *[photo] * 9, "--driver", motion, "-o", tmp_path / "o.mp4")


def test_driver_shows_fewer_faces(refused, tmp_path, photo, clip):
    sentence = refused("animate", "--target", photo, "--driver", clip, "-o", tmp_path / "o.mp4", "--driver-face", 2)
    assert "face number 2" in sentence
    assert str(clip) in sentence


def test_key_of_another_certificate(refused, tmp_path, photo, motion):
    from reenactor.media import own_credentials

    paths = []
    for number in range(2):
        credentials = own_credentials(tmp_path / f"home{number}")
        paths += [tmp_path / f"{number}.crt", tmp_path / f"{number}.key"]
        paths[-2].write_bytes(credentials.certificate_chain_pem)
        paths[-1].write_bytes(credentials.private_key_pem)
    sentence = refused(
        *("animate", "--target", photo, "--driver", motion, "-o", tmp_path / "o.mp4"),
        *("--sign-cert", paths[0], "--sign-key", paths[3]),
    )
    assert str(paths[3]) in sentence


@pytest.fixture
def little_room():
    """No file may grow beyond this many bytes: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(most):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("driver", "room", "suffix"),
    [
        ("clip", 40_000, ".mp4"),  # the landmarks do not fit
        ("motion", 5_000, ".mp4"),  # the pictures do not fit
        pytest.param("motion", 20_000, ".gif", marks=pytest.mark.slow),
        pytest.param("motion", 20_000, ".webp", marks=pytest.mark.slow),
    ],
)
def test_full_disk(driver, room, suffix, reenactor, tmp_path, photo, request, little_room):
    output = tmp_path / f"o{suffix}"
    output.write_bytes(b"what was there before")
    # fmt: off
    command = ("animate", "--target", photo, "--driver", request.getfixturevalue(driver), "-o", output,
               "--size", 64, "--max-side", 128)
    # fmt: on
    little_room(room)
    code, out, err = reenactor(*command)
    little_room(resource.RLIM_INFINITY)
    assert (code, out) == (2, "")
    assert err.startswith("reenactor: cannot write")
    assert "disk is full" in err
    assert err.count("\n") == 1
    assert output.read_bytes() == b"what was there before"
    assert [p.name for p in tmp_path.iterdir() if p != output] in ([], [f"o{suffix}.reenactor-job"])
    code, out, err = reenactor(*command)
    assert (code, err) == (0, "")
    assert listing(tmp_path) == [output.name]


MORE = {
    "extract missing": (("motion", "extract", "no.mp4", "-o", "o.motion"), "does not exist"),
    "extract to mp4": (("motion", "extract", "CLIP", "-o", "o.mp4"), "should end in .motion"),
    "extract to nowhere": (("motion", "extract", "CLIP", "-o", "nowhere/o.motion"), "there is no folder"),
    "extract face 0": (("motion", "extract", "CLIP", "-o", "o.motion", "--face", "0"), "from 1"),
    "extract photo": (("motion", "extract", "PHOTO", "-o", "o.motion"), "not a video"),
    "extract nothing": (("motion", "extract", "CLIP", "-o", "o.motion", "--start", "9"), "nothing of"),
    "extract backwards": (("motion", "extract", "CLIP", "-o", "o.motion", "--start", "1", "--end", "0"), "nothing of"),
    "extract nan": (("motion", "extract", "CLIP", "-o", "o.motion", "--start", "nan"), "nothing of"),
    "info missing": (("motion", "info", "no.motion"), "does not exist"),
    "info of a video": (("motion", "info", "CLIP"), "not a motion file"),
    "verify missing": (("verify", "no.mp4"), "does not exist"),
    "verify folder": (("verify", "films"), "is a folder"),
    "verify text": (("verify", "letter.txt"), "letter.txt"),
    "demo below a file": (("demo", "--out", "letter.txt/demo"), "letter.txt"),
    "bench to nowhere": (("bench", "--json", "nowhere/a.json"), "nowhere"),
    "no verb": ((), "COMMAND"),
    "unknown verb": (("dance",), "dance"),
}


@pytest.mark.parametrize("case", MORE)
def test_other_verbs(case, refused, tmp_path, clip, photo, monkeypatch):
    arguments, reason = MORE[case]
    text(tmp_path / "letter.txt")
    folder(tmp_path / "films")
    monkeypatch.chdir(tmp_path)
    given = {"CLIP": clip, "PHOTO": photo}
    assert reason in refused(*(given.get(one, one) for one in arguments))
