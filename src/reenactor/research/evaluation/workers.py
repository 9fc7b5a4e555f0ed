"""Cases spread over several processes, part by part and in order, with progress."""

from __future__ import annotations

import multiprocessing as mp
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from types import TracebackType
from typing import TypeVar

import cv2
import torch

from reenactor.core.progress import Progress, Silent
from reenactor.core.system import available_cores
from reenactor.research.data.pool import one_thread, single_threaded

T = TypeVar("T")
R = TypeVar("R")

PART = 32
"""Cases worked on together: they share decoded frames and encoded targets."""
WORTH_A_PROCESS = 200
"""Fewer cases than this are done before another process has started (5 s)."""


def batches(items: Sequence[T]) -> list[Sequence[T]]:
    """Parts of `PART` items."""
    return [items[i : i + PART] for i in range(0, len(items), PART)]


class WorkerPool:
    """Worker processes, started when first needed and kept for the next stage; use `with`.

    Args:
        workers: how many; 0 for this process alone, None for one for each processor if there is enough to do.
        progress: reports cases.
    """

    def __init__(self, workers: int | None = 0, progress: Progress | None = None) -> None:
        self._workers = workers
        self._progress = progress or Silent()
        self._pool: ProcessPoolExecutor | None = None

    def spread(
        self,
        work: Callable[[Sequence[T]], R],
        parts: Sequence[Sequence[T]],
        *,
        what: str,
        done: int = 0,
        alone: bool = False,
    ) -> Iterator[tuple[Sequence[T], R]]:
        """Give each part with the result of `work`, in order.

        Args:
            work: called with one part after the other; must be picklable.
            parts: in an order in which neighbours share what they need.
            what: name of the stage, for the progress.
            done: number of cases that were done before, for the progress.
            alone: work in this process in any case.
        """
        total = done + sum(map(len, parts))
        if total == done:
            return
        workers = self._workers
        if workers is None:
            workers = available_cores() if total - done >= WORTH_A_PROCESS else 0
        self._progress.start(what, done, total)
        try:
            for part, result in _here(work, parts) if alone or workers < 2 else self._there(work, parts, workers):
                done += len(part)
                self._progress.step(done, total)
                yield part, result
        finally:
            self._progress.end()

    def close(self) -> None:
        """End the processes; unfinished work is lost."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _there(
        self, work: Callable[[Sequence[T]], R], parts: Sequence[Sequence[T]], workers: int
    ) -> Iterator[tuple[Sequence[T], R]]:
        if self._pool is None:
            # MediaPipe deadlocks in processes that were forked.
            self._pool = ProcessPoolExecutor(workers, mp.get_context("spawn"), initializer=_begin)
        waiting = iter(parts)
        with single_threaded():
            ahead = deque((part, self._pool.submit(work, part)) for part in islice(waiting, 2 * workers))
        while ahead:
            part, result = ahead.popleft()
            yield part, result.result()
            for further in islice(waiting, 1):
                ahead.append((further, self._pool.submit(work, further)))


def _here(work: Callable[[Sequence[T]], R], parts: Sequence[Sequence[T]]) -> Iterator[tuple[Sequence[T], R]]:
    for part in parts:
        with one_thread():
            result = work(part)
        yield part, result


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
