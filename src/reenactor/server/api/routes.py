"""The routes."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer

from reenactor import __version__
from reenactor.server.api import live as live_driving
from reenactor.server.api.gate import KEY_PROTOCOL, RefusalError, queue_full
from reenactor.server.api.hub import Hub
from reenactor.server.api.motions import motion_names
from reenactor.server.api.records import (
    STILLS,
    Format,
    Health,
    JobRecord,
    Layout,
    Motions,
    Problem,
    TargetRecord,
    Transfer,
)
from reenactor.server.api.store import Job, QueueFullError, State, Target
from reenactor.server.api.uploads import PHOTO_SUFFIXES

MOST_PHOTOS = 8
_NO_TARGET = "there is no target of that id; send photos to /v1/targets first"
_NO_JOB = "there is no job of that id; it may have been deleted by now"
_Size = Annotated[int | None, Form(ge=64, le=1024, multiple_of=32, description="Side of the face crop in pixels.")]
_Face = Annotated[int | None, Form(ge=1, le=100, description="Which face, from the left; the largest if not given.")]


def _answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        400: "The request is not in the form announced",
        401: "No API key that is known",
        403: "Not from here",
        404: "Nothing of this key has that id",
        409: "Not now",
        413: "Too large",
        422: "Cannot be worked with",
        429: "Too many requests, or no room; see Retry-After",
    }
    return {status: {"model": Problem, "description": texts[status]} for status in (401, 403, 429, *statuses)}


def _owner(request: Request) -> str:
    return request.state.owner


Owner = Annotated[str, Depends(_owner)]
_KEY = [Depends(HTTPBearer(auto_error=False, description="An API key"))]


def open_routes(hub: Hub) -> APIRouter:
    """What tells of the server."""
    router = APIRouter(tags=["server"])

    @router.get("/healthz", responses={403: {"model": Problem}})
    def healthz() -> Health:
        """Whether the server answers; needs no key."""
        return Health(version=__version__, jobs_waiting=hub.store.queued())

    @router.get("/metrics", dependencies=_KEY, responses={**_answers(), 200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(hub.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/v1/motions", dependencies=_KEY, responses=_answers())
    def motions() -> Motions:
        """The drivers that ship."""
        return Motions(motions=motion_names())

    return router


def target_routes(hub: Hub) -> APIRouter:
    """Photos."""
    router = APIRouter(prefix="/v1/targets", tags=["targets"], dependencies=_KEY)
    limits = hub.settings.limits

    @router.post("", status_code=201, responses=_answers(400, 413, 422))
    async def add_target(
        owner: Owner,
        photos: Annotated[list[UploadFile], File(description="One to eight photos of one person; the first moves.")],
    ) -> TargetRecord:
        """Keep the photos of a person, to be animated any number of times."""
        if not 1 <= len(photos) <= MOST_PHOTOS:
            raise RefusalError(422, f"{len(photos)} photos were sent; send one to {MOST_PHOTOS}, all of one person")
        taken: list[tuple[Path, str, int, int]] = []
        try:
            for number, photo in enumerate(photos, start=1):
                path, checked = await hub.take(photo, f"photo {number}", limits.photo_mib, driver=False)
                taken.append((path, checked.suffix, checked.width, checked.height))
            return TargetRecord.of(hub.store.add_target(owner, taken), hub.keep_s)
        finally:
            for path, *_ in taken:
                path.unlink(missing_ok=True)

    @router.get("/{identity}", responses=_answers(404))
    def get_target(owner: Owner, identity: str) -> TargetRecord:
        """A target."""
        return TargetRecord.of(_target(hub, owner, identity), hub.keep_s)

    @router.delete("/{identity}", status_code=204, responses=_answers(404, 409))
    def delete_target(owner: Owner, identity: str) -> None:
        """Delete a target's photos now."""
        if not hub.store.remove_target(_target(hub, owner, identity).id):
            raise RefusalError(409, "jobs still use this target; cancel them first, or wait until they are done")

    return router


def job_routes(hub: Hub) -> APIRouter:
    """Animations."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=_KEY)

    @router.post("", status_code=202, responses=_answers(400, 404, 413, 422))
    async def add_job(
        owner: Owner,
        response: Response,
        target: Annotated[str, Form(description="Id of a target.")],
        driver: Annotated[UploadFile | None, File(description="A video, a photo or a .motion file.")] = None,
        motion: Annotated[str | None, Form(description="Instead of a driver: one of /v1/motions.")] = None,
        format: Annotated[Format, Form(description="png and jpg only with a photo as driver.")] = "mp4",
        transfer: Annotated[Transfer, Form()] = "relative",
        layout: Annotated[Layout, Form()] = "photo",
        size: _Size = None,
        max_side: Annotated[int, Form(ge=64, le=1920, description="Longest side of the result.")] = 1920,
        face: _Face = None,
        driver_face: _Face = None,
        smooth: Annotated[bool, Form(description="Steady a jittery driver.")] = False,
    ) -> JobRecord:
        """Queue an animation."""
        known = _target(hub, owner, target)
        if (driver is None) == (motion is None):
            raise RefusalError(422, "send either a driver or the name of a motion")
        if motion is not None and motion not in motion_names():
            raise RefusalError(422, f"there is no motion of that name; choose one of {', '.join(motion_names())}")
        path, name = None, f"motion:{motion}"
        if driver is not None:
            path, checked = await hub.take(driver, "the driver", hub.settings.limits.driver_mib, driver=True)
            name = f"driver{checked.suffix}"
        options = {
            "format": format,
            "transfer": transfer,
            "layout": layout,
            "size": size,
            "max_side": max_side,
            "face": face,
            "driver_face": driver_face,
            "smooth": smooth,
        }
        try:
            _check_options(name, options)
            job = Job(secrets.token_hex(16), owner, known.id, name, options)
            hub.store.add_job(job, path, hub.settings.queue)
        except QueueFullError:
            raise queue_full(hub.workers.wait_s(1)) from None
        except KeyError:
            raise RefusalError(404, _NO_TARGET) from None
        finally:
            if path is not None:
                path.unlink(missing_ok=True)
        hub.workers.wake()
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return hub.record(job)

    @router.get("/{identity}", responses=_answers(404))
    def get_job(owner: Owner, identity: str) -> JobRecord:
        """How far a job is."""
        return hub.record(_job(hub, owner, identity))

    @router.get("/{identity}/result", response_class=FileResponse, responses=_answers(404, 409))
    def get_result(owner: Owner, identity: str) -> FileResponse:
        """What a job made."""
        job = _job(hub, owner, identity)
        if job.state is not State.DONE:
            reason = f": {job.error}" if job.error else ""
            more = "" if job.state.over else "; ask again when its state is done"
            raise RefusalError(409, f"the job is {job.state.value}{reason}{more}")
        path = hub.store.job_folder(job.id) / job.result_name
        if not path.exists():
            raise RefusalError(404, _NO_JOB)
        return FileResponse(path, filename=f"reenactor-{job.id[:8]}{path.suffix}")

    @router.post("/{identity}/cancel", responses=_answers(404))
    def cancel_job(owner: Owner, identity: str) -> JobRecord:
        """Stop a job that waits or runs; one that is over stays as it is."""
        hub.workers.cancel(_job(hub, owner, identity))
        return hub.record(_job(hub, owner, identity))

    @router.delete("/{identity}", status_code=204, responses=_answers(404))
    def delete_job(owner: Owner, identity: str) -> None:
        """Stop a job if it is not over, and delete its files now."""
        hub.workers.cancel(_job(hub, owner, identity))
        hub.store.remove_job(identity)

    return router


def live_routes(hub: Hub) -> APIRouter:
    """Live driving."""
    router = APIRouter()

    @router.websocket("/v1/live/{identity}")
    async def drive_live(
        socket: WebSocket,
        identity: str,
        mirror: bool = False,
        smooth: bool = True,
        layout: Literal["photo", "crop"] = "photo",
        size: Annotated[int, Query(ge=64, le=1024, multiple_of=32)] = 256,
        max_side: Annotated[int, Query(ge=64, le=1920)] = 640,
        driver_face: Annotated[int | None, Query(ge=1, le=100)] = None,
    ) -> None:
        try:
            target = _target(hub, socket.state.owner, identity)
        except RefusalError as refusal:
            await socket.send_denial_response(JSONResponse({"error": refusal.sentence}, refusal.status))
            return
        helper = hub.places.take()
        if helper is None:
            sentence = "all places for live driving are taken; try again later"
            await socket.send_denial_response(JSONResponse({"error": sentence}, 429, {"Retry-After": "2"}))
            return
        try:
            offered = socket.scope.get("subprotocols", [])
            await socket.accept(next((name for name in offered if not name.startswith(KEY_PROTOCOL)), None))
            hub.store.use_target(target.id)
            photos = [str(hub.store.target_folder(target.id) / photo["name"]) for photo in target.photos]
            options = {
                "mirror": mirror,
                "smooth": smooth,
                "layout": layout,
                "size": size,
                "max_side": max_side,
                "driver_face": driver_face,
            }
            await live_driving.drive(socket, helper, photos, options, hub.measures)
        finally:
            hub.places.give_back(helper)

    return router


def _target(hub: Hub, owner: str, identity: str) -> Target:
    target = hub.store.target(owner, identity)
    if target is None:
        raise RefusalError(404, _NO_TARGET)
    return target


def _job(hub: Hub, owner: str, identity: str) -> Job:
    job = hub.store.job(owner, identity)
    if job is None:
        raise RefusalError(404, _NO_JOB)
    return job


def _check_options(driver: str, options: dict[str, Any]) -> None:
    """Refuse at once what the job would refuse."""
    if options["format"] in STILLS and not driver.endswith(PHOTO_SUFFIXES):
        raise RefusalError(422, f"{options['format']} needs a photo as driver; ask for mp4, mov, gif or webp")
    if options["driver_face"] is not None and (driver.startswith("motion:") or driver.endswith(".motion")):
        raise RefusalError(422, "a motion holds one face, so that there is none to choose; leave out driver_face")
