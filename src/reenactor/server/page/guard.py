"""Who may ask, and what the page may load: nothing from elsewhere."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from reenactor.server.page.settings import WebSettings
from reenactor.server.settings import is_loopback

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_HEADERS = {
    # Gradio's page has inline scripts and compiles some; nothing may come from, or go to, another address.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware.

    A web page of another site that is open in the same browser can send requests to this computer, too: those that
    name another origin are refused, and so are host names that are not ours (a name can be made to resolve here).

    Args:
        app: what lies behind.
        settings: of the page.
    """

    def __init__(self, app: Any, settings: WebSettings) -> None:
        self._app, self._local = app, settings.local
        self._names = {"localhost", *settings.names} | (set() if settings.local else {socket.gethostname().lower()})

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """One connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if reason := self._refused(headers):
            await _refuse(scope, receive, send, reason)
            return

        async def guarding(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        await self._app(scope, receive, guarding)

    def _refused(self, headers: dict[str, str]) -> str | None:
        host = headers.get("host", "")
        name = (urlsplit(f"//{host}").hostname or "").lower()
        if not (name in self._names or is_loopback(name) or (not self._local and _is_address(name))):
            return f"this page is not served under the name {name or '(none)'}; start it with --name NAME for that"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "web pages of other sites may not use this server"
        return None


async def _refuse(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
