"""OpenFace 2 (Baltrusaitis et al. 2018), with which paper B measures pose and AUs, as far as a user has installed it.

Its licence forbids commercial use, so it neither ships nor is fetched.
"""

from __future__ import annotations

import csv
import math
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from reenactor.core import ActionUnits, ReenactError

EXECUTABLE = "FeatureExtraction"
OPTIONS = ("-aus", "-pose", "-au_static", "-wild")
"""AUs are read from each picture alone: those of a protocol are no video, and have no median to be relative to."""


@dataclass(frozen=True)
class OpenFaceReading:
    """What OpenFace tells of N frames.

    Args:
        action_units: 17 with intensity and presence; AU 28 with presence only (intensity NaN).
        poses_deg: (N, 3) yaw, pitch, roll with our signs (docs/conventions.md); NaN where no face was found.
    """

    action_units: ActionUnits
    poses_deg: Float[np.ndarray, "n 3"]

    @staticmethod
    def joined(readings: Sequence[OpenFaceReading]) -> OpenFaceReading:
        """One after the other; all must have the same action units."""
        units = [one.action_units for one in readings]
        intensity, presence, seen = (
            np.concatenate([getattr(one, name) for one in units]) for name in ("intensity", "presence", "seen")
        )
        poses_deg = np.concatenate([one.poses_deg for one in readings])
        return OpenFaceReading(ActionUnits(units[0].numbers, intensity, presence, seen), poses_deg)

    def rows(self, rows: Sequence[int]) -> OpenFaceReading:
        """Some of the frames."""
        units, some = self.action_units, list(rows)
        chosen = ActionUnits(units.numbers, units.intensity[some], units.presence[some], units.seen[some])
        return OpenFaceReading(chosen, self.poses_deg[some])


def read_openface(path: str | os.PathLike[str], frames: int) -> OpenFaceReading:
    """Read the CSV file that `FeatureExtraction` wrote, with `-aus -pose` at least.

    OpenFace has our axes and order of rotations, but its yaw is right-handed (positive to the image's left), and
    angles are in radians.

    Args:
        path: the file.
        frames: how many it must list, each once.

    Raises:
        ReenactError: there is no such file, or it lacks columns or frames.
    """
    again = f"write it again by {EXECUTABLE} with -aus -pose"
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = [{(name or "").strip(): value for name, value in row.items()} for row in csv.DictReader(stream)]
        listed = [int(row["frame"]) for row in rows]
        if listed != list(range(1, frames + 1)):
            raise ReenactError(f"{path} does not list each of {frames} frames once, in order; {again}")
        return _reading(rows)
    except FileNotFoundError:
        raise ReenactError(f"{path} is missing; {again}") from None
    except KeyError as error:
        raise ReenactError(f"{path} cannot be read as OpenFace's table (no column {error}); {again}") from error
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ReenactError(f"{path} cannot be read as OpenFace's table ({error}); {again}") from error


def find_openface() -> str | None:
    """Path of `FeatureExtraction`; None if it is not on the PATH."""
    return shutil.which(EXECUTABLE)


def run_openface(executable: str, folders: Sequence[Path], out: Path) -> None:
    """Run `FeatureExtraction` on folders of pictures (PNG, JPEG or BMP, in order of name), each a sequence.

    Args:
        executable: what `find_openface` found.
        folders: with names that differ and have no dot.
        out: gets `<name of the folder>.csv` for each.

    Raises:
        ReenactError: OpenFace failed, or wrote no table.
    """
    inputs = [part for folder in folders for part in ("-fdir", os.fspath(folder.resolve()))]
    command = [executable, *inputs, *OPTIONS, "-out_dir", os.fspath(out.resolve())]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    missing = [folder for folder in folders if not (out / f"{folder.name}.csv").exists()]
    if ended.returncode != 0 or missing:
        last = (ended.stderr.strip() or ended.stdout.strip() or "no message").splitlines()[-1]
        failed = (missing or folders)[0]
        raise ReenactError(
            f"OpenFace failed on {failed} (exit code {ended.returncode}): {last}; try '{EXECUTABLE} -fdir {failed}'"
        )


def _reading(rows: Sequence[Mapping[str, str]]) -> OpenFaceReading:
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
    )
