"""Processes items in parallel: in this process, in worker processes, or on a Ray cluster.

Worker processes may die of any file; an item whose process died is tried once more and then reported.
"""

from __future__ import annotations

import logging
import multiprocessing as mp
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2
import torch

from reenactor.core import ReenactError
from reenactor.research.data.items import Item

ATTEMPTS = 2
PREFETCH_PER_CPU = 2
"""Tasks handed to the cluster per processor: one at work, one waiting."""

THREADS_ENV: dict[str, str] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""One thread a process: with more they only take turns, and sums in another order would change bytes."""

Work = Callable[[Item], bytes]
"""What is done with an item. It is pickled, so it must be a function of a module, or a `partial` of one."""


@dataclass(frozen=True)
class Task:
    """One item to work on and its number in the data set's order."""

    number: int
    item: Item


@dataclass(frozen=True)
class Done:
    """A finished task: the result as bytes, or as text how the task's process died."""

    task: Task
    result: bytes | str


def work_on(tasks: Iterable[Task], work: Work, *, workers: int = 0, ray: str | None = None) -> Iterator[Done]:
    """Do the work for all tasks and yield results as they are finished, in any order.

    Args:
        tasks: read one by one, a few in advance.
        work: what to do with each item.
        workers: number of worker processes; 0 works in this process.
        ray: address of a Ray cluster to use instead: "host:6379", "auto", or "local" for this machine alone.

    Raises:
        ReenactError: Ray is not installed, or the cluster cannot be reached.
    """
    if ray is not None:
        return _on_ray(tasks, work, ray)
    return _in_processes(tasks, work, workers) if workers else _here(tasks, work)


def _here(tasks: Iterable[Task], work: Work) -> Iterator[Done]:
    for task in tasks:
        yield Done(task, _single_threaded_call(work, task.item))


def _in_processes(tasks: Iterable[Task], work: Work, workers: int) -> Iterator[Done]:
    source = iter(tasks)
    pool = [_Worker(work) for _ in range(workers)]
    try:
        for worker in pool:
            worker.start_next(source)
        while busy := {worker.pipe: worker for worker in pool if worker.task is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # pyright: ignore[reportArgumentType]
                done = worker.collect()
                if done is not None:
                    worker.start_next(source)
                    yield done
    finally:
        for worker in pool:
            worker.stop()


class _Worker:
    """A spawned process and its current task. (A forked process that has used MediaPipe deadlocks.)"""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._attempts = 0
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        with single_threaded():
            self._process.start()
        theirs.close()

    def start_next(self, source: Iterator[Task]) -> None:
        """Begin the next task, if there is one."""
        self.task = next(source, None)
        self._attempts = 0
        if self.task is not None:
            self._send()

    def collect(self) -> Done | None:
        """The result; None if the process died and a new one has begun the task again."""
        assert self.task is not None
        try:
            return Done(self.task, self.pipe.recv_bytes())
        except (EOFError, OSError):
            cause = self._cause_of_death()
        self._start()
        if self._attempts >= ATTEMPTS:
            return Done(self.task, cause)
        self._send()
        return None

    def _send(self) -> None:
        assert self.task is not None
        self._attempts += 1
        with suppress(OSError):  # a process that died while idle: `collect` notices
            self.pipe.send(self.task.item)

    def _cause_of_death(self) -> str:
        self.pipe.close()
        self._process.join()
        code = self._process.exitcode or 0
        if code >= 0:
            return f"ended with code {code}"
        names = {number.value: number.name for number in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')}"

    def stop(self) -> None:
        """End the process; its current task is lost."""
        self.pipe.close()
        self._process.terminate()
        self._process.join()
        self._process.close()


def _serve(pipe: Connection, work: Work) -> None:
    """The main loop of a worker process: until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends its workers
    while True:
        try:
            pipe.send_bytes(_single_threaded_call(work, pipe.recv()))
        except (EOFError, OSError):
            return


def _on_ray(tasks: Iterable[Task], work: Work, address: str) -> Iterator[Done]:
    """All machines must see the data set under the same path. A task whose machine died runs once more."""
    try:
        import ray  # pyright: ignore[reportMissingImports]  - an optional extra
        import ray.exceptions  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ReenactError("--ray needs Ray, which is not installed; pip install 'reenactor[cluster]'") from None
    started = not ray.is_initialized()
    if started:
        _connect(ray, address)
    try:
        options = {"num_cpus": 1, "max_retries": ATTEMPTS - 1, "runtime_env": {"env_vars": THREADS_ENV}}
        remote = ray.remote(**options)(_single_threaded_call)
        prefetch = max(2, PREFETCH_PER_CPU * int(ray.cluster_resources().get("CPU", 1)))
        source, running = iter(tasks), {}
        while True:
            while len(running) < prefetch and (task := next(source, None)) is not None:
                running[remote.remote(work, task.item)] = task
            if not running:
                return
            finished, _ = ray.wait(list(running), num_returns=1)
            for reference in finished:
                task = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayError as error:
                    result = f"failed on the cluster ({type(error).__name__})"
                yield Done(task, result)
    finally:
        if started:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ReenactError(f"cannot reach a Ray cluster at {address} ({text}); start one with 'ray start'") from error


def _single_threaded_call(work: Work, item: Item) -> bytes:
    with one_thread():
        return work(item)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit OpenCV and PyTorch in this process to one thread each."""
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
    """Set the environment so that numerical libraries of child processes start with one thread each."""
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
