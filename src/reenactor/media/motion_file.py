"""Motion files (`.motion`): a driver's landmarks over time, in safetensors, without pixels.

Version 1 holds `mesh` (T, 478, 3) int16 in steps of `1 / steps_per_px` pixels, `seen` (T,) uint8, `pts` (T,) int64
and `pose_deg` (T, 3) float32; the header holds the rest as text. core/landmark_codec.py rounds and restores `mesh`.
"""

from __future__ import annotations

import json
import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from reenactor.core import CheckpointError, Motion
from reenactor.core.files import check_readable, is_format, replacing
from reenactor.core.landmark_codec import dequantize, quantize, steps_per_px

MOTION_SUFFIX = ".motion"
VERSION = 1


def is_motion(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a motion file (.motion)."""
    return Path(path).suffix.lower() == MOTION_SUFFIX


def write_motion(path: str | os.PathLike[str], motion: Motion) -> None:
    """Write a motion file atomically.

    Raises:
        MediaError: the file cannot be written.
    """
    steps = steps_per_px(motion.picture_size)
    header = {
        "format": "reenactor-motion",
        "version": str(VERSION),
        "time_base": str(motion.time_base),
        "end_pts": str(motion.end_pts),
        "picture_size": f"{motion.picture_size[0]}x{motion.picture_size[1]}",
        "steps_per_px": str(steps),
        "about": json.dumps(motion.about, ensure_ascii=False, sort_keys=True),
    }
    arrays = {
        "mesh": quantize(motion.mesh_px, steps),
        "seen": motion.seen.astype(np.uint8),
        "pts": motion.pts.astype(np.int64),
        "pose_deg": motion.pose_deg.astype(np.float32),
    }
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(save(arrays, header))


def read_motion(path: str | os.PathLike[str]) -> Motion:
    """Read a motion file.

    Raises:
        MediaError: the file is missing or cannot be read.
        CheckpointError: not a motion file, damaged, or of a version that this release does not read.
    """
    path = Path(path)
    check_readable(path, "a motion file")
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = file.metadata() or {}
            if not is_format(header.get("format"), "motion"):
                raise CheckpointError(f"{path} is not a motion file; make one with 'reenactor motion extract'")
            if header["version"] != str(VERSION):
                raise CheckpointError(
                    f"{path} is a motion file of version {_whole(header['version'])}, and this release reads "
                    f"version {VERSION}; update reenactor"
                )
            arrays = {name: file.get_tensor(name) for name in ("mesh", "seen", "pts", "pose_deg")}
        width, height = (_whole(number) for number in header["picture_size"].split("x"))
        steps = _whole(header["steps_per_px"])
        motion = Motion(
            mesh_px=dequantize(arrays["mesh"], steps),
            seen=arrays["seen"].astype(bool),
            pts=arrays["pts"],
            end_pts=int(header["end_pts"]),
            time_base=Fraction(*(_whole(number) for number in header["time_base"].split("/"))),
            pose_deg=arrays["pose_deg"],
            picture_size=(width, height),
            about=json.loads(header["about"]),
        )
        _check_values(motion)
        return motion
    except (SafetensorError, KeyError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a motion file or is damaged; extract it again") from error


def _whole(number: str) -> int:
    """A number from 1 to 2^31 - 1; nothing longer is evaluated: `Fraction("1e999999999")` keeps a process for ever."""
    if not (re.fullmatch("[0-9]{1,10}", number) and 1 <= int(number) < 2**31):
        raise ValueError(number[:20])
    return int(number)


def _check_values(motion: Motion) -> None:
    """Raise ValueError for values that no driver can have."""
    extent_px = np.ptp(motion.mesh_px, axis=1).max(axis=-1)
    if not (isinstance(motion.about, dict) and abs(motion.end_pts) < 2**62):
        raise ValueError("facts")
    if not (np.isfinite(motion.pose_deg).all() and (extent_px > 0).all()):
        raise ValueError("landmarks")
