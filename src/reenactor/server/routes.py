"""The routes of the API."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer
from pydantic import Field

from reenactor import __version__
from reenactor.core.options import Background, Layout, Runtime, Transfer
from reenactor.server.guard import KEY_PROTOCOL, RefusalError
from reenactor.server.live import LiveSession
from reenactor.server.records import Format, Health, JobRecord, Motions, Offers, Problem, TargetRecord, motion_names
from reenactor.server.state import AppState

_Size = Annotated[int | None, Form(ge=64, le=1024, multiple_of=32, description="Side of the face crop in pixels.")]
_LiveSize = Annotated[Literal["photo"] | Annotated[int, Field(ge=64, le=1024, multiple_of=32)], Query()]
_Face = Annotated[int | None, Form(ge=1, le=100, description="Which face, from the left; the largest if not given.")]


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
    }
    return {status: {"model": Problem, "description": texts[status]} for status in (401, 403, 429, *statuses)}


def _owner(request: Request) -> str:
    return request.state.owner


Owner = Annotated[str, Depends(_owner)]
_KEY = [Depends(HTTPBearer(auto_error=False, description="An API key"))]


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
    """Routes for photos."""
    router = APIRouter(prefix="/v1/targets", tags=["targets"], dependencies=_KEY)
    keep_s = state.settings.keep_s

    @router.post("", status_code=201, responses=_answers(400, 413, 422))
    async def add_target(
        owner: Owner,
        photos: Annotated[list[UploadFile], File(description="One to eight photos of one person; the first moves.")],
    ) -> TargetRecord:
        """Store the photos of a person, to be animated any number of times."""
        named: list[tuple[BinaryIO, str]] = [(photo.file, f"photo {i}") for i, photo in enumerate(photos, start=1)]
        return TargetRecord.of(await state.add_target(owner, named), keep_s)

    @router.get("/{identity}", responses=_answers(404))
    def get_target(owner: Owner, identity: str) -> TargetRecord:
        """A target."""
        return TargetRecord.of(state.target(owner, identity), keep_s)

    @router.delete("/{identity}", status_code=204, responses=_answers(404, 409))
    def delete_target(owner: Owner, identity: str) -> None:
        """Delete a target's photos now."""
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
        driver: Annotated[UploadFile | None, File(description="A video, a photo or a .motion file.")] = None,
        motion: Annotated[str | None, Form(description="Instead of a driver: one of /v1/motions.")] = None,
        format: Annotated[Format, Form(description="png and jpg only with a photo or still motion as driver.")] = "mp4",
        model: Annotated[str | None, Form(description="One of /v1/offers.")] = None,
        transfer: Annotated[Transfer | None, Form(description="The model's usual one if not given.")] = None,
        transformer: Annotated[str | None, Form(description="One of /v1/offers, for its transfer.")] = None,
        layout: Annotated[Layout, Form()] = Layout.PHOTO,
        size: _Size = None,
        max_side: Annotated[int, Form(ge=64, le=1920, description="Longest side of the result.")] = 1920,
        face: _Face = None,
        driver_face: _Face = None,
        smooth: Annotated[bool, Form(description="Steady a jittery driver.")] = False,
        background: Annotated[Background, Form(description="Whether it stays or follows the head.")] = Background.STILL,
        runtime: Annotated[Runtime, Form(description="One of /v1/offers.")] = Runtime.TORCH,
    ) -> JobRecord:
        """Queue an animation."""
        options = {
            "format": format,
            "model": model,
            "transfer": transfer,
            "transformer": transformer,
            "layout": layout,
            "size": size,
            "max_side": max_side,
            "face": face,
            "driver_face": driver_face,
            "smooth": smooth,
            "background": background,
            "runtime": runtime,
        }
        state.target(owner, target)
        checked = await state.driver(motion, None if driver is None else driver.file)
        job = await state.add_job(owner, target, options, checked)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return await asyncio.to_thread(state.record, job)

    @router.get("/{identity}", responses=_answers(404))
    def get_job(owner: Owner, identity: str) -> JobRecord:
        """A job and its progress."""
        return state.record(state.job(owner, identity))

    @router.get("/{identity}/result", response_class=FileResponse, responses=_answers(404, 409))
    def get_result(owner: Owner, identity: str) -> FileResponse:
        """The file that a job made."""
        job = state.job(owner, identity)
        path = state.result(job)
        return FileResponse(path, filename=f"reenactor-{job.id[:8]}{path.suffix}")

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
        mirror: bool = False,
        smooth: bool = True,
        layout: Literal["photo", "crop"] = "photo",
        size: _LiveSize = 256,
        max_side: Annotated[int, Query(ge=64, le=1920)] = 640,
        face: Annotated[int | None, Query(ge=1, le=100)] = None,
        driver_face: Annotated[int | None, Query(ge=1, le=100)] = None,
        model: str | None = None,
        transfer: Transfer | None = None,
        transformer: str | None = None,
        background: Background = Background.STILL,
        runtime: Runtime = Runtime.TORCH,
    ) -> None:
        options = {
            "mirror": mirror,
            "smooth": smooth,
            "layout": layout,
            "size": None if size == "photo" else size,
            "max_side": max_side,
            "face": face,
            "driver_face": driver_face,
            "model": model,
            "transfer": transfer,
            "transformer": transformer,
            "background": background,
            "runtime": runtime,
        }
        try:
            target = state.target(socket.state.owner, identity)
            await state.check_names(options)
        except RefusalError as refusal:
            await socket.send_denial_response(JSONResponse({"error": refusal.sentence}, refusal.status))
            return
        process = state.live.take()
        if process is None:
            sentence = "all slots for live driving are taken; try again later"
            await socket.send_denial_response(JSONResponse({"error": sentence}, 429, {"Retry-After": "2"}))
            return
        try:
            offered = socket.scope.get("subprotocols", [])
            await socket.accept(next((name for name in offered if not name.startswith(KEY_PROTOCOL)), None))
            state.store.use_target(target.id)
            await LiveSession(
                socket,
                process,
                target,
                options,
                store=state.store,
                settings=state.settings,
                metrics=state.metrics,
            ).run()
        finally:
            state.live.give_back(process)

    return router
