"""Person files: what is written comes back, and files that somebody changed end in one sentence."""

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from factories import is_one_sentence
from reenactor.core import CheckpointError, MediaError
from reenactor.media import Person, SourceFile, is_person, read_person, write_motion, write_person
from reenactor.media.person_file import PersonPicture, Tuning, person_sources, webp_of

ABOUT = {"steps": 7.0, "seconds": 60.0}


@pytest.fixture
def person():
    """Two pictures of somebody, tuned."""
    rng = np.random.default_rng(0)
    pixels = np.full((64, 48, 3), (200, 120, 40), np.uint8)
    meshes = rng.uniform(5, 40, (2, 478, 3)).astype(np.float32)
    return Person(
        pictures=(
            PersonPicture(webp_of(pixels), meshes[0], 2, ("GLASSES", "SEVERAL_FACES"), 1, 40, 1.6, (0, 7)),
            PersonPicture(webp_of(pixels[:50]), meshes[1], source=2),
        ),
        neutral=meshes[0] - 3,
        ranges=np.arange(10, dtype=np.float32).reshape(2, 5),
        sources=(SourceFile("target", "mé.mp4", "a" * 64), SourceFile("target", "b.jpg", "b" * 64)),
        software="reenactor 9",
        tuning=Tuning("hybrid", "3-abc", {"a.weight": rng.normal(size=(2, 3)).astype(np.float16)}, ABOUT),
    )


@pytest.fixture
def path(person, tmp_path):
    write_person(tmp_path / "me.person", person)
    return tmp_path / "me.person"


def parts(path):
    """A person file's header, what it says, and its arrays."""
    with safe_open(str(path), framework="numpy") as file:
        header = file.metadata()
        return header, json.loads(header["about"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def test_comes_back(person, path):
    back = read_person(path)
    for ours, theirs in zip(back.pictures, person.pictures, strict=True):
        assert (ours.mesh_px == theirs.mesh_px).all()
        assert vars(ours) | {"mesh_px": 0} == vars(theirs) | {"mesh_px": 0}
    assert back.pictures[1].pixels().shape == (50, 48, 3)
    assert np.abs(back.pictures[0].pixels().astype(int) - (200, 120, 40)).max() < 8
    assert (back.neutral == person.neutral).all()
    assert (back.ranges == person.ranges).all()
    assert (back.sources, back.software) == (person.sources, person.software)
    assert person_sources(path) == person.sources
    assert (back.tuning.model, back.tuning.version, back.tuning.about) == ("hybrid", "3-abc", ABOUT)
    (name, ours), (_, theirs) = *back.tuning.difference.items(), *person.tuning.difference.items()
    assert name == "a.weight"
    assert (ours == theirs).all()


def test_untuned_comes_back(person, path):
    write_person(path, replace(person, tuning=None))
    assert read_person(path).tuning is None


def test_names():
    assert is_person("a/ME.Person")
    assert not is_person("person")
    assert not is_person(np.zeros(3))


def refused(path, says):
    for read in (read_person, person_sources):
        with pytest.raises(CheckpointError, match=says) as error:
            read(path)
        assert is_one_sentence(str(error.value), path)


def test_what_is_no_person(path, tmp_path, person):
    from reenactor.engine.shipped import shipped_motions
    from reenactor.media import read_motion

    write_motion(path, read_motion(next(iter(shipped_motions().values()))))
    refused(path, "is not a person file; make one with")
    path.write_bytes(save({"a": np.zeros(3)}))
    refused(path, "is not a person file; make one with")
    path.write_bytes(b"nothing at all")
    refused(path, "is not a person file or is damaged")
    path.write_bytes(b"")
    with pytest.raises(MediaError, match="is empty"):
        read_person(path)
    with pytest.raises(MediaError, match="does not exist"):
        read_person(tmp_path / "none.person")
    with pytest.raises(MediaError, match="does not exist"):
        write_person(tmp_path / "none" / "me.person", person)


def test_another_version(path):
    header, _, arrays = parts(path)
    for version in ("2", "\x1b[2J", "9" * 5000):
        path.write_bytes(save(arrays, header | {"version": version}))
        refused(path, "this release reads version 1")


def test_truncated(path):
    whole = path.read_bytes()
    for length in (7, 8, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "or is damaged; make it again")


def changed(about, keys, value):
    *way, last = keys
    inside = about
    for key in way:
        inside = inside[key]
    inside[last] = value
    return about


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["pictures"], []),
        (["pictures"], 3),
        (["pictures", 0, "source"], 3),
        (["pictures", 0, "source"], 0),
        (["pictures", 0, "source"], True),
        (["pictures", 0, "frame"], -1),
        (["pictures", 0, "frame"], "1"),
        (["pictures", 0, "faces"], 2**40),
        (["pictures", 0, "time_s"], 1e300),
        (["pictures", 0, "time_s"], "x"),
        (["pictures", 0, "findings"], ["\x1b[2J"]),
        (["pictures", 0, "findings"], 5),
        (["sources"], []),
        (["sources", 0, "name"], "a\nb"),
        (["sources", 0, "name"], "a" * 400),
        (["sources", 0], "a"),
        (["software"], None),
        (["tuning", "model"], 3),
        (["tuning", "about"], [1]),
        (["tuning", "about"], {"steps": 1}),
        (["tuning"], "yes"),
    ],
)
def test_facts_that_strangers_write(path, keys, value):
    header, about, arrays = parts(path)
    path.write_bytes(save(arrays, header | {"about": json.dumps(changed(about, keys, value))}))
    with pytest.raises(CheckpointError) as error:
        read_person(path)
    assert is_one_sentence(str(error.value), path)


def animation(shown):
    import io

    out = io.BytesIO()
    shown[0].save(out, "WEBP", save_all=True, append_images=shown[1:])
    return np.frombuffer(out.getvalue(), np.uint8)


def bad_arrays(name):
    from PIL import Image

    grey = [Image.new("RGB", (64, 64), colour) for colour in ("grey", "black")]
    return {
        "mesh_px": [np.full((2, 478, 3), np.nan, np.float32), np.zeros((2, 478, 3), np.float32), np.zeros(3)],
        "neutral": [np.zeros((478, 2), np.float32), np.full((478, 3), np.inf, np.float32)],
        "ranges": [np.zeros((5, 2), np.float32)],
        "picture-01": [
            np.frombuffer(b"RIFF", np.uint8),
            np.frombuffer(b"\x89PNG\r\n\x1a\n", np.uint8),
            np.zeros((2, 2), np.uint8),
            np.zeros(9, np.float32),
            animation(grey),
            np.frombuffer(webp_of(np.zeros((8, 64, 3), np.uint8)), np.uint8),
            np.frombuffer(webp_of(np.zeros((64, 1921, 3), np.uint8)), np.uint8),
            # The face lies beyond it.
            np.frombuffer(webp_of(np.zeros((17, 17, 3), np.uint8)), np.uint8),
        ],
        "difference/a.weight": [np.zeros((2, 3), np.float32), np.full((2, 3), np.inf, np.float16)],
    }[name]


@pytest.mark.parametrize("name", ["mesh_px", "neutral", "ranges", "picture-01", "difference/a.weight"])
def test_arrays_that_strangers_write(path, name):
    header, _, arrays = parts(path)
    for value in bad_arrays(name):
        path.write_bytes(save(arrays | {name: value}, header))
        with pytest.raises(CheckpointError, match="or is damaged; make it again"):
            read_person(path)
    del arrays[name]
    path.write_bytes(save(arrays, header))
    if "difference" not in name:
        with pytest.raises(CheckpointError, match="or is damaged; make it again"):
            read_person(path)


def test_a_picture_whose_pixels_are_damaged(path):
    header, _, arrays = parts(path)
    webp = arrays["picture-01"].copy()
    webp[40:] = 0
    path.write_bytes(save(arrays | {"picture-01": webp}, header))
    with suppress(CheckpointError, MediaError):
        read_person(path).pictures[0].pixels()


@settings(max_examples=200, deadline=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_end_in_one_sentence(data, path):
    whole = bytearray(path.read_bytes())
    where = st.one_of(st.integers(0, 1500), st.integers(0, len(whole) - 1))
    for at, value in data.draw(st.lists(st.tuples(where, st.integers(0, 255)), min_size=1, max_size=8)):
        whole[at] = value
    other = path.with_name("other.person")
    other.write_bytes(whole[: data.draw(st.one_of(st.just(len(whole)), st.integers(1, len(whole))))])
    with suppress(CheckpointError, MediaError):
        for one in read_person(other).pictures:
            one.pixels()
