"""Work ahead in a second thread, so that two cores are busy where a loop would use them in turn."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

Item = TypeVar("Item")

_MOST_WAITING = 4
"""Enough to even out slow frames; of a 1080p picture this is 25 MB."""
_LOOK_UP_S = 0.05


@contextmanager
def ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items in the same order, made in a thread that is at most a few of them ahead.

    An error in the thread is raised where its item would have come. When the block ends, so does the thread, after
    the item under way, and a generator is closed.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(_MOST_WAITING)
    stopped = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put((item, error), timeout=_LOOK_UP_S)
                return

    def work() -> None:
        try:
            for item in items:
                put(item, None)
                if stopped.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # handed over, to be raised by the one who waits
            put(None, error)
        finally:
            if hasattr(items, "close"):
                items.close()  # pyright: ignore[reportAttributeAccessIssue]

    def results() -> Iterator[Item]:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # pyright: ignore[reportReturnType]

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        stopped.set()
        thread.join()
