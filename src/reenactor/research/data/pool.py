"""A pool of processes that survives the death of any of them."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cv2
import torch

from reenactor.research.data.items import Item
from reenactor.research.data.process import Work
from reenactor.research.data.settings import Settings

ATTEMPTS = 2
"""An item whose process died is tried once more; then it is the item's fault."""

THREADS_ENV: dict[str, str] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""One thread a process: more only take turns, and sums in another order would change bytes."""


@dataclass(frozen=True)
class Task:
    """One item to work on, numbered in the data set's order."""

    number: int
    item: Item


@dataclass(frozen=True)
class Done:
    """What became of a task: the bytes of its parcel, or how its process died, twice."""

    task: Task
    result: bytes | str


Runner = Callable[[Iterable[Task]], Iterator[Done]]
"""Works on tasks, a few ahead, and gives what is done in any order."""


def run_here(tasks: Iterable[Task], work: Work, root: Path, settings: Settings) -> Iterator[Done]:
    """One task after the other in this process: for debugging."""
    for task in tasks:
        with one_thread():
            result = work(task.item, root, settings).to_bytes()
        yield Done(task, result)


def run_in_processes(
    tasks: Iterable[Task], work: Work, root: Path, settings: Settings, *, workers: int
) -> Iterator[Done]:
    """Spread tasks over spawned processes; see `Runner`.

    Args:
        tasks: drawn one by one, as processes become free.
        work: a function of a module, so that another process can import it.
        workers: how many processes.
    """
    source = iter(tasks)
    pool = [_Worker(work, root, settings) for _ in range(workers)]
    try:
        for worker in pool:
            worker.next_from(source)
        while busy := {worker.pipe: worker for worker in pool if worker.task is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # pyright: ignore[reportArgumentType]
                done = worker.collect()
                if done is not None:
                    worker.next_from(source)
                    yield done
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A process with a pipe, and the task it is at."""

    def __init__(self, work: Work, root: Path, settings: Settings) -> None:
        self._arguments = (work, root, settings)
        self._attempts = 0
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *self._arguments), daemon=True)
        with single_threaded():
            self._process.start()
        theirs.close()

    def next_from(self, source: Iterator[Task]) -> None:
        """Take a task, or rest if there is none left."""
        self.task = next(source, None)
        self._attempts = 0
        if self.task is not None:
            self._send()

    def collect(self) -> Done | None:
        """The result; None if the process died and the task was begun again in a new one."""
        assert self.task is not None
        try:
            return Done(self.task, self.pipe.recv_bytes())
        except (EOFError, OSError):
            how = self._bury()
        self._start()
        if self._attempts >= ATTEMPTS:
            return Done(self.task, how)
        self._send()
        return None

    def _send(self) -> None:
        assert self.task is not None
        self._attempts += 1
        with suppress(OSError):  # a process that died while idle: `collect` notices
            self.pipe.send(self.task.item)

    def _bury(self) -> str:
        self.pipe.close()
        self._process.join()
        code = self._process.exitcode or 0
        if code >= 0:
            return f"ended with code {code}"
        names = {number.value: number.name for number in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')}"

    def stop(self) -> None:
        """End the process; what it is at is lost."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()
        self._process.close()


def serve(pipe: Connection, work: Work, root: Path, settings: Settings) -> None:
    """A worker's life: items in, parcels out, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    with one_thread():
        while True:
            try:
                item = pipe.recv()
                pipe.send_bytes(work(item, root, settings).to_bytes())
            except (EOFError, OSError):
                return


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the libraries of this process to one thread each meanwhile."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


@contextmanager
def single_threaded() -> Iterator[None]:
    """Environment for a child whose numerical libraries start with one thread."""
    before = {name: os.environ.get(name) for name in THREADS_ENV}
    os.environ.update(THREADS_ENV)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
