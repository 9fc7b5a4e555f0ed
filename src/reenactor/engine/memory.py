"""Memory of this process: its peak, and giving freed memory back to the system after each job."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 8 * 2**20
"""Bytes: more than a frame of 256 pixels frees at once; drawing is as fast as without it."""
_OWN_MAPPING = 32 * 2**20
"""Bytes: the largest that glibc allows, and the one that it reaches by itself."""


@contextmanager
def frugal() -> Iterator[None]:
    """Around a job: give freed memory back to the system at its end, and let each thread keep at most 8 MiB meanwhile.

    By default glibc keeps, in an arena for every few threads, twice the largest block freed so far: 64 MiB once a
    network was loaded. Decoders, encoders and face networks start a dozen threads a job, so jobs grew by up to 35 MiB
    each. The setting holds for the whole process and stays; the environment (MALLOC_..., GLIBC_TUNABLES) takes
    precedence. Other C libraries do not need it.
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


def peak_memory_mib() -> float:
    """Largest resident size of this process so far, MiB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
