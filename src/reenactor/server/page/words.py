"""What the page says: sentences for people, as HTML."""

from __future__ import annotations

import base64
import re
import sys
import traceback
from collections.abc import Generator
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8

from reenactor.core import ReenactError
from reenactor.server.page.work import CancelledError, Work
from reenactor.server.worker import encode_jpeg

_Result = TypeVar("_Result")


def sentence_of(error: BaseException, folder: Path) -> str:
    """What went wrong and what to do, without this computer's folders.

    Args:
        error: its sentence is shown if it is meant for people; anything else is told in the terminal in full.
        folder: where uploads and results lie.
    """
    if isinstance(error, CancelledError):
        return "Stopped. Nothing was kept."
    if isinstance(error, ReenactError):
        return capital(without_folders(str(error), folder))
    traceback.print_exception(error, file=sys.stderr)
    return "Something broke inside reenactor; the terminal says what. Try another file, and please report this."


def without_folders(text: str, folder: Path) -> str:
    """Uploads and results by their names alone."""
    return re.sub(rf"{re.escape(str(folder))}[\\/](?:[\w-]+[\\/])*", "", text)


def capital(text: str) -> str:
    """With a capital letter, unless a file's name comes first, and a full stop."""
    first = text if "." in text.split(" ", 1)[0] else text[:1].upper() + text[1:]
    return first + ("" if text.endswith((".", "!", "?")) else ".")


def note(text: str) -> str:
    """Something to know."""
    return f'<div class="re-note" role="status">{_lines(text)}</div>' if text else ""


def problem(text: str) -> str:
    """Something to put right."""
    return f'<div class="re-problem" role="alert">{_lines(text)}</div>'


def progress(what: str, share: float | None) -> str:
    """A bar and what is being done."""
    percent = None if share is None else round(100 * share)
    value = "" if percent is None else f' aria-valuenow="{percent}"'
    style = ' class="re-unknown"' if percent is None else f' style="width:{percent}%"'
    return (
        f'<div class="re-working" role="status"><div class="re-bar" role="progressbar" aria-label="progress" '
        f'aria-valuemin="0" aria-valuemax="100"{value}><i{style}></i></div>{escape(capital(what))}</div>'
    )


def followed(work: Work[_Result], place: Any) -> Generator[dict[Any, str], None, _Result]:
    """Shows in `place` how the work goes, and gives its result; stops it when nobody follows any more."""
    try:
        for what, share in work.watch():
            yield {place: progress(what, share)}
    finally:
        work.cancel()
    return work.result()


def picture(pixels: UInt8[np.ndarray, "h w 3"], name: str) -> str:
    """A small picture with its name."""
    jpeg = base64.b64encode(encode_jpeg(pixels)).decode()
    return f'<figure><img src="data:image/jpeg;base64,{jpeg}" alt=""><figcaption>{escape(name)}</figcaption></figure>'


def _lines(text: str) -> str:
    return "<br>".join(escape(line.strip()) for line in text.splitlines())
