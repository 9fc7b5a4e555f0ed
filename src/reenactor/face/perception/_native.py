"""MediaPipe, imported late and kept quiet.

Its C++ logging writes to file descriptor 2 before Python can configure it, so the descriptor itself is redirected while
models load. Importing takes about 2 seconds, so nothing imports it before a face is looked for.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.RLock()
_depth = 0
_saved_fd = -1


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device; nested and concurrent uses share one redirection.

    Other threads' stderr is lost for that time too: keep the body short (loading, first run). A process without stderr
    (a Windows program without a console) has nothing to redirect.
    """
    with _lock:
        _enter()
    try:
        yield
    finally:
        with _lock:
            _leave()


def solutions() -> ModuleType:
    """`mediapipe.solutions`, imported on the first call."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _lock, quiet_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mediapipe.python.solutions as mp_solutions
    return mp_solutions


def _enter() -> None:
    global _depth, _saved_fd  # noqa: PLW0603
    _depth += 1
    if _depth > 1:
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        _saved_fd = os.dup(2)
    except OSError:
        _saved_fd = -1
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _leave() -> None:
    global _depth  # noqa: PLW0603
    _depth -= 1
    if _depth == 0 and _saved_fd >= 0:
        os.dup2(_saved_fd, 2)
        os.close(_saved_fd)
