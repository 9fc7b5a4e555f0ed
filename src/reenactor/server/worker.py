"""What the child processes that draw do: run jobs, drive live, describe the models. The server loads no PyTorch."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reenactor.core import MediaError, Options, ReenactError
from reenactor.server.processes import Channel
from reenactor.server.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from reenactor.core.progress import Progress
    from reenactor.engine import Recording, Report
    from reenactor.media import Claim, Credentials

_REPORT_S = 0.1
"""Time between two reports of progress."""
_MAX_PIXELS = 4_200_000
"""Of a live driver's picture; more than 2048 x 2048 makes no face clearer."""
_JPEG_QUALITY = 85


class StoppedError(BaseException):
    """The server wants the work stopped. Not an `Exception`, like KeyboardInterrupt: nothing may swallow it."""


class ReportedProgress:
    """Progress that is sent to the server, and that stops the work when the server sends anything."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._reported_s = 0.0
        self._stage = ""

    def start(self, what: str, done: int, total: int | None) -> None:
        """A stage begins."""
        self._stage, self._reported_s = what, 0.0
        self.step(done, total)

    def step(self, done: int, total: int | None) -> None:
        """So much of the stage is done."""
        now = time.monotonic()
        if now - self._reported_s >= _REPORT_S:
            self._reported_s = now
            self._channel.send({"stage": self._stage, "done": done, "total": total})
        if self._channel.waiting():
            raise StoppedError

    def end(self) -> None:
        """The stage is over; the next one, or the answer, follows."""


def run_jobs(channel: Channel, settings: Settings) -> None:
    """Process for jobs.

    Answers `{"photos", "driver", "output", "options"}` with reports of progress and at last with `{"facts", "model"}`,
    `{"error"}` or `{"stopped"}`; any message in between stops the job. Without a driver it makes a person file, and
    answers with `{"facts"}`.
    """
    set_threads(settings)
    from reenactor.engine import animate
    from reenactor.media.certificates import own_secret

    while True:
        request = channel.receive()
        if "photos" not in request:
            continue  # the stop of a job that ended by itself in the same moment
        photos = [Path(photo) for photo in request["photos"]]
        driver, output = Path(request["driver"] or "driver"), Path(request["output"])
        names = {driver: "the driver", output: "the result"} if request["driver"] else {}
        progress = ReportedProgress(channel)
        try:
            if not request["driver"]:
                channel.send({"facts": _person(photos, output, request["options"], settings, progress)})
                continue
            report = animate(
                photos,
                driver,
                output,
                options_of(request["options"], settings),
                # The user's own is hidden here.
                secret=own_secret(settings.data),
                progress=progress,
            )
            assert report.claim is not None
            facts = _facts(report) | {"signed": settings.provenance}
            channel.send({"facts": facts, "model": model_facts(report.claim)})
        except StoppedError:
            channel.send({"stopped": True})
        except ReenactError as error:
            channel.send({"error": without_paths(error, photos, names)})
        except Exception as error:
            print(f"reenactor: a job failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            channel.send({"error": "the driver or a photo made the program fail; try another file"})


def describe_models(channel: Channel, settings: Settings) -> None:
    """Process that answers any message with the models whose weights are there, after loading those in `settings`.

    The answer is `{"models": {name: {"trained": bool, "any_resolution": bool}}, "missing": [name]}` or `{"error"}`.
    """
    from reenactor.engine.loading import SYSTEMS, system
    from reenactor.models import METHODS, create_model
    from reenactor.nn.checkpoint import shipped_checkpoint

    channel.receive()
    try:
        for name in {settings.model, *settings.weights}:
            create_model(system(name).model, settings.weights.get(name))
        credentials_of(settings)
    except ReenactError as error:
        channel.send({"error": str(error)})
        return
    models = {}
    for name, one in SYSTEMS.items():
        kind = METHODS[one.model].model
        if not kind.trained or name in settings.weights or shipped_checkpoint(one.model) is not None:
            models[name] = {"trained": kind.trained, "any_resolution": kind.needs.any_resolution}
    channel.send({"models": models, "missing": [name for name in SYSTEMS if name not in models]})


def set_threads(settings: Settings) -> None:
    """Limit PyTorch's threads in this process."""
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)


def credentials_of(settings: Settings) -> Credentials | None:
    """The certificate in the settings; None for a self-made one."""
    if settings.sign_cert is None or settings.sign_key is None:
        return None
    from reenactor.media import load_credentials

    return load_credentials(settings.sign_cert, settings.sign_key)


def options_of(given: Mapping[str, Any], settings: Settings) -> Options:
    """A request's options, whose names of weights become folders from the settings."""
    fields = {name: value for name, value in given.items() if name in Options.__dataclass_fields__}
    fields["model"] = given.get("model") or settings.model
    fields["weights"] = settings.weights.get(fields["model"])
    fields["transformer"] = settings.transformers.get(given.get("transformer") or "")
    # Signed by another process, which has the key.
    return Options(**fields, provenance=False, device=settings.device)


def _person(
    photos: list[Path], output: Path, options: Mapping[str, Any], settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Make a person file; facts about it."""
    from reenactor.engine.loading import load_model, system
    from reenactor.engine.person import described, make_person
    from reenactor.media import write_person

    minutes, model = options.get("tune", 0.0), None
    if minutes:
        name = system(settings.model).model
        model = load_model(name, settings.weights.get(settings.model), device=settings.device)
    folder = output.with_name("tuning")
    folder.mkdir(exist_ok=True)
    face, still = options["face"], options["still"]
    person = make_person(photos, face=face, still=still, minutes=minutes, model=model, folder=folder, progress=progress)
    write_person(output, person)
    shutil.rmtree(folder, ignore_errors=True)
    count = len(person.pictures)
    about = {"frames": count, "frames_drawn": count, "seconds": 0.0, "sound": False, "signed": False}
    return {**about, "notes": described(person)}


def _facts(report: Report) -> dict[str, Any]:
    notes = [one.text([f"photo {i}" for i in range(1, len(report.photos) + 1)]) for one in report.videos]
    notes += [one.text() for one in report.warnings]
    notes += [gap.text() for gap in report.gaps[:20]]
    if report.truncated:
        notes.append("the driver ends in damaged data: the result ends there too")
    notes += report.left_out
    return {
        "frames": report.frames,
        "frames_drawn": report.frames_made,
        "seconds": round(report.duration_s, 3),
        "sound": report.audio,
        "notes": notes,
    }


def model_facts(claim: Claim) -> dict[str, Any]:
    """What `signing.Signer` needs to know of the model: names only, since it hashes the files itself."""
    trained = claim.synthesis.name == "TRAINED"
    return {"model": claim.model, "model_version": claim.model_version, "trained": trained}


def without_paths(error: ReenactError, photos: Sequence[Path], names: Mapping[Path, str] | None = None) -> str:
    """The error's sentence with "photo 1" and the like instead of paths on the server."""
    text = str(error)
    for path, name in {**{photo: f"photo {i}" for i, photo in enumerate(photos, start=1)}, **(names or {})}.items():
        text = text.replace(str(path), name)
    return text


def drive_live(channel: Channel, settings: Settings) -> None:
    """Process for live driving, one session after the other.

    `{"photos", "options"}` begins a session and is answered with `{"size"}` or `{"error"}`. In a session
    `{"time_s"}` and then a JPEG are answered with `{"face"}` and then a JPEG, or with `{"error"}`; `{"record": path}`
    is answered with `{"error": None or a sentence}`, `{"record": None}`, which ends the recording, with its `{"facts"}`
    or `{"error"}`; `{"neutral"}` and `{"mirror": bool}` are not answered; `{"end"}` ends the session.
    """
    set_threads(settings)
    import reenactor.engine  # noqa: F401  # now, not when the first session waits for it

    while True:
        request = channel.receive()
        if "photos" not in request:
            continue
        photos = [Path(photo) for photo in request["photos"]]
        try:
            session = _LiveProcess(channel, settings, photos, request["options"])
        except ReenactError as error:
            channel.send({"error": without_paths(error, photos)})
            continue
        session.run()


class _LiveProcess:
    """One live session in the process for it."""

    def __init__(self, channel: Channel, settings: Settings, photos: list[Path], given: dict[str, Any]) -> None:
        from reenactor.engine import Reenactor

        self._channel, self._settings, self._photos = channel, settings, photos
        options = options_of(given, settings)
        self._reenactor = Reenactor.of(options)
        target = self._reenactor.set_target(photos, face=options.face, still=options.still)
        self._crop = options.layout == "crop"
        self._live = self._reenactor.live(smooth=options.smooth, mirror=given["mirror"], face=options.driver_face)
        height, width = (target.crop.size, target.crop.size) if self._crop else target.photo.shape[:2]
        self._size = [width, height]
        self._recording: Recording | None = None
        self._recorded_s: list[float] = []

    def run(self) -> None:
        """Answer messages until the session ends."""
        with self._live:
            self._channel.send({"size": self._size})
            while "end" not in (message := self._channel.receive()):
                try:
                    self._answer(message)
                except ReenactError as error:
                    self._channel.send({"error": without_paths(error, self._photos)})

    def _answer(self, message: dict[str, Any]) -> None:
        if "neutral" in message:
            self._live.set_neutral()
        elif "mirror" in message:
            self._live.mirror = bool(message["mirror"])
        elif "record" not in message:
            self._draw(self._channel.receive_bytes(), message["time_s"])
        elif message["record"] is not None:
            self._record(Path(message["record"]))
        else:
            self._end_recording()

    def _draw(self, jpeg: bytes, time_s: float) -> None:
        frame = self._live.step(decode_jpeg(jpeg), time_s)
        picture = frame.face if self._crop else frame.image
        if self._recording is not None:
            self._recording.write(picture, time_s)
            self._recorded_s = [*self._recorded_s[:1], time_s]
        self._channel.send({"face": frame.driver_seen})
        self._channel.send_bytes(encode_jpeg(picture))

    def _record(self, path: Path) -> None:
        from reenactor.engine import Recording

        self._recording = Recording(
            path,
            model=self._reenactor.model,
            provenance=False,
        )
        self._recorded_s = []
        self._channel.send({"error": None})

    def _end_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording is None or not recording.close():
            raise ReenactError("nothing was recorded: no picture came in that time")
        facts = {
            "frames": recording.frames,
            "frames_drawn": recording.frames,
            "seconds": round(self._recorded_s[-1] - self._recorded_s[0], 3),
            "sound": False,
            "signed": self._settings.provenance,
            "notes": [],
        }
        self._channel.send({"facts": facts, "model": model_facts(recording.claim)})


def decode_jpeg(data: bytes) -> np.ndarray:
    """A live driver's picture, (H, W, 3) uint8 RGB.

    Raises:
        MediaError: it is no JPEG, damaged or too large.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            width, height = image.size
            if width * height <= _MAX_PIXELS and min(width, height) >= 16:
                return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise MediaError("a picture is not a whole JPEG; send JPEG files") from error
    raise MediaError(f"a picture has {width} x {height} pixels; send from 16 x 16 to 2048 x 2048")


def encode_jpeg(picture: np.ndarray) -> bytes:
    """A (H, W, 3) uint8 RGB picture as a JPEG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()
