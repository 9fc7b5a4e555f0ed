"""The app state: everything one server holds, and how uploads become targets and jobs."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from reenactor.core.errors import ReenactError
from reenactor.core.options import check_alpha, check_amounts, check_transfer, head_with
from reenactor.server.checks import Checks
from reenactor.server.guard import RefusalError, queue_full
from reenactor.server.jobs import ExpiryTask, Workers
from reenactor.server.live import LiveSlots
from reenactor.server.metrics import Metrics
from reenactor.server.processes import ChildProcess
from reenactor.server.records import (
    STILLS,
    TRANSPARENT,
    JobOptions,
    JobRecord,
    LiveOptions,
    Offers,
    PersonOptions,
    Result,
    motion_names,
    motion_path,
)
from reenactor.server.settings import Settings, runtimes
from reenactor.server.store import PERSON, Job, QueueFullError, State, Store, Target, new_id
from reenactor.server.uploads import Upload
from reenactor.server.worker import describe_models

MAX_PHOTOS = 8
NO_TARGET = "there is no target of that id; send photos to /v1/targets first"
NO_JOB = "there is no job of that id; it may have been deleted by now"
_MIB = 2**20
_DESCRIBE_S = 120


@dataclass(frozen=True)
class Driver:
    """A checked driver.

    Args:
        name: as in `Job.driver`.
        path: its file in the incoming folder; None for a motion that ships.
        still: it is a photo, or a motion of one frame.
    """

    name: str
    path: Path | None
    still: bool

    @property
    def file(self) -> Path:
        """The file, of a motion that ships, too."""
        return motion_path(self.name.removeprefix("motion:")) if self.path is None else self.path

    def copy(self, path: Path) -> Driver:
        """The same driver in another file, `path` with its suffix."""
        if self.path is None:
            return self
        path = path.with_suffix(self.path.suffix)
        shutil.copyfile(self.path, path)
        return replace(self, path=path)

    def discard(self) -> None:
        """Delete the file, if it was not moved."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class AppState:
    """Everything one server holds.

    Args:
        settings: checked.
        models: what `described_models` found; None to find it when it is needed.

    Raises:
        ReenactError: the data folder cannot be used.
    """

    def __init__(self, settings: Settings, models: dict[str, Any] | None = None) -> None:
        self.settings = settings
        self.store = Store(settings.data)
        self.metrics = Metrics()
        self.workers = Workers(self.store, settings, self.metrics)
        self.expiry = ExpiryTask(self.store.expire, settings.keep_s)
        self.live = LiveSlots(settings)
        self.checks = Checks(settings)
        self._models = models
        self._models_lock = threading.Lock()
        for name, text, value in (
            ("jobs_waiting", "Jobs in the queue", self.store.queued),
            ("live_sessions", "Live sessions", self.live.taken),
            ("worker_memory_bytes", "Memory of the processes that run jobs", self.workers.memory_bytes),
            ("live_memory_bytes", "Memory of the processes for live driving", self.live.memory_bytes),
            ("checker_memory_bytes", "Memory of the processes that check uploads", self.checks.memory_bytes),
        ):
            self.metrics.gauge(name, text, value)

    def start(self) -> None:
        """Start the workers and the expiry task."""
        self.workers.start()
        self.expiry.start()

    def stop(self) -> None:
        """Stop what `start` started, in order."""
        self.expiry.stop()
        self.workers.stop()
        self.close()

    def close(self) -> None:
        """Close processes and files of a state that was not started."""
        self.live.close()
        self.checks.close()
        self.store.close()

    def models(self) -> dict[str, Any]:
        """The models whose weights are there, see `worker.describe_models`.

        Raises:
            ReenactError: a model or certificate in the settings cannot be used.
        """
        with self._models_lock:
            if self._models is None:
                self._models = described_models(self.settings)
            return self._models

    def offers(self) -> Offers:
        """The names that options may have."""
        names = list(self.models()["models"])
        return Offers(models=names, transformers=list(self.settings.transformers), runtimes=runtimes())

    async def take(
        self, owner: str, upload: BinaryIO, what: str, most_mib: int, *, driver: bool
    ) -> tuple[Path, Upload]:
        """Copy an upload into the incoming folder and check it; a refused one is deleted.

        Its file name is never used: what it is, its content says.

        Args:
            owner: of the upload.
            upload: open for reading.
            what: its name in messages: "photo 1".
            most_mib: limit on its size.
            driver: it may be a motion file, too, besides what a target may be.

        Raises:
            RefusalError: it is too large, or there is no room for more of this owner.
            UploadError: it is refused, see `UploadChecker.check`.
        """
        await asyncio.to_thread(self.check_room, owner)
        path = self.store.new_upload()
        try:
            await asyncio.to_thread(copy_upload, upload, path, what, most_mib)
            checked = await self.checks.check(owner, path, what, driver=driver)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path, checked

    def check_room(self, owner: str) -> None:
        """Refuse more files of a key whose files take all that they may.

        Raises:
            RefusalError: they do.
        """
        if self.settings.keys and self.store.bytes_of(owner) >= self.settings.gib_per_key * 2**30:
            raise RefusalError(507, "the files of this key take all the space that they may; delete targets or jobs")

    async def add_target(self, owner: str, photos: Sequence[tuple[BinaryIO, str]]) -> Target:
        """Check and store the photos and videos of a person, each given as an open file and its name in messages.

        Raises:
            RefusalError: too many or too large ones.
            UploadError: one is refused.
        """
        limits = self.settings.limits
        if not 1 <= len(photos) <= MAX_PHOTOS:
            raise RefusalError(422, f"{len(photos)} photos were sent; send one to {MAX_PHOTOS}, all of one person")
        taken: list[tuple[Path, Upload]] = []
        try:
            for photo, what in photos:
                most_mib = max(limits.photo_mib, limits.driver_mib)
                taken.append(await self.take(owner, photo, what, most_mib, driver=False))
                path, checked = taken[-1]
                most_mib = limits.photo_mib if checked.is_photo else limits.driver_mib
                if path.stat().st_size > most_mib * _MIB:
                    raise _too_large(what, most_mib)
            return await asyncio.to_thread(self.store.add_target, owner, taken)
        finally:
            for path, _ in taken:
                path.unlink(missing_ok=True)

    async def driver(self, owner: str, motion: str | None, upload: BinaryIO | None) -> Driver:
        """Check an owner's driver, either a motion that ships or an open file.

        Raises:
            RefusalError: there is no such motion, or both or neither are given.
            UploadError: the file is refused.
        """
        if (upload is None) == (motion is None):
            raise RefusalError(422, "send either a driver or the name of a motion")
        if motion is not None:
            if motion not in motion_names():
                raise RefusalError(422, f"there is no motion of that name; choose one of {', '.join(motion_names())}")
            return Driver(f"motion:{motion}", None, still=False)
        assert upload is not None
        path, checked = await self.take(owner, upload, "the driver", self.settings.limits.driver_mib, driver=True)
        still = checked.is_photo or (checked.frames == 1 and checked.suffix == ".motion")
        # Its suffix says what it is to the engine.
        return Driver(f"driver{checked.suffix}", path.rename(path.with_suffix(checked.suffix)), still=still)

    async def add_job(self, owner: str, target: str, options: JobOptions, driver: Driver) -> Job:
        """Queue an animation.

        Args:
            owner: of the target.
            target: id.
            options: of the animation.
            driver: its file is moved, or deleted if the job is refused.

        Raises:
            RefusalError: there is no such target, no room, or the options do not fit.
        """
        try:
            await self.check_names(options)
            _check_fit(self.target(owner, target), driver, options)
            return await self._queue(Job(new_id(), owner, target, driver.name, asdict(options)), driver.path)
        finally:
            driver.discard()

    async def add_person(self, owner: str, target: str, options: PersonOptions) -> Job:
        """Queue the making of a person file from a target's photos and videos.

        Raises:
            RefusalError: there is no such target, no room, or the target or the options do not fit.
        """
        found = self.target(owner, target)
        if found.persons:
            raise RefusalError(
                422,
                f"photo {found.persons[0]} is a person file already; send the photos and videos that it was made from, "
                "and new ones",
            )
        _check_still(found, options.still)
        return await self._queue(Job(new_id(), owner, target, PERSON, {"format": PERSON, **asdict(options)}), None)

    async def _queue(self, job: Job, driver: Path | None) -> Job:
        try:
            most = self.settings.queue, self.settings.queue_of_key
            await asyncio.to_thread(self.store.add_job, job, driver, *most)
        except QueueFullError:
            raise queue_full(self.workers.wait_s(1)) from None
        except KeyError:
            raise RefusalError(404, NO_TARGET) from None
        self.workers.wake()
        return job

    async def check_names(self, options: JobOptions | LiveOptions) -> None:
        """Refuse names of models, transformers and runtimes that this server does not offer.

        Raises:
            RefusalError: says what there is.
        """
        try:
            check_transfer(
                options.transfer,
                options.head,
                keep_expression=options.keep_expression,
                transformed=options.transformer is not None,
            )
            check_amounts(head_with(options.transfer, options.head), options.head_movement, options.strength)
        except ReenactError as error:
            raise RefusalError(422, str(error)) from error
        if options.transformer is not None:
            _check_name("landmark transformer", options.transformer, list(self.settings.transformers))
        if options.model is not None and options.model != self.settings.model:
            _check_name("model", options.model, list((await asyncio.to_thread(self.models))["models"]))
        _check_name("runtime", options.runtime.value, runtimes())

    def target(self, owner: str, identity: str) -> Target:
        """The owner's target of that id.

        Raises:
            RefusalError: there is none.
        """
        target = self.store.target(owner, identity)
        if target is None:
            raise RefusalError(404, NO_TARGET)
        return target

    def job(self, owner: str, identity: str) -> Job:
        """The owner's job of that id.

        Raises:
            RefusalError: there is none.
        """
        job = self.store.job(owner, identity)
        if job is None:
            raise RefusalError(404, NO_JOB)
        return job

    def result(self, job: Job) -> Path:
        """File of a job's result.

        Raises:
            RefusalError: there is none (yet).
        """
        if job.state is not State.DONE:
            reason = f": {job.error}" if job.error else ""
            more = "" if job.state.over else "; ask again when its state is done"
            raise RefusalError(409, f"the job is {job.state.value}{reason}{more}")
        path = self.store.job_folder(job.id) / job.result_name
        if not path.exists():
            raise RefusalError(404, NO_JOB)
        return path

    def record(self, job: Job) -> JobRecord:
        """The API's answer about a job, with its progress."""
        more: dict[str, Any] = {}
        running = self.workers.running(job.id)
        if job.state is State.DONE:
            path = self.store.job_folder(job.id) / job.result_name
            size = path.stat().st_size if path.exists() else 0
            result = Result(url=f"/v1/jobs/{job.id}/result", bytes=size, **job.facts)
            more = {"progress": 1.0, "result": result}
        elif job.state is State.RUNNING and running is not None:
            eta_s = running.eta_s()
            more = {
                "stage": running.stage,
                "progress": round(running.fraction, 4),
                "frames_done": running.done,
                "frames_total": running.total,
                "eta_s": None if eta_s is None else round(eta_s, 1),
            }
        elif job.state is State.QUEUED:
            before = self.store.waiting_before(job)
            more = {"jobs_before": before, "eta_s": round(self.workers.wait_s(before + 1), 1)}
        return JobRecord.of(job, self.settings.keep_s, **more)

    def delete_job(self, job: Job) -> None:
        """Stop a job if it is not over, and delete its files."""
        self.workers.cancel(job)
        self.store.remove_job(job.id)


def described_models(settings: Settings) -> dict[str, Any]:
    """Describe the models in a process of its own, which loads PyTorch.

    Raises:
        ReenactError: a model or certificate in the settings cannot be used.
    """
    with closing(ChildProcess("reenactor-models", describe_models, settings)) as process:
        process.send({})
        answer = process.receive(_DESCRIBE_S)
    if error := answer.get("error"):
        raise ReenactError(error)
    return answer


def copy_upload(upload: BinaryIO, path: Path, what: str, most_mib: int) -> None:
    """Write an upload into a new file.

    Raises:
        RefusalError: it is too large.
    """
    left = most_mib * _MIB
    try:
        with path.open("xb") as out:
            while piece := upload.read(_MIB):
                left -= len(piece)
                if left < 0:
                    raise _too_large(what, most_mib)
                out.write(piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _too_large(what: str, most_mib: int) -> RefusalError:
    return RefusalError(413, f"{what} is larger than the {most_mib} MiB allowed; send a smaller file")


def _check_name(what: str, name: str, offered: Sequence[str]) -> None:
    if name not in offered:
        choice = f"choose one of {', '.join(offered)}" if offered else "this server offers none"
        raise RefusalError(422, f"there is no {what} of that name here; {choice}")


def _check_fit(target: Target, driver: Driver, options: JobOptions) -> None:
    """Refuse at once what the job would refuse."""
    if options.format in STILLS and not driver.still:
        raise RefusalError(422, f"{options.format} needs a photo as driver; ask for mp4, mov, gif or webp")
    if options.alpha and options.format not in TRANSPARENT:
        raise RefusalError(422, f"{options.format} holds no soft transparency; ask for {', '.join(TRANSPARENT)}")
    try:
        check_alpha(options.layout, alpha=options.alpha)
    except ReenactError as error:
        raise RefusalError(422, str(error)) from error
    _check_still(target, options.still)
    if options.alpha and (target.begins_with_video or 1 in target.persons):
        what = "person file" if 1 in target.persons else "video of the person"
        raise RefusalError(422, f"a {what} has no transparency to keep; leave out alpha, or send a photo")
    if options.driver_face is not None and (driver.path is None or driver.name.endswith(".motion")):
        raise RefusalError(422, "a motion holds one face, so that there is none to choose; leave out driver_face")


def _check_still(target: Target, still: int | None) -> None:
    if still is not None and not target.begins_with_video:
        raise RefusalError(422, "still chooses a frame of a video, and the first photo is none; leave it out")
