"""A study as a web page, served by the standard library; the page loads nothing from elsewhere.

| request | answer |
|---|---|
| `GET /`, `/study.js`, `/study.css` | the page |
| `GET /pictures/NAME` | one of the study's pictures |
| `POST /api/join` | `{"token"}` of a new participant |
| `POST /api/next {"token"}` | the next question, see `StudyServer.question` |
| `POST /api/show {"token", "step"}` | starts its time: `{"left_ms"}` |
| `POST /api/answer {"token", "step", "chosen", "late"}` | the next question |

429 tells a page to try again; so many connections, requests and new participants an address are answered, and no
answer that came sooner than a person can look. Requests that a page of another site sent are refused.
"""

from __future__ import annotations

import html
import ipaddress
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
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
_CONNECTIONS, _CONNECTIONS_OF_ONE = 128, 32
"""At a time: a thread each; and from one address (a browser keeps up to six)."""
_SILENCE_S = 10.0
"""A connection that sends nothing for so long is closed,"""
_LIFE_S = 60.0
"""and any after this, busy or not."""
_REQUESTS_A_S = 20
"""Of one address, pictures included, of which it may save up those of ten seconds."""
_DAY_S = 86400.0
_ADDRESSES = 10_000
"""That are known at a time; whoever has more of them is not stopped by counting."""
_LEAST_S = 0.3
"""Nobody looks and chooses in less."""
_LATE_S = SECONDS + 1.0
"""After it an answer is late whatever the page says; it hides the pictures, but the way to the server takes time."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
}


class _RequestError(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: HTTPStatus, sentence: str | None = None) -> None:
        super().__init__(sentence or status.phrase)
        self.status = status


class StudyServer(ThreadingHTTPServer):
    """Serves a study and stores the answers.

    Args:
        study: the study.
        folder: of the study, with its pictures.
        book: stores the answers.
        host, port: address to listen at; port 0 takes a free one.
        names: host names that the page is opened under, besides addresses and "localhost".
        per_address: participants from one address a day; 0 for any number, and no other limits of one address: for
            proxies, which make all participants look like one.
        least_s: an answer sooner after the question is refused.
    """

    daemon_threads = True
    request_queue_size = _CONNECTIONS

    def __init__(
        self,
        study: Study,
        folder: Path,
        book: AnswerBook,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        names: Collection[str] = (),
        per_address: int = 4,
        least_s: float = _LEAST_S,
    ) -> None:
        self.study, self.folder, self.book = study, folder, book
        self.steps = lru_cache(maxsize=64)(lambda number: session(study, number))
        self.names = {"localhost", host.lower(), *(name.lower() for name in names)}
        self._per_address, self._least_s = per_address, least_s
        self._joins, self._requests = _Allowance(per_address, _DAY_S), _Allowance(10 * _REQUESTS_A_S, 10.0)
        self._open: dict[socket.socket, tuple[str, float]] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, or close it where there are too many."""
        address, most = _network(client_address[0]), _CONNECTIONS_OF_ONE if self._per_address else _CONNECTIONS
        with self._lock:
            of_one = sum(one == address for one, _ in self._open.values())
            full = len(self._open) >= _CONNECTIONS or of_one >= most
            if not full:
                self._open[request] = address, time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._open[request]

    def service_actions(self) -> None:
        """Called twice a second: ends connections that are too old, such as those that send a byte now and then."""
        with self._lock:
            old = [one for one, (_, began) in self._open.items() if time.monotonic() - began > _LIFE_S]
        for connection in old:
            with suppress(OSError):  # it ended in the same moment
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are no news."""

    def allow(self, address: str, *, joining: bool) -> None:
        """Count a request against its address; raises `_RequestError` if there were too many."""
        limits = [self._requests, self._joins] if joining else [self._requests]
        if self._per_address and not all(limit.take(_network(address)) for limit in limits):
            raise _RequestError(HTTPStatus.TOO_MANY_REQUESTS)

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
        else:
            self.book.show(number, index)
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
        index, chosen = (_whole(asked, name) for name in ("step", "chosen"))
        if index == self.book.next_step(number):
            step, took_s = self._step(number, index), self.book.shown_for(number, index)
            if not 0 <= chosen < len(step.order):
                raise _RequestError(HTTPStatus.BAD_REQUEST)
            if took_s is None:
                raise _RequestError(HTTPStatus.CONFLICT)
            if took_s < self._least_s:
                raise _RequestError(HTTPStatus.TOO_MANY_REQUESTS)
            late = step.trial.kind is Kind.ODD and (asked.get("late") is True or took_s > _LATE_S)
            self.book.put(number, index, step, chosen, late=late, took_ms=round(1000 * took_s))
        return self.question(number)

    def _step(self, number: int, index: int) -> Step:
        steps = self.steps(number)
        if index != self.book.next_step(number) or index >= len(steps):
            raise _RequestError(HTTPStatus.CONFLICT)
        return steps[index]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE_S
    server: StudyServer

    def do_GET(self) -> None:
        try:
            self._check(joining=False)
        except _RequestError as error:
            self._send_json(error.status, {"error": str(error)})
            return
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
            self._check(joining=self.path == "/api/join")
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
            self._send_json(error.status, {"error": str(error)})
        except sqlite3.Error:
            self._send_json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the answers cannot be stored now; try again"})

    def _check(self, *, joining: bool) -> None:
        """Refuse foreign host names (one may be made to lead here), other sites' pages, and too many requests."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            same = origin is None or urlsplit(origin).netloc == host
        except ValueError:
            raise _RequestError(HTTPStatus.BAD_REQUEST) from None
        if not same or not (name in self.server.names or _is_address(name)):
            sentence = "the study is not opened under this name; start it with --name NAME"
            raise _RequestError(HTTPStatus.FORBIDDEN, sentence)
        self.server.allow(self.client_address[0], joining=joining)

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        known = length.isascii() and length.isdigit() and "Transfer-Encoding" not in self.headers
        if not known or len(length) > 9 or int(length) > _MOST_BYTES:
            # The unread body would be taken for the next request; closed with it unread, the answer could be lost.
            self.close_connection = True
            self.connection.settimeout(0.1)
            with suppress(OSError):
                self.rfile.read1(_MOST_BYTES)
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE if known else HTTPStatus.LENGTH_REQUIRED)
        try:
            asked = json.loads(self.rfile.read(int(length)) or b"{}")
        except (ValueError, RecursionError):
            raise _RequestError(HTTPStatus.BAD_REQUEST) from None
        if not isinstance(asked, dict):
            raise _RequestError(HTTPStatus.BAD_REQUEST)
        return asked

    def _number(self, asked: dict[str, Any]) -> int:
        token = asked.get("token")
        number = self.server.book.number(token) if isinstance(token, str) and token.isascii() else None
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


class _Allowance:
    """So many requests of each address, that come back evenly in so many seconds."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._per_s = most, most / seconds
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, address: str) -> bool:
        """Take one, if there is one left."""
        with self._lock:
            now = time.monotonic()
            if len(self._left) >= _ADDRESSES:
                self._left.clear()
            left, then = self._left.get(address, (self._most, now))
            left = min(self._most, left + (now - then) * self._per_s)
            self._left[address] = max(left - 1, left % 1), now
            return left >= 1


def _network(address: str) -> str:
    """What one subscriber has: an IPv4 address, or 2^64 of IPv6."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


def _is_address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _left_ms(shown_s: float) -> int:
    return max(0, round(1000 * (SECONDS - shown_s)))


def _whole(asked: dict[str, Any], name: str) -> int:
    value = asked.get(name)
    if type(value) is not int or not 0 <= value < 2**31:
        raise _RequestError(HTTPStatus.BAD_REQUEST)
    return value
