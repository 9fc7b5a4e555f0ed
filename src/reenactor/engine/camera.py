"""Where live pictures come from: a camera, a network stream, or a film that plays the camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from reenactor.core import MediaError
from reenactor.engine.session import LiveSession
from reenactor.media import VideoReader

Pictures = Generator[tuple[UInt8[np.ndarray, "h w 3"], float]]
"""RGB pictures as they are taken, and when, in seconds since the first."""

_PATIENCE_S = 2.0
"""How long a camera may take to end."""


def camera_pictures(source: int | str) -> Pictures:
    """Of a camera by its number, or of a stream by its address (rtsp://, http://...).

    Raises:
        MediaError: at once, if it cannot be opened; later, if it fails.
    """
    before = cv2.getLogLevel()
    cv2.setLogLevel(0)  # it tells of every camera that is not there
    try:
        capture = cv2.VideoCapture(source)
    finally:
        cv2.setLogLevel(before)
    name = f"camera {source}" if isinstance(source, int) else source
    if not capture.isOpened():
        capture.release()
        if isinstance(source, int):
            advice = "connect one, free it from other programs, or give another number, or a film with --source"
            raise MediaError(f"there is no {name} that can be opened; {advice}")
        raise MediaError(f"{name} cannot be opened; check the address")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # older pictures would only add delay
    return _captured(capture, name)


def _captured(capture: cv2.VideoCapture, name: str) -> Pictures:
    start_s = time.monotonic()
    try:
        while True:
            taken, picture = capture.read()
            if not taken:
                raise MediaError(f"{name} gives no more pictures; check that it is still connected")
            yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), time.monotonic() - start_s
    finally:
        capture.release()


def film_pictures(path: Path) -> Pictures:
    """Of a video file, once, each at its own time.

    Raises:
        MediaError: at once, if it cannot be read.
    """
    return _played(VideoReader(path, precise=False))


def _played(reader: VideoReader) -> Pictures:
    with reader:
        start_s = time.monotonic()
        for frame in reader:
            time_s = float(frame.pts * reader.time_base)
            time.sleep(max(0.0, start_s + time_s - time.monotonic()))
            yield frame.image, time_s


@contextmanager
def feeding(session: LiveSession, pictures: Pictures) -> Iterator[None]:
    """While the block runs, hand the pictures to the session; when they end, so does the session.

    Raises:
        MediaError: when the block has ended without an error, but the pictures with one.
    """
    stopped = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with closing(pictures):
                for picture, time_s in pictures:
                    if stopped.is_set():
                        return
                    session.submit(picture, time_s)
        except BaseException as error:  # handed over, to be raised by the one who waits
            errors.append(error)
        finally:
            session.finish()

    thread = threading.Thread(target=run, name="camera", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(_PATIENCE_S)
    if errors:
        raise errors[0]
