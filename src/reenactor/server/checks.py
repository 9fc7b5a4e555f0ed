"""Several upload checkers, whose turns go round the API keys: nobody waits for another key's slow files."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from reenactor.server.guard import too_many
from reenactor.server.settings import Settings
from reenactor.server.uploads import Upload, UploadChecker

CHECKERS = 2
_MOST_WAITING = 16
"""Files of one key that may wait to be checked."""
_Answer = TypeVar("_Answer")


class Checks:
    """Checks files in processes of their own. Of several keys, each has one process at a time.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: Settings) -> None:
        hidden = settings.confinement().hidden
        self._all = [UploadChecker(settings.limits, hidden) for _ in range(CHECKERS)]
        self._free: SimpleQueue[UploadChecker] = SimpleQueue()
        for checker in self._all:
            self._free.put(checker)
        # First come, first served; as a key has one file here at a time, keys take turns.
        self._threads = ThreadPoolExecutor(CHECKERS, "reenactor-checks")
        self._at_once, self._most = (1, _MOST_WAITING) if settings.shared else (CHECKERS, 10**6)
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._asked: Counter[str] = Counter()

    async def check(self, owner: str, path: Path, what: str, *, driver: bool) -> Upload:
        """Check a file of a key, see `UploadChecker.check`.

        Raises:
            RefusalError: too many files of this key wait already.
        """
        return await self._run(owner, lambda checker: checker.check(path, what=what, driver=driver))

    async def inspect(self, owner: str, path: Path, what: str) -> tuple[str, bool]:
        """What a file says about its origin, see `UploadChecker.inspect`; otherwise as `check`."""
        return await self._run(owner, lambda checker: checker.inspect(path, what=what))

    def memory_bytes(self) -> int:
        """Resident memory of the processes."""
        return sum(checker.memory_bytes() for checker in self._all)

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(cancel_futures=True)
        for checker in self._all:
            checker.close()

    async def _run(self, owner: str, work: Callable[[UploadChecker], _Answer]) -> _Answer:
        if self._asked[owner] > self._most:
            raise too_many("many of your files wait to be checked; send the next as Retry-After says", 5)
        self._asked[owner] += 1
        turn = self._turns.setdefault(owner, asyncio.Semaphore(self._at_once))
        try:
            await turn.acquire()
            try:
                checked = asyncio.get_running_loop().run_in_executor(self._threads, self._with_checker, work)
            except RuntimeError:  # the service is shutting down
                turn.release()
                raise
            # If nobody waits for the answer any more, the key's turn lasts until it is there all the same.
            checked.add_done_callback(lambda _: turn.release())
            return await asyncio.shield(checked)
        finally:
            self._asked[owner] -= 1

    def _with_checker(self, work: Callable[[UploadChecker], _Answer]) -> _Answer:
        checker = self._free.get()  # there are as many as threads
        try:
            return work(checker)
        finally:
            self._free.put(checker)
