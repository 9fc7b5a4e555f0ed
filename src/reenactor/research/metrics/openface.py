"""OpenFace 2 (Baltrusaitis et al. 2018), with which paper B measures pose and AUs, as far as a user has installed it.

Its licence forbids commercial use, so it neither ships nor is fetched.
"""

from __future__ import annotations

import csv
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import ActionUnits, ReenactError

EXECUTABLE = "FeatureExtraction"


@dataclass(frozen=True)
class OpenFaceReading:
    """What OpenFace tells of N frames.

    Args:
        action_units: 17 with intensity and presence; AU 28 with presence only (intensity NaN).
        poses_deg: (N, 3) yaw, pitch, roll with our signs (docs/conventions.md); NaN where no face was found.
        confidence: (N,) 0 to 1, of the landmarks.
    """

    action_units: ActionUnits
    poses_deg: Float[np.ndarray, "n 3"]
    confidence: Float[np.ndarray, " n"]


def read_openface(path: str | os.PathLike[str]) -> OpenFaceReading:
    """Read the CSV file that `FeatureExtraction` wrote, with `-aus -pose` at least.

    OpenFace has our axes and order of rotations, but its yaw is right-handed (positive to the image's left), and
    angles are in radians.

    Raises:
        ReenactError: there is no such file, or it lacks columns.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = [{(name or "").strip(): value for name, value in row.items()} for row in csv.DictReader(stream)]
        return _reading(rows)
    except FileNotFoundError:
        raise ReenactError(f"{path} is missing; let OpenFace's {EXECUTABLE} write it with -aus -pose") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReenactError(
            f"{path} cannot be read as OpenFace's table ({error}); write it anew by {EXECUTABLE} with -aus -pose"
        ) from error


def run_openface(
    source: str | os.PathLike[str],
    *,
    executable: str | os.PathLike[str] = EXECUTABLE,
    unrelated: bool = False,
) -> OpenFaceReading:
    """Run `FeatureExtraction` on a video (`-f`) or a folder of pictures in order of name (`-fdir`).

    Args:
        source: the video file or the folder.
        executable: name on the PATH, or a file.
        unrelated: the pictures of the folder are not a video: AUs are then read from each alone (`-au_static -wild`),
            otherwise relative to the person's median.

    Raises:
        ReenactError: OpenFace is not installed, or failed.
    """
    source = Path(source)
    found = shutil.which(executable)
    if found is None:
        raise ReenactError(
            f"OpenFace's {executable} was not found; install OpenFace 2 (github.com/TadasBaltrusaitis/OpenFace) and "
            f"name its {EXECUTABLE}, or measure with reenactor's own estimator"
        )
    if not source.exists():
        raise ReenactError(f"{source} does not exist; give a video or a folder of pictures")
    with tempfile.TemporaryDirectory() as folder:
        command = [found, "-fdir" if source.is_dir() else "-f", os.fspath(source.resolve()), "-aus", "-pose"]
        command += [*(["-au_static", "-wild"] if unrelated else []), "-out_dir", folder]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        tables = sorted(Path(folder).glob("*.csv"))
        if ended.returncode != 0 or not tables:
            last = (ended.stderr.strip() or ended.stdout.strip() or "no message").splitlines()[-1]
            raise ReenactError(f"OpenFace failed on {source} (exit code {ended.returncode}): {last}")
        return read_openface(tables[0])


def _reading(rows: Sequence[Mapping[str, str]]) -> OpenFaceReading:
    if not rows:
        raise ValueError("no frames")
    numbers = tuple(sorted(int(name[2:4]) for name in rows[0] if name.startswith("AU") and name.endswith("_c")))
    if not numbers:
        raise ValueError("no column AU.._c")

    def column(name: str) -> Float[np.ndarray, " n"]:
        return np.array([float(row[name]) for row in rows])

    seen = column("success") > 0.5
    nothing = np.full(len(rows), math.nan)
    intensity = [column(f"AU{n:02d}_r") if f"AU{n:02d}_r" in rows[0] else nothing for n in numbers]
    presence = [column(f"AU{n:02d}_c") > 0.5 for n in numbers]
    poses_deg = np.rad2deg(np.column_stack([-column("pose_Ry"), column("pose_Rx"), column("pose_Rz")]))
    return OpenFaceReading(
        ActionUnits(numbers, np.column_stack(intensity), np.column_stack(presence), seen),
        np.where(seen[:, None], poses_deg, math.nan),
        column("confidence"),
    )
