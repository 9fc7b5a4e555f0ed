"""Live driving: sources of pictures (camera, stream, film) and a session that draws them in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from jaxtyping import UInt8

from reenactor.core import MediaError, ReenactError
from reenactor.engine.portrait import Photo, Picture, pixels_of
from reenactor.engine.recording import Recording
from reenactor.engine.reenactor import LiveDriver, Reenactor, ResultFrame
from reenactor.media import FrameReader, open_reader
from reenactor.media.certificates import Credentials
from reenactor.media.provenance import SourceFile

_MOST_RESULTS = 2
_REMEMBERED = 300
"""Frames over which speed and latency are measured: ten seconds of a camera."""


@dataclass(frozen=True)
class LiveStatistics:
    """Statistics of a live session; speed and latency are those of the last 300 frames.

    Args:
        frames: drawn so far.
        dropped: pictures that were not drawn, because a newer one came first or their time was not later.
        fps: results a second; 0 before there are two.
        latency_ms, latency_95_ms: from a picture's arrival to its result, median and 95th percentile; NaN before there
            is one.
    """

    frames: int
    dropped: int
    fps: float
    latency_ms: float
    latency_95_ms: float

    def text(self) -> str:
        """One line."""
        if not self.frames:
            return f"no frames, {self.dropped} pictures dropped"
        return (
            f"{self.frames} frames, {self.fps:.1f} a second, latency {self.latency_ms:.0f} ms "
            f"(95 %: {self.latency_95_ms:.0f} ms), {self.dropped} pictures dropped"
        )


class LiveSession:
    """Drives the reenactor's target from any threads: `submit` pictures, take `results`.

    Nobody waits for the drawing and no queue grows: a picture that is still waiting when the next one comes is dropped,
    and so is a result that is not taken in time. Use `with`, or `close` it.

    Args:
        reenactor: with its target set.
        smooth, neutral, mirror, face: see `Reenactor.live`.
    """

    def __init__(
        self,
        reenactor: Reenactor,
        *,
        smooth: bool = True,
        neutral: Photo | None = None,
        mirror: bool = False,
        face: int | None = None,
    ) -> None:
        self._reenactor = reenactor
        self._driver: LiveDriver = reenactor.live(smooth=smooth, neutral=neutral, mirror=mirror, face=face)
        self._changed = threading.Condition()
        self._waiting: tuple[np.ndarray, float, float] | None = None
        self._results: deque[ResultFrame] = deque(maxlen=_MOST_RESULTS)
        self._newest_s = -np.inf
        self._no_more = False
        self._ended = False
        self._error: BaseException | None = None
        self._frames = self._dropped = 0
        self._finished_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._latencies_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._recording: Recording | None = None
        self._recording_lock = threading.Lock()
        self._started_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="live session", daemon=True)
        self._thread.start()

    @property
    def mirror(self) -> bool:
        """Move like a mirror image; may be set at any time."""
        return self._driver.mirror

    @mirror.setter
    def mirror(self, on: bool) -> None:
        self._driver.mirror = on

    def set_neutral(self) -> None:
        """Take the next face that is seen as the driver at rest."""
        self._driver.set_neutral()

    def submit(self, picture: Picture, time_s: float | None = None) -> None:
        """Hand over a picture of the driver; never waits. It must not be changed afterwards.

        Args:
            picture: of any size.
            time_s: when it was taken; None for now. One not later than the newest is dropped.

        Raises:
            ReenactError: the session has ended.
            ValueError: this is no picture.
        """
        picture = pixels_of(picture, "the driver's picture")
        arrived_s = time.monotonic()
        time_s = arrived_s - self._started_s if time_s is None else time_s
        with self._changed:
            self._check_running()
            if not time_s > self._newest_s:
                self._dropped += 1
                return
            self._newest_s = time_s
            self._dropped += self._waiting is not None
            self._waiting = (picture, time_s, arrived_s)
            self._changed.notify_all()

    def results(self) -> Iterator[ResultFrame]:
        """Results as they are drawn, for one consumer; ends when the session does.

        Raises:
            ReenactError: whatever went wrong while drawing.
        """
        while (result := self.next_result()) is not None:
            yield result

    def next_result(self, timeout_s: float | None = None) -> ResultFrame | None:
        """The next result; None when the time is over or the session has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._results or self._ended, timeout_s)
            if self._results:
                return self._results.popleft()
            if self._error is not None:
                raise self._error
            return None

    @property
    def running(self) -> bool:
        """Whether results may still come."""
        with self._changed:
            return not self._ended or bool(self._results)

    def statistics(self) -> LiveStatistics:
        """Frames, speed and latency so far."""
        with self._changed:
            times, latencies = list(self._finished_s), list(self._latencies_s)
            frames, dropped = self._frames, self._dropped
        fps = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
        middle, most = np.percentile(latencies, [50, 95]) * 1000 if latencies else (np.nan, np.nan)
        return LiveStatistics(frames, dropped, fps, float(middle), float(most))

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        inputs: Iterable[SourceFile] = (),
        provenance: bool = True,
        credentials: Credentials | None = None,
    ) -> None:
        """Write the results from now on into a file, see `Recording`; a recording that is under way is finished."""
        recording = Recording(
            path, model=self._reenactor.model, inputs=inputs, provenance=provenance, credentials=credentials
        )
        self.stop_recording()
        with self._recording_lock:
            self._recording = recording

    def stop_recording(self) -> Recording | None:
        """Finish and sign the recording; None if there is none, or if it has no frame."""
        with self._recording_lock:
            recording, self._recording = self._recording, None
        return recording if recording is not None and recording.close() else None

    def finish(self) -> None:
        """No more pictures: those already submitted are drawn, then `results` ends."""
        with self._changed:
            self._no_more = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the session at once and finish its recording."""
        with self._changed:
            self._waiting = None
        self.finish()
        self._thread.join()
        self.stop_recording()

    def __enter__(self) -> LiveSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_running(self) -> None:
        if self._error is not None:
            raise self._error
        if self._no_more:
            raise ReenactError("the live session has ended; begin another")

    def _run(self) -> None:
        try:
            with self._driver:
                while (taken := self._take()) is not None:
                    picture, time_s, arrived_s = taken
                    result = self._driver.step(picture, time_s)
                    with self._recording_lock:
                        if self._recording is not None:
                            self._recording.write(result.image, time_s)
                    self._give(result, arrived_s)
        except BaseException as error:  # raised again in the thread that waits
            self._error = error
        finally:
            with self._changed:
                self._ended = self._no_more = True
                self._changed.notify_all()

    def _take(self) -> tuple[np.ndarray, float, float] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._no_more)
            taken, self._waiting = self._waiting, None
            return taken

    def _give(self, result: ResultFrame, arrived_s: float) -> None:
        now_s = time.monotonic()
        with self._changed:
            self._results.append(result)
            self._frames += 1
            self._finished_s.append(now_s)
            self._latencies_s.append(now_s - arrived_s)
            self._changed.notify_all()


Pictures = Generator[tuple[UInt8[np.ndarray, "h w 3"], float]]
"""RGB pictures as they are taken, and when, in seconds since the first."""

_PATIENCE_S = 2.0
"""How long a camera may take to end."""


def camera_pictures(source: int | str) -> Pictures:
    """Pictures of a camera by its number, or of a stream by its address (rtsp://, http://...).

    Raises:
        MediaError: at once, if it cannot be opened; later, if it fails.
    """
    before = cv2.getLogLevel()
    cv2.setLogLevel(0)  # it warns about every camera that is not there
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
    """Pictures of a video file, played once at its own speed.

    Raises:
        MediaError: at once, if it cannot be read.
    """
    return _played(open_reader(path, precise=False))


def _played(reader: FrameReader) -> Pictures:
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
        except BaseException as error:  # raised again in the thread that waits
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
