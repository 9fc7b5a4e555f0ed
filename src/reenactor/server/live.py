"""Live driving over a WebSocket: pictures in, pictures out, always the newest."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from reenactor.server.guard import RateLimit
from reenactor.server.metrics import Metrics
from reenactor.server.processes import ChildProcess, ProcessDiedError
from reenactor.server.records import LiveOptions
from reenactor.server.settings import Settings
from reenactor.server.signing import Signer
from reenactor.server.store import Job, State, Store, Target, new_id
from reenactor.server.worker import drive_live

LARGEST_MESSAGE = 4 * 2**20
_IDLE_S = 60.0
"""A session without a picture that can be drawn ends after this, as others may wait for its slot."""
_BEGIN_S = 120.0
_PICTURE_S = 30.0
_RECORD_S = 120.0
"""To finish and sign a recording."""
_SEND_S = 20.0
"""A client that does not read what it is sent is left after this."""
_MAX_COMMANDS = 64
"""Text messages without a picture that was drawn; more end the session."""
_COMMANDS = "set-neutral, mirror, record and statistics"


class LiveSlots:
    """A fixed number of processes for live driving, each for one session at a time. Several keys share them.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._free = [
            ChildProcess("reenactor-live", drive_live, settings, confinement=settings.confinement())
            for _ in range(settings.live)
        ]
        self._all = tuple(self._free)
        self._lock = threading.Lock()
        self._settings = settings
        self._sessions: Counter[str] = Counter()
        self._seconds = RateLimit(60 * settings.live_minutes, 3600.0)

    def left_s(self, owner: str) -> float:
        """Seconds that a key may drive live now; one that begins gets a minute or nothing."""
        return self._seconds.left(owner) if self._settings.keys else math.inf

    def take(self, owner: str) -> ChildProcess | None:
        """A free process, the one used last first; None if there is none for this key."""
        with self._lock:
            share = max(1, len(self._all) - self._settings.shared)
            if not self._free or self._sessions[owner] >= share:
                return None
            self._sessions[owner] += 1
            return self._free.pop()

    def give_back(self, process: ChildProcess, owner: str, seconds: float) -> None:
        """End a session of so many seconds and free its slot."""
        if process.running:
            with suppress(ProcessDiedError):
                process.send({"end": True})
        self._seconds.take(owner, seconds)
        with self._lock:
            self._sessions[owner] -= 1
            self._free.append(process)

    def taken(self) -> int:
        """Number of sessions."""
        return len(self._all) - len(self._free)

    def memory_bytes(self) -> int:
        """Resident memory of the processes."""
        return sum(process.memory_bytes() for process in self._all)

    def close(self) -> None:
        """Kill the processes."""
        for process in self._all:
            process.kill()


@dataclass
class _Statistics:
    began: float = field(default_factory=time.monotonic)
    received: int = 0
    drawn: int = 0
    dropped: int = 0
    refused: int = 0
    latency_s: float = 0.0
    face: bool = False

    def message(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.began
        return {
            "type": "statistics",
            "seconds": round(seconds, 3),
            "received": self.received,
            "drawn": self.drawn,
            "dropped": self.dropped,
            "refused": self.refused,
            "frames_per_second": round(self.drawn / max(seconds, 1e-3), 2),
            "latency_ms": round(1000 * self.latency_s, 1),
            "face": self.face,
        }


class LiveSession:
    """One driver's pictures through one process.

    While a picture is drawn the next ones come in, and only the newest of them is drawn after it: what is shown is
    never older than two drawings. A recording becomes a finished job of the target's owner.

    Args:
        socket: accepted.
        process: taken from the slots.
        target: to drive.
        options: of the session.
        store: of the target and of recordings.
        settings: of the server.
        metrics: counts pictures.
        most_s: its longest time.
    """

    def __init__(
        self,
        socket: WebSocket,
        process: ChildProcess,
        target: Target,
        options: LiveOptions,
        *,
        store: Store,
        settings: Settings,
        metrics: Metrics,
        most_s: float = math.inf,
    ) -> None:
        self._end_s, self._drawn_s, self._texts = time.monotonic() + most_s, time.monotonic(), 0
        self._socket, self._process, self._target = socket, process, target
        self._options = {**asdict(options), "size": None if options.size == "photo" else options.size}
        self._store, self._settings, self._metrics = store, settings, metrics
        self._statistics = _Statistics()
        self._newest: tuple[int, float, bytes] | None = None
        self._commands: list[dict[str, Any]] = []
        self._recording: Job | None = None
        self._recorded_s = 0.0
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Run from the target's photos to the session's end."""
        try:
            answer = await asyncio.to_thread(self._begin)
            if "error" in answer:
                await self._socket.send_json({"type": "error", "error": answer["error"]})
                await self._socket.close(1008, "the target cannot be driven")
                return
            width, height = answer["size"]
            self._drawn_s = time.monotonic()
            await self._send({"type": "ready", "width": width, "height": height})
            await self._exchange_all()
        except (ProcessDiedError, TimeoutError):
            self._process.kill()
            with suppress(RuntimeError, TimeoutError, asyncio.TimeoutError):
                await self._close(1011, "drawing broke off; connect again")
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client left while something was being sent
        finally:
            if self._recording is not None:
                await asyncio.to_thread(self._store.remove_job, self._recording.id)

    def _begin(self) -> dict[str, Any]:
        photos = [str(photo) for photo in self._store.photos(self._target)]
        self._process.send({"photos": photos, "options": self._options})
        return self._process.receive(_BEGIN_S)

    async def _exchange_all(self) -> None:
        """Receive and draw until the client leaves, or sends no picture for a minute."""
        drawing = asyncio.create_task(self._draw())
        receiving = asyncio.create_task(self._receive())
        try:
            done, _ = await asyncio.wait((drawing, receiving), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            receiving.cancel()
            # A picture under way is waited for: its answer would be taken for that of the next session's first.
            self._news.set()
            self._newest, self._closed = None, True
            await asyncio.gather(drawing, receiving, return_exceptions=True)

    async def _receive(self) -> None:
        while not self._closed:  # before Python 3.12 `wait_for` can swallow that this task is cancelled
            now, idle_s = time.monotonic(), self._drawn_s + _IDLE_S
            try:
                message = await asyncio.wait_for(self._socket.receive(), max(0.0, min(idle_s, self._end_s) - now))
            except TimeoutError:
                if time.monotonic() >= self._end_s:
                    await self._close(1008, "the live minutes of this key are used up; connect again later")
                    return
                if time.monotonic() >= self._drawn_s + _IDLE_S:
                    await self._close(1001, f"no picture came for {_IDLE_S:g} s; connect again")
                    return
                continue
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                self._take(message["bytes"])
                continue
            self._texts += 1
            if self._texts > _MAX_COMMANDS:
                await self._close(1008, "too many messages without a picture; send pictures, too")
                return
            await self._command(message.get("text") or "")

    async def _close(self, code: int, reason: str) -> None:
        await asyncio.wait_for(self._socket.close(code, reason), _SEND_S)

    def _take(self, picture: bytes) -> None:
        if self._newest is not None:
            self._statistics.dropped += 1
            self._metrics.live_frame("dropped")
        self._statistics.received += 1
        self._newest = self._statistics.received, time.monotonic(), picture
        self._news.set()

    async def _command(self, text: str) -> None:
        try:
            command = json.loads(text)
            kind = command["type"]
            if kind == "statistics":
                await self._send(self._statistics.message())
                return
            if kind == "set-neutral":
                found = {"neutral": True}
            elif kind in ("mirror", "record"):
                found = {kind: _flag(command["on"])}
            else:
                raise ValueError(kind)
        except (ValueError, TypeError, KeyError, RecursionError):
            sentence = f'text messages are JSON like {{"type": "mirror", "on": true}}; the types are {_COMMANDS}'
            await self._send({"type": "error", "error": sentence})
            return
        self._commands.append(found)
        self._news.set()

    async def _draw(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._closed:
                return
            commands, self._commands = self._commands, []
            for command in commands:
                if "record" in command:
                    await self._record(command["record"])
                else:
                    self._process.send(command)
            if self._newest is None:
                continue
            (number, came, picture), self._newest = self._newest, None
            answer, drawn = await asyncio.to_thread(self._exchange, came, picture)
            if drawn is None:
                self._statistics.refused += 1
                self._metrics.live_frame("refused")
                await self._send({"type": "error", "error": answer["error"], "number": number})
                continue
            self._statistics.drawn += 1
            self._statistics.face = answer["face"]
            self._metrics.live_frame("drawn")
            self._drawn_s, self._texts = time.monotonic(), 0
            await self._send({"type": "frame", "number": number, "face": answer["face"]}, drawn)
            self._statistics.latency_s = time.monotonic() - came
            if self._recording is not None and time.monotonic() > self._recorded_s + 60 * self._settings.job_minutes:
                await self._record(False)

    def _exchange(self, came: float, picture: bytes) -> tuple[dict[str, Any], bytes | None]:
        self._process.send({"time_s": came})
        self._process.send_bytes(picture)
        answer = self._process.receive(_PICTURE_S)
        return answer, None if "error" in answer else self._process.receive_bytes(_PICTURE_S)

    async def _record(self, on: bool) -> None:
        """Start a recording, or end it and tell where it is."""
        if on and self._recording is None:
            job = Job(new_id(), self._target.owner, self._target.id, "live", {"format": "mp4"}, State.DONE)
            path = await asyncio.to_thread(self._store.new_result, job)
            self._recording, self._recorded_s = job, time.monotonic()
            error = (await asyncio.to_thread(self._ask, {"record": str(path)}))["error"]
            message = {"type": "recording"}
        elif not on and self._recording is not None:
            job = self._recording
            answer = await asyncio.to_thread(self._end_recording, job)
            error = answer.get("error")
            if error is None:
                finished = replace(job, finished=time.time(), facts=answer["facts"])
                try:
                    await asyncio.to_thread(self._store.add_job, finished, None, 0)
                    self._recording = None
                except KeyError:
                    error = "the target was deleted, and its recording with it"
            message = {"type": "recorded", "job": job.id, "url": f"/v1/jobs/{job.id}/result"}
        else:
            return
        if error is not None:
            self._recording = None
            await asyncio.to_thread(self._store.remove_job, job.id)
            message = {"type": "error", "error": error}
        await self._send(message)

    def _end_recording(self, job: Job) -> dict[str, Any]:
        """The facts of the finished, signed recording, or an error."""
        answer = self._ask({"record": None})
        if "facts" in answer and answer["facts"]["signed"]:
            result = self._store.job_folder(job.id) / job.result_name
            with closing(Signer(self._settings)) as signer:
                error = signer.sign(result, answer["model"], self._store.photos(self._target), None)
            return answer if error is None else {"error": error}
        return answer

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._process.send(message)
        return self._process.receive(_RECORD_S)

    async def _send(self, message: dict[str, Any], picture: bytes | None = None) -> None:
        async with self._sending:
            await asyncio.wait_for(self._socket.send_json(message), _SEND_S)
            if picture is not None:
                await asyncio.wait_for(self._socket.send_bytes(picture), _SEND_S)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value
