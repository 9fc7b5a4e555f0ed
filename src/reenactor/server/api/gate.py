"""What a request must pass before anything of it is read: host, origin, key, rate, size, room in the queue."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException

from reenactor.server.api.measures import Measures
from reenactor.server.api.settings import Settings, is_loopback
from reenactor.server.api.store import Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_OPEN = ("/healthz", "/openapi.json")
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "WEBSOCKET")
"""What is counted by name; a caller can invent any number of others."""
_MIB = 2**20
KEY_PROTOCOL = "reenactor-key."
"""Browsers cannot set headers on a WebSocket; they may offer a subprotocol of this name and the key instead."""


class RefusalError(Exception):
    """An answer that ends a request."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


class RateLimit:
    """So many requests a minute for each caller; unused ones are saved up for a minute.

    Args:
        per_minute: requests.
        clock: seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, caller: str) -> float:
        """Take one request: 0, or how long to wait until there is one to take."""
        now = self._clock()
        left, then = self._left.get(caller, (float(self._most), now))
        left = min(float(self._most), left + (now - then) * self._most / 60)
        if left < 1:
            self._left[caller] = left, now
            return (1 - left) * 60 / self._most
        self._left[caller] = left - 1, now
        return 0.0


class Gate:
    """ASGI middleware: refuses early, in JSON; notes the caller as `scope["state"]["owner"]`.

    Args:
        app: what lies behind.
        settings: of the server.
        store: tells how many jobs wait.
        measures: told of every answer.
        retry_s: how long until there is room for a job.
    """

    def __init__(
        self, app: Any, *, settings: Settings, store: Store, measures: Measures, retry_s: Callable[[], float]
    ) -> None:
        self._app, self._settings, self._store, self._measures = app, settings, store, measures
        self._retry_s = retry_s
        self._rate = RateLimit(settings.rate_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "WEBSOCKET")
        counted_as = method if method in _METHODS else "other"

        async def noting(message: MutableMapping[str, Any]) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                route = getattr(scope.get("route"), "path", "other")
                self._measures.request(counted_as, route, message.get("status", 101))
            await send(message)

        try:
            self._pass(scope)
        except RefusalError as refusal:
            await _refuse(scope, receive, noting, refusal)
            return
        await self._app(scope, self._counted(scope, receive), noting)

    def _pass(self, scope: Scope) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "")
        # Otherwise a web page whose name resolves to 127.0.0.1 could use a server that asks for no key.
        if not self._settings.keys and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            raise RefusalError(
                403, "without API keys the server answers to 127.0.0.1 and localhost only; use that address"
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self._settings.cors and urlsplit(origin).netloc != host:
            raise RefusalError(
                403, "web pages of other sites may not use this server; start it with --cors ORIGIN for them"
            )
        if scope["path"] in _OPEN or scope.get("method") == "OPTIONS":
            return
        owner = self._owner(headers)
        scope.setdefault("state", {})["owner"] = owner
        wait_s = self._rate.wait_s(owner)
        if wait_s > 0:
            raise too_many("too many requests; wait as long as Retry-After says", wait_s)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._most_bytes(scope):
            raise RefusalError(413, self._too_large(scope))
        if self._takes_job(scope) and self._store.queued() >= self._settings.queue:
            raise queue_full(self._retry_s())

    def _owner(self, headers: dict[str, str]) -> str:
        if not self._settings.keys:
            return ""
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            key = headers.get("x-api-key", "")
        for protocol in headers.get("sec-websocket-protocol", "").split(","):
            if protocol.strip().startswith(KEY_PROTOCOL):
                key = key or protocol.strip().removeprefix(KEY_PROTOCOL)
        owner = self._settings.keys.owner(key.strip())
        if owner is None:
            sentence = "an API key is needed; send it as 'Authorization: Bearer KEY'"
            raise RefusalError(401, sentence, {"WWW-Authenticate": "Bearer"})
        return owner

    def _takes_job(self, scope: Scope) -> bool:
        return scope.get("method") == "POST" and scope["path"] == "/v1/jobs"

    def _most_bytes(self, scope: Scope) -> int:
        limits = self._settings.limits
        if self._takes_job(scope):
            return (limits.driver_mib + 1) * _MIB
        if scope["path"] == "/v1/targets":
            return (8 * limits.photo_mib + 1) * _MIB
        return _MIB

    def _too_large(self, scope: Scope) -> str:
        return f"the request is larger than the {self._most_bytes(scope) // _MIB} MiB allowed; send smaller files"

    def _counted(self, scope: Scope, receive: Receive) -> Receive:
        """A body may be longer than its header says, or have none."""
        if scope["type"] != "http":
            return receive
        most, seen = self._most_bytes(scope), 0

        async def counted() -> MutableMapping[str, Any]:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, self._too_large(scope))
            return message

        return counted


def too_many(sentence: str, wait_s: float) -> RefusalError:
    """429, with when to come again."""
    return RefusalError(429, sentence, {"Retry-After": str(max(1, math.ceil(min(wait_s, 3600))))})


def queue_full(wait_s: float) -> RefusalError:
    """429: no room for a job."""
    return too_many("the queue is full; send the job again after as many seconds as Retry-After says", wait_s)


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: RefusalError) -> None:
    prefix = ""
    if scope["type"] == "websocket":
        await receive()
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})
            return
        prefix = "websocket."
    body = json.dumps({"error": refusal.sentence}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{prefix}http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": f"{prefix}http.response.body", "body": body})
