"""The processes that animate: one for jobs, one for a person who drives live."""

from __future__ import annotations

import io
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reenactor.core.errors import MediaError, ReenactError
from reenactor.server.api.helpers import Channel
from reenactor.server.api.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from reenactor.engine import LiveDriver, Report

_TELL_S = 0.1
"""Progress is told this often."""
_LARGEST_PICTURE = 4_200_000
"""Pixels of a picture that drives live; more than 2048 x 2048 makes no face clearer."""
_JPEG_QUALITY = 85


class _Stopped(BaseException):
    """The server wants the job stopped. Not an `Exception`, as Ctrl-C is none: nothing on the way may swallow it."""


class _Telling:
    """Tells the server how it goes, and stops the work when the server says so."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._told = 0.0
        self._stage = ""

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins."""
        self._stage, self._told = what, 0.0
        self.step(done, total)

    def step(self, done: int, total: int | None) -> None:
        """So much is done."""
        now = time.monotonic()
        if now - self._told >= _TELL_S:
            self._told = now
            self._channel.send({"stage": self._stage, "done": done, "total": total})
        if self._channel.waiting():
            raise _Stopped

    def end(self) -> None:
        """Nothing: the next stage, or the answer, follows."""


def animate_jobs(channel: Channel, settings: Settings) -> None:
    """The process for jobs.

    Answers `{"photos", "driver", "output", "options"}` with messages about progress, and at last `{"facts"}`,
    `{"error"}` or `{"stopped"}`; any message in between stops the job.
    """
    _set_threads(settings)
    from reenactor.engine import animate
    from reenactor.media import load_credentials

    credentials = None
    while True:
        request = channel.receive()
        if "photos" not in request:
            continue  # the stop of a job that ended by itself in the same moment
        photos = [Path(photo) for photo in request["photos"]]
        driver, output = Path(request["driver"]), Path(request["output"])
        try:
            if settings.sign_cert is not None and settings.sign_key is not None and credentials is None:
                credentials = load_credentials(settings.sign_cert, settings.sign_key)
            report = animate(
                photos,
                driver,
                output,
                _options(request["options"], settings),
                credentials=credentials,
                progress=_Telling(channel),
            )
            channel.send({"facts": _facts(report)})
        except _Stopped:
            channel.send({"stopped": True})
        except ReenactError as error:
            channel.send({"error": _in_words(error, photos, driver, output)})
        except Exception as error:
            print(f"reenactor: a job failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            channel.send({"error": "the driver or a photo made the program fail; try another file"})


def try_settings(channel: Channel, settings: Settings) -> None:
    """A process that tells, in answer to anything, whether there are such a model and certificate: `{"error"}`."""
    from reenactor.media import load_credentials
    from reenactor.models import create_model

    channel.receive()
    try:
        create_model(settings.model, settings.weights)
        if settings.sign_cert is not None and settings.sign_key is not None:
            load_credentials(settings.sign_cert, settings.sign_key)
        channel.send({"error": None})
    except ReenactError as error:
        channel.send({"error": str(error)})


def _set_threads(settings: Settings) -> None:
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)


def _options(given: dict[str, Any], settings: Settings) -> Any:
    from reenactor.core import Layout, Options, Transfer

    return Options(
        model=settings.model,
        weights=settings.weights,
        transfer=Transfer(given["transfer"]),
        layout=Layout(given["layout"]),
        size=given["size"],
        max_side=given["max_side"],
        face=given["face"],
        driver_face=given["driver_face"],
        smooth=given["smooth"],
        provenance=settings.provenance,
    )


def _facts(report: Report) -> dict[str, Any]:
    notes = [f"photo {number} may show another person" for number, _ in report.other_people]
    notes += [f"no face in the driver at {a:.2f}-{b:.2f} s: the last pose was held" for a, b in report.gaps_s[:20]]
    if report.truncated:
        notes.append("the driver ends in damaged data: the result ends there too")
    return {
        "frames": report.frames,
        "frames_drawn": report.frames_made,
        "seconds": round(report.duration_s, 3),
        "sound": report.audio,
        "signed": report.signed_by is not None,
        "notes": notes,
    }


def _in_words(error: ReenactError, photos: list[Path], driver: Path | None = None, output: Path | None = None) -> str:
    """An error for those who sent the files: they know no paths of ours."""
    names = {str(photo): f"photo {number}" for number, photo in enumerate(photos, start=1)}
    if driver is not None:
        names[str(driver)] = "the driver"
    if output is not None:
        names[str(output)] = "the result"
    text = str(error)
    for path, name in names.items():
        text = text.replace(path, name)
    return text


@dataclass
class _Session:
    live: LiveDriver
    crop: bool


def drive_live(channel: Channel, settings: Settings) -> None:
    """The process for live driving, one session after the other.

    `{"photos", "options"}` begins a session and is answered with `{"size"}` or `{"error"}`. In it `{"time_s"}` and then
    a JPEG are answered with `{"face"}` and then a JPEG, or with `{"error"}`; `{"neutral"}` and `{"mirror": bool}` are
    not answered; `{"end"}` ends it.
    """
    _set_threads(settings)
    from reenactor.engine import Reenactor  # noqa: F401  # now, not when the first session waits for it

    while True:
        request = channel.receive()
        if "photos" not in request:
            continue
        photos = [Path(photo) for photo in request["photos"]]
        try:
            session, size = _begin(photos, request["options"], settings)
        except ReenactError as error:
            channel.send({"error": _in_words(error, photos)})
            continue
        with session.live:
            channel.send({"size": size})
            _session(channel, session)


def _begin(photos: list[Path], options: dict[str, Any], settings: Settings) -> tuple[_Session, list[int]]:
    from reenactor.engine import Reenactor

    reenactor = Reenactor(settings.model, weights=settings.weights, size=options["size"], max_side=options["max_side"])
    target = reenactor.set_target(photos)
    crop = options["layout"] == "crop"
    live = reenactor.live(smooth=options["smooth"], mirror=options["mirror"], face=options["driver_face"])
    height, width = (target.crop.size, target.crop.size) if crop else target.photo.shape[:2]
    return _Session(live, crop), [width, height]


def _session(channel: Channel, session: _Session) -> None:
    while True:
        message = channel.receive()
        if "end" in message:
            return
        if "neutral" in message:
            session.live.set_neutral()
        elif "mirror" in message:
            session.live.mirror = bool(message["mirror"])
        else:
            data = channel.receive_bytes()
            try:
                frame = session.live.step(decode_jpeg(data), message["time_s"])
            except ReenactError as error:
                channel.send({"error": str(error)})
                continue
            channel.send({"face": frame.driver_seen})
            channel.send_bytes(encode_jpeg(frame.face if session.crop else frame.image))


def decode_jpeg(data: bytes) -> np.ndarray:
    """A picture of the driver.

    Raises:
        MediaError: it is no JPEG, damaged or too large.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            width, height = image.size
            if width * height <= _LARGEST_PICTURE and min(width, height) >= 16:
                return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise MediaError("a picture is not a whole JPEG; send JPEG files") from error
    raise MediaError(f"a picture has {width} x {height} pixels; send from 16 x 16 to 2048 x 2048")


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A picture of the result."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()
