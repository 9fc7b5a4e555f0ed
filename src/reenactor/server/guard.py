"""The request guard: what every request must pass before any of it is read: host, origin, key, rate, size, queue."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reenactor.server.metrics import Metrics
from reenactor.server.settings import Settings, is_loopback
from reenactor.server.store import Store

_OPEN = ("/healthz", "/openapi.json")
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "WEBSOCKET")
"""Methods that metrics name; a caller can invent any number of others."""
_MIB = 2**20
_HOST = re.compile(r"([a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(rf"null|[a-z][a-z0-9+.-]*://{_HOST.pattern}", re.IGNORECASE)
_BODY_S, _SLOWEST = 20.0, 8 * 2**10
"""A request's body must come within this time, and longer ones at so many bytes a second."""
_MOST_BODIES = 16
"""Requests of one key whose bodies are on their way."""
LOGIN = "/login"
KEY_COOKIE = "reenactor-key"
KEY_PROTOCOL = "reenactor-key."
"""Browsers cannot set headers on a WebSocket; they may offer a subprotocol of this name and the key instead."""
UPLOAD = "/gradio_api/upload"
_PAGE_HEADERS = {
    # Gradio's page has inline scripts and compiles some; nothing is loaded from, or sent to, another address.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Not "no-referrer", with which browsers send the login's form with the origin "null".
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class RefusalError(Exception):
    """Ends a request with an HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


class RateLimit:
    """A token bucket for each caller, such as so many requests a minute, of which unused ones are saved for a minute.

    Args:
        most: in a full bucket.
        fill_s: seconds in which an empty one is full again.
        clock: monotonic seconds.
    """

    def __init__(self, most: float, fill_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._fill_s, self._clock = most, fill_s, clock
        self._left: dict[str, tuple[float, float]] = {}

    def left(self, caller: str) -> float:
        """What the caller may take now."""
        now = self._clock()
        left, then = self._left.get(caller, (float(self._most), now))
        return min(float(self._most), left + (now - then) * self._most / self._fill_s)

    def take(self, caller: str, amount: float) -> None:
        """Take something, also more than there is."""
        self._left[caller] = self.left(caller) - amount, self._clock()

    def wait_s(self, caller: str) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        left = self.left(caller)
        if left < 1:
            return (1 - left) * self._fill_s / self._most
        self.take(caller, 1)
        return 0.0


class RequestGuard:
    """ASGI middleware in front of everything; stores the caller as `scope["state"]["owner"]`.

    A page of another site that is open in the same browser can send requests to this server, too: requests that name
    another origin are refused, and so are foreign host names (a name can be made to resolve to this computer).

    Args:
        app: what lies behind.
        settings: of the server.
        store: knows how many jobs wait.
        metrics: counts every answer.
        retry_s: gives the seconds until there is room for a job.
    """

    def __init__(
        self, app: ASGIApp, *, settings: Settings, store: Store, metrics: Metrics, retry_s: Callable[[], float]
    ) -> None:
        self._app, self._settings, self._store, self._metrics = app, settings, store, metrics
        self._retry_s = retry_s
        self._rate = RateLimit(settings.rate_per_minute)
        self._bodies: Counter[str] = Counter()
        self._names = {"localhost", *settings.names}
        if not is_loopback(settings.host):
            self._names.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "WEBSOCKET")
        counted_as = method if method in _METHODS else "other"

        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                route = getattr(scope.get("route"), "path", None) or "other"
                self._metrics.request(counted_as, route, message.get("status", 101))
            if self._settings.page and message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in _PAGE_HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        try:
            self._check(scope)
        except RefusalError as refusal:
            await _refuse(scope, receive, sending, refusal)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, sending)
            return
        owner = scope.get("state", {}).get("owner") if method == "POST" else None
        most, seen, coming, began = self._most_bytes(scope), 0, True, time.monotonic()

        async def bounded() -> Message:
            """Receives a body, which may be longer than its header says, or come a byte a minute."""
            nonlocal seen
            if not coming:
                return await receive()
            left_s = began + _BODY_S + seen / _SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), left_s if seen else max(1.0, left_s))
            except TimeoutError:
                raise HTTPException(408, "the request came too slowly; send it again") from None
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, self._too_large(scope))
            if not message.get("more_body"):
                whole()
            return message

        def whole() -> None:
            nonlocal coming
            if coming and owner is not None:
                self._bodies[owner] -= 1
            coming = False

        if owner is not None:
            self._bodies[owner] += 1
        try:
            await self._app(scope, bounded, sending)
        finally:
            whole()

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_site(headers)
        if scope["path"] in _OPEN or scope.get("method") == "OPTIONS":
            return
        if self._settings.page and scope["path"] == LOGIN:
            return
        owner = self._owner(headers, scope)
        scope.setdefault("state", {})["owner"] = owner
        if scope["path"] == "/metrics" and not self._settings.keys.is_operator(owner):
            raise RefusalError(403, "this is for the server's operator; make a key with --add-key NAME --operator")
        wait_s = self._rate.wait_s(owner) if self._limited(scope) else 0.0
        if wait_s > 0:
            raise too_many("too many requests; wait as long as Retry-After says", wait_s)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._most_bytes(scope):
            raise RefusalError(413, self._too_large(scope))
        if self._settings.shared and self._bodies[owner] >= _MOST_BODIES:
            raise too_many("too many requests at once; wait for the answers to some", 1)
        if _takes_job(scope) and (
            self._store.queued() >= self._settings.queue or self._store.queued(owner) >= self._settings.queue_of_key
        ):
            raise queue_full(self._retry_s())

    def _check_site(self, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _HOST.fullmatch(host) or (origin is not None and not _ORIGIN.fullmatch(origin)):
            raise RefusalError(400, "the Host or Origin header is malformed")
        name = (urlsplit(f"//{host}").hostname or "").lower()
        # Without keys a web page whose name resolves to 127.0.0.1 could use the server.
        if (self._settings.page or not self._settings.keys) and not self._is_own(name):
            raise RefusalError(
                403, "the server does not answer under this host name; use 127.0.0.1, or start it with --name NAME"
            )
        if origin is not None and origin not in self._settings.cors and urlsplit(origin).netloc != host:
            raise RefusalError(
                403, "web pages of other sites may not use this server; start it with --cors ORIGIN for them"
            )

    def _is_own(self, name: str) -> bool:
        if name in self._names or is_loopback(name):
            return True
        return not is_loopback(self._settings.host) and _is_address(name)

    def _owner(self, headers: Headers, scope: Scope) -> str:
        if not self._settings.keys:
            return ""
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            key = headers.get("x-api-key", "")
        for protocol in headers.get("sec-websocket-protocol", "").split(","):
            if protocol.strip().startswith(KEY_PROTOCOL):
                key = key or protocol.strip().removeprefix(KEY_PROTOCOL)
        if not key and self._settings.page:
            key = cookie_parser(headers.get("cookie", "")).get(KEY_COOKIE, "")
        owner = self._settings.keys.owner(key.strip())
        if owner is not None:
            return owner
        if self._settings.page and scope.get("method") == "GET" and "text/html" in headers.get("accept", ""):
            raise RefusalError(303, "an API key is needed", {"Location": LOGIN})
        sentence = "an API key is needed; send it as 'Authorization: Bearer KEY'"
        raise RefusalError(401, sentence, {"WWW-Authenticate": "Bearer"})

    def _limited(self, scope: Scope) -> bool:
        """Whether the rate limit counts a request; the page's own scripts and styles are not counted."""
        return not self._settings.page or scope["path"].startswith(("/v1/", "/metrics", "/gradio_api/"))

    def _most_bytes(self, scope: Scope) -> int:
        limits = self._settings.limits
        if _takes_job(scope):
            return (limits.driver_mib + 1) * _MIB
        if scope["path"] == "/v1/targets":
            # Eight photos, or one large video; several videos share this.
            return (max(limits.driver_mib, 8 * limits.photo_mib) + 1) * _MIB
        if self._settings.page and scope["path"] == UPLOAD:
            return (max(limits.driver_mib, 8 * limits.photo_mib) + 1) * _MIB
        return _MIB

    def _too_large(self, scope: Scope) -> str:
        return f"the request is larger than the {self._most_bytes(scope) // _MIB} MiB allowed; send smaller files"


def too_many(sentence: str, wait_s: float) -> RefusalError:
    """429, with a Retry-After header."""
    return RefusalError(429, sentence, {"Retry-After": str(max(1, math.ceil(min(wait_s, 3600))))})


def queue_full(wait_s: float) -> RefusalError:
    """429: no room for a job."""
    return too_many("the queue is full; send the job again after as many seconds as Retry-After says", wait_s)


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: RefusalError) -> None:
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})
            return
    answer = JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)
    await answer(scope, receive, send)


def _takes_job(scope: Scope) -> bool:
    return scope.get("method") == "POST" and scope["path"] == "/v1/jobs"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
