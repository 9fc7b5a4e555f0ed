"""`reenactor live`: a photo moves like the person in front of the camera."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from reenactor.cli.animate import (
    add_device,
    add_runtime,
    add_signing,
    add_still,
    add_weights,
    signing_credentials,
    weights_folder,
)
from reenactor.cli.progress import Bar
from reenactor.core.errors import ReenactError
from reenactor.core.options import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np

    from reenactor.engine import LiveSession
    from reenactor.engine.live import Pictures

_KEYS = "n: this is my neutral face, m: mirror, r: record, q: quit"
_TITLE = "reenactor live"
_ESCAPE = 27
_LOOK_UP_S = 0.05


def add_parser(verbs: argparse._SubParsersAction) -> None:
    """Describe the verb."""
    p = verbs.add_parser(
        "live",
        help="make photos move like a camera's picture",
        description="Make the person in one to eight photos, videos or person files move like who is in front of the "
        "camera, live.",
        epilog=f"Keys in the window: {_KEYS}. Without a window, Ctrl-C ends it.",
    )
    p.add_argument(
        "target",
        nargs="+",
        type=Path,
        metavar="PHOTO",
        help="one to eight photos, videos or person files of one person",
    )
    source = p.add_mutually_exclusive_group()
    source.add_argument("--camera", type=int, default=0, metavar="N", help="number of the camera (default: 0)")
    source.add_argument("--source", metavar="FILE", help="a video, or a stream's address, in place of the camera")
    p.add_argument("--record", type=Path, metavar="FILE", help=".mp4 .mov, and unsigned .mkv: record from the start on")
    p.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="move like a mirror image (default: for a camera, not for --source)",
    )
    p.add_argument(
        "--smooth", action=argparse.BooleanOptionalAction, default=True, help="steady the face (default: on)"
    )
    p.add_argument("--model", default=DEFAULT_MODEL, help="which model draws (default: %(default)s)")
    add_weights(p)
    add_runtime(p)
    add_device(p)
    p.add_argument("--size", type=int, metavar="PX", help="side of the face crop (default: as for animate)")
    p.add_argument(
        "--max-side", type=int, default=720, metavar="PX", help="shrink larger photos to this (default: %(default)s)"
    )
    p.add_argument("--face", type=int, metavar="N", help="which face of the photos from the left (default: largest)")
    add_still(p)
    p.add_argument("--driver-face", type=int, metavar="N", help="which face in front of the camera (default: largest)")
    p.add_argument("--no-window", action="store_true", help="show nothing; for recording")
    p.add_argument("--seconds", type=float, metavar="S", help="end after that time (default: until stopped)")
    add_signing(p)
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Drive until the user, the source or the clock ends it; print how it went."""
    if args.seconds is not None and not args.seconds > 0:
        raise ReenactError(f"--seconds must be more than 0, not {args.seconds}")
    if not args.no_window:
        _check_display()
    credentials = signing_credentials(args)
    from reenactor.engine import LiveSession, Reenactor
    from reenactor.engine.live import feeding
    from reenactor.media.person_file import target_files

    pictures = _pictures(args)
    reenactor = Reenactor(
        args.model,
        size=args.size,
        max_side=args.max_side,
        weights=weights_folder(args),
        runtime=args.runtime,
        device=args.device,
    )
    target = reenactor.set_target(args.target, face=args.face, still=args.still, progress=Bar())
    names = [path.name for path in args.target]
    for video in target.videos:
        print(video.text(names), file=sys.stderr)
    for warning in target.warnings:
        print(warning.text(names, options=True), file=sys.stderr)
    mirror = args.source is None if args.mirror is None else args.mirror
    inputs = target_files(args.target)

    with LiveSession(reenactor, smooth=args.smooth, mirror=mirror, face=args.driver_face) as session:

        def record(path: Path) -> None:
            session.record(path, inputs=inputs, provenance=not args.no_provenance, credentials=credentials)

        recorder = _Recorder(session, record, args.record or Path(time.strftime("live-%Y%m%d-%H%M%S.mp4")))
        if args.record:
            recorder.toggle()
        try:
            with feeding(session, pictures):
                _show(session, recorder, seconds=args.seconds, window=not args.no_window)
        except KeyboardInterrupt:
            print(file=sys.stderr)
        finally:
            recorder.stop()
        print(session.statistics().text())
    return 0


def _pictures(args: argparse.Namespace) -> Pictures:
    from reenactor.engine.live import camera_pictures, film_pictures

    if args.source is None:
        return camera_pictures(args.camera)
    return camera_pictures(args.source) if "://" in args.source else film_pictures(Path(args.source))


class _Recorder:
    """Starts and stops recordings, each under a name of its own."""

    def __init__(self, session: LiveSession, record: Callable[[Path], None], path: Path) -> None:
        self._session, self._record = session, record
        self._names = (path if i == 1 else path.with_stem(f"{path.stem}-{i}") for i in count(1))
        self.on = False

    def toggle(self) -> None:
        """Start a recording, or end the current one."""
        if self.on:
            self.stop()
            return
        self._record(next(self._names))
        self.on = True

    def stop(self) -> None:
        """End the current recording, if any, and print its path."""
        self.on = False
        made = self._session.stop_recording()
        if made is not None:
            print(f"{made.path}: {made.frames} frames")


def _show(session: LiveSession, recorder: _Recorder, *, seconds: float | None, window: bool) -> None:
    end_s = float("inf") if seconds is None else time.monotonic() + seconds
    while session.running and time.monotonic() < end_s:
        result = session.next_result(_LOOK_UP_S)
        if window and not _window(session, recorder, None if result is None else result.image):
            return


def _window(session: LiveSession, recorder: _Recorder, picture: np.ndarray | None) -> bool:
    """Show a picture and obey a key; false when the user wants to quit."""
    import cv2

    if picture is not None:
        now = session.statistics()
        text = f"{now.fps:.0f} fps  {now.latency_ms:.0f} ms" + ("  recording" if recorder.on else "")
        cv2.imshow(_TITLE, with_text(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), text))
    key = cv2.waitKey(1) & 0xFF
    if not obey(key, session, recorder):
        return False
    return picture is None or cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1


def obey(key: int, session: LiveSession, recorder: _Recorder) -> bool:
    """Do what a key stands for; False for the one that quits."""
    if key == ord("n"):
        session.set_neutral()
    elif key == ord("m"):
        session.mirror = not session.mirror
    elif key == ord("r"):
        recorder.toggle()
    return key not in (ord("q"), _ESCAPE)


def with_text(picture: np.ndarray, text: str) -> np.ndarray:
    """A line in the upper left corner, bright on dark so that it shows on any picture; in place."""
    import cv2

    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
    return picture


def _check_display() -> None:
    """Refuse where no window can be shown; tried in another process, since OpenCV's windows end the one they fail in.

    Raises:
        ReenactError: there is no display, or OpenCV was built without windows.
    """
    trial = f"import cv2; cv2.namedWindow({_TITLE!r}); cv2.destroyAllWindows()"
    if subprocess.run([sys.executable, "-c", trial], capture_output=True, check=False).returncode:
        raise ReenactError("no window can be shown here (no display); pass --no-window, with --record FILE")
