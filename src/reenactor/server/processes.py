"""Child processes of the server: started on demand, spoken to over a pipe, killed when they hang or the server ends.

What comes back is JSON or plain bytes, never a pickle: a process that a malicious upload took over must not be able to
take over the server as well.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import psutil

from reenactor.core.system import plain_output
from reenactor.server.confinement import Confinement

_LARGEST_MESSAGE = 64 * 2**20
_SPAWN = multiprocessing.get_context("spawn")


class ProcessDiedError(Exception):
    """The process ended before it answered."""


class ChildProcess:
    """A child process that starts at the first message, and again after it ended. For one thread at a time.

    Args:
        name: of the process.
        work: what it runs, as `work(channel, *arguments)`; a function of a module.
        arguments: must be picklable.
        confinement: what the process may not do; None for those that decode nothing of a stranger's.
    """

    def __init__(
        self, name: str, work: Callable[..., None], *arguments: object, confinement: Confinement | None = None
    ) -> None:
        self._name, self._work, self._arguments, self._confinement = name, work, arguments, confinement
        self._process: Any = None
        self._channel: Channel | None = None

    def send(self, message: dict[str, Any]) -> None:
        """Send JSON.

        Raises:
            ProcessDiedError: the process ended.
        """
        self.send_bytes(json.dumps(message).encode())

    def send_bytes(self, data: bytes) -> None:
        """Send bytes; otherwise as `send`."""
        try:
            self._open().send_bytes(data)
        except OSError as error:
            self.kill()
            raise ProcessDiedError from error

    def receive(self, timeout_s: float) -> dict[str, Any]:
        """Wait for JSON.

        Raises:
            TimeoutError: nothing came in time.
            ProcessDiedError: the process ended.
        """
        try:
            return json.loads(self.receive_bytes(timeout_s))
        except ValueError as error:
            self.kill()
            raise ProcessDiedError from error

    def receive_bytes(self, timeout_s: float) -> bytes:
        """Wait for bytes; otherwise as `receive`."""
        channel = self._open()
        try:
            if not channel.waiting(timeout_s):
                raise TimeoutError
            return channel.receive_bytes()
        except (EOFError, ConnectionError, BrokenPipeError) as error:
            self.kill()
            raise ProcessDiedError from error

    @property
    def running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None

    def memory_bytes(self) -> int:
        """Resident memory; 0 while there is no process."""
        process = self._process
        try:
            return psutil.Process(process.pid).memory_info().rss if process is not None else 0
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """Kill the process; the next message starts another."""
        process, channel = self._process, self._channel
        self._process = self._channel = None
        if process is not None:
            process.kill()
            process.join(10)
            process.close()
        if channel is not None:
            channel.close()

    def close(self, patience_s: float = 5.0) -> None:
        """Let the process end by itself within `patience_s`, else kill it."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.join(patience_s)
        self.kill()

    def _open(self) -> Channel:
        if self._channel is None:
            # Only a process of one thread can leave its namespaces; NumPy begins others when it is imported.
            os.environ["OPENBLAS_NUM_THREADS"] = "1"
            ours, theirs = _SPAWN.Pipe()
            arguments = (self._confinement, self._work, theirs, *self._arguments)
            self._process = _SPAWN.Process(target=_run, args=arguments, name=self._name, daemon=True)
            self._process.start()
            theirs.close()
            self._channel = Channel(ours)
        return self._channel


class Channel:
    """The child's end of the pipe, or the server's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: dict[str, Any]) -> None:
        """Send JSON."""
        self.send_bytes(json.dumps(message).encode())

    def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        self._connection.send_bytes(data)

    def receive(self) -> dict[str, Any]:
        """Wait for JSON; EOFError if the other side is gone."""
        return json.loads(self.receive_bytes())

    def receive_bytes(self) -> bytes:
        """Wait for bytes; EOFError if the other side is gone."""
        return self._connection.recv_bytes(_LARGEST_MESSAGE)

    def waiting(self, timeout_s: float = 0.0) -> bool:
        """Whether there is something to receive, the other side's end included."""
        return self._connection.poll(timeout_s)

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


def _run(
    confinement: Confinement | None, work: Callable[..., None], connection: Connection, *arguments: object
) -> None:
    """First function of the process."""
    # Landmarks in the user's cache would outlive the photos of a deleted target.
    os.environ["REENACTOR_NO_CACHE"] = "1"
    if confinement is not None:
        confinement.begin()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server decides what ends
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()
    with plain_output(), contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
        work(Channel(connection), *arguments)


def _exit_with(sentinel: int) -> None:
    """Exit when the server is killed."""
    wait([sentinel])
    os._exit(1)
