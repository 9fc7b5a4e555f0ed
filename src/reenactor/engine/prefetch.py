"""Stages of work in threads, joined by bounded queues, to keep all cores busy."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_WAITING = 4
"""Enough to even out slow frames; of a 1080p picture this is 25 MB."""
_LOOK_UP_S = 0.05


@contextmanager
def prefetch(
    items: Iterator[Item], work: Callable[[Item], Result] = lambda item: item, *, threads: int = 1
) -> Iterator[Iterator[Result]]:
    """`work` done to the items in threads that are at most a few of them ahead; results in the items' order.

    Stages are chained by giving one's results to the next as items: a slow stage slows those before it, since
    every queue is bounded.

    An error, of the source or of the work, is raised where its result would have come. When the block ends, however
    it ends, so do the threads, after the item each has in hand, and a generator is closed.

    Args:
        items: asked by one thread at a time.
        work: must not mind being called by several threads at once, if there are.
        threads: how many.
    """
    waiting: queue.Queue[Future[Result] | None] = queue.Queue(_MOST_WAITING)
    stopped, ended = threading.Event(), threading.Event()
    turn = threading.Lock()

    def put(promise: Future[Result] | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(promise, timeout=_LOOK_UP_S)
                return

    def take() -> tuple[Item, Future[Result]] | None:
        """The next item and the promise of its result; None if there are no more."""
        with turn:
            if stopped.is_set() or ended.is_set():
                return None
            promise: Future[Result] = Future()
            try:
                item = next(items)
            except StopIteration:
                ended.set()
                put(None)
                return None
            except BaseException as error:  # raised again in the thread that waits
                ended.set()
                promise.set_exception(error)
                put(promise)
                return None
            put(promise)
            return item, promise

    def run() -> None:
        while (taken := take()) is not None:
            item, promise = taken
            try:
                promise.set_result(work(item))
            except BaseException as error:
                promise.set_exception(error)
            del item, promise, taken  # a picture is not kept while the next one is waited for
        with turn:
            if hasattr(items, "close"):
                items.close()  # pyright: ignore[reportAttributeAccessIssue]

    def results() -> Iterator[Result]:
        while (promise := waiting.get()) is not None:
            yield promise.result()

    helpers = [threading.Thread(target=run, name="prefetch", daemon=True) for _ in range(threads)]
    for helper in helpers:
        helper.start()
    try:
        yield results()
    finally:
        stopped.set()
        for helper in helpers:
            helper.join()
