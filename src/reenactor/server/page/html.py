"""The page's messages and pictures, as HTML."""

from __future__ import annotations

import base64
import sys
import traceback
from html import escape

from reenactor.core.errors import ReenactError
from reenactor.server.guard import RefusalError
from reenactor.server.records import JobRecord
from reenactor.server.store import State, disk_trouble


def sentence_of(error: BaseException) -> str:
    """What went wrong and what to do: the error's own sentence if it is meant for users; others go to the terminal."""
    if isinstance(error, (ReenactError, RefusalError)):
        return capital(str(error))
    if (trouble := disk_trouble(error)) is not None:
        return capital(trouble[1])
    traceback.print_exception(error, file=sys.stderr)
    return "Something broke inside reenactor; the terminal says what. Try another file, and please report this."


def capital(text: str) -> str:
    """With a capital letter, unless a file's name comes first, and a full stop."""
    first = text if "." in text.split(" ", 1)[0] else text[:1].upper() + text[1:]
    return first + ("" if text.endswith((".", "!", "?")) else ".")


def note(text: str) -> str:
    """A box with information; each line of `text` is shown as one."""
    return f'<div class="re-note" role="status">{_lines(text)}</div>' if text else ""


def problem(text: str) -> str:
    """A box with an error."""
    return f'<div class="re-problem" role="alert">{_lines(text)}</div>'


def progress(what: str, fraction: float | None) -> str:
    """A progress bar with a text; `fraction` from 0 to 1, or None if it is unknown."""
    percent = None if fraction is None else round(100 * fraction)
    value = "" if percent is None else f' aria-valuenow="{percent}"'
    style = ' class="re-unknown"' if percent is None else f' style="width:{percent}%"'
    return (
        f'<div class="re-working" role="status"><div class="re-bar" role="progressbar" aria-label="progress" '
        f'aria-valuemin="0" aria-valuemax="100"{value}><i{style}></i></div>{escape(capital(what))}</div>'
    )


def job_progress(record: JobRecord, prefix: str = "") -> str:
    """The progress bar of a job that is queued or running."""
    if record.state is State.QUEUED:
        before = f", {record.jobs_before} come first" if record.jobs_before else ""
        return progress(f"{prefix}waiting for a worker{before}", None)
    what = f"{prefix}{record.stage or 'starting'}"
    if record.frames_done:
        what += f": {record.frames_done}" + (f" of {record.frames_total}" if record.frames_total else "")
    if record.eta_s is not None:
        what += f", {remaining(record.eta_s)} left"
    return progress(what, record.progress or None)


def job_report(record: JobRecord) -> str:
    """A note on the result of a job that is done."""
    result = record.result
    assert result is not None
    frames = "1 frame" if result.frames == 1 else f"{result.frames} frames, {result.seconds:.2f} s"
    lines = [f"{frames}{', with sound' if result.sound else ''}", *(capital(one) for one in result.notes)]
    lines.append(
        "Signed as synthetic." if result.signed else "Not signed: nothing in the file says that it is synthetic."
    )
    return note("\n".join(lines))


def remaining(seconds: float) -> str:
    """A duration to the second, or from 90 s on to the minute: "about 5 s"."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def result_url(job: str) -> str:
    """Address of a job's result, relative to the page."""
    return f"v1/jobs/{job}/result"


def video(job: str, label: str = "") -> str:
    """A player for the video that a job made."""
    caption = f"<figcaption>{escape(label)}</figcaption>" if label else ""
    player = f'<video src="{result_url(job)}" autoplay loop controls playsinline></video>'
    return f'<figure class="re-video">{player}{caption}</figure>'


def moving_picture(job: str) -> str:
    """The animated picture that a job made, over a chequered ground."""
    return f'<figure class="re-video"><img src="{result_url(job)}" alt="the result"></figure>'


def download(job: str, text: str) -> str:
    """A link that saves a job's result."""
    return f'<a class="re-download" href="{result_url(job)}" download>{escape(text)}</a>'


def picture(jpeg: bytes | str, name: str = "") -> str:
    """A picture (JPEG bytes, or their base64) with its name below."""
    data = jpeg if isinstance(jpeg, str) else base64.b64encode(jpeg).decode()
    caption = f"<figcaption>{escape(name)}</figcaption>" if name else ""
    return f'<figure><img src="data:image/jpeg;base64,{data}" alt="">{caption}</figure>'


def _lines(text: str) -> str:
    return "<br>".join(escape(line.strip()) for line in text.splitlines())
