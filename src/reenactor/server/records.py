"""What the API receives and answers, and the drivers that ship."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Form, Query
from pydantic import BaseModel, Field

from reenactor.core.options import MAX_STRENGTH, Background, Head, Layout, Runtime, Transfer
from reenactor.server.store import Job, State, Target

Format = Literal["mp4", "mov", "gif", "webp", "png", "jpg"]
STILLS = ("png", "jpg")
TRANSPARENT = ("mov", "webp", "png")
_MOTIONS = Path(str(resources.files("reenactor") / "assets" / "motions"))


def motion_names() -> list[str]:
    """Names of the motions that ship; without `engine.shipped`, which loads PyTorch."""
    return sorted(path.stem for path in _MOTIONS.glob("*.motion"))


def motion_path(name: str) -> Path:
    """File of a motion that ships; only for names from `motion_names`."""
    assert name in motion_names()
    return _MOTIONS / f"{name}.motion"


_Face = Annotated[int | None, Field(ge=1, le=100, description="Which face, from the left; the largest if not given.")]
_Still = Annotated[
    int | None,
    Field(ge=0, le=10**6, description="Frame of the first photo that moves, from 0, if that is a video."),
]


@dataclass
class JobOptions:
    """The form fields of a job that say how to animate; those of `core.Options` that a request may choose."""

    format: Annotated[Format, Form(description="png and jpg only with a photo or still motion as driver.")] = "mp4"
    model: Annotated[str | None, Form(description="One of /v1/offers.")] = None
    transfer: Annotated[Transfer | None, Form(description="The model's usual one if not given.")] = None
    head: Annotated[Head | None, Form(description="The transfer's usual one if not given.")] = None
    head_movement: Annotated[float, Form(ge=0, le=1, description="The part that is followed; 0: it stays.")] = 1.0
    strength: Annotated[float, Form(ge=0, le=MAX_STRENGTH, description="Of the expression.")] = 1.0
    keep_expression: Annotated[bool, Form(description="The photo's stays beneath the movement.")] = False
    transformer: Annotated[str | None, Form(description="One of /v1/offers, for its transfer.")] = None
    layout: Annotated[Layout, Form()] = Layout.PHOTO
    size: Annotated[int | None, Form(ge=64, le=1024, multiple_of=32, description="Side of the face crop.")] = None
    max_side: Annotated[int, Form(ge=64, le=1920, description="Longest side of the result.")] = 1920
    face: Annotated[_Face, Form()] = None
    driver_face: Annotated[_Face, Form()] = None
    still: Annotated[_Still, Form()] = None
    smooth: Annotated[bool, Form(description="Steady a jittery driver.")] = False
    background: Annotated[Background, Form(description="Whether it stays or follows the head.")] = Background.STILL
    runtime: Annotated[Runtime, Form(description="One of /v1/offers.")] = Runtime.TORCH
    alpha: Annotated[bool, Form(description="Keep the transparency of a cut-out photo; mov, webp or png.")] = False


@dataclass
class PersonOptions:
    """The form fields of a job that makes a person file."""

    face: Annotated[_Face, Form()] = None
    still: Annotated[_Still, Form()] = None
    tune: Annotated[float, Form(ge=0, le=10, description="Minutes for which the model learns the person.")] = 0.0


@dataclass
class LiveOptions:
    """The query parameters of a live session."""

    mirror: bool = False
    smooth: bool = True
    layout: Literal["photo", "crop"] = "photo"
    size: Literal["photo"] | Annotated[int, Field(ge=64, le=1024, multiple_of=32)] = 256
    max_side: Annotated[int, Query(ge=64, le=1920)] = 640
    face: Annotated[_Face, Query()] = None
    driver_face: Annotated[_Face, Query()] = None
    still: Annotated[_Still, Query()] = None
    model: str | None = None
    transfer: Transfer | None = None
    head: Head | None = None
    head_movement: Annotated[float, Query(ge=0, le=1)] = 1.0
    strength: Annotated[float, Query(ge=0, le=MAX_STRENGTH)] = 1.0
    keep_expression: bool = False
    transformer: str | None = None
    background: Background = Background.STILL
    runtime: Runtime = Runtime.TORCH


class Problem(BaseModel):
    """The body of every error."""

    error: str = Field(description="One sentence that says what is wrong and what to do.")


class Photo(BaseModel):
    """Size of a target's photo or video, or of the picture of a person file that moves."""

    width: int
    height: int
    seconds: float = Field(description="Of a video or an animation; 0 for others.")


class TargetRecord(BaseModel):
    """A person to animate."""

    id: str
    photos: list[Photo]
    created: datetime
    expires: datetime = Field(description="Deleted then, unless used again.")

    @classmethod
    def of(cls, target: Target, keep_s: float) -> TargetRecord:
        """The answer for a stored target that is deleted `keep_s` after its last use."""
        photos = [Photo.model_validate({"seconds": 0.0, **photo}) for photo in target.photos]
        return cls(id=target.id, photos=photos, created=_time(target.created), expires=_time(target.used + keep_s))


class Result(BaseModel):
    """The result of a job."""

    url: str
    bytes: int
    frames: int = Field(description="Of a person file its pictures.")
    frames_drawn: int = Field(description="Fewer than `frames` if the server was restarted in between.")
    seconds: float
    sound: bool
    signed: bool = Field(description="It carries a signature that says it is synthetic.")
    notes: list[str] = Field(
        description="What was taken of videos of the person, and what to look at: flaws of the photos, several faces, "
        "stretches without a face. Of a person file what it shows, and what it lacks."
    )


class JobRecord(BaseModel):
    """A job."""

    id: str
    target: str
    state: State
    stage: str | None = Field(None, description="What is being done, while the job is running.")
    progress: float = Field(0.0, ge=0, le=1)
    frames_done: int | None = Field(None, description="Of the stage.")
    frames_total: int | None = None
    eta_s: float | None = Field(None, description="Estimated seconds until the result.")
    jobs_before: int | None = Field(None, description="How many jobs come first, while it is queued.")
    created: datetime
    finished: datetime | None = None
    expires: datetime | None = Field(None, description="The result is deleted then.")
    error: str | None = None
    result: Result | None = None

    @classmethod
    def of(cls, job: Job, keep_s: float, **more: Any) -> JobRecord:
        """The answer for a stored job that is deleted `keep_s` after its end; `more` are fields about its progress."""
        times = {}
        if job.finished is not None:
            times = {"finished": _time(job.finished), "expires": _time(job.finished + keep_s)}
        return cls(
            id=job.id,
            target=job.target,
            state=job.state,
            created=_time(job.created),
            error=job.error,
            **times,
            **more,
        )


class Motions(BaseModel):
    """Drivers that ship."""

    motions: list[str]


class Offers(BaseModel):
    """Names that a job's options may have."""

    models: list[str]
    transformers: list[str] = Field(description="Landmark transformers besides the one that ships.")
    runtimes: list[str]


class Health(BaseModel):
    """The server is up."""

    status: Literal["ok"] = "ok"
    version: str
    jobs_waiting: int


def _time(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
