"""`reenactor demo`: a real photo and a shipped motion, without any file of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser("demo", help="animate a shipped photo with the shipped motions")
    p.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="where to (default: %(default)s)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write an MP4 for each shipped motion and a GIF of the liveliest."""
    from reenactor.core import Layout, Options
    from reenactor.engine import animate
    from reenactor.engine.shipped import demo_photo, shipped_motions
    from reenactor.media import write_image

    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReenactError(f"cannot make the folder {args.out}: {error.strerror}; choose another") from error
    photo = args.out / "astronaut.png"
    write_image(photo, demo_photo())
    motions = shipped_motions()
    for name, motion in motions.items():
        report = animate([photo], motion, args.out / f"{name}.mp4", progress=Bar())
        print(report.text())
    report = animate(
        [photo], motions["smile"], args.out / "demo.gif", Options(layout=Layout.CROP, size=256), progress=Bar()
    )
    print(report.text())
    return 0
