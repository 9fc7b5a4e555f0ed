"""Motion files: what is written comes back, and files of the old name give the same landmarks."""

from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from reenactor.core import CheckpointError, Motion
from reenactor.core.landmark_codec import dequantize, quantize, steps_per_px
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion, write_motion


@pytest.fixture
def motion():
    """Three frames at 29.97 frames a second."""
    mesh = np.random.default_rng(0).uniform(-100, 700, (3, 478, 3)).astype(np.float32)
    seen = np.array([True, False, True])
    pose = np.arange(9, dtype=np.float32).reshape(3, 3)
    return Motion(mesh, seen, np.array([0, 1001, 2002]), 3003, Fraction(1, 30000), pose, (640, 480), {"by": "us"})


def test_comes_back(motion, tmp_path):
    path = tmp_path / "a.motion"
    write_motion(path, motion)
    back = read_motion(path)
    np.testing.assert_allclose(back.mesh_px, motion.mesh_px, atol=0.5 / steps_per_px((640, 480)))
    assert (back.seen == motion.seen).all()
    assert (back.pts == motion.pts).all()
    assert (back.pose_deg == motion.pose_deg).all()
    for name in ("end_pts", "time_base", "picture_size", "about"):
        assert getattr(back, name) == getattr(motion, name)
    write_motion(tmp_path / "b.motion", back)
    assert (read_motion(tmp_path / "b.motion").mesh_px == back.mesh_px).all()


def parts(path):
    """A motion file's header and arrays."""
    with safe_open(str(path), framework="numpy") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", shipped_motions())
def test_a_file_of_the_old_name_gives_the_same_landmarks(name, tmp_path):
    shipped = shipped_motions()[name]
    header, arrays = parts(shipped)
    assert header["format"] == "reenactor-motion"
    old = tmp_path / "old.motion"
    old.write_bytes(save(arrays, header | {"format": "reenact-motion"}))
    steps = int(header["steps_per_px"])
    assert (read_motion(old).mesh_px == arrays["mesh"].astype(np.float32) / np.float32(steps)).all()
    assert (read_motion(old).mesh_px == read_motion(shipped).mesh_px).all()


@pytest.mark.parametrize(
    "change",
    [
        # With a few more digits the first would keep a process for ever.
        {"time_base": "1e99999"},
        {"time_base": "1/0"},
        {"time_base": "-1/25"},
        {"time_base": "1/2/3"},
        {"time_base": "1/" + "9" * 4000},
        {"time_base": "\u0661/25"},
        {"end_pts": "9" * 4000},
        {"end_pts": "9" * 5000},
        {"end_pts": "2002"},
        {"steps_per_px": "0"},
        {"steps_per_px": "1e9"},
        {"picture_size": "0x480"},
        {"picture_size": "640"},
        {"picture_size": "9" * 400 + "x480"},
        {"about": "[" * 100_000},
        {"about": "[]"},
        {"format": "reenactor-motion", "version": "\u001b[2J"},
    ],
)
def test_headers_that_strangers_write(change, motion, tmp_path):
    path = tmp_path / "a.motion"
    write_motion(path, motion)
    header, arrays = parts(path)
    path.write_bytes(save(arrays, header | change))
    with pytest.raises(CheckpointError) as error:
        read_motion(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


@settings(max_examples=300, deadline=2000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_bytes_end_in_one_sentence(data, motion, tmp_path):
    path = tmp_path / "a.motion"
    write_motion(path, motion)
    whole = bytearray(path.read_bytes())
    # The header is short and the arrays are long: most changes go where most is decided.
    where = st.one_of(st.integers(0, 700), st.integers(0, len(whole) - 1))
    for at, value in data.draw(st.lists(st.tuples(where, st.integers(0, 255)), min_size=1, max_size=8)):
        whole[at] = value
    path.write_bytes(whole[: data.draw(st.one_of(st.just(len(whole)), st.integers(1, len(whole))))])
    with suppress(CheckpointError):
        read_motion(path)


@pytest.mark.parametrize("size", [(16, 16), (640, 480), (1920, 1080), (8192, 8192)])
def test_points_half_an_image_outside_fit(size):
    steps = steps_per_px(size)
    far = np.full((478, 3), 1.5 * max(size), np.float32)
    assert (dequantize(quantize(far, steps), steps) == far).all()
    assert steps * 2 * 1.5 * max(size) > 32767


def test_what_does_not_fit_is_clipped():
    assert quantize(np.full((478, 3), 1e9), 16).max() == 32767
    assert quantize(np.full((478, 3), -1e9), 16).min() == -32768
