"""`reenactor motion`: make and look at motion files."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    from reenactor.core import Motion


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser("motion", help="store what a driver does, without its pixels")
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION")
    extract = actions.add_parser("extract", help="video -> motion file")
    extract.add_argument("driver", type=Path)
    extract.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.motion")
    extract.add_argument("--face", type=int, metavar="N", help="which face, from the left (default: the largest)")
    extract.add_argument("--start", type=float, default=0.0, metavar="S", help="leave out what is before this second")
    extract.add_argument("--end", type=float, metavar="S", help="leave out what is after this second")
    extract.add_argument("--about", default="", metavar="TEXT", help="a note to keep in the file: source, licence")
    extract.set_defaults(run=run_extract)
    info = actions.add_parser("info", help="what a motion file holds")
    info.add_argument("motion", type=Path)
    info.set_defaults(run=run_info)


def run_extract(args: argparse.Namespace) -> int:
    """Extract and save."""
    from reenactor.engine import TrackFolder
    from reenactor.media import is_motion, write_motion

    if not is_motion(args.output):
        raise ReenactError(f"{args.output} should end in .motion")
    if args.output.exists() and args.driver.exists() and args.output.samefile(args.driver):
        raise ReenactError(f"the output {args.output} is also the input; choose another name")
    if not args.output.parent.is_dir():
        raise ReenactError(f"there is no folder {args.output.parent} for the output; make it first")
    bar = Bar()
    with tempfile.TemporaryDirectory(prefix="reenactor-") as folder:
        bar.start("reading the driver", 0, None)
        try:
            tracks = TrackFolder(Path(folder), args.driver, face=args.face)
            track = tracks.fill(bar.step)
        finally:
            bar.end()
        truncated = tracks.truncated
        about = {"source": args.driver.name} | ({"note": args.about} if args.about else {})
        motion = track.to_motion(about)
    end_s = motion.duration_s if args.end is None else args.end
    try:
        motion = motion.between(args.start, end_s)
    except ValueError as error:
        raise ReenactError(f"nothing of {args.driver} lies between {args.start} and {end_s} s") from error
    if not motion.seen.any():
        raise ReenactError(f"{args.driver} shows no face between {args.start} and {end_s} s; choose another part")
    write_motion(args.output, motion)
    print(_describe(args.output, motion))
    if truncated:
        print("  the driver ends in damaged data: the motion ends there too")
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Describe a file."""
    from reenactor.media import read_motion

    motion = read_motion(args.motion)
    print(_describe(args.motion, motion))
    for key, value in motion.about.items():
        print(f"  {key}: {value}")
    return 0


def _describe(path: Path, motion: Motion) -> str:
    low, high = motion.pose_deg.min(0), motion.pose_deg.max(0)
    ranges = ", ".join(
        f"{name} {a:.0f} to {b:.0f}" for name, a, b in zip(("yaw", "pitch", "roll"), low, high, strict=True)
    )
    missing = int((~motion.seen).sum())
    return (
        f"{path}: {len(motion)} frames, {motion.duration_s:.2f} s, {motion.fps:.2f} frames/s, "
        f"{missing} without a face, {path.stat().st_size / 1024:.0f} KiB\n  degrees: {ranges}"
    )
