"""Parts in order, in one process or several, with progress."""

from dataclasses import dataclass

import pytest

from reenactor.research.evaluation.workers import PART, WorkerPool, batches


@dataclass(frozen=True)
class Doubling:
    """Can be sent to another process."""

    factor: int

    def __call__(self, part):
        return [self.factor * number for number in part]


class Reports:
    def __init__(self):
        self.said = []

    def start(self, what, done, total):
        self.said.append((what, done, total))

    def step(self, done, total):
        self.said.append(done)

    def end(self):
        self.said.append("end")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_parts_come_in_order(workers):
    numbers, reports = list(range(5 * PART + 3)), Reports()
    with WorkerPool(workers, reports) as pool:
        for factor in (2, 3):  # the same processes for both
            results = [
                (a, b)
                for part, result in pool.spread(Doubling(factor), batches(numbers), what="double", done=7)
                for a, b in zip(part, result, strict=True)
            ]
            assert results == [(n, factor * n) for n in numbers]
    assert reports.said[0] == ("double", 7, len(numbers) + 7)
    assert reports.said[1:7] == [7 + PART * i for i in range(1, 6)] + [len(numbers) + 7]
    assert reports.said[7] == "end"


def test_nothing_to_do_is_not_reports():
    reports = Reports()
    assert list(WorkerPool(0, reports).spread(Doubling(2), [], what="nothing")) == []
    assert reports.said == []


def test_a_failure_ends_the_stage():
    reports = Reports()
    with pytest.raises(TypeError):
        list(WorkerPool(0, reports).spread(Doubling(2), [[None]], what="fail"))
    assert reports.said[-1] == "end"
