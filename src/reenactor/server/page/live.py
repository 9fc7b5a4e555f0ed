"""The camera of a browser drives a photo: pictures come and go over a WebSocket.

The browser sends 8 bytes of its clock (seconds, float64, little-endian) and a JPEG; the answer is the same 8 bytes, a
byte that tells whether a face was seen, and a JPEG. Text messages are JSON.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, PlainTextResponse, Response

from reenactor.core import ReenactError
from reenactor.engine import LiveSession, Reenactor
from reenactor.media import SourceFile
from reenactor.server.page.desk import LIVE_SIDE_PX, Desk, Person
from reenactor.server.worker import decode_jpeg, encode_jpeg

_CLOCK = struct.Struct("<d")
_ANSWER = struct.Struct("<d?")
_IDLE_S = 60.0
_LOOK_S = 0.5
_TELL_S = 1.0
LARGEST_MESSAGE = 4 * 2**20


@dataclass(frozen=True)
class Ticket:
    """Lets a browser drive.

    Args:
        visitor: whose.
        reenactor: with its target set.
        inputs: the target's files.
    """

    visitor: str
    reenactor: Reenactor
    inputs: tuple[SourceFile, ...]


class Studio:
    """Tickets, and the WebSocket that takes them.

    Args:
        desk: of the page.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._tickets: dict[str, Ticket] = {}
        self._recordings: dict[str, Path] = {}
        self._busy = 0

    def ticket(self, visitor: str, person: Person, model: str) -> str:
        """Prepare a visitor's photo for driving; an earlier ticket of theirs is void.

        Raises:
            ReenactError: the photos cannot be used.
        """
        reenactor = self._desk.reenactor(visitor, "live", person, model, LIVE_SIDE_PX)
        inputs = tuple(SourceFile.of("target", photo) for photo in person.photos)
        self.leave(visitor)
        name = secrets.token_urlsafe(16)
        self._tickets[name] = Ticket(visitor, reenactor, inputs)
        return name

    def leave(self, visitor: str) -> None:
        """A visitor closed the page, or begins anew."""
        self._tickets = {name: one for name, one in self._tickets.items() if one.visitor != visitor}

    def mount(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_websocket_route("/live/{ticket}", self._drive)
        app.add_api_route("/live/recordings/{name}", self._recording, methods=["GET"])

    async def _recording(self, name: str) -> Response:
        path = self._recordings.get(name)
        if path is None or not path.exists():
            return PlainTextResponse("This recording is no longer here; record again.", 404)
        return FileResponse(path, filename=path.name)

    async def _drive(self, socket: WebSocket, ticket: str) -> None:
        await socket.accept()
        known = self._tickets.get(ticket)
        if known is None:
            await _refuse(socket, "the photo is no longer here; press Start again")
        elif self._busy >= self._desk.settings.live:
            await _refuse(socket, "others are driving live just now; wait until one has finished, or raise --live")
        else:
            self._busy += 1
            try:
                await self._session(socket, known)
            finally:
                self._busy -= 1

    async def _session(self, socket: WebSocket, ticket: Ticket) -> None:
        try:
            session = await asyncio.to_thread(LiveSession, ticket.reenactor, mirror=True)
        except ReenactError as error:
            await _refuse(socket, self._desk.sentence(error))
            return
        line = _Line(socket, session, self._desk, ticket, self._recordings)
        try:
            await line.run()
        finally:
            await asyncio.to_thread(session.close)


class _Line:
    """One browser's connection to one session."""

    def __init__(
        self, socket: WebSocket, session: LiveSession, desk: Desk, ticket: Ticket, recordings: dict[str, Path]
    ) -> None:
        self._socket, self._session, self._desk = socket, session, desk
        self._ticket, self._recordings = ticket, recordings
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Until the browser leaves, or is silent for a minute."""
        height, width = self._ticket.reenactor.target.photo.shape[:2]
        await self._tell({"type": "ready", "width": width, "height": height})
        tasks = [asyncio.create_task(one()) for one in (self._receive, self._answer)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (WebSocketDisconnect, RuntimeError):
            pass  # the browser left while something was being sent
        except Exception as error:
            with suppress(WebSocketDisconnect, RuntimeError):
                await _refuse(self._socket, self._desk.sentence(error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self) -> None:
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), _IDLE_S)
            except (TimeoutError, asyncio.TimeoutError):
                await _refuse(self._socket, f"no picture came for {_IDLE_S:g} s; press Start again")
                return
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await asyncio.to_thread(self._submit, message["bytes"])
            else:
                await self._command(message.get("text") or "")

    def _submit(self, data: bytes) -> None:
        if len(data) <= _CLOCK.size:
            raise ReenactError("an empty picture came; press Start again")
        self._session.submit(decode_jpeg(data[_CLOCK.size :]), *_CLOCK.unpack_from(data))

    async def _answer(self) -> None:
        told = 0.0
        while self._session.running:
            answer = await asyncio.to_thread(self._next)
            if answer is None:
                continue
            async with self._sending:
                await self._socket.send_bytes(answer)
            if time.monotonic() - told > _TELL_S:
                told = time.monotonic()
                seen = self._session.statistics()
                facts = {"fps": round(seen.fps, 1), "latency_ms": round(seen.latency_ms), "dropped": seen.dropped}
                await self._tell({"type": "statistics", **facts})

    def _next(self) -> bytes | None:
        result = self._session.next_result(_LOOK_S)
        if result is None:
            return None
        return _ANSWER.pack(result.time_s, result.driver_seen) + encode_jpeg(result.image)

    async def _command(self, text: str) -> None:
        try:
            command = json.loads(text)
            kind, on = command["type"], bool(command.get("on"))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        if kind == "neutral":
            self._session.set_neutral()
        elif kind == "mirror":
            self._session.mirror = on
        elif kind == "record":
            try:
                await (self._begin_recording() if on else self._end_recording())
            except ReenactError as error:
                await self._tell({"type": "error", "error": self._desk.sentence(error)})

    async def _begin_recording(self) -> None:
        path = self._desk.new_file(self._ticket.visitor, "live.mp4")
        record = self._session.record
        await asyncio.to_thread(record, path, inputs=self._ticket.inputs, credentials=self._desk.credentials)
        await self._tell({"type": "recording"})

    async def _end_recording(self) -> None:
        recording = await asyncio.to_thread(self._session.stop_recording)
        if recording is None:
            await self._tell({"type": "error", "error": "Nothing was recorded: no picture came in that time."})
            return
        name = secrets.token_urlsafe(16)
        self._recordings[name] = recording.path
        await self._tell({"type": "recorded", "url": f"live/recordings/{name}", "frames": recording.frames})

    async def _tell(self, message: dict[str, Any]) -> None:
        async with self._sending:
            await self._socket.send_json(message)


async def _refuse(socket: WebSocket, sentence: str) -> None:
    await socket.send_json({"type": "error", "error": sentence[:1].upper() + sentence[1:]})
    await socket.close(1008)
