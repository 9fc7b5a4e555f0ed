"""Live driving over a WebSocket: pictures in, pictures out, always the newest."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from reenactor.server.api.animating import drive_live
from reenactor.server.api.helpers import Helper, HelperDiedError
from reenactor.server.api.measures import Measures
from reenactor.server.api.settings import Settings

LARGEST_MESSAGE = 4 * 2**20
_IDLE_S = 60.0
"""A session without a picture ends after this, for others may wait for its place."""
_BEGIN_S = 120.0
_PICTURE_S = 30.0
_COMMANDS = "set-neutral, mirror and statistics"


class Places:
    """So many processes for live driving; a place is one person's at a time.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        self._free = [Helper("reenactor-live", drive_live, settings) for _ in range(settings.live)]
        self._all = tuple(self._free)
        self._lock = threading.Lock()

    def take(self) -> Helper | None:
        """A process that is free, those that are warm first."""
        with self._lock:
            return self._free.pop() if self._free else None

    def give_back(self, helper: Helper) -> None:
        """End the session, and let the next one have the place."""
        if helper.running:
            with suppress(HelperDiedError):
                helper.send({"end": True})
        with self._lock:
            self._free.append(helper)

    def taken(self) -> int:
        """How many people drive."""
        return len(self._all) - len(self._free)

    def memory_bytes(self) -> int:
        """Of the processes."""
        return sum(helper.memory_bytes() for helper in self._all)

    def close(self) -> None:
        """End the processes."""
        for helper in self._all:
            helper.kill()


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
    """One person's pictures through one process.

    While a picture is drawn the next ones come in, and only the newest of them is drawn after it: what is shown is
    never older than two drawings.

    Args:
        socket: accepted.
        helper: with its target set.
        measures: told of every picture.
    """

    def __init__(self, socket: WebSocket, helper: Helper, measures: Measures) -> None:
        self._socket, self._helper, self._measures = socket, helper, measures
        self._statistics = _Statistics()
        self._newest: tuple[int, float, bytes] | None = None
        self._commands: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._sending = asyncio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Until the other side leaves, or is silent for a minute.

        Raises:
            HelperDiedError: the process ended.
            TimeoutError: it hangs.
        """
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
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), _IDLE_S)
            except (TimeoutError, asyncio.TimeoutError):
                await self._socket.close(1001, f"no picture came for {_IDLE_S:g} s; connect again")
                return
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                self._take(message["bytes"])
            else:
                await self._command(message.get("text") or "")

    def _take(self, picture: bytes) -> None:
        if self._newest is not None:
            self._statistics.dropped += 1
            self._measures.live_frame("dropped")
        self._statistics.received += 1
        self._newest = self._statistics.received, time.monotonic(), picture
        self._news.set()

    async def _command(self, text: str) -> None:
        try:
            command = json.loads(text)
            kind = command["type"]
            if kind == "set-neutral":
                self._commands.append({"neutral": True})
            elif kind == "mirror":
                self._commands.append({"mirror": _flag(command["on"])})
            elif kind == "statistics":
                await self._tell(self._statistics.message())
            else:
                raise ValueError(kind)
        except (ValueError, TypeError, KeyError, RecursionError):
            sentence = f'text messages are JSON like {{"type": "mirror", "on": true}}; the types are {_COMMANDS}'
            await self._tell({"type": "error", "error": sentence})

    async def _draw(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._closed:
                return
            if self._newest is None:
                continue
            (number, came, picture), self._newest = self._newest, None
            commands, self._commands = self._commands, []
            answer, drawn = await asyncio.to_thread(self._exchange, commands, came, picture)
            if drawn is None:
                self._statistics.refused += 1
                self._measures.live_frame("refused")
                await self._tell({"type": "error", "error": answer["error"], "number": number})
                continue
            self._statistics.drawn += 1
            self._statistics.face = answer["face"]
            self._measures.live_frame("drawn")
            async with self._sending:
                await self._socket.send_json({"type": "frame", "number": number, "face": answer["face"]})
                await self._socket.send_bytes(drawn)
            self._statistics.latency_s = time.monotonic() - came

    def _exchange(
        self, commands: list[dict[str, Any]], came: float, picture: bytes
    ) -> tuple[dict[str, Any], bytes | None]:
        for command in commands:
            self._helper.send(command)
        self._helper.send({"time_s": came})
        self._helper.send_bytes(picture)
        answer = self._helper.receive(_PICTURE_S)
        return answer, None if "error" in answer else self._helper.receive_bytes(_PICTURE_S)

    async def _tell(self, message: dict[str, Any]) -> None:
        async with self._sending:
            await self._socket.send_json(message)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


async def drive(
    socket: WebSocket, helper: Helper, photos: list[str], options: dict[str, Any], measures: Measures
) -> None:
    """A whole session: from the target's photos to the end."""

    def begin() -> dict[str, Any]:
        helper.send({"photos": photos, "options": options})
        return helper.receive(_BEGIN_S)

    try:
        answer = await asyncio.to_thread(begin)
        if "error" in answer:
            await socket.send_json({"type": "error", "error": answer["error"]})
            await socket.close(1008, "the target cannot be driven")
            return
        await socket.send_json({"type": "ready", "width": answer["size"][0], "height": answer["size"][1]})
        await LiveSession(socket, helper, measures).run()
    except (HelperDiedError, TimeoutError):
        helper.kill()
        await socket.close(1011, "drawing broke off; connect again")
    except (WebSocketDisconnect, RuntimeError):
        pass  # the other side left while something was being sent
