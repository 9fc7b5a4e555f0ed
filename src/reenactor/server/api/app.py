"""The API as an ASGI application."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from reenactor import __version__
from reenactor.core.errors import ReenactError
from reenactor.server.api.gate import Gate, RefusalError
from reenactor.server.api.hub import Hub
from reenactor.server.api.routes import job_routes, live_routes, open_routes, target_routes
from reenactor.server.api.settings import Settings

_SUMMARY = "Photos of a person move like a driver. Everything is kept for a while only, and seen by its key alone."
_PLAIN = {
    "Not Found": "there is nothing at this address; see /openapi.json for what there is",
    "Method Not Allowed": "this address does not take that method; see /openapi.json for those it takes",
}
"""Starlette's own words."""


def create_app(settings: Settings) -> FastAPI:
    """The API as an ASGI application; its processes run from its start-up to its shutdown.

    Raises:
        ReenactError: the settings are not safe, or the data folder cannot be used.
    """
    settings.check()
    hub = Hub(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        hub.start()
        try:
            yield
        finally:
            await asyncio.to_thread(hub.stop)

    # Swagger's page would load its scripts from the network.
    app = FastAPI(
        title="reenactor", version=__version__, summary=_SUMMARY, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.hub = hub
    app.include_router(open_routes(hub))
    app.include_router(target_routes(hub))
    app.include_router(job_routes(hub))
    app.include_router(live_routes(hub))
    app.add_middleware(
        Gate,
        settings=settings,
        store=hub.store,
        measures=hub.measures,
        retry_s=lambda: hub.workers.wait_s(1),
    )
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key"],
            expose_headers=["Location", "Retry-After"],
        )
    _say_errors(app)
    return app


def _say_errors(app: FastAPI) -> None:
    """Every error is JSON with one sentence."""

    @app.exception_handler(RefusalError)
    def refused(request: Request, error: RefusalError) -> Response:
        return JSONResponse({"error": error.sentence}, error.status, error.headers)

    @app.exception_handler(ReenactError)
    def wrong(request: Request, error: ReenactError) -> Response:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"][1:]) or "the request"
        return JSONResponse({"error": f"{place}: {first['msg'].lower()}; see /openapi.json for what is taken"}, 422)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        sentence = _PLAIN.get(str(error.detail), str(error.detail))
        return JSONResponse({"error": sentence}, error.status_code, dict(error.headers or {}))

    @app.exception_handler(OSError)
    def system(request: Request, error: OSError) -> Response:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return JSONResponse({"error": "the server's disk is full; try again later"}, 507)
        return failed(request, error)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "the server failed at this; try again, and tell its operator if it stays"}, 500)
