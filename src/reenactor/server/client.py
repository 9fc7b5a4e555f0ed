"""A client of the API: `Client(url, key).animate(["me.jpg"], "driver.mp4", "out.mp4")`.

Needs httpx, and websockets for live driving; neither PyTorch nor MediaPipe is loaded.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from reenactor.core.errors import ReenactError

if TYPE_CHECKING:
    import httpx
    from websockets.sync.client import ClientConnection

_OVER = ("done", "failed", "cancelled")
_MOST_TRIES = 20
"""Tries of a request that the server answers with 429; with the waits it asks for these are minutes."""
_LARGEST_RESULT = 64 * 2**20
_Answer = TypeVar("_Answer")


class ServerError(ReenactError):
    """The server refused a request.

    Attributes:
        status: of HTTP.
        retry_s: seconds until to try again, if the server is busy.
    """

    def __init__(self, status: int, sentence: str, retry_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status, self.retry_s = status, retry_s


@dataclass(frozen=True)
class Job:
    """A job and its progress; docs/api.md describes the fields, all of which are in `record`."""

    id: str
    state: str
    progress: float
    eta_s: float | None
    error: str | None
    record: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, record: dict[str, Any]) -> Job:
        """The job in a server's answer."""
        return cls(record["id"], record["state"], record["progress"], record["eta_s"], record["error"], record)

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.state in _OVER


class Client:
    """A connection to one server; a context manager, thread-safe.

    Args:
        url: "http://127.0.0.1:8000".
        key: an API key, if the server requires one.
        patient: wait and try again when the server is busy (429), instead of raising `ServerError`.
    """

    def __init__(self, url: str, key: str | None = None, *, patient: bool = True) -> None:
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise ReenactError("the client needs the extra 'server'; pip install 'reenactor[server]'") from error
        self._patient = patient
        self._url = url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=self._url, headers=self._headers, timeout=300, trust_env=False)

    def animate(
        self,
        photos: Sequence[str | Path],
        driver: str | Path,
        out: str | Path,
        *,
        on_progress: Callable[[Job], None] = lambda job: None,
        **options: Any,
    ) -> Path:
        """Animate photos like a driver and save the result; nothing stays on the server.

        Args:
            photos: one to eight photos, videos or person files of one person.
            driver: a file, or the name of a motion that ships.
            out: file of the result; its suffix is the format, unless `format` is given.
            on_progress: called with the job now and then.
            options: fields of `POST /v1/jobs`, such as layout="crop".

        Raises:
            ServerError: the server refuses, or the job failed.
        """
        out = Path(out)
        options.setdefault("format", out.suffix.lstrip(".").lower().replace("jpeg", "jpg"))
        return self._made(photos, lambda target: self.add_job(target, driver, **options), out, on_progress)

    def make_person(
        self,
        photos: Sequence[str | Path],
        out: str | Path,
        *,
        on_progress: Callable[[Job], None] = lambda job: None,
        **options: Any,
    ) -> Path:
        """Make a person file of photos and videos and save it; nothing stays on the server.

        Make it only of yourself, or of a person who has agreed to it.

        Args:
            photos: one to eight photos or videos of one person.
            out: the file, NAME.person; then a target like a photo.
            on_progress: called with the job now and then; the last one's notes say what the file shows and lacks.
            options: fields of `POST /v1/targets/TARGET/person`: face, still, tune.

        Raises:
            ServerError: the server refuses, or the job failed.
        """
        return self._made(photos, lambda target: self.add_person(target, **options), Path(out), on_progress)

    def _made(
        self,
        photos: Sequence[str | Path],
        queue: Callable[[str], Job],
        out: Path,
        on_progress: Callable[[Job], None],
    ) -> Path:
        target = self.add_target(photos)
        try:
            job = queue(target)
            try:
                job = self.wait(job.id, on_progress)
                if job.state != "done":
                    raise ServerError(409, job.error or f"the job is {job.state}")
                return self.download(job.id, out)
            finally:
                self.delete_job(job.id)
        finally:
            self.delete_target(target)

    def motions(self) -> list[str]:
        """Names of the motions that ship."""
        return self._ask("GET", "/v1/motions").json()["motions"]

    def add_target(self, photos: Sequence[str | Path]) -> str:
        """Send photos, videos or person files of a person; returns the target's id."""
        files = [("photos", Path(photo)) for photo in photos]
        return self._send("/v1/targets", files, {}).json()["id"]

    def delete_target(self, target: str) -> None:
        """Delete a target's photos and videos."""
        self._ask("DELETE", f"/v1/targets/{target}")

    def add_job(self, target: str, driver: str | Path, **options: Any) -> Job:
        """Queue an animation; `driver` is a file, or the name of a motion that ships."""
        fields = {"target": target, **_fields(options)}
        if isinstance(driver, str) and not Path(driver).exists():
            return Job.of(self._send("/v1/jobs", [], {**fields, "motion": driver}).json())
        return Job.of(self._send("/v1/jobs", [("driver", Path(driver))], fields).json())

    def add_person(self, target: str, **options: Any) -> Job:
        """Queue the making of a person file of a target's photos and videos."""
        return Job.of(self._send(f"/v1/targets/{target}/person", [], _fields(options)).json())

    def job(self, job: str) -> Job:
        """A job and its progress."""
        return Job.of(self._ask("GET", f"/v1/jobs/{job}").json())

    def wait(self, job: str, on_progress: Callable[[Job], None] = lambda job: None) -> Job:
        """Wait until a job has ended; asks less often the longer it takes."""
        pause = 0.1
        while not (now := self.job(job)).over:
            on_progress(now)
            time.sleep(pause)
            pause = min(2.0, 1.3 * pause)
        on_progress(now)
        return now

    def download(self, job: str, out: str | Path) -> Path:
        """Save a job's result."""
        out = Path(out)
        with self._http.stream("GET", f"/v1/jobs/{job}/result") as answer:
            if answer.is_error:
                raise _error(answer.status_code, answer.read(), None)
            with out.open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
        return out

    def cancel(self, job: str) -> Job:
        """Stop a job."""
        return Job.of(self._ask("POST", f"/v1/jobs/{job}/cancel").json())

    def delete_job(self, job: str) -> None:
        """Stop a job and delete its files."""
        self._ask("DELETE", f"/v1/jobs/{job}")

    @contextmanager
    def live(self, target: str, **options: Any) -> Iterator[Live]:
        """A live session: `with client.live(target, mirror=True) as live: jpeg = live.step(jpeg)`."""
        import httpx
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        url = httpx.URL(f"ws{self._url.removeprefix('http')}/v1/live/{target}")
        url = url.copy_merge_params(_fields(options))

        def connected() -> ClientConnection:
            try:
                return connect(str(url), additional_headers=self._headers, proxy=None, max_size=_LARGEST_RESULT)
            except InvalidStatus as error:
                answer = error.response
                raise _error(
                    answer.status_code, bytes(answer.body or b""), answer.headers.get("Retry-After")
                ) from error
            except OSError as error:
                raise self._no_answer(error) from error

        connection = self._patiently(connected)
        # A picture's last part would otherwise wait 40 ms for the receipt of the parts before.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            yield Live(connection)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, path: str, files: list[tuple[str, Path]], fields: dict[str, str]) -> httpx.Response:
        for _, file in files:
            if not file.is_file():
                raise ReenactError(f"there is no file {file}; check the name")

        def send() -> httpx.Response:
            with ExitStack() as opened:
                parts = [(name, (file.name, opened.enter_context(file.open("rb")))) for name, file in files]
                return self._once("POST", path, files=parts or None, data=fields)

        return self._patiently(send)

    def _ask(self, method: str, path: str) -> httpx.Response:
        return self._patiently(lambda: self._once(method, path))

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        for left in reversed(range(_MOST_TRIES)):
            try:
                return ask()
            except ServerError as error:
                if error.retry_s is None or not self._patient or not left:
                    raise
                time.sleep(error.retry_s)
        raise AssertionError  # the last try returns or raises

    def _once(self, method: str, path: str, *, files: Any = None, data: Any = None) -> httpx.Response:
        import httpx

        try:
            answer = self._http.request(method, path, files=files, data=data)
        except httpx.TransportError as error:
            raise self._no_answer(error) from error
        if answer.is_error:
            raise _error(answer.status_code, answer.content, answer.headers.get("Retry-After"))
        return answer

    def _no_answer(self, error: Exception) -> ReenactError:
        return ReenactError(f"no answer from {self._url} ({error}); check the address and the server")


class Live:
    """A session of live driving; made by `Client.live`. Pictures are JPEG files.

    Attributes:
        size: (width, height) of the results.
        number: of the picture sent, counted from 1, that the last result shows.
        face: whether it showed a face.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.number, self.face = 0, False
        ready = self._message()
        self.size = (ready["width"], ready["height"])

    def send(self, jpeg: bytes) -> None:
        """Send a picture; it may be dropped for a newer one."""
        self._connection.send(jpeg)

    def receive(self, timeout_s: float | None = 60.0) -> bytes:
        """The next result.

        Raises:
            ServerError: a picture was refused.
            TimeoutError: nothing came.
        """
        about = self._message(timeout_s)
        self.number, self.face = about["number"], about["face"]
        picture = self._connection.recv(timeout_s)
        assert isinstance(picture, bytes)
        return picture

    def step(self, jpeg: bytes) -> bytes:
        """Send a picture and wait for its result."""
        self.send(jpeg)
        return self.receive()

    def set_neutral(self) -> None:
        """Take the next face for the driver at rest."""
        self._connection.send(json.dumps({"type": "set-neutral"}))

    def mirror(self, on: bool) -> None:
        """Move like a mirror image, or not."""
        self._connection.send(json.dumps({"type": "mirror", "on": on}))

    def record(self) -> None:
        """Start a recording of the results; only while no result is under way."""
        self._connection.send(json.dumps({"type": "record", "on": True}))
        self._message()

    def stop_recording(self) -> str:
        """End the recording; only while no result is under way. Returns the id of a job whose result it is."""
        self._connection.send(json.dumps({"type": "record", "on": False}))
        return self._message()["job"]

    def statistics(self) -> dict[str, Any]:
        """The server's counts; only while no result is under way."""
        self._connection.send(json.dumps({"type": "statistics"}))
        return self._message()

    def _message(self, timeout_s: float | None = 120.0) -> dict[str, Any]:
        message = json.loads(self._connection.recv(timeout_s))
        if message["type"] == "error":
            raise ServerError(422, message["error"])
        return message


def _fields(options: dict[str, Any]) -> dict[str, str]:
    """As the server reads them, without those that are None."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _error(status: int, body: bytes, retry_after: str | None) -> ServerError:
    try:
        sentence = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        sentence = f"the server answered {status}; is this the address of reenactor serve?"
    return ServerError(status, sentence, float(retry_after) if retry_after and status == 429 else None)
