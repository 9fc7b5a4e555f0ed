"""The routes of the API."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer

from reenactor import __version__
from reenactor.server.guard import KEY_PROTOCOL, RefusalError, too_many
from reenactor.server.live import LiveSession
from reenactor.server.records import (
    Health,
    JobOptions,
    JobRecord,
    LiveOptions,
    Motions,
    Offers,
    PersonOptions,
    Problem,
    TargetRecord,
    motion_names,
)
from reenactor.server.state import AppState
from reenactor.server.store import PERSON, Job


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        400: "The request is malformed",
        401: "No known API key",
        403: "Foreign host name or web site",
        404: "This key has nothing of that id",
        409: "Not possible now",
        413: "Too large",
        422: "A value or file cannot be used",
        429: "Too many requests, or no room; see Retry-After",
        503: "Busy; see Retry-After",
        507: "The disk is full",
    }
    return {status: {"model": Problem, "description": texts[status]} for status in (401, 403, 429, 503, 507, *statuses)}


def _owner(request: Request) -> str:
    return request.state.owner


Owner = Annotated[str, Depends(_owner)]
_KEY = [Depends(HTTPBearer(auto_error=False, description="An API key"))]


async def _queued(state: AppState, response: Response, job: Job) -> JobRecord:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await asyncio.to_thread(state.record, job)


def server_routes(state: AppState) -> APIRouter:
    """Routes about the server itself."""
    router = APIRouter(tags=["server"])

    @router.get("/healthz", responses={403: {"model": Problem}})
    def healthz() -> Health:
        """Whether the server is up; needs no key."""
        return Health(version=__version__, jobs_waiting=state.store.queued())

    @router.get("/metrics", dependencies=_KEY, responses={**_answers(), 200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/v1/motions", dependencies=_KEY, responses=_answers())
    def motions() -> Motions:
        """The drivers that ship."""
        return Motions(motions=motion_names())

    @router.get("/v1/offers", dependencies=_KEY, responses=_answers())
    def offers() -> Offers:
        """The models, landmark transformers and runtimes of this server."""
        return state.offers()

    return router


def target_routes(state: AppState) -> APIRouter:
    """Routes for photos and videos of people."""
    router = APIRouter(prefix="/v1/targets", tags=["targets"], dependencies=_KEY)
    keep_s = state.settings.keep_s

    @router.post("", status_code=201, responses=_answers(400, 413, 422))
    async def add_target(
        owner: Owner,
        photos: Annotated[
            list[UploadFile],
            File(
                description="One to eight photos, videos or person files of one person; the first moves, or holds it."
            ),
        ],
    ) -> TargetRecord:
        """Store photos, videos or person files of a person, to be animated any number of times."""
        named: list[tuple[BinaryIO, str]] = [(photo.file, f"photo {i}") for i, photo in enumerate(photos, start=1)]
        return TargetRecord.of(await state.add_target(owner, named), keep_s)

    @router.get("/{identity}", responses=_answers(404))
    def get_target(owner: Owner, identity: str) -> TargetRecord:
        """A target."""
        return TargetRecord.of(state.target(owner, identity), keep_s)

    @router.post("/{identity}/person", status_code=202, responses=_answers(400, 404, 413, 422))
    async def make_person(
        owner: Owner, response: Response, identity: str, options: Annotated[PersonOptions, Depends()]
    ) -> JobRecord:
        """Queue the making of a person file of a target's photos and videos; it is the result of the job."""
        return await _queued(state, response, await state.add_person(owner, identity, options))

    @router.delete("/{identity}", status_code=204, responses=_answers(404, 409))
    def delete_target(owner: Owner, identity: str) -> None:
        """Delete a target's photos and videos now."""
        if not state.store.remove_target(state.target(owner, identity).id):
            raise RefusalError(409, "jobs still use this target; cancel them first, or wait until they are done")

    return router


def job_routes(state: AppState) -> APIRouter:
    """Routes for animations."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=_KEY)

    @router.post("", status_code=202, responses=_answers(400, 404, 413, 422))
    async def add_job(
        owner: Owner,
        response: Response,
        target: Annotated[str, Form(description="Id of a target.")],
        options: Annotated[JobOptions, Depends()],
        driver: Annotated[UploadFile | None, File(description="A video, a photo or a .motion file.")] = None,
        motion: Annotated[str | None, Form(description="Instead of a driver: one of /v1/motions.")] = None,
    ) -> JobRecord:
        """Queue an animation."""
        state.target(owner, target)
        checked = await state.driver(owner, motion, None if driver is None else driver.file)
        return await _queued(state, response, await state.add_job(owner, target, options, checked))

    @router.get("/{identity}", responses=_answers(404))
    def get_job(owner: Owner, identity: str) -> JobRecord:
        """A job and its progress."""
        return state.record(state.job(owner, identity))

    @router.get("/{identity}/result", response_class=FileResponse, responses=_answers(404, 409))
    def get_result(owner: Owner, identity: str) -> FileResponse:
        """The file that a job made."""
        job = state.job(owner, identity)
        path = state.result(job)
        kind = "application/octet-stream" if job.driver == PERSON else None  # else by its name
        return FileResponse(path, media_type=kind, filename=f"reenactor-{job.id[:8]}{path.suffix}")

    @router.post("/{identity}/cancel", responses=_answers(404))
    def cancel_job(owner: Owner, identity: str) -> JobRecord:
        """Stop a queued or running job; one that is over stays as it is."""
        state.workers.cancel(state.job(owner, identity))
        return state.record(state.job(owner, identity))

    @router.delete("/{identity}", status_code=204, responses=_answers(404))
    def delete_job(owner: Owner, identity: str) -> None:
        """Stop a job if it is not over, and delete its files now."""
        state.delete_job(state.job(owner, identity))

    return router


def live_routes(state: AppState) -> APIRouter:
    """The WebSocket for live driving."""
    router = APIRouter()

    @router.websocket("/v1/live/{identity}")
    async def drive_live(
        socket: WebSocket,
        identity: str,
        options: Annotated[LiveOptions, Depends()],
    ) -> None:
        owner = socket.state.owner
        try:
            target = state.target(owner, identity)
            await state.check_names(options)
            if (left_s := state.live.left_s(owner)) < 60:
                raise too_many("the live minutes of this key are used up; connect again later", 600)
        except RefusalError as refusal:
            await socket.send_denial_response(
                JSONResponse({"error": refusal.sentence}, refusal.status, refusal.headers)
            )
            return
        process, began = state.live.take(owner), time.monotonic()
        if process is None:
            sentence = "all slots for live driving are taken; try again later"
            await socket.send_denial_response(JSONResponse({"error": sentence}, 429, {"Retry-After": "2"}))
            return
        try:
            offered = socket.scope.get("subprotocols", [])
            await socket.accept(next((name for name in offered if not name.startswith(KEY_PROTOCOL)), None))
            await asyncio.to_thread(state.store.use_target, target.id)
            await LiveSession(
                socket,
                process,
                target,
                options,
                store=state.store,
                settings=state.settings,
                metrics=state.metrics,
                most_s=left_s,
            ).run()
        finally:
            state.live.give_back(process, owner, time.monotonic() - began)

    return router
