"""What a job tells the allocator."""

import ctypes
import os
import sys

import pytest

from reenactor.engine import memory


class Libc:
    def __init__(self):
        self.told = []

    def mallopt(self, which, size):
        self.told.append((which, size))

    def malloc_trim(self, pad):
        self.told.append("trim")


@pytest.fixture
def libc(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES":
            monkeypatch.delenv(name)
    fake = Libc()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: fake)
    return fake


def test_limits_at_first_and_collects_at_the_end(libc):
    def work():
        with memory.frugal():
            libc.told.append("job")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert libc.told == [(-3, 32 << 20), (-1, 8 << 20), "job", "trim"]


def test_the_users_own_settings_stay(libc, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    with memory.frugal():
        pass
    assert libc.told == ["trim"]


def test_elsewhere_it_does_nothing(libc, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # musl has no malloc_trim
    with memory.frugal():
        pass
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory.frugal():
        pass
    assert libc.told == []
