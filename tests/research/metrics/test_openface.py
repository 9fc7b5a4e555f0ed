"""OpenFace's table and program; the program is a stand-in script that writes a table."""

import math
import os
import stat

import numpy as np
import pytest

from reenactor.core import ReenactError
from reenactor.face.geometry import angles_from_matrix
from reenactor.research.metrics import read_openface, run_openface

TABLE = """frame, face_id, timestamp, confidence, success, pose_Tx, pose_Ty, pose_Tz, pose_Rx, pose_Ry, pose_Rz, AU01_r, AU12_r, AU01_c, AU12_c, AU28_c
1, 0, 0.000, 0.98, 1, 1.0, 2.0, 500.0, 0.100, -0.200, 0.050, 0.00, 2.50, 0.00, 1.00, 0.00
2, 0, 0.040, 0.97, 1, 1.0, 2.0, 500.0, -0.300, 0.400, -0.010, 1.75, 0.30, 1.00, 0.00, 1.00
3, 0, 0.080, 0.05, 0, 0.0, 0.0, 0.0, 0.000, 0.000, 0.000, 0.00, 0.00, 0.00, 0.00, 0.00
"""  # noqa: E501


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "clip.csv"
    path.write_text(TABLE)
    return path


def test_units(table):
    units = read_openface(table).action_units
    assert units.numbers == (1, 12, 28)
    np.testing.assert_array_equal(units.intensity[:, :2], [[0, 2.5], [1.75, 0.3], [0, 0]])
    assert np.isnan(units.intensity[:, 2]).all()
    np.testing.assert_array_equal(units.presence, [[False, True, False], [True, False, True], [False, False, False]])
    assert units.seen.tolist() == [True, True, False]


def test_pose_has_our_signs(table):
    reading = read_openface(table)
    for row, (x, y, z) in enumerate([(0.1, -0.2, 0.05), (-0.3, 0.4, -0.01)]):
        # OpenFace's own matrix, Rx Ry Rz, right-handed, written out.
        c, s = np.cos, np.sin
        Rx = np.array([[1, 0, 0], [0, c(x), -s(x)], [0, s(x), c(x)]])
        Ry = np.array([[c(y), 0, s(y)], [0, 1, 0], [-s(y), 0, c(y)]])
        Rz = np.array([[c(z), -s(z), 0], [s(z), c(z), 0], [0, 0, 1]])
        np.testing.assert_allclose(reading.poses_deg[row], angles_from_matrix(Rx @ Ry @ Rz), atol=1e-9)
    assert np.isnan(reading.poses_deg[2]).all()
    np.testing.assert_allclose(reading.confidence, [0.98, 0.97, 0.05])


@pytest.mark.parametrize(
    "text",
    ["", "frame, success\n1, 1\n", TABLE.replace("pose_Ry", "other"), TABLE.replace("2.50", "two"), TABLE[:-40], "\0"],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ReenactError, match=r"x\.csv cannot be read as OpenFace's table"):
        read_openface(path)


def test_missing_file(tmp_path):
    with pytest.raises(ReenactError, match=r"none\.csv is missing"):
        read_openface(tmp_path / "none.csv")


@pytest.fixture
def program(tmp_path, table):
    """Writes the table where -out_dir says, and its arguments beside itself."""
    path = tmp_path / "bin" / "FeatureExtraction"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\necho "$@" > "{tmp_path}/arguments"\n'
        f'while [ "$1" != -out_dir ]; do shift; done\nmkdir -p "$2" && cp "{table}" "$2/clip.csv"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_runs_the_program_on_a_video(tmp_path, program):
    video = tmp_path / "clip.mp4"
    video.touch()
    assert len(run_openface(video, executable=program).action_units) == 3
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:2] == ["-f", str(video)]
    assert {"-aus", "-pose"} <= set(arguments)
    assert "-wild" not in arguments


def test_runs_the_program_on_pictures(tmp_path, program, monkeypatch):
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    run_openface(pictures, unrelated=True)
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:2] == ["-fdir", str(pictures)]
    assert {"-au_static", "-wild"} <= set(arguments)


def test_says_what_to_install(tmp_path):
    with pytest.raises(ReenactError, match="install OpenFace 2"):
        run_openface(tmp_path, executable="no-such-program")


def test_says_what_is_wrong(tmp_path, program):
    with pytest.raises(ReenactError, match=r"gone\.mp4 does not exist"):
        run_openface(tmp_path / "gone.mp4", executable=program)
    program.write_text("#!/bin/sh\necho 'Could not load the face detector' >&2\nexit 3\n")
    with pytest.raises(ReenactError, match=r"exit code 3\): Could not load the face detector"):
        run_openface(tmp_path, executable=program)
    program.write_text("#!/bin/sh\nexit 0\n")  # no faces, no table
    with pytest.raises(ReenactError, match="no message"):
        run_openface(tmp_path, executable=program)


def test_every_number_is_finite_where_seen(table):
    reading = read_openface(table)
    assert not any(math.isnan(x) for x in reading.poses_deg[reading.action_units.seen].ravel())
