"""Many sets, several processes: parts are worked on in order, and what is done is told."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2
import torch

from reenact.core.progress import Progress
from reenact.data.pool import one_thread, single_threaded

T = TypeVar("T")
R = TypeVar("R")

PART = 32
"""Sets worked on together: they share decoded frames and encoded targets."""
WORTH_A_PROCESS = 200
"""Fewer pictures than this are done sooner than another process starts (5 s)."""


def spread(
    work: Callable[[Sequence[T]], R],
    items: Sequence[T],
    *,
    what: str,
    done: int = 0,
    workers: int | None = None,
    progress: Progress,
) -> Iterator[tuple[Sequence[T], R]]:
    """Each part of the items with what `work` made of it, in order.

    Args:
        work: can be pickled; a process calls it with one part after the other.
        items: in an order in which neighbours share what they need.
        what: names the stage.
        done: items that were done before, for the progress.
        workers: processes; 0 for this one, None for one a processor where that pays.
        progress: told in items.
    """
    parts = [items[i : i + PART] for i in range(0, len(items), PART)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if len(items) >= WORTH_A_PROCESS else 0
    total = done + len(items)
    progress.start(what, done, total)
    try:
        for part, result in _here(work, parts) if workers < 2 else _there(work, parts, workers):
            done += len(part)
            progress.step(done, total)
            yield part, result
    finally:
        progress.end()


def _here(work: Callable[[Sequence[T]], R], parts: list[Sequence[T]]) -> Iterator[tuple[Sequence[T], R]]:
    for part in parts:
        with one_thread():
            result = work(part)
        yield part, result


def _there(work: Callable[[Sequence[T]], R], parts: list[Sequence[T]], workers: int) -> Iterator[tuple[Sequence[T], R]]:
    # MediaPipe deadlocks in processes that were forked.
    with single_threaded(), ProcessPoolExecutor(workers, mp.get_context("spawn"), initializer=_begin) as pool:
        waiting = iter(parts)
        ahead = deque((part, pool.submit(work, part)) for part in islice(waiting, 2 * workers))
        try:
            while ahead:
                part, result = ahead.popleft()
                yield part, result.result()
                for further in islice(waiting, 1):
                    ahead.append((further, pool.submit(work, further)))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent decides
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
