"""Frames that are files: order, times, sizes, damage."""

from fractions import Fraction

import numpy as np
import pytest

from reenactor.core import MediaError
from reenactor.media import FrameFilesReader, write_image


def write(folder, sizes):
    paths = [folder / f"{i}.png" for i in range(len(sizes))]
    for i, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        write_image(path, np.full((*size, 3), 10 * i, np.uint8))
    return paths


def test_times_are_the_frame_numbers(tmp_path):
    reader = FrameFilesReader(write(tmp_path, [(40, 48)] * 4), (375, 400, 425, 500), 25)
    assert (reader.size, reader.time_base, reader.frame_count) == ((48, 40), Fraction(1, 25), 4)
    frames = list(reader)
    assert [frame.pts for frame in frames] == [0, 25, 50, 125]
    assert [int(frame.image.mean()) for frame in frames] == [0, 10, 20, 30]
    # The last is shown for a second, as most are: 6 s for 4 frames.
    assert reader.end_pts == 150
    assert reader.duration_s == 6
    assert reader.average_rate == Fraction(4, 6)
    assert [frame.pts for frame in reader.frames(2)] == [50, 125]


def test_one_size_for_all(tmp_path):
    paths = write(tmp_path, [(40, 40), (64, 64), (32, 32)])
    assert {frame.image.shape for frame in FrameFilesReader(paths, (0, 1, 2), 25)} == {(40, 40, 3)}
    # Half black and half white stays so: it is resampled, not cut.
    halves = np.zeros((80, 80, 3), np.uint8)
    halves[:, 40:] = 255
    write_image(paths[1], halves)
    second = list(FrameFilesReader(paths, (0, 1, 2), 25))[1].image
    np.testing.assert_array_equal(second, halves[::2, ::2])


def test_damage_names_the_file(tmp_path):
    paths = write(tmp_path, [(40, 40)] * 3)
    paths[1].write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"1\.png"):
        list(FrameFilesReader(paths, (0, 1, 2), 25))
    with pytest.raises(MediaError, match=r"0\.png"):
        FrameFilesReader([tmp_path / "none" / "0.png"], (0,), 25)
