import threading
import time

import pytest

from reenact.inference.ahead import ahead


def helpers():
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_same_items_in_order():
    with ahead(iter(range(1000))) as items:
        assert list(items) == list(range(1000))
    assert not helpers()


def test_it_is_ahead_but_not_far():
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    with ahead(source()) as items:
        assert next(items) == 0
        end = time.monotonic() + 5
        while len(made) < 6 and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05)
        assert len(made) == 6  # one taken, four waiting, one in hand
    assert not helpers()


def test_errors_come_where_the_item_would():
    def source():
        yield 1
        raise OSError("disk on fire")

    with ahead(source()) as items:
        assert next(items) == 1
        with pytest.raises(OSError, match="fire"):
            next(items)
    assert not helpers()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_leaving_early_ends_the_thread_and_the_generator(error):
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    def leave():
        with ahead(source()) as items:
            next(items)
            raise error

    with pytest.raises(error):
        leave()
    assert closed == ["ahead"]
    assert not helpers()


def test_nothing():
    with ahead(iter(())) as items:
        assert list(items) == []
