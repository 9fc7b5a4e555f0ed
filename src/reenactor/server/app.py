"""The server as an ASGI application: the API, and the page with `Settings.page`, behind one guard."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from reenactor import __version__
from reenactor.core.errors import ReenactError
from reenactor.server.guard import RefusalError, RequestGuard
from reenactor.server.routes import job_routes, live_routes, server_routes, target_routes
from reenactor.server.settings import Settings
from reenactor.server.state import AppState
from reenactor.server.store import disk_trouble

if TYPE_CHECKING:
    from reenactor.server.page.previews import Previews

_SUMMARY = "Photos of a person move like a driver. Files are deleted after a while, and belong to their API key."
_PLAIN = {
    "Not Found": "there is nothing at this address; see /openapi.json for what there is",
    "Method Not Allowed": "this address does not take that method; see /openapi.json for those it takes",
}
"""Sentences instead of Starlette's messages."""


def create_app(settings: Settings, *, models: dict[str, Any] | None = None) -> FastAPI:
    """The ASGI application; its processes run from its start-up to its shutdown.

    Args:
        settings: of the server.
        models: what `state.described_models` found; None to find it when it is needed.

    Raises:
        ReenactError: the settings are unsafe, or the data folder cannot be used.
    """
    settings.check()
    # Of each part of a form so much is kept in memory, the rest in a file; there can be a thousand parts.
    MultiPartParser.spool_max_size = 2**16
    state = AppState(settings, models)

    previews: Previews | None = None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        if previews is not None:
            previews.start()
        try:
            yield
        finally:
            if previews is not None:
                previews.close()
            await asyncio.to_thread(state.stop)

    # Swagger's page would load its scripts from the network.
    app = FastAPI(
        title="reenactor", version=__version__, summary=_SUMMARY, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.reenactor = state
    for routes in (server_routes, target_routes, job_routes, live_routes):
        app.include_router(routes(state))
    if settings.page:
        from reenactor.server.page.page import mount_page

        previews = mount_page(app, state)
    app.add_middleware(
        RequestGuard,
        settings=settings,
        store=state.store,
        metrics=state.metrics,
        retry_s=lambda: state.workers.wait_s(1),
    )
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key"],
            expose_headers=["Location", "Retry-After"],
        )
    _answer_errors(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Answer every error in JSON with one sentence."""

    @app.exception_handler(RefusalError)
    def refused(request: Request, error: RefusalError) -> Response:
        return JSONResponse({"error": error.sentence}, error.status, error.headers)

    @app.exception_handler(ReenactError)
    async def wrong(request: Request | WebSocket, error: ReenactError) -> Response | None:
        answer = JSONResponse({"error": str(error)}, 422)
        if isinstance(request, WebSocket):
            await request.send_denial_response(answer)
            return None
        return answer

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = " ".join(str(part) for part in first["loc"][1:]) or "the request"
        return JSONResponse({"error": f"{field}: {first['msg'].lower()}; see /openapi.json for what is taken"}, 422)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        if (trouble := disk_trouble(error.__cause__)) is not None:  # a body that the disk had no room for
            return JSONResponse({"error": trouble[1]}, trouble[0])
        sentence = _PLAIN.get(str(error.detail), str(error.detail))
        return JSONResponse({"error": sentence}, error.status_code, dict(error.headers or {}))

    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.OperationalError)
    def system(request: Request, error: Exception) -> Response:
        trouble = disk_trouble(error)
        if trouble is None:
            return failed(request, error)
        return JSONResponse({"error": trouble[1]}, trouble[0], {"Retry-After": "1"} if trouble[0] == 503 else None)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed at this; try again, and tell its operator if it stays"}, 500)
