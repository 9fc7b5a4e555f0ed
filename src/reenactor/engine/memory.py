"""What is freed goes back to the system, job after job in one process."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 8 * 2**20
"""Bytes: more than a frame of 256 pixels frees at once, so that drawing is no slower."""
_OWN_MAPPING = 32 * 2**20
"""Bytes: the largest that glibc allows, which it comes to by itself."""


@contextmanager
def frugal() -> Iterator[None]:
    """Around a job: glibc's threads keep at most 8 MiB each of what they freed, and at the end that is given back, too.

    Left alone glibc keeps, in an arena for every few threads, twice the largest block freed yet: 64 MiB, once a
    network was loaded. Decoders, encoders and face networks start a dozen threads a job, so that jobs grew by up to
    35 MiB each, though not with their length. It holds for the whole process and stays; settings by the environment
    (MALLOC_..., GLIBC_TUNABLES) take precedence. Other C libraries manage without.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "malloc_trim"):
        yield
        return
    if not any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)  # pyright: ignore[reportOptionalMemberAccess]
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)  # pyright: ignore[reportOptionalMemberAccess]
    try:
        yield
    finally:
        libc.malloc_trim(0)  # pyright: ignore[reportOptionalMemberAccess]
