"""OpenFace's table and program; the program is a stand-in script that writes a table."""

import math
import os
import stat

import numpy as np
import pytest

from reenactor.core import ReenactError
from reenactor.face.geometry import angles_from_matrix
from reenactor.research.metrics import OpenFaceReading, find_openface, read_openface, run_openface

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
    units = read_openface(table, 3).action_units
    assert units.numbers == (1, 12, 28)
    np.testing.assert_array_equal(units.intensity[:, :2], [[0, 2.5], [1.75, 0.3], [0, 0]])
    assert np.isnan(units.intensity[:, 2]).all()
    np.testing.assert_array_equal(units.presence, [[False, True, False], [True, False, True], [False, False, False]])
    assert units.seen.tolist() == [True, True, False]


def test_pose_has_our_signs(table):
    reading = read_openface(table, 3)
    for row, (x, y, z) in enumerate([(0.1, -0.2, 0.05), (-0.3, 0.4, -0.01)]):
        # OpenFace's own matrix, Rx Ry Rz, right-handed, written out.
        c, s = np.cos, np.sin
        Rx = np.array([[1, 0, 0], [0, c(x), -s(x)], [0, s(x), c(x)]])
        Ry = np.array([[c(y), 0, s(y)], [0, 1, 0], [-s(y), 0, c(y)]])
        Rz = np.array([[c(z), -s(z), 0], [s(z), c(z), 0], [0, 0, 1]])
        np.testing.assert_allclose(reading.poses_deg[row], angles_from_matrix(Rx @ Ry @ Rz), atol=1e-9)
    assert np.isnan(reading.poses_deg[2]).all()


LINES = TABLE.splitlines(keepends=True)
BAD = {
    "": "does not list each of 3 frames",
    "frame, success\n1, 1\n2, 1\n3, 1\n": "no column AU",
    "success\n1\n": "no column 'frame'",
    TABLE.replace("pose_Ry", "other"): "no column 'pose_Ry'",
    TABLE.replace("AU01_r", "AU01_x").replace("success", "worked"): "no column 'success'",
    TABLE.replace("2.50", "two"): "could not convert",
    TABLE[:-40]: "cannot be read",
    "\0": "cannot be read|does not list",
    "".join(LINES[:3]): "does not list each of 3 frames",
    LINES[0] + "".join(LINES[2:]): "does not list each of 3 frames",
    "".join([*LINES, LINES[3]]): "does not list each of 3 frames",
    "".join([LINES[0], LINES[2], LINES[1], LINES[3]]): "does not list each of 3 frames",
}


@pytest.mark.parametrize("text", BAD)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ReenactError, match=BAD[text]) as caught:
        read_openface(path, 3)
    assert str(caught.value).startswith(f"{path} ")
    assert str(caught.value).endswith("; write it again by FeatureExtraction with -aus -pose")


def test_missing_file(tmp_path):
    with pytest.raises(ReenactError, match=r"none\.csv is missing; write it again"):
        read_openface(tmp_path / "none.csv", 3)


def test_rows_of_joined_tables(table):
    once = read_openface(table, 3)
    found = OpenFaceReading.joined([once, once]).rows([4, 0, 2])
    np.testing.assert_array_equal(found.poses_deg, once.poses_deg[[1, 0, 2]])
    np.testing.assert_array_equal(found.action_units.intensity, once.action_units.intensity[[1, 0, 2]])
    np.testing.assert_array_equal(found.action_units.presence, once.action_units.presence[[1, 0, 2]])
    assert found.action_units.seen.tolist() == [True, True, False]


@pytest.fixture
def program(tmp_path, table, monkeypatch):
    """On the PATH: writes the table for each -fdir where -out_dir says, and its arguments beside itself."""
    path = tmp_path / "bin" / "FeatureExtraction"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\necho "$@" > "{tmp_path}/arguments"\nfor one; do out=$one; done\n'
        f'while [ "$1" = -fdir ]; do cp "{table}" "$out/$(basename "$2").csv"; shift 2; done\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(path.parent), prepend=os.pathsep)
    return path


def test_runs_the_program_on_folders(tmp_path, program):
    folders = [tmp_path / name for name in ("one", "two")]
    executable = find_openface()
    assert executable == str(program)
    run_openface(executable, folders, tmp_path)
    assert all(len(read_openface(tmp_path / f"{name}.csv", 3).poses_deg) == 3 for name in ("one", "two"))
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[:4] == ["-fdir", str(folders[0]), "-fdir", str(folders[1])]
    assert arguments[4:] == ["-aus", "-pose", "-au_static", "-wild", "-out_dir", str(tmp_path)]


def test_says_what_is_wrong(tmp_path, program, monkeypatch):
    folder = tmp_path / "pictures"
    program.write_text("#!/bin/sh\necho 'Could not load the face detector' >&2\nexit 3\n")
    with pytest.raises(ReenactError, match=r"pictures \(exit code 3\): Could not load the face detector; try 'Feat"):
        run_openface(str(program), [folder], tmp_path)
    program.write_text("#!/bin/sh\nexit 0\n")  # no faces, no table
    with pytest.raises(ReenactError, match="no message; try"):
        run_openface(str(program), [folder], tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_openface() is None


def test_every_number_is_finite_where_seen(table):
    reading = read_openface(table, 3)
    assert not any(math.isnan(x) for x in reading.poses_deg[reading.action_units.seen].ravel())
