"""A study as a web page, served by the standard library; the page loads nothing from elsewhere.

| request | answer |
|---|---|
| `GET /`, `/study.js`, `/study.css` | the page |
| `GET /pictures/NAME` | one of the study's pictures |
| `POST /api/join` | `{"token"}` of a new participant |
| `POST /api/next {"token"}` | the next question, see `StudyServer.question` |
| `POST /api/show {"token", "step"}` | starts its time: `{"left_ms"}` |
| `POST /api/answer {"token", "step", "chosen", "late", "took_ms"}` | the next question |
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reenactor.research.evaluation.study.answers import AnswerBook
from reenactor.research.evaluation.study.plan import PICTURES, QUESTIONS, SECONDS, Kind, Step, Study, session

_INDEX = "index.html"
_PAGE = {
    "/": (_INDEX, "text/html"),
    "/study.js": ("study.js", "text/javascript"),
    "/study.css": ("study.css", "text/css"),
}
_MOST_BYTES = 4096
"""Largest body of a request."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
}


class _RequestError(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class StudyServer(ThreadingHTTPServer):
    """Serves a study and stores the answers.

    Args:
        study: the study.
        folder: of the study, with its pictures.
        book: stores the answers.
        host, port: address to listen at; port 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, study: Study, folder: Path, book: AnswerBook, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.study, self.folder, self.book = study, folder, book
        self.steps = lru_cache(maxsize=64)(lambda number: session(study, number))
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Address to open in a browser."""
        return f"http://{self.server_address[0]}:{self.server_address[1]}/"

    def question(self, number: int) -> dict[str, Any]:
        """A participant's next question, as the page needs it; names no method.

        Returns:
            `title`, `total`, `done`, `step`; and if not done `kind`, `question`, `person`, `driver`, `pictures`, and
            `left_ms`: how long the pictures are still shown, null if their time is not limited.
        """
        steps, index = self.steps(number), self.book.next_step(number)
        head = {"title": self.study.title, "total": len(steps), "done": index >= len(steps), "step": index}
        if index >= len(steps):
            return head
        step, left_ms = steps[index], None
        if step.trial.kind is Kind.ODD:
            left_ms = _left_ms(self.book.shown_for(number, index) or 0.0)
        return head | {
            "kind": step.trial.kind.value,
            "question": QUESTIONS[step.trial.kind][step.question],
            "person": step.trial.person,
            "driver": step.trial.driver,
            "pictures": step.pictures,
            "left_ms": left_ms,
        }

    def show(self, number: int, index: int) -> dict[str, Any]:
        """Start the time of a question; after a reload it continues."""
        self._step(number, index)
        return {"left_ms": _left_ms(self.book.show(number, index))}

    def answer(self, number: int, asked: dict[str, Any]) -> dict[str, Any]:
        """Store an answer; one to an answered question is ignored (a second click, a lost reply)."""
        index, chosen, took_ms = (_whole(asked, name) for name in ("step", "chosen", "took_ms"))
        if index == self.book.next_step(number):
            step = self._step(number, index)
            if not 0 <= chosen < len(step.order):
                raise _RequestError(HTTPStatus.BAD_REQUEST)
            self.book.put(number, index, step, chosen, late=asked.get("late") is True, took_ms=took_ms)
        return self.question(number)

    def _step(self, number: int, index: int) -> Step:
        steps = self.steps(number)
        if index != self.book.next_step(number) or index >= len(steps):
            raise _RequestError(HTTPStatus.CONFLICT)
        return steps[index]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StudyServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in _PAGE:
            name, kind = _PAGE[path]
            text = (files("reenactor") / "assets" / "study" / name).read_text(encoding="utf-8")
            if name == _INDEX:
                text = text.replace("{title}", html.escape(self.server.study.title))
            self._send(HTTPStatus.OK, text.encode(), f"{kind}; charset=utf-8")
            return
        name = path.removeprefix(f"/{PICTURES}/")
        # Only names that the study lists are ever looked up on the disk.
        if path.startswith(f"/{PICTURES}/") and name in self.server.study.pictures:
            self._send(HTTPStatus.OK, (self.server.folder / PICTURES / name).read_bytes(), "image/png", keep=True)
            return
        self._send_json(HTTPStatus.NOT_FOUND, {"error": "nothing here"})

    def do_POST(self) -> None:
        try:
            asked = self._body()
            routes: dict[str, Callable[[], dict[str, Any]]] = {
                "/api/join": lambda: {"token": self.server.book.join()},
                "/api/next": lambda: self.server.question(self._number(asked)),
                "/api/show": lambda: self.server.show(self._number(asked), _whole(asked, "step")),
                "/api/answer": lambda: self.server.answer(self._number(asked), asked),
            }
            if self.path not in routes:
                raise _RequestError(HTTPStatus.NOT_FOUND)
            self._send_json(HTTPStatus.OK, routes[self.path]())
        except _RequestError as error:
            self._send_json(error.status, {"error": error.status.phrase})

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MOST_BYTES:
            # The unread body would be taken for the next request.
            self.close_connection = True
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE if length.isdigit() else HTTPStatus.LENGTH_REQUIRED)
        try:
            asked = json.loads(self.rfile.read(int(length)) or b"{}")
        except ValueError:
            raise _RequestError(HTTPStatus.BAD_REQUEST) from None
        if not isinstance(asked, dict):
            raise _RequestError(HTTPStatus.BAD_REQUEST)
        return asked

    def _number(self, asked: dict[str, Any]) -> int:
        token = asked.get("token")
        number = self.server.book.number(token) if isinstance(token, str) else None
        if number is None:
            raise _RequestError(HTTPStatus.FORBIDDEN)
        return number

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: HTTPStatus, data: bytes, kind: str, *, keep: bool = False) -> None:
        self.send_response(status)
        cache = "private, max-age=86400, immutable" if keep else "no-store"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), "Cache-Control": cache}.items():
            self.send_header(name, value)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: participants' addresses are private."""


def _left_ms(shown_s: float) -> int:
    return max(0, round(1000 * (SECONDS - shown_s)))


def _whole(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if type(value) is not int or not 0 <= value < 2**31:
        raise _RequestError(HTTPStatus.BAD_REQUEST)
    return value
