"""Landmarks as bytes: the error is half a step, and the layout is the one that docs/data.md describes."""

import lzma
import struct

import numpy as np
import pytest

from reenactor.core import ReenactError
from reenactor.core.landmark_codec import MAGIC, PARENTS, decode_landmarks, encode_landmarks
from reenactor.engine.shipped import shipped_motions
from reenactor.media import read_motion


@pytest.fixture(scope="module")
def talk():
    """(200, 478, 3): real movement, at the scale of a 256 px crop."""
    mesh = read_motion(shipped_motions()["talk"]).mesh_px[:200]
    return mesh * np.float32(128 / np.ptp(mesh[0, :, 1]))


def decode_ref(data):
    """As docs/data.md has it, number by number."""
    magic, steps, points, frames = struct.unpack("<4sHHI", data[:12])
    assert magic == MAGIC
    raw = lzma.decompress(data[12:])
    third = len(raw) // 3
    values = np.zeros((frames, points, 3), int)
    children = {v: [c for c in range(points) if PARENTS[c] == v and c != v] for v in range(points)}
    for t in range(frames):
        for c in range(3):
            todo = [1]
            change = {}
            while todo:
                v = todo.pop()
                place = (c * points + v) * frames + t
                folded = raw[place] + 256 * raw[third + place] + 65536 * raw[2 * third + place]
                rest = folded // 2 if folded % 2 == 0 else -(folded + 1) // 2
                change[v] = rest + (change[PARENTS[v]] if v != 1 else 0)
                values[t, v, c] = change[v] + (values[t - 1, v, c] if t else 0)
                todo += children[v]
    return values / steps


@pytest.mark.parametrize(("steps", "most"), [(16, 0.5 / 16), (11, 0.5 / 11)])
def test_round_trip_within_half_a_step(talk, steps, most):
    back = decode_landmarks(encode_landmarks(talk, steps))
    assert back.dtype == np.float32
    assert np.abs(back - talk).max() <= most + 1e-5 < 0.05


def test_follows_the_documented_layout(talk):
    data = encode_landmarks(talk[:3], 16)
    np.testing.assert_allclose(decode_landmarks(data), decode_ref(data), atol=1e-4)


def test_small(talk):
    assert len(encode_landmarks(talk, 16)) < 600 * len(talk)
    assert len(encode_landmarks(talk[:1], 16)) < 1800


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_any_numbers_that_fit(frames):
    mesh = np.random.default_rng(0).uniform(-2047, 2047, (frames, 478, 3)).astype(np.float32)
    mesh[0, 0], mesh[-1, 5] = 2047, -2047
    assert np.abs(decode_landmarks(encode_landmarks(mesh, 16)) - mesh).max() < 0.032


def test_same_landmarks_same_bytes(talk):
    assert encode_landmarks(talk, 16) == encode_landmarks(talk.copy(), 16)


@pytest.mark.parametrize(
    "mesh", [np.zeros((0, 478, 3)), np.zeros((2, 468, 3)), np.full((1, 478, 3), np.nan), np.full((1, 478, 3), 3000.0)]
)
def test_refuses(mesh):
    with pytest.raises(ValueError, match="landmarks"):
        encode_landmarks(mesh, 16)


@pytest.mark.parametrize("spoil", [lambda d: b"", lambda d: d[:40], lambda d: b"XXXX" + d[4:], lambda d: d[:12]])
def test_damage_is_told(talk, spoil):
    with pytest.raises(ReenactError, match="prepare the data again"):
        decode_landmarks(spoil(encode_landmarks(talk[:2], 16)))


def test_parents_are_one_tree():
    for vertex in range(478):
        steps = 0
        place = vertex
        while place != 1:
            place, steps = PARENTS[place], steps + 1
            assert steps < 478
