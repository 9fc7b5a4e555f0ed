"""The gate in front of Gradio: which of its routes exist, which visitor asks, and whose files a request names.

Gradio takes session names and paths of files from the browser. Everything that it is sent passes here first, so that
no handler has to check any of it: a path is that of a file which the same visitor uploaded, or the request ends here.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import FormData, MutableHeaders, UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reenactor.core.errors import ReenactError
from reenactor.server.guard import UPLOAD, RefusalError
from reenactor.server.page.session import Sessions, Visitor
from reenactor.server.state import MAX_PHOTOS, copy_upload
from reenactor.server.store import new_id

_API = "/gradio_api/"
_ROUTES = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static|svelte)/.*|"
    r"/gradio_api/(info|app_id|startup-events|theme\.css|upload|upload_progress|queue/join|queue/data|run/predict|"
    r"cancel|reset|heartbeat/(?P<session>.+)|file=(?P<file>.+))"
)
"""What the page itself uses. Gradio has more: fetching addresses of the web, monitoring, links to a session's state."""
_SESSION = re.compile(r"[a-z0-9]{1,64}")
NO_PAGE = "this request belongs to no page; load the page again"


def fail_in_one_line() -> None:
    """Tell the operator of the exception that is handled, of which anybody can cause any number."""
    kind = type(sys.exc_info()[1]).__name__
    print(f"reenactor: the page cannot use a request: {kind}", file=sys.stderr, flush=True)


class Gate:
    """ASGI middleware around Gradio's application.

    Args:
        app: Gradio's.
        sessions: of the page.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        # Another server on this computer has a cookie of another name: cookies are shared between ports.
        self._cookie = f"reenactor-visitor-{new_id()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection.

        Raises:
            RefusalError: it is not let in.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, path = Request(scope, receive), scope["path"]
        route = _ROUTES.fullmatch(path)
        if route is None:
            raise RefusalError(404, "there is nothing at this address")
        owner = scope["state"]["owner"]
        visitor = self._sessions.visitor(request.cookies.get(self._cookie), owner)
        if path.startswith(_API):
            if visitor is None:
                raise RefusalError(403, NO_PAGE)
            if path == UPLOAD:
                await (await self._upload(request, visitor))(scope, receive, send)
                return
            if path == f"{UPLOAD}_progress":  # a file is there as soon as its last byte is
                await PlainTextResponse('data: {"msg": "done"}\n\n', media_type="text/event-stream")(
                    scope, receive, send
                )
                return
            names = [route["session"], request.query_params.get("session_hash")]
            if route["file"] is not None:
                visitor.uploaded(route["file"])
            if request.method == "POST":
                body = _parsed(await request.body())
                names.append(body.get("session_hash"))
                for one in _paths(body):
                    visitor.uploaded(one)
                receive = _replayed(json.dumps(body).encode(), receive)
            for name in names:
                if name is not None:
                    if not isinstance(name, str) or not _SESSION.fullmatch(name):
                        raise RefusalError(400, "the name of the session is malformed; load the page again")
                    self._sessions.claim(visitor, name)
        elif path == "/" and visitor is None:
            send = _with_cookie(send, self._cookie, self._sessions.welcome(owner).id, request.url.scheme == "https")
        try:
            await self._app(scope, receive, send)
        except Exception:  # Gradio has answered 500; the traceback of a request that makes no sense helps nobody
            fail_in_one_line()

    async def _upload(self, request: Request, visitor: Visitor) -> JSONResponse:
        """Store files in the visitor's folder; the answer is Gradio's, a list of their paths."""
        async with request.form(max_files=MAX_PHOTOS, max_fields=MAX_PHOTOS) as form:
            return JSONResponse(await asyncio.to_thread(self._stored, form, visitor))

    def _stored(self, form: FormData, visitor: Visitor) -> list[str]:
        limits = self._sessions.state.settings.limits
        self._sessions.state.check_room(visitor.owner)
        paths = []
        for file in form.getlist("files"):
            if isinstance(file, UploadFile):
                path = visitor.new_path(file.filename or "")
                paths.append(str(path))
                copy_upload(file.file, path, path.name, max(limits.photo_mib, limits.driver_mib))
        return paths


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RefusalError(400, "the request is no JSON object")
    return found


def _paths(value: object) -> Iterator[str]:
    """The paths of all files that a request names."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += one.values()
            if "path" in one:
                if not isinstance(one["path"], str):
                    raise ReenactError("a file's path is no text; choose the file again")
                yield one["path"]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that begins with a body that was read already: Gradio sees exactly what was checked."""
    left = [body]

    async def replayed() -> Message:
        return {"type": "http.request", "body": left.pop()} if left else await receive()

    return replayed


def _with_cookie(send: Send, name: str, value: str, secure: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            cookie = f"{name}={value}; HttpOnly; SameSite=Strict; Path=/{'; Secure' if secure else ''}"
            MutableHeaders(scope=message).append("Set-Cookie", cookie)
        await send(message)

    return sending
