import threading
import time

import pytest

from reenactor.engine.prefetch import prefetch


def helpers():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_same_items_in_order():
    with prefetch(iter(range(1000))) as items:
        assert list(items) == list(range(1000))
    assert not helpers()


def test_it_is_ahead_but_not_far():
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    with prefetch(source()) as items:
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

    with prefetch(source()) as items:
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
        with prefetch(source()) as items:
            next(items)
            raise error

    with pytest.raises(error):
        leave()
    assert closed == ["prefetch"]
    assert not helpers()


def test_nothing():
    with prefetch(iter(())) as items:
        assert list(items) == []


def test_work_is_shared_out_and_results_keep_their_order():
    """Two threads meet at a barrier: one alone would wait there for ever."""
    meet = threading.Barrier(2, timeout=10)

    def work(i):
        meet.wait()
        time.sleep(0.005 * (i % 3))
        return -i

    with prefetch(iter(range(20)), work, threads=2) as results:
        assert list(results) == [-i for i in range(20)]
    assert not helpers()


def test_a_slow_taker_slows_the_source():
    """Three in the hands of threads, four waiting, at most; whatever the work does."""
    taken = []

    def source():
        for i in range(1000):
            taken.append(i)
            yield i

    with prefetch(source(), lambda i: i, threads=3) as results:
        for i, _ in zip(range(50), results, strict=False):
            time.sleep(0.001)
            assert len(taken) <= i + 1 + 4 + 3
    assert not helpers()


def test_an_error_of_the_work_comes_in_its_turn():
    def work(i):
        if i == 3:
            raise OSError("disk on fire")
        return i

    with prefetch(iter(range(10)), work, threads=3) as results:
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="fire"):
            next(results)
    assert not helpers()


def test_stages_are_chained():
    with prefetch(iter(range(50)), lambda i: i + 1, threads=2) as first, prefetch(first, lambda i: 10 * i) as second:
        assert list(second) == [10 * (i + 1) for i in range(50)]
    assert not helpers()


def test_an_error_ends_all_stages():
    def fail(i):
        raise KeyboardInterrupt

    def leave():
        with prefetch(iter(range(10**9)), threads=2) as first, prefetch(first, fail, threads=2) as second:
            next(second)

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert not helpers()
